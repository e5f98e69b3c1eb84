//! HTTP/3, by quinn and a minimal client: requests without a dynamic table, and frames.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, IdleTimeout, SendStream, TransportConfig, VarInt};

use super::{Check, Failure, HOST, Target};

/// No response waits for the client, as over HTTP/2; quinn accepts the value.
const WINDOW_BYTES: u32 = 1 << 30;
/// Idle connections stay open.
const IDLE: Duration = Duration::from_secs(900);
/// Frame types (RFC 9114 §7.2).
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
/// Control stream with empty SETTINGS (§6.2.1).
const CONTROL: [u8; 3] = [0x00, 0x04, 0x00];
/// `:status: 200` in a section without a dynamic table (RFC 9204 §4.5, Appendix A).
const OK: [u8; 3] = [0x00, 0x00, 0xd9];

/// Opens connections, all from one socket.
pub(crate) struct Client {
    address: SocketAddr,
    endpoint: Endpoint,
    request: Bytes,
}

/// Open connection.
#[derive(Clone)]
pub(crate) struct Connection {
    connection: quinn::Connection,
    request: Bytes,
    /// Closing the control stream would be an error.
    _control: Arc<SendStream>,
}

impl Client {
    pub(crate) fn new(target: &Target) -> Result<Self, Failure> {
        let mut tls = target.tls.clone();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
            .receive_window(VarInt::from_u32(WINDOW_BYTES))
            .max_idle_timeout(Some(IdleTimeout::try_from(IDLE)?));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        endpoint.set_default_client_config(config);
        Ok(Self { address: target.address, endpoint, request: request(&target.authority, &target.path)?.into() })
    }

    pub(crate) async fn open(&self) -> Result<Connection, Failure> {
        let connection = self.endpoint.connect(self.address, HOST)?.await?;
        let mut control = connection.open_uni().await?;
        control.write_all(&CONTROL).await?;
        Ok(Connection { connection, request: self.request.clone(), _control: Arc::new(control) })
    }

    pub(crate) async fn close(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Connection {
    pub(crate) async fn ask(&mut self, body: &mut Check<'_>) -> Result<(), Failure> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&self.request).await?;
        send.finish()?;
        let mut frames = Frames::default();
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
            frames.take(chunk.bytes, body)?;
        }
        frames.end()
    }

    pub(crate) fn close(&self) {
        // H3_NO_ERROR.
        self.connection.close(VarInt::from_u32(0x100), b"");
    }
}

/// Frame of a request.
fn request(authority: &str, path: &str) -> Result<Vec<u8>, Failure> {
    // No dynamic table; indexed `:method: GET` and `:scheme: https`.
    let mut section = vec![0x00, 0x00, 0xd1, 0xd7];
    // Literals with the names 0, 1 and 31 of the static table (RFC 9204 §4.5.4).
    for (name, value) in [(&[0x50][..], authority), (&[0x51], path), (&[0x5f, 0x10], "br")] {
        section.extend_from_slice(name);
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x7f);
        section.push(length.ok_or("an authority or a path is too long")?);
        section.extend_from_slice(value.as_bytes());
    }
    let length = u16::try_from(section.len())? | 0x4000;
    let mut frame = vec![HEADERS.to_le_bytes()[0]];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut section);
    Ok(frame)
}

/// Incremental parser of response frames.
#[derive(Default)]
struct Frames {
    /// Incomplete frame header, or incomplete section.
    held: Vec<u8>,
    /// Type of the current frame, and remaining bytes.
    frame: Option<(u64, u64)>,
    has_head: bool,
}

impl Frames {
    fn take(&mut self, mut bytes: Bytes, body: &mut Check<'_>) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let Some((kind, left)) = self.frame else {
                self.held.push(bytes.get_u8());
                if let Some((kind, length)) = head(&self.held) {
                    self.held.clear();
                    self.frame = (length > 0).then_some((kind, length));
                }
                continue;
            };
            let part = bytes.split_to(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            match kind {
                DATA if self.has_head => body.take(&part)?,
                HEADERS if !self.has_head => self.held.extend_from_slice(&part),
                DATA | HEADERS => return Err("frames come in a wrong order".into()),
                _ => {}
            }
            let left = left - u64::try_from(part.len())?;
            self.frame = (left > 0).then_some((kind, left));
            if left == 0 && kind == HEADERS {
                if !self.held.starts_with(&OK) {
                    return Err(
                        format!("the answer is not 200: its section begins with {:02x?}", self.held.get(..6)).into()
                    );
                }
                self.held.clear();
                self.has_head = true;
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Failure> {
        let is_whole = self.has_head && self.frame.is_none() && self.held.is_empty();
        if is_whole { Ok(()) } else { Err("the answer breaks off".into()) }
    }
}

/// Type and length of a frame, once the header is complete.
fn head(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = integer(bytes)?;
    let (length, _) = integer(rest)?;
    Some((kind, length))
}

/// Variable-length integer (RFC 9000 §16).
fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (text, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = text.iter().skip(1).fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}
