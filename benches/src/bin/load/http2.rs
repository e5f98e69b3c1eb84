//! HTTP/2, by hyper.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use super::{Check, Failure, HOST, Target};

/// Window as of h2load in the comparison: no response waits for the client.
const WINDOW_BYTES: u32 = 1 << 30;

/// Opens connections.
pub(crate) struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    uri: String,
}

/// Open connection.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Empty<Bytes>>,
    request: Request<()>,
}

impl Client {
    pub(crate) fn new(target: &Target) -> Self {
        let mut tls = target.tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let uri = format!("https://{}{}", target.authority, target.path);
        Self { address: target.address, tls: Arc::new(tls).into(), uri }
    }

    pub(crate) async fn open(&self) -> Result<Connection, Failure> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(HOST)?, socket).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        // The task ends with the last sender.
        spawn_local(connection);
        let uri: Uri = self.uri.parse()?;
        let request = Request::get(uri).version(Version::HTTP_2).header("accept-encoding", "br").body(())?;
        Ok(Connection { sender, request })
    }
}

impl Connection {
    pub(crate) async fn ask(&mut self, body: &mut Check<'_>) -> Result<(), Failure> {
        self.sender.ready().await?;
        let response = self.sender.send_request(self.request.clone().map(|()| Empty::new())).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the status is {}", response.status()).into());
        }
        let mut incoming = response.into_body();
        while let Some(frame) = incoming.frame().await {
            if let Some(data) = frame?.data_ref() {
                body.take(data)?;
            }
        }
        Ok(())
    }
}
