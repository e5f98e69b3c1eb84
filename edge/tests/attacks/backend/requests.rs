//! Information that a request gives to a backend, and the effects of a backend's response.

use std::time::Duration;

use http_body_util::Empty;

use crate::attacks::world::{Backend, ask_http2, push};
use crate::support::edge;
use crate::wire::{HOST, ask, connect, protocols, read_until_rest, write};

async fn routed(backend: &Backend, more: &str) -> crate::support::RunningEdge {
    let edge = edge().start().await;
    let toml = format!("[[routes]]\npath = \"/api/*\"\nto = \"{}\"\n{more}", backend.url());
    push(&edge, "shop", &[("index.html", b"home")], &toml).await;
    edge
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_of_an_answer_set_nothing_that_its_head_could_not() {
    let unfit = [
        "set-cookie: a=1; Domain=localhost",
        "set_cookie: a=1; Domain=localhost",
        "strict-transport-security: max-age=1; includeSubDomains",
        "alt-svc: h3=\":8444\"",
        "clear-site-data: \"*\"",
        "x-request-id: forged",
        "devanture-version: forged",
        "content-length: 5",
        "content-encoding: gzip",
        "location: https://evil.example/",
        "access-control-allow-origin: *",
        "x-listed: 1",
        "x-secret: 1",
        "cache-control: public",
    ];
    let names: Vec<&str> = unfit.iter().map(|line| line.split(':').next().unwrap()).collect();
    let backend = Backend::start(format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close, x-listed\r\n\
         trailer: {}, grpc-status, x-checksum\r\n\r\n2\r\nok\r\n0\r\n{}\r\ngrpc-status: 0\r\nx-checksum: 17\r\n\r\n",
        names.join(", "),
        unfit.join("\r\n"),
    ))
    .await;
    let edge = routed(&backend, "[routes.response_headers]\nremove = [\"x-secret\"]\n").await;
    // HTTP/2
    let request = http::Request::get(format!("https://{HOST}/api/x")).header("te", "trailers");
    let (_, body) = ask_http2(&edge, request.body(Empty::<bytes::Bytes>::new()).unwrap()).await;
    let mut found: Vec<String> = body.trailers().unwrap().keys().map(ToString::to_string).collect();
    found.sort_unstable();
    assert_eq!(found, ["grpc-status", "x-checksum"]);
    // HTTP/1.1
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    let head = format!("GET /api/x HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nConnection: te, close\r\n\r\n");
    write(&mut stream, head.as_bytes()).await;
    let (read, _) = read_until_rest(&mut stream, Duration::from_secs(10)).await;
    let read = String::from_utf8(read).unwrap().to_ascii_lowercase();
    let (_, trailers) = read.split_once("\r\n0\r\n").unwrap();
    let mut found: Vec<&str> = trailers.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    found.sort_unstable();
    assert_eq!(found, ["grpc-status", "x-checksum"], "{read}");
    drop(stream);
    edge.stop().await;
}

/// A password for a rule's `Basic-Auth` stays in the edge; credentials for the backend pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_learns_no_password_that_was_for_the_edge() {
    let backend = Backend::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    let edge = edge().start().await;
    let toml = format!(
        "rules = \"netlify\"\n[upstreams]\napi = \"{}\"\n[[routes]]\npath = \"/own/*\"\nto = \"api\"\n",
        backend.url()
    );
    let redirects = format!("/kept/* {}/:splat 200\n", backend.url());
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"home"),
        ("_redirects", redirects.as_bytes()),
        ("_headers", b"/kept/*\n  Basic-Auth: me:pass\n"),
    ];
    push(&edge, "shop", files, &toml).await;
    for protocol in protocols(&edge) {
        // `me:pass`.
        for (path, passes) in [("/kept/x", false), ("/own/x", true)] {
            let answer = ask(path).with("authorization", "Basic bWU6cGFzcw==").send(&edge, protocol).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(backend.take().contains("bwu6cgfzcw=="), passes, "{path}");
        }
    }
    edge.stop().await;
}

/// RFC 8297 §2: a client must not act on an interim response that the edge has not inspected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interim_answer_sets_no_cookie_and_no_policy() {
    let backend = Backend::start(
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nset-cookie: a=1; Domain=localhost\r\n\
         set-cookie2: a=1\r\nstrict-transport-security: max-age=1\r\nclear-site-data: \"*\"\r\n\
         alt-svc: h3=\":8444\"\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
    )
    .await;
    let edge = routed(&backend, "").await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    let head = format!("GET /api/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    write(&mut stream, head.as_bytes()).await;
    let (read, _) = read_until_rest(&mut stream, Duration::from_secs(10)).await;
    let read = String::from_utf8(read).unwrap().to_ascii_lowercase();
    for name in ["set-cookie", "strict-transport-security", "clear-site-data", "alt-svc"] {
        assert!(!read.contains(name), "{read}");
    }
    assert!(read.ends_with("\r\n\r\nok"), "{read}");
    drop(stream);
    edge.stop().await;
}
