//! Floods of TLS handshakes next to connected visitors.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::Socket;

use crate::support::{RunningEdge, edge, eventually, got};

const HOST: &str = "shop.localhost";
const PAGE: &[u8] = b"<!doctype html><title>shop</title>";
/// Longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(30);

/// Handshakes started just before a visitor's request: far more than a server completes in a round trip.
const BURST: usize = 400;
/// Bursts against each server.
const ROUNDS: usize = 9;
/// Maximum visitor wait relative to nginx, which serves visitors after the whole burst.
const NGINX_RATIO_MAX: f64 = 1.0;
/// Maximum visitor wait as a share of the burst duration. After the whole burst, the share would be close to 1.
const BURST_SHARE_MAX: f64 = 0.25;

/// TLS client that trusts the authority in `pem`, with the cheapest key exchange.
fn client_config(pem: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn session(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from(HOST).unwrap()).unwrap()
}

/// ClientHello message.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let mut bytes = Vec::new();
    session(config).write_tls(&mut bytes).unwrap();
    bytes
}

/// Visitor with one connection.
struct Visitor(StreamOwned<ClientConnection, TcpStream>);

impl Visitor {
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut visitor = Self(StreamOwned::new(session(config), stream));
        visitor.ask();
        visitor
    }

    /// Requests the page and returns the time to the response.
    fn ask(&mut self) -> Duration {
        let start = Instant::now();
        write!(self.0, "GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
        while !answer.ends_with(PAGE) {
            let count = self.0.read(&mut buffer).unwrap();
            assert!(count > 0, "the connection was closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        start.elapsed()
    }
}

/// Opens a connection that is closed by a reset, so that the port is free immediately.
fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let socket = Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket.into()
}

/// A visitor's wait behind a burst of handshakes, and the duration of the burst.
struct Wait {
    latency: Duration,
    burst: Duration,
}

impl Wait {
    /// Starts [`BURST`] handshakes on accepted connections and sends the visitor's request behind the handshakes.
    fn measure(visitor: &mut Visitor, address: SocketAddr, hello: &[u8]) -> Self {
        let mut burst: Vec<TcpStream> = (0..BURST).map(|_| open(address)).collect();
        for _ in 0..20 {
            visitor.ask();
        }
        let start = Instant::now();
        for stream in &mut burst {
            stream.write_all(hello).unwrap();
        }
        let latency = visitor.ask();
        // Every handshake has a response, so that the next measurement starts without a burst.
        for stream in &mut burst {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(stream.read(&mut [0; 16]).unwrap() > 0);
        }
        Self { latency, burst: start.elapsed() }
    }
}

/// nginx in the default configuration with the edge's certificates, killed on drop.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// Starts nginx in `folder`; `None` if nginx is not installed.
    #[expect(clippy::disallowed_methods, reason = "nothing is served by this thread")]
    fn start(folder: &Path) -> Option<Self> {
        for _ in 0..10 {
            // nginx never reports a port chosen by the system; a taken port is replaced by another.
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            write(&folder.join("nginx.conf"), &configuration(folder, address));
            let child = Command::new("nginx")
                .arg("-e")
                .arg(folder.join("error.log"))
                .arg("-c")
                .arg(folder.join("nginx.conf"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let mut nginx = Self { child: child.ok()?, address };
            let start = Instant::now();
            while nginx.child.try_wait().unwrap().is_none() && start.elapsed() < PATIENCE {
                if TcpStream::connect(address).is_ok() {
                    return Some(nginx);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("nginx does not start: {}", std::fs::read_to_string(folder.join("error.log")).unwrap_or_default());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;\n\
        events {{ worker_connections 4096; }}\n\
        http {{\n  access_log off; default_type text/html;\n  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;\n  \
        fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n  \
        keepalive_requests 1000000; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;\n  \
        server {{ listen {address} ssl backlog=4096; root {folder}/www; }}\n}}\n"
    )
}

/// Creates a certificate for [`HOST`], the key, and the folder served by nginx.
#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
fn furnish(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    write(&folder.join("cert.pem"), &made.cert.pem());
    write(&folder.join("key.pem"), &made.signing_key.serialize_pem());
    std::fs::create_dir(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/index.html"), PAGE).unwrap();
}

/// Metric of the visitors' listener.
async fn of_visitors(edge: &RunningEdge, metric: &str) -> Option<f64> {
    let text = got(edge.api(Method::GET, "/metrics")).await.text();
    let start = format!("{metric}{{listener=\"https\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

/// Median of a visitor's waits at each server; the servers alternate.
fn median_waits(servers: Vec<(SocketAddr, Arc<ClientConfig>)>) -> Vec<Wait> {
    let connect = |(address, config)| (Visitor::connect(address, &config), address, client_hello(&config), Vec::new());
    let mut servers: Vec<_> = servers.into_iter().map(connect).collect();
    for _ in 0..ROUNDS {
        for (visitor, address, hello, waits) in &mut servers {
            waits.push(Wait::measure(visitor, *address, hello));
        }
    }
    let median = |mut waits: Vec<Wait>| {
        waits.sort_unstable_by_key(|wait| wait.latency);
        waits.swap_remove(ROUNDS / 2)
    };
    servers.into_iter().map(|(_, _, _, waits)| median(waits)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connected_visitor_is_served_amid_a_burst_of_handshakes_and_before_one_of_nginx() {
    let folder = tempfile::tempdir().unwrap();
    furnish(folder.path());
    let nginx = Nginx::start(folder.path());
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(nginx.is_some() || !is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "nginx is not installed");
    let edge = edge().with_app("shop", &[("index.html", PAGE)]).start().await;
    let mut servers = vec![(edge.https(), client_config(&edge.ca()))];
    servers.extend(nginx.iter().map(|nginx| (nginx.address, client_config(&folder.path().join("cert.pem")))));
    let waits = tokio::task::spawn_blocking(move || median_waits(servers)).await.unwrap();
    let Wait { latency, burst } = waits[0];
    let share = latency.as_secs_f64() / burst.as_secs_f64();
    assert!(share <= BURST_SHARE_MAX, "a visitor waits {latency:?} of the {burst:?} of a burst");
    if let Some(of_nginx) = waits.get(1) {
        let ratio = latency.as_secs_f64() / of_nginx.latency.as_secs_f64();
        assert!(ratio <= NGINX_RATIO_MAX, "a visitor waits {latency:?}, one of nginx {:?}", of_nginx.latency);
    }
    edge.stop().await;
}

#[tokio::test]
async fn handshakes_beyond_the_bound_wait_outside_and_keep_nobody_out() {
    const MAX: f64 = 32.0;
    let edge = edge()
        .in_a_process()
        .with_limit("handshakes_max", 32)
        .with_limit("handshakes_per_address_max", 0)
        .with_limit("handshake_stall_ms_max", 600_000)
        .with_app("shop", &[("index.html", PAGE)])
        .start()
        .await;
    let (address, config) = (edge.https(), client_config(&edge.ca()));
    let mut visitor = Visitor::connect(address, &config);
    let mut flood: Vec<TcpStream> = (0..500).map(|_| open(address)).collect();
    eventually("all places are taken", async || of_visitors(&edge, "devanture_handshakes_open").await == Some(MAX))
        .await;
    // The API answers, and so does the earlier connection. Beyond the limit, one connection waits to be accepted.
    let mut visitor = tokio::task::spawn_blocking(move || {
        for _ in 0..20 {
            visitor.ask();
        }
        visitor
    })
    .await
    .unwrap();
    let open = of_visitors(&edge, "devanture_connections_open").await.unwrap();
    assert!(open <= MAX + 2.0, "{open} connections are open");
    // Each closed connection admits the next, up to a new visitor at the end of the queue.
    let last = tokio::task::spawn_blocking(move || Visitor::connect(address, &config));
    flood.clear();
    last.await.unwrap();
    visitor.ask();
    eventually("all have ended", async || of_visitors(&edge, "devanture_handshakes_open").await == Some(0.0)).await;
    edge.stop().await;
}
