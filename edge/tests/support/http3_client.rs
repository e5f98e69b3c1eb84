//! Independent HTTP/3 client, made of the crates quinn and h3.

#![allow(dead_code, reason = "every file of tests uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use h3::quic::RecvStream;
use http::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, TransportConfig, VarInt};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::RunningEdge;
use crate::wire::{Answer, PATIENCE};

/// H3_NO_ERROR (RFC 9114 §8.1).
pub(crate) const NO_ERROR: u32 = 0x100;

/// Request stream.
pub(crate) type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;
/// Receiving half of a request stream.
type Receiving<S> = RequestStream<S, Bytes>;

/// Connection. Drop ends all streams.
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
    driver: JoinHandle<()>,
}

/// Endpoint that trusts the authority of an edge.
pub(crate) fn endpoint(ca: &Path, transport: TransportConfig) -> Endpoint {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Performs a QUIC handshake with an address.
pub(crate) async fn shake(endpoint: &Endpoint, to: SocketAddr, host: &str) -> Result<Connection, ConnectionError> {
    let connecting = endpoint.connect(to, host).unwrap();
    timeout(PATIENCE, connecting).await.expect("the handshake ends")
}

impl Client {
    pub(crate) async fn connect(edge: &RunningEdge, host: &str) -> Self {
        let to = edge.http3().expect("HTTP/3 is served");
        Self::try_connect(edge, host, to).await.unwrap_or_else(|error| panic!("{host}: {error}"))
    }

    /// Connects to an edge at another address, for example at a relay.
    pub(crate) async fn try_connect(edge: &RunningEdge, host: &str, to: SocketAddr) -> Result<Self, ConnectionError> {
        let endpoint = endpoint(&edge.ca(), TransportConfig::default());
        let connection = shake(&endpoint, to, host).await?;
        Ok(Self::over(endpoint, connection).await)
    }

    /// Starts HTTP/3 on a QUIC connection.
    pub(crate) async fn over(endpoint: Endpoint, connection: Connection) -> Self {
        let quic = h3_quinn::Connection::new(connection.clone());
        let (mut driver, requests) = timeout(PATIENCE, h3::client::new(quic)).await.unwrap().unwrap();
        let driver = tokio::spawn(async move { drop(poll_fn(|cx| driver.poll_close(cx)).await) });
        Self { endpoint, connection, requests, driver }
    }

    /// Sends the head of a request; the body follows.
    pub(crate) async fn begin(&mut self, request: Request<()>) -> Stream {
        self.try_begin(request).await.unwrap_or_else(|error| panic!("the request is not sent: {error}"))
    }

    pub(crate) async fn try_begin(&mut self, request: Request<()>) -> Result<Stream, StreamError> {
        timeout(PATIENCE, self.requests.send_request(request)).await.expect("a stream is free")
    }

    /// Sends a request without a body and reads the response.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> Answer {
        self.try_ask(request).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub(crate) async fn try_ask(&mut self, request: Request<()>) -> Result<Answer, StreamError> {
        let mut stream = self.try_begin(request).await?;
        // The response may arrive before the end of the request, and the edge then stops reading.
        drop(stream.finish().await);
        answer(&mut stream).await
    }

    /// Gets a path of a host.
    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.ask(get(host, path)).await
    }

    /// Closes the connection.
    pub(crate) async fn close(self) {
        self.connection.close(VarInt::from_u32(NO_ERROR), b"");
        self.driver.abort();
    }
}

/// GET request.
pub(crate) fn get(host: &str, path: &str) -> Request<()> {
    Request::get(format!("https://{host}{path}")).body(()).unwrap()
}

/// Response head.
pub(crate) async fn head<S: RecvStream>(stream: &mut Receiving<S>) -> Result<Response<()>, StreamError> {
    timeout(PATIENCE, stream.recv_response()).await.expect("a head comes in time")
}

/// Next piece of a body; `None` at the end.
pub(crate) async fn piece<S: RecvStream>(stream: &mut Receiving<S>) -> Result<Option<Bytes>, StreamError> {
    let piece = timeout(PATIENCE, stream.recv_data()).await.expect("a body goes on");
    Ok(piece?.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
}

/// Rest of a body.
pub(crate) async fn body<S: RecvStream>(stream: &mut Receiving<S>) -> Result<Bytes, StreamError> {
    let mut body = Vec::new();
    while let Some(piece) = piece(stream).await? {
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

/// Fully read response.
pub(crate) async fn answer<S: RecvStream>(stream: &mut Receiving<S>) -> Result<Answer, StreamError> {
    let (head, ()) = head(stream).await?.into_parts();
    let body = body(stream).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}
