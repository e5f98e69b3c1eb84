//! Backend's view of requests: names have the same meaning for the edge and the backend, and one request stays one.

use std::sync::{Arc, Mutex};

use devanture_config::api::BeginDeploy;
use devanture_config::site_toml::Route;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http1::{REST, outcome};
use crate::support::{RunningEdge, edge, manifest};
use crate::wire::{HOST, connect, read_until_rest, write};

/// Received text per connection, in order of the connections.
type Seen = Arc<Mutex<Vec<String>>>;

/// Backend on plain sockets: answers a complete request with 204, closes the connection, and records every byte.
async fn backend() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let remembered = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&remembered);
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !is_complete(&read) {
                    if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                        break;
                    }
                }
                let complete = is_complete(&read);
                seen.lock().unwrap().push(String::from_utf8_lossy(&read).into_owned());
                if complete {
                    drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await);
                }
            });
        }
    });
    (port, seen)
}

fn is_complete(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

/// Edge with `/api/*` routed to the backend, and files below the path that must never be served.
async fn routed(port: u16) -> RunningEdge {
    let files: &[(&str, &[u8])] = &[("index.html", b"home"), ("api/file.txt", b"a file"), ("x/api.txt", b"x")];
    let edge = edge().start().await;
    let mut manifest = manifest(files);
    let to = format!("http://127.0.0.1:{port}").parse().unwrap();
    manifest.base.routes = Some(vec![Route::new("/api/*".parse().unwrap(), to)]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    edge
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_means_the_same_for_the_edge_and_for_the_backend() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    #[rustfmt::skip]
    let cases = [
        // target, status, path received by the backend
        ("/api/file.txt",             204, Some("/api/file.txt")),
        ("/api",                      204, Some("/api")),
        ("/api/",                     204, Some("/api/")),
        ("/api/a%2Fb",                204, Some("/api/a%2Fb")),       // within a route, %2F stays what it is
        ("/api/a%2fb?c=%2e%2e/%2f",   204, Some("/api/a%2fb?c=%2e%2e/%2f")),
        ("/api/%7Ea%c3%bc;v=1",       204, Some("/api/%7Ea%c3%bc;v=1")),
        ("/%61pi/x",                  204, Some("/%61pi/x")),         // an encoded letter avoids no route
        ("/api%2ffile.txt",           308, None),                     // a route never matches by %2f
        ("/api%2Ffile.txt",           308, None),
        ("/api/../api/x",             308, None),
        ("/api/./x",                  308, None),
        ("/api//x",                   308, None),
        ("//api/x",                   308, None),
        ("/x/../api/x",               308, None),
        ("/x/%2e%2e/api/x",           308, None),
        ("/api/%2e%2e/x",             308, None),
        ("/api/..%2fx",               400, None),
        ("/api/..%5cx",               400, None),
        ("/api/..;/x",                400, None),
        ("/api/a%00b",                400, None),
        ("/api/a%0d%0ab",             400, None),
        ("/api/%ff",                  400, None),
        ("/api/\\x",                  400, None),
        ("/API/x",                    404, None),                     // paths have case
        ("/apix",                     404, None),
    ];
    for (target, status, forwarded) in cases {
        seen.lock().unwrap().clear();
        let mut stream = connect(&edge, HOST, "http/1.1").await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n");
        write(&mut stream, request.as_bytes()).await;
        let (read, closed) = read_until_rest(&mut stream, crate::wire::PATIENCE).await;
        assert_eq!(outcome(&read, closed).statuses, [status], "{target}");
        let seen = seen.lock().unwrap();
        let lines: Vec<&str> = seen.iter().map(|request| request.lines().next().unwrap()).collect();
        let expected: Vec<String> = forwarded.map(|target| format!("GET {target} HTTP/1.1")).into_iter().collect();
        assert_eq!(lines, expected, "{target}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_is_one_for_the_backend_too() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    let inner = "GET /api/inner HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    #[rustfmt::skip]
    let cases = [
        // fields, body, status of the first response
        ("Content-Length: 3\r\n",                                    "abc".to_owned(),                        204),
        ("Transfer-Encoding: chunked\r\n",                           "3\r\nabc\r\n0\r\n\r\n".to_owned(),      204),
        ("Content-Length: 3\r\nContent-Length: 3\r\n",               "abc".to_owned(),                        204),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",      format!("0\r\n\r\n{inner}"),             204),
        ("Transfer-Encoding: chunked\r\nContent-Length: 500\r\n",    format!("0\r\n\r\n{inner}"),             204),
        ("Content-Length: 0\r\nContent-Length: 60\r\n",              inner.to_owned(),                        400),
        ("Content-Length: 0, 60\r\n",                                inner.to_owned(),                        400),
        ("Content-Length: +0\r\n",                                   inner.to_owned(),                        400),
        ("Transfer-Encoding: gzip, chunked\r\n",                     format!("0\r\n\r\n{inner}"),             501),
        ("Transfer-Encoding: chunked, chunked\r\n",                  format!("0\r\n\r\n{inner}"),             400),
        ("Transfer-Encoding: xchunked\r\n",                          inner.to_owned(),                        400),
        ("Transfer-Encoding : chunked\r\n",                          format!("0\r\n\r\n{inner}"),             400),
        ("X: a\r\n Transfer-Encoding: chunked\r\n",                  format!("0\r\n\r\n{inner}"),             400),
        ("Host: game.localhost\r\n",                                 String::new(),                           400),
    ];
    for (fields, body, status) in &cases {
        seen.lock().unwrap().clear();
        let mut stream = connect(&edge, HOST, "http/1.1").await;
        let request = format!("POST /api/outer HTTP/1.1\r\nHost: shop.localhost\r\n{fields}\r\n{body}");
        write(&mut stream, request.as_bytes()).await;
        let (read, closed) = read_until_rest(&mut stream, REST).await;
        let found = outcome(&read, closed);
        assert_eq!(found.statuses, [*status], "{fields:?}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), usize::from(*status == 204), "{fields:?} {seen:?}");
        for request in seen.iter().map(|request| request.to_ascii_lowercase()) {
            let lengths =
                request.matches("\r\ncontent-length:").count() + request.matches("\r\ntransfer-encoding:").count();
            assert_eq!(lengths, 1, "{fields:?}: {request}");
            assert!(!request.contains("/api/inner"), "{fields:?}: {request}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_method_opens_a_tunnel_or_sends_a_request_back() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    // RFC 9110 §9.3.6 and §9.3.8
    for (line, status) in
        [("TRACE /api/x", 501), ("CONNECT shop.localhost:443", 405), ("BREW /api/x", 204), ("OPTIONS /api/x", 204)]
    {
        seen.lock().unwrap().clear();
        let mut stream = connect(&edge, HOST, "http/1.1").await;
        let request = format!("{line} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n");
        write(&mut stream, request.as_bytes()).await;
        let (read, closed) = read_until_rest(&mut stream, crate::wire::PATIENCE).await;
        assert_eq!(outcome(&read, closed).statuses, [status], "{line}");
        assert_eq!(seen.lock().unwrap().len(), usize::from(status == 204), "{line}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_that_counts_is_the_one_that_the_backend_gets() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    // RFC 9112 §3.2.2
    write(
        &mut stream,
        b"GET https://shop.localhost/api/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    let (read, closed) = read_until_rest(&mut stream, crate::wire::PATIENCE).await;
    assert_eq!(outcome(&read, closed).statuses, [204]);
    let seen = seen.lock().unwrap().clone();
    assert!(seen[0].starts_with("GET /api/x HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[0].contains("\r\nhost: shop.localhost\r\n") && !seen[0].contains("other.example"), "{}", seen[0]);
    edge.stop().await;
}
