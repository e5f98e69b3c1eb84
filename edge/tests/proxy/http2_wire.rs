//! HTTP/2 server as raw frames (RFC 9113 §4.1), for backends that break off where a library would not.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// RFC 9113 §3.4.
pub(crate) const CLIENT_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frame types (RFC 9113 §6).
pub(crate) struct Kind;

impl Kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const WINDOW_UPDATE: u8 = 8;
}

/// Frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Complete request; the head stays encoded.
pub(crate) struct TestRequest {
    pub(crate) stream: u32,
    pub(crate) body: Vec<u8>,
}

/// Connection.
pub(crate) struct Wire {
    stream: TcpStream,
    bodies: Vec<TestRequest>,
}

impl Wire {
    /// Reads the client's preface, and sends the settings.
    pub(crate) async fn accept(mut stream: TcpStream) -> Option<Self> {
        let mut preface = [0; CLIENT_PREFACE.len()];
        stream.read_exact(&mut preface).await.ok()?;
        assert_eq!(preface, CLIENT_PREFACE);
        let mut wire = Self { stream, bodies: Vec::new() };
        wire.frame(Kind::SETTINGS, 0, 0, b"").await;
        Some(wire)
    }

    /// Next frame of a request; connection frames are answered internally.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            match frame.kind {
                Kind::SETTINGS if frame.flags & ACK == 0 => self.frame(Kind::SETTINGS, ACK, 0, b"").await,
                Kind::PING if frame.flags & ACK == 0 => self.frame(Kind::PING, ACK, 0, &frame.payload).await,
                Kind::SETTINGS | Kind::PING | Kind::WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Next request, once complete.
    pub(crate) async fn request(&mut self) -> Option<TestRequest> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                Kind::HEADERS => self.bodies.push(TestRequest { stream: frame.stream, body: Vec::new() }),
                Kind::DATA => {
                    let request = self.bodies.iter_mut().find(|request| request.stream == frame.stream);
                    request.unwrap().body.extend(&frame.payload);
                }
                Kind::RST_STREAM => self.bodies.retain(|request| request.stream != frame.stream),
                _ => {}
            }
            let is_last = matches!(frame.kind, Kind::HEADERS | Kind::DATA) && frame.flags & END_STREAM != 0;
            if is_last && let Some(at) = self.bodies.iter().position(|request| request.stream == frame.stream) {
                return Some(self.bodies.remove(at));
            }
        }
    }

    /// Writes a frame; ignores a disconnected client.
    pub(crate) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        drop(self.stream.write_all(&bytes).await);
    }

    /// `:status: 200`, the eighth entry of the static table (RFC 7541, appendix A).
    pub(crate) async fn head(&mut self, stream: u32, is_last: bool) {
        let flags = END_HEADERS | if is_last { END_STREAM } else { 0 };
        self.frame(Kind::HEADERS, flags, stream, &[0x88]).await;
    }

    pub(crate) async fn answer(&mut self, stream: u32, body: &[u8]) {
        self.head(stream, false).await;
        self.frame(Kind::DATA, END_STREAM, stream, body).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, code: u32) {
        self.frame(Kind::RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    pub(crate) async fn goaway(&mut self, last: u32, code: u32) {
        self.frame(Kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()).await;
    }
}
