//! Edge with two apps and their backend, and connections to the edge.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::BeginDeploy;
use devanture_config::site_toml::Route;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http2::wire::{Conn, HOST, PATIENCE};
use crate::support::{RunningEdge, Setup, edge, manifest};

/// Front page of the app.
pub(crate) const FRONT_PAGE: &[u8] = b"<!doctype html><title>shop</title>the front page";
/// Bytes of `/big.bin`: several initial windows of RFC 9113.
pub(crate) const BIG_BYTES: usize = 300_000;

/// Edge with apps and backend.
pub(crate) struct World {
    pub(crate) edge: RunningEdge,
    tls: ClientConfig,
    /// Releases requests to `/api/wait`.
    pub(crate) gate: Arc<Semaphore>,
    /// Counts requests received at `/api/wait`.
    pub(crate) waiting: Arc<Semaphore>,
    /// Listener whose connections are never read.
    _deaf: std::net::TcpListener,
}

/// Incompressible bytes.
pub(crate) fn big() -> Vec<u8> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(9_u64), next).map(|state| (state >> 33) as u8).take(BIG_BYTES).collect()
}

impl World {
    pub(crate) async fn start() -> Arc<Self> {
        Self::with(edge()).await
    }

    pub(crate) async fn with(setup: Setup) -> Arc<Self> {
        let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let backend = backend(Arc::clone(&gate), Arc::clone(&waiting)).await;
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let edge = setup.with_app("other", &[("index.html", b"the other app")]).start().await;
        let big = big();
        let files: [(&str, &[u8]); 3] =
            [("index.html", FRONT_PAGE), ("big.bin", &big), ("404.html", b"<!doctype html>not here")];
        let mut manifest = manifest(&files);
        let route = |path: &str, to: String| Route::new(path.parse().unwrap(), to.parse().unwrap());
        manifest.base.routes = Some(vec![
            route("/api/*", format!("http://127.0.0.1:{backend}")),
            route("/deaf", format!("http://{}", deaf.local_addr().unwrap())),
        ]);
        let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
        edge.try_push("shop", "prod", begin, &files).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(edge.ca()).unwrap()).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Arc::new(Self { edge, tls, gate, waiting, _deaf: deaf })
    }

    /// Connection before the first frame.
    pub(crate) async fn connect(&self) -> Conn {
        self.connect_as(HOST, &[b"h2"], rustls::DEFAULT_VERSIONS).await.unwrap()
    }

    pub(crate) async fn connect_as(
        &self,
        host: &'static str,
        protocols: &[&[u8]],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<Conn> {
        let mut tls = self.tls.clone();
        if versions != rustls::DEFAULT_VERSIONS {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.edge.ca()).unwrap()).unwrap();
            tls = ClientConfig::builder_with_protocol_versions(versions)
                .with_root_certificates(roots)
                .with_no_client_auth();
        }
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self.connect_over(TcpStream::connect(self.edge.https()).await?, host, tls).await
    }

    /// Connection for an independent client.
    pub(crate) async fn tls_for(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.edge.https()).await.unwrap();
        TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap()
    }

    /// Connection with a small receive buffer: unread response bytes stay in the edge, or are not sent.
    pub(crate) async fn connect_slowly(&self, host: &'static str, protocol: &[u8]) -> Conn {
        const TAKEN_BYTES: u32 = 16 * 1024;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(TAKEN_BYTES).unwrap();
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        self.connect_over(socket.connect(self.edge.https()).await.unwrap(), host, tls).await.unwrap()
    }

    async fn connect_over(&self, stream: TcpStream, host: &'static str, tls: ClientConfig) -> std::io::Result<Conn> {
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host).unwrap();
        let stream = timeout(PATIENCE, TlsConnector::from(Arc::new(tls)).connect(name, stream)).await.unwrap()?;
        Ok(Conn::over(stream))
    }
}

/// Starts a backend, and returns the port.
async fn backend(gate: Arc<Semaphore>, waiting: Arc<Semaphore>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (gate, waiting) = (Arc::clone(&gate), Arc::clone(&waiting));
            let service = service_fn(move |request| respond(request, Arc::clone(&gate), Arc::clone(&waiting)));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

/// `/api/echo` echoes the body, `/api/fields` answers with the head as text, `/api/wait` waits for the gate, `/api/old`
/// answers with fields specific to HTTP/1.1.
async fn respond(
    request: Request<Incoming>,
    gate: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let response = match request.uri().path() {
        "/api/echo" => match request.into_body().collect().await {
            Ok(body) => Response::new(Full::new(body.to_bytes())),
            // The edge cancelled the request.
            Err(_) => std::future::pending().await,
        },
        "/api/fields" => {
            let mut text = format!("{} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
            Response::new(Full::new(text.into()))
        }
        "/api/wait" => {
            waiting.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Response::new(Full::new("waited".into()))
        }
        "/api/old" => {
            let response = Response::builder().header("keep-alive", "timeout=5").header("proxy-connection", "close");
            let response = response.header("connection", "x-hop").header("x-hop", "1").header("x-end", "1");
            response.body(Full::new("old".into())).unwrap()
        }
        _ => Response::builder().status(404).body(Full::default()).unwrap(),
    };
    Ok(response)
}
