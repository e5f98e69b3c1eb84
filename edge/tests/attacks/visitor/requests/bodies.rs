//! Request bodies with invalid framing, with and without a route.

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::attacks::world::push;
use crate::support::{RunningEdge, edge, eventually, got};
use crate::wire::{Answer, HOST, PATIENCE, connect, write};

/// Site with a route to a backend that reads everything and never answers.
async fn routed() -> RunningEdge {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
                // At most one request, and never a complete one.
                let text = String::from_utf8_lossy(&bytes);
                assert!(text.matches("HTTP/1.1\r\n").count() <= 1 && !text.ends_with("\r\n0\r\n\r\n"), "{text}");
            });
        }
    });
    let edge = edge().with_log("[access_log]\nto = \"access.log\"\n").start().await;
    let toml = format!("[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:{port}\"\n");
    push(&edge, "shop", &[("index.html", b"home")], &toml).await;
    edge
}

/// Sends bytes on a new connection and reads until the connection ends.
async fn exchange(edge: &RunningEdge, bytes: &str, is_closed: bool) -> Vec<Answer> {
    let mut stream = connect(edge, HOST, "http/1.1").await;
    write(&mut stream, bytes.as_bytes()).await;
    if is_closed {
        stream.shutdown().await.unwrap();
    }
    let mut read = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap_or_else(|_| panic!("no end of {bytes:?}")).ok();
    let (mut answers, mut rest) = (Vec::new(), &read[..]);
    while !rest.is_empty() {
        let (answer, after) = Answer::parse(rest, false).unwrap();
        answers.push(answer);
        rest = after;
    }
    answers
}

/// RFC 9112 §7.1, §8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_body_is_a_400_and_the_end_of_its_connection() {
    let edge = routed().await;
    for chunks in [
        "g\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc\r\nz\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "10000000000000000\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX Y: 1\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: 1\rY: 2\r\n\r\n",
    ] {
        for path in ["/api/x", "/"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
            let next = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            let answers = exchange(&edge, &format!("{head}{chunks}{next}"), false).await;
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [400], "{path} {chunks:?}");
            assert_eq!(answers[0].text(), "The request cannot be read.", "{path} {chunks:?}");
            assert_eq!(answers[0].header("connection"), "close", "{path} {chunks:?}");
        }
    }
    edge.stop().await;
}

/// RFC 9112 §8: an incomplete message is no request, and the client may still read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_breaks_off_is_answered_with_a_status_that_exists() {
    let edge = routed().await;
    for (framing, body) in [("Content-Length: 10", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")] {
        let request = format!("POST /api/x HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{body}");
        for answer in exchange(&edge, &request, true).await {
            assert_eq!((answer.status, answer.header("connection").as_str()), (400, "close"), "{framing}");
        }
    }
    // The log distinguishes incomplete from malformed requests.
    eventually("both are logged", async || {
        let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?lines=100")).await.text();
        let is_gone = |line: &&str| line.contains("\"status\":499") && line.contains("\"client-gone\"");
        log.lines().filter(is_gone).count() == 2
    })
    .await;
    edge.stop().await;
}
