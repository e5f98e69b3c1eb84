//! Lifetime of a connection and order of the responses (RFC 9112 §9).

use tokio::net::TcpStream;

use crate::http1::{Case, REST, hold, over_tls, shop};
use crate::wire::{Answer, HOST, connect, read_answers, read_until_rest, write};

const GET: &str = "GET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
const CLOSE: &str = "GET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lasts_until_one_side_says_otherwise() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        (GET,                                                                                    &[200], false), // §9.3
        (CLOSE,                                                                                  &[200], true),  // §9.6
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Close\r\n\r\n",                  &[200], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: x, close\r\n\r\n",               &[200], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", &[200], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close, keep-alive\r\n\r\n",      &[200], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: closed\r\n\r\n",                 &[200], false),
        ("GET /missing HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",                                &[404], false),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",                                      &[405], false),
        ("GET /%00 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",                                    &[400], false),
        // HTTP/1.0 (§9.3)
        ("GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n",                                       &[200], true),
        ("GET / HTTP/1.0\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n",                  &[200], true),
        ("GET / HTTP/1.0\r\nHost: shop.localhost\r\nConnection: keep-alive\r\n\r\n",             &[200], false),
        ("GET / HTTP/1.0\r\nHost: shop.localhost\r\nConnection: Keep-Alive\r\n\r\nGET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n", &[200, 200], true),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alive_of_http10_is_confirmed() {
    let edge = shop().await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, b"GET / HTTP/1.0\r\nHost: shop.localhost\r\nConnection: keep-alive\r\n\r\n").await;
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    // §9.3, and RFC 2068 §19.7.1: without the field the client would consider the connection closed.
    assert_eq!(answers[0].header("connection"), "keep-alive");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_also_across_an_error() {
    let edge = shop().await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    // §9.3.2
    let lines = [
        "GET /ten.txt",
        "GET /missing",
        "HEAD /ten.txt",
        "POST /ten.txt",
        "BREW /",
        "GET /%00",
        "GET //",
        "OPTIONS /",
        "GET /",
    ];
    let mut bytes = String::new();
    for line in lines {
        bytes += &format!("{line} HTTP/1.1\r\nHost: shop.localhost\r\n");
        bytes += if line.starts_with("POST") { "Content-Length: 5\r\n\r\n12345" } else { "\r\n" };
    }
    write(&mut stream, bytes.as_bytes()).await;
    let of_head: Vec<bool> = lines.iter().map(|line| line.starts_with("HEAD")).collect();
    let (answers, rest) = read_answers(&mut stream, &of_head).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 404, 200, 405, 501, 400, 308, 204, 200]);
    assert_eq!((answers[0].text().as_str(), rest.len()), ("0123456789", 0));
    assert_eq!(answers[8].text(), "<!doctype html>home");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_close_or_a_fault_is_not_answered() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases = [
        (format!("{GET}{CLOSE}{GET}"),                              vec![200, 200]), // §9.6
        (format!("{GET}{GET}nonsense\r\n\r\n{GET}"),                vec![200, 200, 400]),
        (format!("{GET}POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: x\r\n\r\n{GET}"), vec![200, 400]),
        (format!("{GET}GET / HTTP/1.1\r\nHost : shop.localhost\r\n\r\n{GET}"), vec![200, 400]),
    ];
    for (bytes, statuses) in cases {
        let found = over_tls(&edge, bytes.as_bytes()).await;
        assert_eq!((found.statuses, found.closed), (statuses, true), "{bytes:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expectation_is_met_by_an_answer() {
    let edge = shop().await;
    // RFC 9110 §10.1.1: a final status instead of 100; the connection must close, since the body never comes.
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",      &[405], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n",       &[200], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", &[405], true),
        // An expectation without a body is ignored.
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nExpect: 100-continue\r\n\r\n",                            &[200], false),
        // HTTP/1.0 has no expectations.
        ("POST / HTTP/1.0\r\nHost: shop.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n12345", &[405], true),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_nobody_wants_is_ignored() {
    let edge = shop().await;
    let settings = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    for upgrade in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n".to_owned(),
        format!("Upgrade: h2c\r\n{settings}"),
        "Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n".to_owned(),
        "Connection: Upgrade\r\nUpgrade: HTTP/3.0, foo\r\n".to_owned(),
        "Upgrade: websocket\r\n".to_owned(),
        "Connection: Upgrade\r\n".to_owned(),
    ] {
        // RFC 9110 §7.8: a server may ignore the upgrade; the connection continues with HTTP/1.1.
        let request = format!("GET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\n{upgrade}\r\n");
        let found = over_tls(&edge, format!("{request}{request}{GET}").as_bytes()).await;
        assert_eq!((found.statuses, found.closed), (vec![200, 200, 200], false), "{upgrade:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_gets_what_it_requested() {
    let edge = shop().await;
    let mut stream = TcpStream::connect(edge.http().unwrap()).await.unwrap();
    write(&mut stream, b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").await;
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    assert_eq!(answers[0].status, 308);
    // Half a head and then silence: no response, and the connection ends (§8).
    write(&mut stream, b"GET / HTTP/1.1\r\nHo").await;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    let (read, closed) = read_until_rest(&mut stream, REST).await;
    assert!(closed);
    assert!(read.is_empty() || Answer::parse(&read, false).is_some_and(|(answer, _)| answer.status == 400));
    edge.stop().await;
}
