//! Requests to backends through a whole edge: bidirectional streams, trailers, early ends on either side, and unread
//! bodies, which must use no memory. The tests in `proxy` cover the proxy itself.

use std::sync::Arc;

use devanture_config::api::BeginDeploy;
use devanture_config::site_toml::Route;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::http2::fields::literal;
use crate::http2::table::{Code, NO_ERROR, PROTOCOL_ERROR};
use crate::http2::wire::{Conn, Frame, PATIENCE, Script, flag, kind, setting};
use crate::http2::world::World;
use crate::support::{Setup, edge, manifest};

pub(crate) const HOST: &str = "proxied.localhost";
const MOST: u32 = (1 << 31) - 1;
/// Maximum memory growth in bytes for all connections of a test: the windows and the copy buffers.
pub(crate) const GROWTH_MAX: u64 = 24 * 1024 * 1024;
pub(crate) const CONNECTIONS: usize = 8;
/// Bytes of a response too large for any buffer.
pub(crate) const ENDLESS_BYTES: u64 = 1 << 30;
pub(crate) const UPLOAD_BYTES: usize = 64 << 20;

/// Backend's view of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Received request with the path.
    TestRequest(String),
    /// Received bytes of a chunked body.
    Came(Vec<u8>),
    /// Connection closed by the edge, after the given number of bytes from the backend.
    Closed(u64),
}

/// Edge before a backend that acts by the request path and reports events.
pub(crate) struct Proxied {
    pub(crate) world: Arc<World>,
    pub(crate) events: UnboundedReceiver<Event>,
}

impl Proxied {
    pub(crate) async fn start(setup: Setup) -> Self {
        let (sender, events) = unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                // Events after the end of the test are dropped.
                tokio::spawn(async move { Box::pin(backend(stream, |event| drop(sender.send(event)))).await });
            }
        });
        let world = World::with(setup).await;
        let files: [(&str, &[u8]); 1] = [("index.html", b"beside the backend")];
        let mut manifest = manifest(&files);
        let to = format!("http://127.0.0.1:{port}").parse().unwrap();
        manifest.base.routes = Some(vec![Route::new("/api/*".parse().unwrap(), to)]);
        let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
        world.edge.try_push("proxied", "prod", begin, &files).await.unwrap();
        Self { world, events }
    }

    pub(crate) async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("the backend tells").unwrap()
    }

    #[track_caller]
    pub(crate) fn request(&mut self, path: &'static str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let event = timeout(PATIENCE, self.events.recv()).await.unwrap_or_else(|_| panic!("not asked, {place}"));
            assert_eq!(event, Some(Event::TestRequest(path.to_owned())), "{place}");
        }
    }

    pub(crate) async fn closed(&mut self) -> u64 {
        loop {
            if let Event::Closed(bytes) = self.event().await {
                return bytes;
            }
        }
    }

    /// Connection with windows of the maximum size.
    async fn connect(&self) -> Conn {
        let mut c = self.world.connect_as(HOST, &[b"h2"], rustls::DEFAULT_VERSIONS).await.unwrap();
        c.send(&windows()).await;
        c
    }
}

fn windows() -> Script {
    Script::preface().settings(&[(setting::INITIAL_WINDOW_SIZE, MOST)]).window(0, MOST - 65_535)
}

/// Request head without the end of the stream.
fn begun(stream: u32, method: &str, path: &str) -> Script {
    Script::default().headers(stream, flag::END_HEADERS, request_of(method, path))
}

fn whole(stream: u32, path: &str) -> Script {
    Script::default().headers(stream, flag::WHOLE, request_of("GET", path))
}

fn request_of(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path), ("te", "trailers")];
    crate::http2::fields::block(fields)
}

/// Serves one HTTP/1.1 request, without a timeout.
async fn backend(mut stream: TcpStream, sender: impl Fn(Event)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let path = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
    sender(Event::TestRequest(path.clone()));
    let mut written = 0;
    match path.as_str() {
        // Neither reads nor answers.
        "/api/deaf" => return std::future::pending().await,
        // Never answers, but notices the end of the connection.
        "/api/wait" => {}
        // More than all buffers.
        "/api/endless" => {
            stream.write_all(answer(&format!("content-length: {ENDLESS_BYTES}")).as_bytes()).await.unwrap();
            while let Ok(bytes) = stream.write(&[b'e'; 65_536]).await {
                written += bytes as u64;
            }
        }
        // Echoes each chunk immediately, and the trailers.
        "/api/echo" => {
            stream.write_all(answer("transfer-encoding: chunked").as_bytes()).await.unwrap();
            let mut bytes = [0; 65_536];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                sender(Event::Came(bytes[..count].to_vec()));
                stream.write_all(&bytes[..count]).await.ok();
            }
        }
        // Answers with trailers before reading, and continues to read.
        "/api/early" => {
            let text = answer("transfer-encoding: chunked\r\ntrailer: x-sum");
            stream.write_all(format!("{text}5\r\nearly\r\n0\r\nx-sum: 5\r\n\r\n").as_bytes()).await.unwrap();
        }
        // Breaks off the response.
        "/api/half" => {
            stream.write_all(format!("{}half", answer("content-length: 8")).as_bytes()).await.unwrap();
            return;
        }
        // Reads the whole body and answers with the size.
        "/api/count" => {
            let (mut bytes, mut tail) = (0_u64, Vec::new());
            while !tail.ends_with(b"\r\n0\r\n\r\n") {
                let mut part = vec![0; 65_536];
                let Ok(count @ 1..) = stream.read(&mut part).await else { return };
                bytes += part[..count].iter().filter(|byte| **byte == b'u').count() as u64;
                tail.extend_from_slice(&part[count.saturating_sub(7)..count]);
                tail.drain(..tail.len().saturating_sub(7));
            }
            let text = bytes.to_string();
            stream.write_all((answer(&format!("content-length: {}", text.len())) + &text).as_bytes()).await.unwrap();
        }
        _ => panic!("{path}"),
    }
    // Remaining bytes are ignored, but the end is reported.
    while matches!(stream.read(&mut [0; 65_536]).await, Ok(1..)) {}
    sender(Event::Closed(written));
}

fn answer(field: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n")
}

/// Sends `total` bytes as the whole body of a stream, within the windows.
async fn upload(c: &mut Conn, stream: u32, total: usize) {
    let settings = c.settings_of_edge().await;
    let initial = settings.iter().find(|(id, _)| *id == setting::INITIAL_WINDOW_SIZE).map_or(65_535, |(_, size)| *size);
    let (mut of_stream, mut of_connection) = (i64::from(initial), 65_535_i64);
    c.send(&Script::default().frame(kind::SETTINGS, flag::ACK, 0, [])).await;
    let mut left = total;
    while left > 0 {
        let part = left.min(16_384);
        if of_stream.min(of_connection) >= part as i64 {
            left -= part;
            let flags = if left == 0 { flag::END_STREAM } else { 0 };
            c.send(&Script::default().data(stream, flags, vec![b'u'; part])).await;
            (of_stream, of_connection) = (of_stream - part as i64, of_connection - part as i64);
            continue;
        }
        // Blocked as long as the peer does not read.
        let Some(frame) = c.next().await else { return };
        match (frame.kind, frame.stream) {
            (kind::WINDOW_UPDATE, 0) => of_connection += i64::from(frame.number(0)),
            (kind::WINDOW_UPDATE, other) if other == stream => of_stream += i64::from(frame.number(0)),
            _ => assert!(!matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY), "{:?}", c.seen),
        }
    }
}

/// Next frame of a stream.
async fn of_stream(c: &mut Conn, stream: u32) -> Frame {
    loop {
        let frame = c.next().await.expect("it goes on");
        if frame.stream == stream && frame.kind != kind::WINDOW_UPDATE {
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_learns_that_its_client_took_the_request_back() {
    let mut proxied = Proxied::start(edge()).await;
    let mut c = proxied.connect().await;
    // Cancelled before the response, within the response, and within the request body.
    c.send(&whole(1, "/api/wait")).await;
    proxied.request("/api/wait").await;
    c.send(&Script::default().reset(1, 8)).await;
    proxied.closed().await;

    c.send(&whole(3, "/api/endless")).await;
    assert_eq!(c.expect(kind::HEADERS).await.status(), 200);
    c.send(&Script::default().reset(3, 8)).await;
    // The edge need not listen to a client that reads no response.
    c.fence().await;
    assert!(proxied.closed().await < ENDLESS_BYTES);

    c.send(&begun(5, "POST", "/api/wait").data(5, 0, "begun")).await;
    proxied.request("/api/wait").await;
    c.send(&Script::default().reset(5, 8)).await;
    proxied.closed().await;

    // The connection continues, and its end cancels the remaining requests.
    c.send(&whole(7, "/")).await;
    assert_eq!(c.answer(7).await.body, b"beside the backend");
    c.send(&whole(9, "/api/wait")).await;
    proxied.request("/api/wait").await;
    drop(c);
    proxied.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_breaks_off_resets_its_stream_alone() {
    let proxied = Proxied::start(edge()).await;
    let mut c = proxied.connect().await;
    c.send(&whole(1, "/api/half")).await;
    let mut body = Vec::new();
    loop {
        let frame = of_stream(&mut c, 1).await;
        match frame.kind {
            kind::HEADERS => assert_eq!(frame.status(), 200),
            kind::DATA => {
                assert!(!frame.ends_stream(), "half an answer is not a whole one");
                body.extend_from_slice(&frame.payload);
            }
            kind::RST_STREAM => {
                let code = Code(frame.number(0));
                assert!(code != NO_ERROR && code != PROTOCOL_ERROR, "it was not the client's fault: {code:?}");
                break;
            }
            kind => panic!("{kind}"),
        }
    }
    assert!(b"half".starts_with(&body), "{body:?}");
    c.send(&whole(3, "/")).await;
    assert_eq!(c.answer(3).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_side_says_is_heard_before_the_other_goes_on() {
    let mut proxied = Proxied::start(edge()).await;
    let mut c = proxied.connect().await;
    c.send(&begun(1, "POST", "/api/echo")).await;
    proxied.request("/api/echo").await;
    assert_eq!(of_stream(&mut c, 1).await.status(), 200);
    for number in 0..20 {
        let piece = format!("piece {number:02}").into_bytes();
        // The next piece is sent after the echo of the previous piece.
        c.send(&Script::default().data(1, 0, &piece)).await;
        let mut back = Vec::new();
        while back.len() < piece.len() {
            let frame = of_stream(&mut c, 1).await;
            assert_eq!(frame.kind, kind::DATA);
            back.extend_from_slice(&frame.payload);
        }
        assert_eq!(back, piece);
    }
    c.send(&Script::default().data(1, flag::END_STREAM, "")).await;
    loop {
        if of_stream(&mut c, 1).await.ends_stream() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_come_and_go() {
    let mut proxied = Proxied::start(edge()).await;
    let mut c = proxied.connect().await;
    c.send(&begun(1, "POST", "/api/echo").data(1, 0, "body").headers(1, flag::WHOLE, literal("x-checksum", "17")))
        .await;
    let head = of_stream(&mut c, 1).await;
    assert_eq!((head.status(), head.ends_stream()), (200, false));
    let mut body = Vec::new();
    let trailers = loop {
        let frame = of_stream(&mut c, 1).await;
        if frame.kind == kind::HEADERS {
            break frame;
        }
        assert!(!frame.ends_stream(), "the trailers end it");
        body.extend_from_slice(&frame.payload);
    };
    // The backend received and echoed the trailers.
    assert!(trailers.ends_stream());
    assert_eq!((body, trailers.field("x-checksum")), (b"body".to_vec(), Some("17")));
    proxied.request("/api/echo").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_end_of_its_request_is_whole() {
    let mut proxied = Proxied::start(edge()).await;
    let mut c = proxied.connect().await;
    c.send(&begun(1, "POST", "/api/early").data(1, 0, "some")).await;
    proxied.request("/api/early").await;
    let (mut body, mut sum) = (Vec::new(), None);
    loop {
        let frame = of_stream(&mut c, 1).await;
        match frame.kind {
            kind::HEADERS if frame.field(":status").is_some() => assert_eq!(frame.status(), 200),
            kind::HEADERS => sum = frame.field("x-sum").map(str::to_owned),
            kind::DATA => body.extend_from_slice(&frame.payload),
            kind => panic!("{kind}: {:?}", c.seen),
        }
        if frame.ends_stream() {
            break;
        }
    }
    assert_eq!((body, sum.as_deref()), (b"early".to_vec(), Some("5")));
    // The rest of the request is accepted, and may also be missing (RFC 9113 section 8.1).
    c.send(&Script::default().data(1, flag::END_STREAM, "more")).await;
    c.send(&whole(3, "/")).await;
    assert_eq!(c.answer(3).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_holds_its_backend_back_and_costs_no_memory() {
    let mut proxied = Proxied::start(edge().in_a_process()).await;
    let process = proxied.world.edge.process();
    for http2 in [true, false] {
        let mark = process.mark();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
            let mut c = proxied.world.connect_slowly(HOST, alpn).await;
            if http2 {
                c.send(&windows()).await;
                c.send(&whole(1, "/api/endless")).await;
                assert_eq!(c.expect(kind::HEADERS).await.status(), 200);
            } else {
                c.send(&Script::default().raw(format!("GET /api/endless HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))).await;
                assert!(c.head_of_text().await.starts_with("HTTP/1.1 200 "));
            }
            connections.push(c);
        }
        process.rests().await;
        let grown = process.grown_since(mark);
        eprintln!("HTTP/2 {http2}: {} KiB", grown / 1_024);
        assert!(grown < GROWTH_MAX, "HTTP/2 {http2}: {grown} bytes");
        drop(connections);
        for _ in 0..CONNECTIONS {
            let Some(Event::TestRequest(_)) = proxied.events.recv().await else { panic!("it was asked first") };
        }
        for _ in 0..CONNECTIONS {
            // The socket buffers of three hosts, which are one here, and no more.
            let Some(Event::Closed(written)) = proxied.events.recv().await else { panic!("it was closed") };
            assert!(written < ENDLESS_BYTES / 16, "{written}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_reads_nothing_holds_its_client_back_and_costs_no_memory() {
    let proxied = Proxied::start(edge().in_a_process()).await;
    let process = proxied.world.edge.process();
    let mark = process.mark();
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let http2 = number % 2 == 0;
        let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let mut c = proxied.world.connect_as(HOST, &[alpn], rustls::DEFAULT_VERSIONS).await.unwrap();
        connections.push(tokio::spawn(async move {
            if http2 {
                c.send(&Script::preface()).await;
                c.send(&begun(1, "POST", "/api/deaf")).await;
                upload(&mut c, 1, UPLOAD_BYTES).await;
            } else {
                let head = format!("POST /api/deaf HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {UPLOAD_BYTES}\r\n\r\n");
                c.send(&Script::default().raw(head)).await;
                let piece = Script::default().raw(vec![b'u'; 65_536]);
                for _ in 0..UPLOAD_BYTES / piece.bytes.len() {
                    c.try_send(&piece).await.unwrap();
                }
            }
        }));
    }
    process.rests().await;
    let grown = process.grown_since(mark);
    eprintln!("{} KiB", grown / 1_024);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    for connection in connections {
        assert!(!connection.is_finished(), "it was held back");
        connection.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_are_larger_than_every_window_cost_no_memory() {
    let proxied = Proxied::start(edge().in_a_process()).await;
    let process = proxied.world.edge.process();
    let mark = process.mark();
    let one = || async {
        let mut c = proxied.world.connect_as(HOST, &[b"h2"], rustls::DEFAULT_VERSIONS).await.unwrap();
        c.send(&Script::preface()).await;
        c.send(&begun(1, "POST", "/api/count")).await;
        upload(&mut c, 1, UPLOAD_BYTES / 4).await;
        assert_eq!(c.answer(1).await.body, (UPLOAD_BYTES / 4).to_string().as_bytes());
    };
    futures_util::future::join_all((0..4).map(|_| one())).await;
    let grown = process.grown_since(mark);
    eprintln!("{} KiB", grown / 1_024);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
}
