//! Clients that request much and read nothing.

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

/// Connections of one attack, each with many streams: a full buffer per stream would be 190 MiB.
const CONNECTIONS: usize = 25;
const STREAMS: u32 = 120;
/// Streams of an HTTP/3 connection.
const STREAMS_OF_HTTP3: usize = 20;
/// Maximum growth of the process in bytes for all connections.
const GROWTH_MAX: u64 = 72 * 1024 * 1024;
/// Send buffer of the backend in bytes.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;
/// Size of the requested file in bytes.
const FILE_BYTES: usize = 1024 * 1024;
/// Longest wait for the next bytes: a busy machine may take long until the first of many responses starts.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Maximum write timeout in milliseconds.
const WRITE_MS_MAX: u64 = 86_400_000;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// Incompressible bytes.
fn file() -> Bytes {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(9_u64), next).map(|state| state.to_be_bytes()[3]).take(FILE_BYTES).collect()
}

/// Edge in a separate process that reads the file from the disk for each response, and a backend with the same file.
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

/// Starts a backend that answers every request with `file`, and returns the port.
async fn backend(file: Bytes) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    // The system's memory for sockets cannot buffer thousands of responses, and resets orphaned connections under
    // pressure.
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
                // The edge may disconnect first.
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

/// GET request with literal HPACK fields (RFC 7541 section 6.2.2): `:method`, `:scheme`, `:authority`, `:path`.
fn request(stream: u32, path: &str) -> Vec<u8> {
    let text = |index: u8, value: &str| [&[index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    frame(HEADERS, 5, stream, &[vec![0x82, 0x87], text(1, HOST), text(4, path)].concat())
}

/// HTTP/2 connection with a fixed stream window.
struct Client {
    stream: TlsStream<TcpStream>,
    /// Received bytes of each stream; `None` after a reset.
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

    /// Requests `path` on all streams.
    async fn ask(&mut self, path: &str) {
        let requests: Vec<u8> = (0..STREAMS).flat_map(|number| request(2 * number + 1, path)).collect();
        self.stream.write_all(&requests).await.unwrap();
    }

    /// Reads until `is_done` accepts the received counts; fails at the end of the connection or after a timeout.
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

/// Many clients request `path` on many streams with a window of one byte: the edge buffers the rest.
///
/// The clients start one after another. Waiting requests need memory too, and their number, like the number of backend
/// connections, would depend on the machine.
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
    // However slow the other clients are, no stream is reset by the write timeout.
    let (edge, file) = world(edge().with_limit("write_ms_max", WRITE_MS_MAX)).await;
    // One-time memory, such as code and buffer pools, is no growth.
    assert_eq!(edge.get(HOST, path).await.body, file);
    let mark = edge.process().mark();
    let clients = ask_with_tiny_windows(&edge, path).await;
    let all_wait = |client: &Client| client.came.values().all(|came| *came == Some(1));
    assert!(clients.iter().all(all_wait), "nothing is reset while there is room");
    let grown = edge.process().grown_since(mark);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    // A reading client receives the whole file meanwhile.
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

/// Sum of a counter over all labels.
async fn counted(edge: &RunningEdge, name: &str) -> f64 {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

const ENDED: &str = "devanture_slow_responses_ended_total";
const FAULTS: &str = "devanture_upstream_errors_total{app=\"shop\",reason=\"client-stalled\"}";

/// Edge with a response budget of one megabyte.
fn tight() -> Setup {
    edge().with_limit("response_memory_bytes_max", 1024 * 1024).with_log("[access_log]\nto = \"access.log\"\n")
}

/// Requests `path` repeatedly as a reading client until stalled responses were ended: only a new request triggers the
/// end.
async fn read_until_others_are_ended(edge: &RunningEdge, path: &str, file: &Bytes) {
    eventually("answers are ended", async || {
        assert_eq!(edge.get(HOST, path).await.body, *file);
        counted(edge, ENDED).await > 0.0
    })
    .await;
}

/// Checks the log: the response ended because the client stalled, not because the client disconnected.
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
    // More than the system's socket buffers, so that each connection has pending bytes.
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
        // Enough for the head and a little of the body.
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
