//! All of `listen` on real sockets: a server and its clients on one thread.

mod chains;
mod drain;
mod engine;
mod engine_service;
mod handshakes;
mod http;
mod lengths;
mod limits;
mod quic;
mod resumption;
mod tls;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use devanture_config::edge_toml::Tls;
use devanture_config::limits::Limits;
use devanture_http::OnUpgrade;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::engine_service::EngineService;
use super::{ConnectionLimits, DrainOrder, Drained, Peer, Settings, bind, serve};
use crate::tls::{Certificates, ServerTls};
use devanture_base::fair::Lane;

type TestBody = UnsyncBoxBody<Bytes, Infallible>;

/// Longer than any wait of the tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A served socket.
struct Running {
    address: SocketAddr,
    drain: watch::Sender<Option<DrainOrder>>,
    ended: JoinHandle<std::io::Result<Drained>>,
    limits: ConnectionLimits,
    /// Releases requests to `/wait`.
    gate: Rc<Semaphore>,
    /// The peers of all requests.
    peers: Rc<RefCell<Vec<Arc<Peer>>>>,
}

impl Running {
    fn start(tls: Option<ServerTls>, limits: &Limits) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, drain_requested) = watch::channel(None);
        let limits = ConnectionLimits::new(limits);
        let settings = Settings { name: "test", tls, limits: limits.clone(), drain: drain_requested };
        let (gate, peers) = (Rc::new(Semaphore::new(0)), Rc::new(RefCell::new(Vec::new())));
        let services = {
            let (gate, peers) = (Rc::clone(&gate), Rc::clone(&peers));
            move |peer: &Arc<Peer>| (EngineService::new(peer, &gate, &peers), Lane::EDGE)
        };
        let ended = spawn_local(serve(listener, settings, services));
        Self { address, drain, ended, limits, gate, peers }
    }

    fn drain(&self, within: Duration) {
        self.drain.send_replace(Some(DrainOrder::until(Instant::now() + within)));
    }

    async fn drained(self) -> Drained {
        timeout(PATIENCE, self.ended).await.expect("the drain ends").unwrap().unwrap()
    }

    async fn until_empty(&self) {
        eventually(|| self.limits.open() == 0).await;
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never held");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// `/bytes/N` gives N bytes, `/wait` waits for the gate, `/echo` gives the body back, `/upgrade` echoes on the
/// connection, `/endless` gives frames of 64 KiB for ever, `/events` one event and no end, `/length/N/M` announces N
/// bytes and gives M; anything else says hello and reads nothing.
async fn respond<B>(mut request: Request<B>, gate: Rc<Semaphore>) -> Response<TestBody>
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + 'static,
{
    let path = request.uri().path().to_owned();
    if let Some(count) = path.strip_prefix("/bytes/") {
        return Response::new(full(vec![b'x'; count.parse().unwrap()]));
    }
    if let Some((announced, has)) = path.strip_prefix("/length/").and_then(|lengths| lengths.split_once('/')) {
        let mut response = Response::new(full(vec![b'x'; has.parse().unwrap()]));
        response.headers_mut().insert("content-length", announced.parse().unwrap());
        return response;
    }
    match path.as_str() {
        "/wait" => {
            gate.acquire().await.unwrap().forget();
            Response::new(full("waited"))
        }
        "/echo" => match request.into_body().collect().await {
            Ok(body) => Response::new(full(body.to_bytes())),
            Err(_) => std::future::pending().await,
        },
        "/endless" => {
            let frames = futures_util::stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![b'e'; 65_536]))));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        "/events" => {
            let first = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"data: 1\n\n"))) });
            let frames = futures_util::StreamExt::chain(first, futures_util::stream::pending());
            let response = Response::builder().header("content-type", "text/event-stream");
            response.body(StreamBody::new(frames).boxed_unsync()).unwrap()
        }
        "/upgrade" => {
            let upgraded = OnUpgrade::take(&mut request).unwrap();
            spawn_local(async move {
                let upgraded = upgraded.await.unwrap();
                let (mut read, mut write) = tokio::io::split(upgraded);
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response.header("connection", "upgrade").header("upgrade", "echo");
            response.body(Empty::new().boxed_unsync()).unwrap()
        }
        _ => Response::new(full("hello")),
    }
}

fn full(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).boxed_unsync()
}

/// Runs a test on one thread, as the edge serves.
fn local(test: impl AsyncFn()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test());
}

/// Returns certificates of a local authority in a folder, for `names`.
fn self_signed(folder: &std::path::Path, names: &'static [&'static str]) -> Certificates {
    let knows = Arc::new(move |name: &str| names.contains(&name));
    Certificates::open(&Tls::SelfSigned, folder, folder, knows, Arc::new(|_| None), None).unwrap()
}

/// Returns a client that trusts the authority in `folder`, and offers `protocols`.
fn trusting(folder: &std::path::Path, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("tls/ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(crate::tls::provider()).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

async fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::clone(config)).connect(name, stream)).await.unwrap()
}

async fn http1_over<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: T) -> http1::SendRequest<TestBody> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    spawn_local(connection.with_upgrades());
    sender
}

async fn http2_over<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: T) -> http2::SendRequest<TestBody> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    spawn_local(connection);
    sender
}

/// Returns a request in HTTP/1.1 form.
fn get(path: &str) -> Request<TestBody> {
    Request::get(path).header("host", "shop.localhost").body(Empty::new().boxed_unsync()).unwrap()
}

/// Returns a request in HTTP/2 form.
fn get2(path: &str) -> Request<TestBody> {
    Request::get(format!("https://shop.localhost{path}")).body(Empty::new().boxed_unsync()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}
