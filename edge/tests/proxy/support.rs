//! Forwarding front, backends and clients: each on a separate port, all on one thread.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use devanture_serve::proxy::address::Policy;
use devanture_serve::proxy::{
    Arrival, Client, ClientSettings, CompiledRoute, DnsTimes, Error, HealthLimits, Ids, Names, Phase, PoolKey,
    ProxyBody, Registry, RegistrySettings, keep_pools, tls,
};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn as client_conn;
use hyper::server::conn as server_conn;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::wire::promise_upgrade;

/// Runs a test on one thread, as the edge serves; a test that hangs fails.
pub(crate) fn run<F: Future<Output = ()>>(work: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(60), work).await.expect("it hangs") });
}

/// Waits until `fact` holds.
pub(crate) async fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if fact() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("this never came true: {what}");
}

#[derive(Clone)]
pub(crate) struct LocalExec;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Settings of a front.
pub(crate) struct Setup {
    pub(crate) body_bytes_max: u64,
    pub(crate) http2: bool,
    pub(crate) idle_max: usize,
    pub(crate) in_use_max: usize,
    pub(crate) allow: Vec<&'static str>,
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) timeout_ms: u64,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) trusted: bool,
    /// Keys of the pool beside the first address.
    pub(crate) declared: serde_json::Value,
    /// Keys of the route beside `path` and `to`.
    pub(crate) route: serde_json::Value,
    pub(crate) dns: Vec<SocketAddr>,
    /// Time for which addresses stay after an empty DNS answer.
    pub(crate) dns_hold: Duration,
    /// Maximum concurrent health checks, of which one app gets an eighth.
    pub(crate) checks_max: usize,
    /// Permitted folders of sockets.
    pub(crate) sockets: Vec<std::path::PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            body_bytes_max: u64::MAX,
            http2: false,
            idle_max: 8,
            in_use_max: 1_000,
            allow: Vec::new(),
            own: Vec::new(),
            send_buffer: None,
            timeout_ms: 20_000,
            tls: tls::trusting([]).unwrap(),
            trusted: true,
            declared: serde_json::json!({}),
            route: serde_json::json!({}),
            dns: Vec::new(),
            dns_hold: Duration::from_millis(100),
            checks_max: 256,
            sockets: Vec::new(),
        }
    }
}

/// Listener that forwards all requests to one upstream.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) way: Rc<CompiledRoute>,
    pub(crate) stop: CancellationToken,
    /// Outcome of each request: a status, an error, or a client that disconnected.
    pub(crate) outcomes: Rc<RefCell<Vec<String>>>,
}

/// Records the outcome of a request, even if the client no longer waits.
struct Note {
    outcomes: Rc<RefCell<Vec<String>>>,
    text: String,
}

impl Drop for Note {
    fn drop(&mut self) {
        self.outcomes.borrow_mut().push(std::mem::take(&mut self.text));
    }
}

/// Pools of a front, maintained on this thread.
pub(crate) fn registry(setup: &Setup) -> Registry {
    let registry = Registry::new(RegistrySettings {
        policy: Policy {
            allow: setup.allow.iter().map(|block| block.parse().unwrap()).collect(),
            own: setup.own.clone().into(),
            sockets: setup.sockets.clone().into(),
            ..Policy::default()
        },
        tls: Arc::clone(&setup.tls),
        requests_max: u64::try_from(setup.in_use_max).unwrap(),
        sockets_max: 100_000,
    });
    // Names are resolved again at once.
    let times = DnsTimes { least: Duration::from_millis(10), most: Duration::from_secs(60), hold: setup.dns_hold };
    // Members are checked at short intervals, so that tests are fast.
    let limits = HealthLimits {
        checks_max: setup.checks_max,
        interval_min: Duration::from_millis(100),
        time_max: Duration::from_secs(60),
    };
    tokio::task::spawn_local(keep_pools(registry.clone(), Names::new(&setup.dns), times, limits));
    registry
}

/// Route to a pool with the addresses `to`, separated by spaces.
pub(crate) fn way(registry: &Registry, to: &str, setup: &Setup) -> CompiledRoute {
    let mut declared = setup.declared.clone();
    declared["to"] = to.split(' ').filter(|to| !to.is_empty()).collect();
    let declared: devanture_config::site_toml::Upstream = serde_json::from_value(declared).unwrap();
    assert!(declared.mistakes().is_empty(), "{:?}", declared.mistakes());
    let mut route = setup.route.clone();
    for (key, value) in [("path", "/*".into()), ("to", "pool".into()), ("timeout_ms", setup.timeout_ms.into())] {
        let value: serde_json::Value = value;
        route.as_object_mut().unwrap().entry(key).or_insert(value);
    }
    let route: devanture_config::site_toml::Route = serde_json::from_value(route).unwrap();
    assert!(route.mistakes().is_empty(), "{:?}", route.mistakes());
    let app = "shop".parse().unwrap();
    let key =
        PoolKey { app, place: "prod".to_owned(), name: "pool".to_owned(), trusted: setup.trusted, declared, run: None };
    CompiledRoute::new(&route, registry.pool(&key))
}

impl Front {
    pub(crate) async fn to(backend: SocketAddr) -> Self {
        Self::start(&format!("http://{backend}"), Setup::default()).await
    }

    pub(crate) async fn start(to: &str, setup: Setup) -> Self {
        let registry = registry(&setup);
        let way = Rc::new(way(&registry, to, &setup));
        let stop = CancellationToken::new();
        let client = Client::new(ClientSettings {
            body_bytes_max: setup.body_bytes_max,
            idle_per_member_max: setup.idle_max,
            connection_age_max: Duration::from_secs(300),
            stop: stop.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let outcomes: Rc<RefCell<Vec<String>>> = Rc::default();
        let (shared, notes) = (client.clone(), Rc::clone(&outcomes));
        let shown = Rc::clone(&way);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                if let Some(bytes) = setup.send_buffer {
                    socket2::SockRef::from(&stream).set_send_buffer_size(bytes).unwrap();
                }
                let (client, way, notes) = (shared.clone(), Rc::clone(&way), Rc::clone(&notes));
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let (client, way) = (client.clone(), Rc::clone(&way));
                    promise_upgrade(&mut request);
                    let note = Note { outcomes: Rc::clone(&notes), text: "went away".to_owned() };
                    async move { Ok::<_, Infallible>(serve(&client, &way, request, peer, note).await) }
                });
                tokio::task::spawn_local(async move {
                    let io = TokioIo::new(stream);
                    if setup.http2 {
                        drop(server_conn::http2::Builder::new(LocalExec).serve_connection(io, service).await);
                    } else {
                        drop(server_conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await);
                    }
                });
            }
        });
        Self { address, client, way: shown, stop, outcomes }
    }

    /// Sends raw bytes and reads until the front closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a request on a new HTTP/1.1 connection.
    pub(crate) async fn ask<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let mut sender = self.connect().await;
        let response = sender.send_request(request).await.unwrap();
        // The connection lives as long as the response is read.
        tokio::task::spawn_local(async move { sender.ready().await });
        response
    }

    pub(crate) async fn connect<B>(&self) -> client_conn::http1::SendRequest<B>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = client_conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        sender
    }

    pub(crate) async fn connect_h2<B>(&self) -> client_conn::http2::SendRequest<B>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = client_conn::http2::handshake(LocalExec, TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        sender
    }

    /// Plain GET request: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.method("GET", path).await
    }

    /// Request without a body: status and body.
    pub(crate) async fn method(&self, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("host", "shop.example");
        let response = self.ask(request.body(Full::<Bytes>::default()).unwrap()).await;
        let status = response.status().as_u16();
        (status, text(response).await)
    }
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn serve(
    client: &Client,
    way: &CompiledRoute,
    request: Request<Incoming>,
    peer: SocketAddr,
    mut note: Note,
) -> Response<Either<ProxyBody, Full<Bytes>>> {
    let named = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = request.uri().authority().map_or(named, |authority| authority.as_str()).to_owned();
    let ids = Ids::of(request.headers(), false);
    let arrival = Arrival {
        host: &host,
        client: Some(peer.ip()),
        ids: &ids,
        passing: None,
        port: None,
        proxies: &[],
        scheme: "https",
    };
    match client.forward(way, request, &arrival).await {
        Ok(response) => {
            note.text = response.status().as_u16().to_string();
            response.map(Either::Left)
        }
        Err(error) => {
            note.text = format!("{error:?}");
            let mut response = Response::new(Either::Right(Full::from(error.to_string())));
            *response.status_mut() = status(&error);
            response
        }
    }
}

/// Status as documented at [`Error`].
fn status(error: &Error) -> StatusCode {
    let code = match error {
        Error::BadAnswer(_) | Error::Connect(_) | Error::Forbidden(_) | Error::NoAddress(_) | Error::Tls(_) => 502,
        Error::BadRequest(_) | Error::Cancelled => 400,
        Error::Loop(_) => 508,
        Error::NotImplemented(_) => 501,
        Error::RequestTooLarge { .. } => 413,
        Error::Timeout(Phase::RequestBody) => 408,
        Error::Timeout(_) => 504,
        Error::NoMember(_) | Error::Unavailable(_) => 503,
    };
    StatusCode::from_u16(code).unwrap()
}

/// hyper backend that answers each request by `handler`.
pub(crate) async fn backend<H, F, B>(handler: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    bare_backend(move |stream, _| {
        let handler = handler.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let http = server_conn::http1::Builder::new();
            drop(http.serve_connection(TokioIo::new(stream), service).with_upgrades().await);
        }
    })
    .await
}

/// Backend on plain sockets: `handler` gets each connection with a number.
pub(crate) async fn bare_backend<H, F>(handler: H) -> SocketAddr
where
    H: Fn(TcpStream, usize) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(handler(stream, number));
        }
    });
    address
}

/// Request as received on the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Values of a field, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Reads one request; the body stays encoded.
pub(crate) async fn receive(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut received = Received { head: String::from_utf8(bytes[..head_end].to_vec()).unwrap(), body: Vec::new() };
    let length: Option<usize> = received.values("content-length").first().map(|length| length.parse().unwrap());
    let is_chunked = received.values("transfer-encoding") == ["chunked"];
    // Bytes beyond the request would be a smuggled second request.
    loop {
        let body = &bytes[head_end..];
        let whole = if is_chunked {
            body.windows(5).position(|window| window == b"0\r\n\r\n").is_some()
                || body.windows(3).position(|window| window == b"0\r\n").is_some() && body.ends_with(b"\r\n\r\n")
        } else {
            body.len() >= length.unwrap_or(0)
        };
        if whole {
            received.body = body.to_vec();
            return Some(received);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Backend that records requests and always sends the same response.
pub(crate) async fn recording(answer: impl Into<Vec<u8>>) -> (SocketAddr, Rc<RefCell<Vec<Received>>>) {
    let records: Rc<RefCell<Vec<Received>>> = Rc::default();
    let (notes, answer) = (Rc::clone(&records), Rc::new(answer.into()));
    let address = bare_backend(move |mut stream, _| {
        let (notes, answer) = (Rc::clone(&notes), Rc::clone(&answer));
        async move {
            while let Some(received) = receive(&mut stream).await {
                notes.borrow_mut().push(received);
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, records)
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Body of `left` bytes that are produced and counted on demand.
pub(crate) struct CountedBody {
    pub(crate) chunk: Bytes,
    pub(crate) left: u64,
    pub(crate) made: Rc<Cell<u64>>,
    pub(crate) says_length: bool,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let chunk = self.chunk.slice(..self.chunk.len().min(usize::try_from(self.left).unwrap()));
        self.left -= chunk.len() as u64;
        self.made.set(self.made.get() + chunk.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.says_length { SizeHint::with_exact(self.left) } else { SizeHint::default() }
    }
}

/// Body with frames supplied by a test.
pub(crate) struct ChannelBody(pub(crate) tokio::sync::mpsc::Receiver<Bytes>);

impl ChannelBody {
    pub(crate) fn new() -> (tokio::sync::mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        (sender, Self(receiver))
    }
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|item| item.map(|bytes| Ok(Frame::data(bytes))))
    }
}
