//! Clients that ask for much and read nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{BeginDeploy, LogLine};
use devanture_config::site_toml::Route;
use futures_util::future::join_all;
use http::Method;
use quinn::{TransportConfig, VarInt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::http3_client;
use crate::support::{RunningEdge, Setup, edge, eventually, got, manifest};
use crate::wire::{HOST, connect};

/// Connections of one attack, each with so many streams: a whole piece for each of them would be 190 MiB.
const CONNECTIONS: usize = 25;
const STREAMS: u32 = 120;
/// Streams of a connection of HTTP/3.
const STREAMS_OF_HTTP3: usize = 20;
/// What all of them together may make the process grow.
const GROWTH_MAX: u64 = 72 * 1024 * 1024;
/// What the system holds of an answer of the backend.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;
/// Bytes of the file that is asked for.
const FILE_BYTES: usize = 1024 * 1024;
/// Longest wait for the next bytes: of many answers, a busy machine may take long to begin the first.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The most milliseconds that a client may take nothing for.
const WRITE_MS_MAX: u64 = 86_400_000;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// Bytes that no compression makes smaller.
fn file() -> Bytes {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(9_u64), next).map(|state| state.to_be_bytes()[3]).take(FILE_BYTES).collect()
}

/// An edge in a process of its own that reads its file from the disk for each answer, and a backend that sends the
/// same.
async fn world(setup: Setup) -> (RunningEdge, Bytes) {
    let file = file();
    let backend = backend(file.clone()).await;
    let edge = setup.in_a_process().with_limit("memory_file_bytes_max", 1_024).start().await;
    let files: [(&str, &[u8]); 2] = [("index.html", b"hi"), ("file.bin", &file)];
    let mut manifest = manifest(&files);
    let to = format!("http://127.0.0.1:{backend}").parse().unwrap();
    manifest.base.routes = Some(vec![Route::new("/api/*".parse().unwrap(), to)]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, &files).await.unwrap();
    (edge, file)
}

/// Starts a backend that answers everything with `file`, and gives its port.
async fn backend(file: Bytes) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    // What the system would hold of thousands of answers is more than it has for all connections: of those whose sender
    // has gone it then breaks some off.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1_024).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let file = file.clone();
            tokio::spawn(async move {
                // One request on each connection.
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && matches!(stream.read_buf(&mut request).await, Ok(1..)) {}
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FILE_BYTES}\r\nconnection: close\r\n\r\n");
                // The edge may go away before.
                if stream.write_all(head.as_bytes()).await.is_ok() {
                    stream.write_all(&file).await.ok();
                }
            });
        }
    });
    port
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A GET as literals of HPACK (RFC 7541 section 6.2.2): `:method`, `:scheme`, `:authority`, `:path`.
fn request(stream: u32, path: &str) -> Vec<u8> {
    let text = |index: u8, value: &str| [&[index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    frame(HEADERS, 5, stream, &[vec![0x82, 0x87], text(1, HOST), text(4, path)].concat())
}

/// A connection of HTTP/2 whose streams have windows of so many bytes.
struct Client {
    stream: TlsStream<TcpStream>,
    /// Bytes of each stream that came; `None` if it was reset.
    came: BTreeMap<u32, Option<usize>>,
    unread: Vec<u8>,
}

impl Client {
    async fn connect(edge: &RunningEdge, window: u32) -> Self {
        let mut stream = connect(edge, HOST, "h2").await;
        let settings = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        let windows = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &settings), &windows].concat();
        stream.write_all(&preface).await.unwrap();
        Self { stream, came: BTreeMap::new(), unread: Vec::new() }
    }

    /// Asks for `path` on all streams.
    async fn ask(&mut self, path: &str) {
        let requests: Vec<u8> = (0..STREAMS).flat_map(|number| request(2 * number + 1, path)).collect();
        self.stream.write_all(&requests).await.unwrap();
    }

    /// Reads until `is_done` holds for what came; fails where it ends, or takes too long.
    async fn read_until(&mut self, is_done: impl Fn(&BTreeMap<u32, Option<usize>>) -> bool) {
        while !is_done(&self.came) {
            let read = tokio::time::timeout(SILENCE_MAX, self.stream.read_buf(&mut self.unread)).await;
            assert!(matches!(read, Ok(Ok(1..))), "{read:?}: {:?}", self.came);
            self.take_frames();
        }
    }

    fn take_frames(&mut self) {
        while let Some((head, rest)) = self.unread.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if rest.len() < length {
                return;
            }
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
            match head[3] {
                DATA => *self.came.entry(stream).or_insert(Some(0)).as_mut().expect("it was reset") += length,
                RST_STREAM => drop(self.came.insert(stream, None)),
                _ => {}
            }
            self.unread.drain(..9 + length);
        }
    }
}

/// Many clients ask for `path` on many streams, each of which takes one byte: the edge holds what it read beyond that.
///
/// One client comes after the other. Requests that wait take memory too, and the number of them, and of connections to
/// the backend, would depend on the machine.
async fn ask_with_tiny_windows(edge: &RunningEdge, path: &str) -> Vec<Client> {
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(edge, 1).await;
        client.ask(path).await;
        client.read_until(|came| came.len() == STREAMS as usize).await;
        clients.push(client);
    }
    clients
}

async fn bounded(path: &str) {
    // However long the others take, none is reset for the time for which it takes nothing.
    let (edge, file) = world(edge().with_limit("write_ms_max", WRITE_MS_MAX)).await;
    // What is needed once, such as code and pools of buffers, is no growth.
    assert_eq!(edge.get(HOST, path).await.body, file);
    let mark = edge.process().mark();
    let clients = ask_with_tiny_windows(&edge, path).await;
    let all_wait = |client: &Client| client.came.values().all(|came| *came == Some(1));
    assert!(clients.iter().all(all_wait), "nothing is reset while there is room");
    let grown = edge.process().grown_since(mark);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    // Who reads meanwhile gets all of it.
    assert_eq!(edge.get(HOST, path).await.body, file);
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_requested_with_tiny_windows_are_not_held() {
    bounded("/file.bin").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_backends_requested_with_tiny_windows_are_not_held() {
    bounded("/api/file").await;
}

/// The sum of a counter over its labels.
async fn counted(edge: &RunningEdge, name: &str) -> f64 {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

const ENDED: &str = "devanture_slow_responses_ended_total";
const FAULTS: &str = "devanture_upstream_errors_total{app=\"shop\",reason=\"client-stalled\"}";

/// An edge that holds a megabyte of responses.
fn tight() -> Setup {
    edge().with_limit("response_memory_bytes_max", 1024 * 1024).with_log("[access_log]\nto = \"access.log\"\n")
}

/// Asks for `path` as one who reads until answers of those who do not were ended: somebody has to come for it to
/// matter.
async fn read_until_others_are_ended(edge: &RunningEdge, path: &str, file: &Bytes) {
    eventually("answers are ended", async || {
        assert_eq!(edge.get(HOST, path).await.body, *file);
        counted(edge, ENDED).await > 0.0
    })
    .await;
}

/// The log says of an answer that it was ended since its client takes nothing, and not that the client went away.
async fn is_logged_as_stalled(edge: &RunningEdge, path: &str) {
    let mut stalled = Vec::new();
    eventually("an answer that was ended is logged", async || {
        let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?lines=1000")).await.text();
        let lines = log.lines().map(|line| serde_json::from_str::<LogLine>(line).unwrap());
        stalled = lines.filter(|line| line.error.as_deref() == Some("client-stalled")).collect();
        !stalled.is_empty()
    })
    .await;
    for line in stalled {
        assert_eq!((line.status, line.target.as_str()), (200, path), "{line:?}");
        assert!(line.bytes < FILE_BYTES as u64, "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slowest_lose_when_memory_is_used_up_and_who_reads_loses_nothing() {
    let (edge, file) = world(tight()).await;
    let mut clients = ask_with_tiny_windows(&edge, "/file.bin").await;
    read_until_others_are_ended(&edge, "/file.bin", &file).await;
    let any_reset = |came: &BTreeMap<u32, Option<usize>>| came.values().any(Option::is_none);
    let resets = clients.iter_mut().map(async |client| {
        let read = client.read_until(any_reset);
        tokio::time::timeout(Duration::from_secs(2), read).await.is_ok()
    });
    assert!(join_all(resets).await.contains(&true));
    is_logged_as_stalled(&edge, "/file.bin").await;
    assert_eq!(edge.get(HOST, "/file.bin").await.body, file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1_the_slowest_lose_when_memory_is_used_up_and_who_reads_loses_nothing() {
    let (edge, file) = world(tight()).await;
    // More than the system holds for a connection, so that each has bytes that wait.
    let requests = format!("GET /file.bin HTTP/1.1\r\nhost: {HOST}\r\n\r\n").repeat(16);
    let open = async |_| {
        let mut stream = connect(&edge, HOST, "http/1.1").await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        stream
    };
    let clients = join_all((0..CONNECTIONS * 3).map(open)).await;
    read_until_others_are_ended(&edge, "/file.bin", &file).await;
    is_logged_as_stalled(&edge, "/file.bin").await;
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_backend_that_its_client_does_not_take_is_counted_as_that() {
    let (edge, file) = world(tight()).await;
    let clients = ask_with_tiny_windows(&edge, "/api/file").await;
    read_until_others_are_ended(&edge, "/api/file", &file).await;
    is_logged_as_stalled(&edge, "/api/file").await;
    assert!(counted(&edge, FAULTS).await > 0.0);
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http3_the_slowest_lose_and_the_log_says_so() {
    let (edge, file) = world(tight()).await;
    let Some(to) = edge.http3() else { return };
    let open = async |_| {
        let mut transport = TransportConfig::default();
        // What the head needs, and a little of the body.
        transport.stream_receive_window(VarInt::from_u32(4_096));
        let endpoint = http3_client::endpoint(&edge.ca(), transport);
        let connection = http3_client::shake(&endpoint, to, HOST).await.unwrap();
        let mut client = http3_client::Client::over(endpoint, connection).await;
        let mut streams = Vec::new();
        for _ in 0..STREAMS_OF_HTTP3 {
            streams.push(client.begin(http3_client::get(HOST, "/file.bin")).await);
        }
        for stream in &mut streams {
            drop(stream.finish().await);
        }
        (client, streams)
    };
    let clients = join_all((0..CONNECTIONS).map(open)).await;
    read_until_others_are_ended(&edge, "/file.bin", &file).await;
    is_logged_as_stalled(&edge, "/file.bin").await;
    drop(clients);
}
