//! Methods (RFC 9110 §9).

use crate::http::site::shop;
use crate::wire::{Protocol, ask, protocols};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_has_its_answer() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases = [
        // method, target, status
        ("GET",       "/",          200), // §9.3.1
        ("HEAD",      "/",          200), // §9.3.2
        ("POST",      "/",          405), // §9.3.3, §15.5.6
        ("PUT",       "/",          405), // §9.3.4
        ("DELETE",    "/",          405), // §9.3.5
        ("OPTIONS",   "/",          204), // §9.3.7
        ("TRACE",     "/",          405), // §9.3.8
        ("PATCH",     "/",          405), // RFC 5789
        ("PROPFIND",  "/",          405), // RFC 4918
        ("QUERY",     "/",          405),
        ("BREW",      "/",          501), // §15.6.2
        ("get",       "/",          501), // §9.1: methods have case
        ("POST",      "/missing",   405),
        ("PUT",       "/ten.txt",   405),
        ("BREW",      "/missing",   501),
        ("POST",      "/.well-known/devanture/release.json", 405),
    ];
    for protocol in protocols(&edge) {
        for (method, target, status) in cases {
            let answer = ask(target).method(method).send(&edge, protocol).await;
            assert_eq!(answer.status, status, "{protocol:?} {method} {target}");
            // §10.2.1: a 405 lists the allowed methods, and so does a response to OPTIONS.
            let allow = if matches!(status, 405 | 204) { "GET, HEAD, OPTIONS" } else { "" };
            assert_eq!(answer.header("allow"), allow, "{protocol:?} {method} {target}");
            if status >= 400 {
                assert_eq!(answer.header("cache-control"), "no-store");
                assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_has_exactly_the_headers_of_get() {
    let edge = shop().await;
    let accept_all = ["Accept-Encoding: br, gzip, zstd"];
    let cases: &[(&str, &[&str], u16)] = &[
        ("/", &[], 200),
        ("/", &accept_all, 200),
        ("/photo.png", &accept_all, 200),
        ("/empty.txt", &[], 200),
        ("/assets/app-B3xY9_aZ.js", &accept_all, 200),
        ("/missing", &accept_all, 404),
        ("/about.html", &[], 307),
        ("//about", &[], 308),
        ("/%00", &[], 400),
        ("/", &["If-None-Match: *"], 304),
        ("/", &["If-Match: \"no\""], 412),
        ("/.well-known/devanture/release.json", &[], 200),
    ];
    for protocol in protocols(&edge) {
        for (target, lines, status) in cases {
            let get = ask(target).with_lines(lines).send(&edge, protocol).await;
            let head = ask(target).method("HEAD").with_lines(lines).send(&edge, protocol).await;
            let what = format!("{protocol:?} {target} {lines:?}");
            assert_eq!((get.status, head.status), (*status, *status), "{what}");
            assert_eq!(get.fields(), head.fields(), "{what}");
            assert!(head.body.is_empty(), "{what}");
            if *status == 200 {
                assert_eq!(head.header("content-length"), get.body.len().to_string(), "{what}");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_may_ask_about_the_server_as_a_whole() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        // §9.3.7, RFC 9112 §3.2.4, RFC 9113 §8.3.1
        let answer = ask("*").method("OPTIONS").send(&edge, protocol).await;
        assert_eq!((answer.status, answer.header("allow").as_str()), (204, "GET, HEAD, OPTIONS"), "{protocol:?}");
        // §8.6: a 204 has no length.
        assert_eq!(answer.header("content-length"), "", "{protocol:?}");
        // With another method, the request is malformed; over HTTP/2 the answer may be a reset, see `http2/pseudo.rs`.
        if protocol == Protocol::Http1 {
            assert_eq!(ask("*").send(&edge, protocol).await.status, 400);
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_tunnel() {
    let edge = shop().await;
    // §9.3.6; the HTTP/2 form is tested in `tests/http2`.
    for target in ["shop.localhost:443", "shop.localhost:8443"] {
        let answer = ask(target).method("CONNECT").send(&edge, Protocol::Http1).await;
        assert_eq!(answer.status, 405, "{target}");
    }
    edge.stop().await;
}
