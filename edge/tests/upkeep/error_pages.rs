//! Error pages of a site: for people, with the right status, and never cached.

use std::io::Read as _;

use devanture_config::problem::Code;
use devanture_config::site_toml::{Rules, Serving};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::edge;
use crate::upkeep::{FETCH, api, closed_port, fetch, long, navigate, preview, push_served, routed};
use crate::wire::{Answer, Protocol, ask, protocols};

/// Checks a site's page sent in place of an error.
#[track_caller]
fn is_page(answer: &Answer, status: u16, body: &[u8]) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    for name in ["etag", "last-modified", "accept-ranges", "content-range"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert!(answer.body == body, "{}", answer.text());
    assert_eq!(answer.header("content-length"), body.len().to_string());
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str, detail: &str) {
    assert_eq!((answer.status, answer.header("content-type").as_str()), (status, "application/problem+json"));
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    let title = http::StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
    assert_eq!(
        problem,
        json!({"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail})
    );
}

#[tokio::test]
async fn a_backend_that_fails_is_reported_to_people_by_the_sites_page_and_to_programs_by_a_problem() {
    let edge = edge().start().await;
    let page = long("down");
    let files: &[(&str, &[u8])] = &[("index.html", b"home"), ("502.html", &page), ("5xx.html", b"other")];
    let pushed = push_served(&edge, routed(closed_port()), files).await;
    let short = pushed.version.short();
    for protocol in protocols(&edge) {
        let answer = navigate("/api/x").send(&edge, protocol).await;
        is_page(&answer, 502, &page);
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(answer.header("devanture-version"), short);
        // A form submission is a navigation, too.
        is_page(&navigate("/api/x").method("POST").send(&edge, protocol).await, 502, &page);
        // Conditional and range fields are ignored here.
        let conditional = navigate("/api/x").with_lines(&["If-None-Match: *", "Range: bytes=0-1"]);
        is_page(&conditional.send(&edge, protocol).await, 502, &page);

        let head = navigate("/api/x").method("HEAD").send(&edge, protocol).await;
        assert!(head.body.is_empty());
        assert_eq!((head.status, head.fields()), (502, answer.fields()));

        let packed = navigate("/api/x").with("Accept-Encoding", "br").send(&edge, protocol).await;
        assert_eq!((packed.status, packed.header("content-encoding").as_str()), (502, "br"));
        assert_eq!(packed.header("cache-control"), "no-store");
        let mut unpacked = Vec::new();
        brotli::Decompressor::new(&packed.body[..], 4096).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == page);

        let answer = fetch("/api/x").send(&edge, protocol).await;
        is_problem(&answer, 502, "connect", "The service behind this address did not answer.");
        assert_eq!(answer.header("devanture-version"), short);
        for dest in ["script", "style", "image"] {
            let request = ask("/api/x.js").with("Sec-Fetch-Mode", "no-cors").with("Sec-Fetch-Dest", dest);
            assert_eq!(request.send(&edge, protocol).await.header("content-type"), "application/problem+json");
        }
        // The front is unaffected.
        assert_eq!(navigate("/").send(&edge, protocol).await.text(), "home");
        let of_preview = navigate("/api/x").host(&preview(&pushed)).send(&edge, protocol).await;
        is_page(&of_preview, 502, &page);
        assert_eq!(of_preview.header("x-robots-tag"), "noindex");
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_status_names_the_page_and_5xx_stands_for_all_that_have_none() {
    let edge = edge().start().await;
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = routed(silent.local_addr().unwrap().port());
    let protocol = Protocol::Http1;
    let index: (&str, &[u8]) = ("index.html", b"home");
    push_served(&edge, serving.clone(), &[index, ("5xx.html", b"any"), ("500.html", b"five hundred")]).await;
    is_page(&navigate("/api/x").send(&edge, protocol).await, 504, b"any");
    is_problem(
        &fetch("/api/x").send(&edge, protocol).await,
        504,
        "timeout-first-byte",
        "The service behind this address took too long to answer.",
    );
    push_served(&edge, serving.clone(), &[index, ("5xx.html", b"any"), ("504.html", b"late")]).await;
    is_page(&navigate("/api/x").send(&edge, protocol).await, 504, b"late");
    // Below the root, or under their own paths, error pages are ordinary files.
    push_served(&edge, serving, &[index, ("api/504.html", b"late"), ("504/5xx.html", b"any")]).await;
    let plain = navigate("/api/x").send(&edge, protocol).await;
    assert_eq!((plain.status, plain.header("content-type").as_str()), (504, "text/plain; charset=utf-8"));
    assert_eq!(plain.text(), "The service behind this address took too long to answer.");
    edge.stop().await;
}

#[tokio::test]
async fn a_page_for_errors_is_a_file_under_its_own_name() {
    let edge =
        edge().with_app("shop", &[("index.html", b"home"), ("5xx.html", b"any"), ("404.html", b"gone")]).start().await;
    for protocol in protocols(&edge) {
        for (page, text) in [("/5xx", "any"), ("/404", "gone")] {
            let answer = navigate(page).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, text));
            assert_ne!(answer.header("etag"), "");
        }
        // An unknown method is no backend's responsibility: people get the page, programs the text.
        is_page(&navigate("/").method("BREW").send(&edge, protocol).await, 501, b"any");
        let plain = ask("/").method("BREW").with_lines(FETCH).send(&edge, protocol).await;
        assert_eq!((plain.status, plain.text().as_str()), (501, "That method is not known here."));
        // A client's error is answered in plain text.
        assert_eq!(navigate("/%00").send(&edge, protocol).await.header("content-type"), "text/plain; charset=utf-8");
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_error_of_the_backends_own_is_the_backends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = [0; 4096];
            drop(stream.read(&mut read).await);
            let answer = "HTTP/1.1 503 X\r\nretry-after: 7\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmine";
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    let edge = edge().start().await;
    push_served(&edge, routed(port), &[("index.html", b"home"), ("503.html", b"the site's")]).await;
    for protocol in protocols(&edge) {
        for request in [navigate("/api/x"), fetch("/api/x")] {
            let answer = request.send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (503, "mine"));
            assert_eq!((answer.header("retry-after").as_str(), answer.header("cache-control").as_str()), ("7", ""));
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_backend_without_capacity_is_a_503_that_says_when_to_come_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = edge().with_limit("upstream_requests_max", 1).start().await;
    let mut serving = routed(silent.local_addr().unwrap().port());
    serving.routes.as_mut().unwrap()[0].timeout_ms = Some(10_000);
    serving.routes.as_mut().unwrap()[0].to = "api".parse().unwrap();
    // No request waits in the queue.
    let pool = json!({"to": [format!("http://{}", silent.local_addr().unwrap())], "queue_max": 0});
    serving.upstreams = Some([("api".to_owned(), serde_json::from_value(pool).unwrap())].into());
    push_served(&edge, serving, &[("index.html", b"home"), ("503.html", b"busy")]).await;
    let first = edge.visit(Method::GET, "shop.localhost", "/api/first");
    let first = tokio::spawn(first.send());
    let (held, _) = silent.accept().await.unwrap();
    for protocol in protocols(&edge) {
        let answer = navigate("/api/x").send(&edge, protocol).await;
        is_page(&answer, 503, b"busy");
        assert_eq!(answer.header("retry-after"), "1");
        let answer = fetch("/api/x").send(&edge, protocol).await;
        is_problem(&answer, 503, "busy", "The service has no capacity left just now.");
        assert_eq!(answer.header("retry-after"), "1");
    }
    drop(held);
    assert_eq!(first.await.unwrap().unwrap().status(), 502);
    edge.stop().await;
}

#[tokio::test]
async fn a_page_that_is_kept_from_strangers_is_shown_to_none_of_them() {
    let edge = edge().start().await;
    let guards = b"/*\n  Basic-Auth: u:p\n";
    let few = b"/502.html\n  Basic-Auth: u:p\n";
    let files = |rules: &'static [u8]| -> [(&'static str, &'static [u8]); 4] {
        [("_headers", rules), ("index.html", b"home"), ("502.html", b"secret"), ("5xx.html", b"any")]
    };
    let plain = "The service behind this address did not answer.";
    let known = || navigate("/api/x").with("Authorization", "Basic dTpw");
    let serving = Serving { rules: Some(Rules::Netlify), ..routed(closed_port()) };
    for (rules, expected) in [(&guards[..], plain), (&few[..], "any")] {
        push_served(&edge, serving.clone(), &files(rules)).await;
        for protocol in protocols(&edge) {
            let stranger = navigate("/api/x").send(&edge, protocol).await;
            assert_eq!((stranger.status, stranger.text().as_str()), (502, expected));
            let wrong = navigate("/api/x").with("Authorization", "Basic eDp5").send(&edge, protocol).await;
            assert_eq!((wrong.status, wrong.text().as_str()), (502, expected));
            is_page(&known().send(&edge, protocol).await, 502, b"secret");
        }
    }
    // The same applies to refusals by the edge, such as during a pause.
    push_served(&edge, serving, &[("_headers", guards), ("index.html", b"home"), ("5xx.html", b"secret")]).await;
    assert_eq!(api(&edge, Method::POST, "environments/prod/pause", json!({})).await.status, 200);
    for (request, shown) in [(navigate("/"), false), (navigate("/").with("Authorization", "Basic dTpw"), true)] {
        let answer = request.send(&edge, Protocol::Http1).await;
        assert_eq!((answer.status, answer.text() == "secret"), (503, shown));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_withdrawn_page_for_errors_is_not_shown() {
    let edge = edge().start().await;
    push_served(
        &edge,
        routed(closed_port()),
        &[("index.html", b"home"), ("502.html", b"secret"), ("5xx.html", b"any")],
    )
    .await;
    let withdrawn = api(&edge, Method::POST, "withdrawn", json!({"path": "/502.html"})).await;
    assert!(withdrawn.status.is_success(), "{withdrawn:?}");
    is_page(&navigate("/api/x").send(&edge, Protocol::Http1).await, 502, b"any");
    let bad = api(&edge, Method::POST, "withdrawn", json!({"path": "502.html"})).await;
    assert_eq!(bad.code(), Code::BadRequest);
    edge.stop().await;
}
