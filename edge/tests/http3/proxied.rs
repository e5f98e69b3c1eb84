//! HTTP/3 requests to backends through a whole edge: the same backend and the same facts as over HTTP/2.

use bytes::Bytes;
use h3::error::{Code, StreamError};
use http::{HeaderMap, HeaderValue, Request};
use quinn::TransportConfig;

use crate::http2::proxied::{CONNECTIONS, ENDLESS_BYTES, Event, GROWTH_MAX, HOST, Proxied, UPLOAD_BYTES};
use crate::http3_client::{Client, Stream, answer, body, endpoint, get, head, piece, shake};
use crate::support::edge;

/// Receive window of the client in bytes.
const TAKEN_BYTES: u32 = 16 * 1024;

async fn connect(proxied: &Proxied) -> Client {
    Client::connect(&proxied.world.edge, HOST).await
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("https://{HOST}{path}")).header("te", "trailers").body(()).unwrap()
}

async fn whole(client: &mut Client, path: &str) -> Stream {
    let mut stream = client.begin(get(HOST, path)).await;
    stream.finish().await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_learns_that_its_client_took_the_request_back() {
    let mut proxied = Proxied::start(edge()).await;
    let mut client = connect(&proxied).await;
    // Cancelled before the response, within the response, and within the request body.
    let mut stream = whole(&mut client, "/api/wait").await;
    proxied.request("/api/wait").await;
    stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    proxied.closed().await;

    let mut stream = whole(&mut client, "/api/endless").await;
    assert_eq!(head(&mut stream).await.unwrap().status(), 200);
    stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    assert!(proxied.closed().await < ENDLESS_BYTES);

    let mut stream = client.begin(post("/api/wait")).await;
    stream.send_data(Bytes::from_static(b"begun")).await.unwrap();
    proxied.request("/api/wait").await;
    stream.stop_stream(Code::H3_REQUEST_CANCELLED);
    proxied.closed().await;

    // The connection continues, and its end cancels the remaining requests.
    assert_eq!(client.get(HOST, "/").await.body, "beside the backend");
    let _stream = whole(&mut client, "/api/wait").await;
    proxied.request("/api/wait").await;
    client.close().await;
    proxied.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_breaks_off_resets_its_stream_alone() {
    let proxied = Proxied::start(edge()).await;
    let mut client = connect(&proxied).await;
    let mut stream = whole(&mut client, "/api/half").await;
    let mut received = Vec::new();
    // A reset may overtake earlier data (RFC 9000 §3.2), even the head.
    let error = match head(&mut stream).await {
        Err(error) => error,
        Ok(head) => loop {
            assert_eq!(head.status(), 200);
            match piece(&mut stream).await {
                Ok(Some(piece)) => received.extend_from_slice(&piece),
                Ok(None) => panic!("half an answer is not a whole one"),
                Err(error) => break error,
            }
        },
    };
    let StreamError::RemoteTerminate { code, .. } = error else { panic!("{error:?}") };
    assert!(code != Code::H3_NO_ERROR && code != Code::H3_MESSAGE_ERROR, "it was not the client's fault: {code:?}");
    assert!(b"half".starts_with(received.as_slice()), "{received:?}");
    assert_eq!(client.get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_side_says_is_heard_before_the_other_goes_on() {
    let mut proxied = Proxied::start(edge()).await;
    let mut client = connect(&proxied).await;
    let mut stream = client.begin(post("/api/echo")).await;
    proxied.request("/api/echo").await;
    assert_eq!(head(&mut stream).await.unwrap().status(), 200);
    for number in 0..20 {
        let sent = format!("piece {number:02}");
        // The next piece is sent after the echo of the previous piece.
        stream.send_data(sent.clone().into()).await.unwrap();
        let mut back = Vec::new();
        while back.len() < sent.len() {
            back.extend_from_slice(&piece(&mut stream).await.unwrap().expect("it goes on"));
        }
        assert_eq!(back, sent.as_bytes());
    }
    stream.finish().await.unwrap();
    assert_eq!(piece(&mut stream).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_come_and_go() {
    let mut proxied = Proxied::start(edge()).await;
    let mut client = connect(&proxied).await;
    let mut stream = client.begin(post("/api/echo")).await;
    stream.send_data(Bytes::from_static(b"body")).await.unwrap();
    let mut sent = HeaderMap::new();
    sent.insert("x-checksum", HeaderValue::from_static("17"));
    stream.send_trailers(sent).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(head(&mut stream).await.unwrap().status(), 200);
    assert_eq!(body(&mut stream).await.unwrap(), "body");
    // The backend received and echoed the trailers.
    let trailers = stream.recv_trailers().await.unwrap().expect("trailers");
    assert_eq!(trailers.get("x-checksum").unwrap(), "17");
    proxied.request("/api/echo").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_end_of_its_request_is_whole() {
    let mut proxied = Proxied::start(edge()).await;
    let mut client = connect(&proxied).await;
    let mut stream = client.begin(post("/api/early")).await;
    stream.send_data(Bytes::from_static(b"some")).await.unwrap();
    proxied.request("/api/early").await;
    assert_eq!(head(&mut stream).await.unwrap().status(), 200);
    assert_eq!(body(&mut stream).await.unwrap(), "early");
    let trailers = stream.recv_trailers().await.unwrap().expect("trailers");
    assert_eq!(trailers.get("x-sum").unwrap(), "5");
    // The rest of the request is accepted, read or not.
    drop(stream.send_data(Bytes::from_static(b"more")).await);
    drop(stream.finish().await);
    assert_eq!(client.get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_holds_its_backend_back_and_costs_no_memory() {
    let mut proxied = Proxied::start(edge().in_a_process()).await;
    let process = proxied.world.edge.process();
    let mark = process.mark();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(TAKEN_BYTES.into());
        let endpoint = endpoint(&proxied.world.edge.ca(), transport);
        let connection = shake(&endpoint, proxied.world.edge.http3().unwrap(), HOST).await.unwrap();
        let mut client = Client::over(endpoint, connection).await;
        let mut stream = whole(&mut client, "/api/endless").await;
        assert_eq!(head(&mut stream).await.unwrap().status(), 200);
        clients.push((client, stream));
    }
    process.rests().await;
    let grown = process.grown_since(mark);
    eprintln!("{} KiB", grown / 1_024);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    drop(clients);
    for _ in 0..CONNECTIONS {
        let Some(Event::TestRequest(_)) = proxied.events.recv().await else { panic!("it was asked first") };
    }
    for _ in 0..CONNECTIONS {
        // The socket buffers of three hosts, which are one here, and no more.
        let Some(Event::Closed(written)) = proxied.events.recv().await else { panic!("it was closed") };
        assert!(written < ENDLESS_BYTES / 16, "{written}");
    }
}

/// Sends `total` bytes as the body of a request.
async fn upload(stream: &mut Stream, total: usize) -> Result<(), StreamError> {
    let piece = Bytes::from(vec![b'u'; 16_384]);
    for _ in 0..total / piece.len() {
        stream.send_data(piece.clone()).await?;
    }
    stream.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_reads_nothing_holds_its_client_back_and_costs_no_memory() {
    let proxied = Proxied::start(edge().in_a_process()).await;
    let process = proxied.world.edge.process();
    let mark = process.mark();
    let mut uploads = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = connect(&proxied).await;
        uploads.push(tokio::spawn(async move {
            let mut stream = client.begin(post("/api/deaf")).await;
            drop(upload(&mut stream, UPLOAD_BYTES).await);
            client.close().await;
        }));
    }
    process.rests().await;
    let grown = process.grown_since(mark);
    eprintln!("{} KiB", grown / 1_024);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    for upload in uploads {
        assert!(!upload.is_finished(), "it was held back");
        upload.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_are_larger_than_every_window_cost_no_memory() {
    let proxied = Proxied::start(edge().in_a_process()).await;
    let process = proxied.world.edge.process();
    let mark = process.mark();
    let one = || async {
        let mut client = connect(&proxied).await;
        let mut stream = client.begin(post("/api/count")).await;
        upload(&mut stream, UPLOAD_BYTES / 4).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap().text(), (UPLOAD_BYTES / 4).to_string());
    };
    futures_util::future::join_all((0..4).map(|_| one())).await;
    let grown = process.grown_since(mark);
    eprintln!("{} KiB", grown / 1_024);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_limit_is_answered_413_whether_its_length_was_said_or_not() {
    let proxied = Proxied::start(edge().with_limit("proxy_body_bytes_max", 100_000)).await;
    let mut client = connect(&proxied).await;
    let mut said = post("/api/count");
    said.headers_mut().insert("content-length", HeaderValue::from_static("131072"));
    for request in [said, post("/api/count")] {
        let mut stream = client.begin(request).await;
        // The edge may stop the upload early.
        drop(upload(&mut stream, 131_072).await);
        assert_eq!(answer(&mut stream).await.unwrap().status, 413);
    }
    assert_eq!(client.get(HOST, "/").await.status, 200);
}
