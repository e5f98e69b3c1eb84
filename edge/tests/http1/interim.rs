//! Interim responses of backends (RFC 9110 §15.2): forwarded in order before the final response, to clients with
//! support.

use devanture_config::api::BeginDeploy;
use devanture_config::site_toml::Route;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{RunningEdge, edge, manifest};
use crate::wire::{Answer, HOST, PATIENCE, connect, read_answers, write};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HINTS: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: a=1\r\nConnection: x-hop\r\n\
    X-Hop: 1\r\n\r\n";
const GET: &[u8] = b"GET /api/x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";

/// Backend on plain sockets: `answer` gets each connection once a request head has arrived, repeatedly.
async fn backend<F>(answer: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> u16
where
    F: Future<Output = Option<TcpStream>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::sync::Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = std::sync::Arc::clone(&answer);
            tokio::spawn(async move {
                loop {
                    let mut read = Vec::new();
                    while !read.ends_with(b"\r\n\r\n") {
                        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                            return;
                        }
                    }
                    match answer(stream).await {
                        Some(open) => stream = open,
                        None => return,
                    }
                }
            });
        }
    });
    port
}

/// Backend that answers every request with the same bytes.
async fn saying(bytes: Vec<u8>) -> u16 {
    backend(move |mut stream| {
        let bytes = bytes.clone();
        async move { stream.write_all(&bytes).await.ok().map(|()| stream) }
    })
    .await
}

async fn routed(port: u16, timeout_ms: u64) -> RunningEdge {
    let edge = edge().start().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"home")];
    let mut manifest = manifest(files);
    let to = format!("http://127.0.0.1:{port}").parse().unwrap();
    manifest.base.routes =
        Some(vec![Route { timeout_ms: Some(timeout_ms), ..Route::new("/api/*".parse().unwrap(), to) }]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    edge
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interim_answer_comes_before_its_answer_is_there() {
    let (go, waits) = watch::channel(false);
    let port = backend(move |mut stream| {
        let mut waits = waits.clone();
        async move {
            stream.write_all(HINTS).await.ok()?;
            waits.wait_for(|go| *go).await.ok()?;
            stream.write_all(OK).await.ok().map(|()| stream)
        }
    })
    .await;
    let edge = routed(port, 60_000).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, GET).await;
    // The backend has sent only the interim response so far.
    let (hints, rest) = read_answers(&mut stream, &[false]).await;
    assert_eq!((statuses(&hints), rest.len()), (vec![103], 0));
    assert_eq!(hints[0].names(), ["link"], "{hints:?}");
    go.send_replace(true);
    let (answers, rest) = read_answers(&mut stream, &[false]).await;
    assert_eq!((answers[0].status, answers[0].text().as_str(), rest.len()), (200, "ok", 0));
    // The connection continues.
    write(&mut stream, GET).await;
    let (answers, _) = read_answers(&mut stream, &[false, false]).await;
    assert_eq!(statuses(&answers), [103, 200]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_have_theirs_in_their_order() {
    let port = saying([HINTS, OK].concat()).await;
    let edge = routed(port, 60_000).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, &[GET, b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n", GET].concat()).await;
    let (answers, rest) = read_answers(&mut stream, &[false; 5]).await;
    assert_eq!((statuses(&answers), rest.len()), (vec![103, 200, 200, 103, 200], 0));
    assert_eq!((answers[2].text().as_str(), answers[4].text().as_str()), ("home", "ok"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_gets_none() {
    let port = saying([HINTS, OK].concat()).await;
    let edge = routed(port, 60_000).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, b"GET /api/x HTTP/1.0\r\nHost: shop.localhost\r\n\r\n").await;
    let mut read = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap());
    let read = String::from_utf8(read).unwrap();
    assert!(read.starts_with("HTTP/1.0 200 OK\r\n") && !read.contains("103"), "{read}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_are_passed_on_and_none_that_is_the_edges_own() {
    let port = saying([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), HINTS.repeat(40), OK.to_vec()].concat()).await;
    let edge = routed(port, 60_000).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, GET).await;
    let (answers, rest) = read_answers(&mut stream, &[false; 17]).await;
    let expected: Vec<u16> = [103].repeat(16).into_iter().chain([200]).collect();
    assert_eq!((statuses(&answers), rest.len()), (expected, 0));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_without_end_end_by_the_time_of_the_route() {
    let port = backend(|mut stream| async move {
        for _ in 0..2_000 {
            stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.ok()?;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        None
    })
    .await;
    let edge = routed(port, 500).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, GET).await;
    let mut answers = Vec::new();
    let (mut rest, mut read) = (Vec::new(), Vec::new());
    while answers.last() != Some(&504) {
        let got = tokio::time::timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap();
        assert!(matches!(got, Ok(1..)), "{answers:?}");
        rest.append(&mut read);
        while let Some((answer, after)) = Answer::parse(&rest, false) {
            answers.push(answer.status);
            rest = after.to_vec();
        }
    }
    assert!(answers.len() <= 17 && answers[..answers.len() - 1].iter().all(|status| *status == 102), "{answers:?}");
    edge.stop().await;
}
