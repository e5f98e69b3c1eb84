//! The engine and the HTTP library get the same response: status, fields, bytes, and line in the access log.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod alt_svc;
pub(crate) mod ask;
mod loading;
mod site;
mod together;

use std::sync::Arc;

use ask::{TestRequest, ask};
use devanture_config::PlaceName;
use devanture_http::{Answer, AnswerBody, AnswerHead, Fields, Lines};
use devanture_serve::handler::Counted;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// `Accept` of a browser's navigation request.
const NAVIGATION: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

/// Requests with the expected status.
#[rustfmt::skip]
fn cases() -> Vec<(u16, TestRequest<'static>)> {
    let get = |target| TestRequest::new("shop.localhost", target);
    vec![
        (200, get("/")),
        (200, get("/").with("accept-encoding", "gzip, br")),
        (200, get("/").with("accept-encoding", "gzip;q=0.1, br;q=0")),
        (200, get("/").with("accept-encoding", "identity;q=0, *;q=0")),
        (200, get("/").method(Method::HEAD)),
        (200, get("/").with("accept-encoding", "br").with("accept-encoding", "gzip;q=0.5")),
        (200, get("/assets/app-B3xY9_aZ.js").with("accept-encoding", "br")),
        (200, get("/?a=b")),
        (200, get("/empty.txt")),
        (200, get("/large.bin")),
        (200, get("/large.bin").method(Method::HEAD)),
        (206, get("/large.bin").with("range", "bytes=70000-199999")),
        (206, get("/large.bin").with("range", "bytes=0-9,150000-250000")),
        (206, get("/ten.txt").with("range", "bytes=2-4")),
        (206, get("/ten.txt").with("range", "bytes=0-1,4-5")),
        (206, get("/ten.txt").with("range", "bytes=-3").with("if-range", site::CHANGED)),
        (200, get("/ten.txt").with("range", "bytes=-3").with("if-range", "\"other\"")),
        (416, get("/ten.txt").with("range", "bytes=10-")),
        (200, get("/ten.txt").method(Method::HEAD).with("range", "bytes=2-4")),
        (304, get("/ten.txt").with("if-none-match", "*")),
        (304, get("/large.bin").with("if-none-match", "*")),
        (304, get("/ten.txt").with("if-modified-since", site::CHANGED)),
        (304, get("/ten.txt").method(Method::HEAD).with("if-none-match", "*")),
        (412, get("/ten.txt").with("if-match", "\"other\"")),
        (412, get("/ten.txt").with("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")),
        (404, get("/missing")),
        (404, get("/missing").method(Method::HEAD)),
        (404, get("/missing").with(NAVIGATION.0, NAVIGATION.1)),
        (404, get("/.env")),
        (405, get("/").method(Method::POST)),
        (501, get("/").method(Method::from_bytes(b"BREW").unwrap())),
        (204, get("/").method(Method::OPTIONS)),
        (204, get("*").method(Method::OPTIONS)),
        (307, get("//x/../about.html")),
        (308, get("//x/../ten.txt")),
        (307, get("/about.html?q=1")),
        (400, get("/%00")),
        (200, get("/.well-known/devanture/release.json")),
        (200, get("/.well-known/devanture/env.json")),
        (304, get("/.well-known/devanture/env.json").with("if-none-match", "*")),
        (412, get("/.well-known/devanture/env.json").with("if-match", "\"other\"")),
        (200, TestRequest::new("Shop.Localhost:8443", "/")),
        (404, TestRequest::new("nobody.localhost", "/")),
        (404, TestRequest::new("nobody.example", "/")),
        (400, TestRequest::new("u@shop.localhost", "/")),
        (400, get("/").with("host", "other.localhost")),
        (200, get("/").with("host", "shop.localhost:443")),
        // Only custom hostnames have publicly trusted certificates.
        (200, TestRequest::new("www.shop.example", "/")),
        (304, TestRequest::new("www.shop.example", "/ten.txt").with("if-none-match", "*")),
        (404, TestRequest::new("www.shop.example", "/missing")),
        (206, TestRequest::new("www.shop.example", "/ten.txt").with("range", "bytes=2-4")),
        (308, TestRequest::new("shop.example", "/ten.txt?x")),
        // Single-page application.
        (200, TestRequest::new("spa.localhost", "/deep/link").with(NAVIGATION.0, NAVIGATION.1)),
        (304, TestRequest::new("spa.localhost", "/deep/link").with(NAVIGATION.0, NAVIGATION.1).with("if-none-match", "*")),
        (404, TestRequest::new("spa.localhost", "/missing.js").with("sec-fetch-dest", "script")),
        // Site with a 404 page and rules.
        (404, TestRequest::new("ruled.localhost", "/missing")),
        (404, TestRequest::new("ruled.localhost", "/missing").with("accept-encoding", "br").method(Method::HEAD)),
        (200, TestRequest::new("ruled.localhost", "/special/page")),
        (301, TestRequest::new("ruled.localhost", "/old?q=1")),
        (200, TestRequest::new("ruled.localhost", "/rewritten")),
        (302, TestRequest::new("ruled.localhost", "/country").with("accept-language", "de")),
        (401, TestRequest::new("ruled.localhost", "/secret/page")),
        (200, TestRequest::new("ruled.localhost", "/secret/page").with("authorization", "Basic bWU6cGFzcw==")),
        (410, TestRequest::new("ruled.localhost", "/gone")),
        // Version with withdrawn paths, and a paused site.
        (404, TestRequest::new("withdrawn.localhost", "/doc.txt")),
        (200, TestRequest::new("withdrawn.localhost", "/")),
        (503, TestRequest::new("paused.localhost", "/")),
        (503, TestRequest::new("paused.localhost", "/").with(NAVIGATION.0, NAVIGATION.1)),
        (200, TestRequest::new("paused.localhost", "/open/page")),
        // No live version.
        (503, TestRequest::new("broken.localhost", "/")),
        (421, TestRequest::new("spa.localhost", "/").misdirected()),
    ]
}

#[tokio::test]
async fn the_engine_is_given_what_the_library_is_given() {
    let site = site::site().await;
    let mut wrong = Vec::new();
    for (status, request) in cases() {
        let handled = ask::by_handle(&site.handler, &request).await;
        if handled.status.as_u16() != status {
            wrong.push(format!("{} in place of {status}: {request:?}", handled.status));
        }
        // Concurrent requests share the state that the second request cached.
        let lane = ask::lane(&site.handler, &request);
        for _ in 0..3 {
            let answered = ask::by_lane_on(&lane, &request).await;
            if answered.as_ref() != Some(&handled) {
                wrong.push(format!("{request:?}:\n  {answered:?}\n  in place of\n  {handled:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Random inputs.
const HOSTS: [&str; 5] = ["shop.localhost", "spa.localhost", "ruled.localhost", "paged.localhost", "www.shop.example"];
#[rustfmt::skip]
const TARGETS: [&str; 17] = [
    "/", "/ten.txt", "/large.bin", "/about", "/about/", "/assets/app-B3xY9_aZ.js", "/deep/link", "/missing.js", "/old",
    "/special/page", "/secret/page", "/404", "/%61bout", "/a%2fb", "/rewritten?q", "/country", "/index.html",
];
#[rustfmt::skip]
const FIELDS: [(&str, &str); 17] = [
    ("accept", "text/html"), ("accept", "*/*;q=0.1"), ("accept-encoding", "br"), ("accept-encoding", "gzip, br;q=0"),
    ("accept-language", "de"), ("authorization", "Basic bWU6cGFzcw=="), ("cookie", "nf_lang=de"), ("if-match", "*"),
    ("if-modified-since", site::CHANGED), ("if-none-match", "*"), ("if-none-match", "\"a\""), ("if-range", "\"a\""),
    ("range", "bytes=1-3"), ("range", "bytes=0-0,2-2"), ("range", "bytes=999999-"), ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
];

#[test]
fn any_request_is_answered_alike_in_both_ways() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let site = runtime.block_on(site::site());
    let methods = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT];
    let fields = prop::sample::subsequence(&FIELDS[..], 0..5);
    let any = (prop::sample::select(&HOSTS[..]), prop::sample::select(&TARGETS[..]), fields, 0..12_usize);
    let both = |(host, target, fields, method): (_, _, Vec<(_, _)>, usize)| {
        let mut request = TestRequest::new(host, target).method(methods.get(method).unwrap_or(&Method::GET).clone());
        for (name, value) in fields {
            request = request.with(name, value);
        }
        let handled = runtime.block_on(ask::by_handle(&site.handler, &request));
        let answered = runtime.block_on(ask::by_lane(&site.handler, &request));
        prop_assert_eq!(answered, Some(handled));
        Ok(())
    };
    let mut runner = TestRunner::new(ProptestConfig { cases: 1_000, ..ProptestConfig::default() });
    runner.run(&any, both).unwrap();
}

/// A preview is loaded by the first request, which waits; the second request does not wait.
#[tokio::test]
async fn a_preview_is_loaded_in_a_while_and_then_answered_at_once() {
    let site = site::site().await;
    let host = format!("{}--shop.localhost", site.preview.short());
    let request = TestRequest::new(&host, "/ten.txt");
    assert!(ask::by_lane(&site.handler, &request).await.is_none());
    let begun = ask::begun(&site.handler, &request).await;
    assert_eq!(begun.status, StatusCode::OK);
    assert!(begun.fields.iter().any(|(name, value)| name == "x-robots-tag" && value == "noindex"));
    for request in [&request, &TestRequest::new(&host, "/missing"), &request.clone().with("if-none-match", "*")] {
        let handled = ask::by_handle(&site.handler, request).await;
        let lane = ask::lane(&site.handler, request);
        for _ in 0..3 {
            assert_eq!(ask::by_lane_on(&lane, request).await.as_ref(), Some(&handled), "{request:?}");
        }
    }
}

/// Logs and metrics of a request are independent of the engine.
#[tokio::test]
async fn the_log_says_the_same_of_both() {
    let (site, lines) = site::site_with_log().await;
    for (_, request) in cases() {
        ask::by_handle(&site.handler, &request).await;
        ask::by_lane(&site.handler, &request).await.unwrap();
        let lines = lines(&site.handler);
        assert_eq!(lines.len(), 2, "{request:?}");
        assert_eq!(lines[0], lines[1], "{request:?}");
    }
}

/// Like the library's report: bytes sent, and an aborted response.
#[tokio::test]
async fn a_client_that_goes_away_within_its_answer_is_reported() {
    let (site, lines) = site::site_with_log().await;
    for target in ["/ten.txt", "/large.bin"] {
        let request = TestRequest::new("shop.localhost", target);
        let answer = ask(&site.handler, &request).unwrap();
        drop(answer);
        let line = lines(&site.handler).remove(0);
        assert_eq!((&line["status"], &line["bytes"], &line["error"]), (&200.into(), &0.into(), &"client-gone".into()));
    }
}

/// Whichever version is live meanwhile, even none.
#[tokio::test]
async fn law_1_an_answer_keeps_its_version_to_its_last_byte() {
    for target in ["/ten.txt", "/large.bin", "/missing"] {
        let site = site::site().await;
        let current = site.handler.live.place(&"shop".parse().unwrap(), &PlaceName::prod()).unwrap().current().unwrap();
        let version = Arc::downgrade(&current.version);
        drop(current);
        let Answer { body, outcome, head, .. } =
            ask(&site.handler, &TestRequest::new("shop.localhost", target)).unwrap();
        drop((site, head));
        assert!(version.upgrade().is_some(), "{target}");
        drop((body, outcome));
        assert!(version.upgrade().is_none(), "{target}");
    }
}

/// Plain files, unchanged responses and misses are sent as prepared.
#[tokio::test]
async fn what_is_plain_is_sent_as_it_was_prepared() {
    let site = site::site().await;
    let is_prepared = |request: &TestRequest<'_>| {
        let Answer { head, .. }: Answer<Counted> = ask(&site.handler, request).unwrap();
        matches!(head, AnswerHead::Prepared(..))
    };
    for (host, target) in [
        ("shop.localhost", "/"),
        ("shop.localhost", "/large.bin"),
        ("shop.localhost", "/missing"),
        ("www.shop.example", "/ten.txt"),
        ("paged.localhost", "/missing"),
    ] {
        assert!(is_prepared(&TestRequest::new(host, target)), "{host} {target}");
    }
    assert!(is_prepared(&TestRequest::new("shop.localhost", "/ten.txt").with("if-none-match", "*")));
    assert!(is_prepared(&TestRequest::new("spa.localhost", "/deep").with(NAVIGATION.0, NAVIGATION.1)));
    assert!(!is_prepared(&TestRequest::new("shop.localhost", "/ten.txt").with("range", "bytes=0-1")));
    assert!(!is_prepared(&TestRequest::new("ruled.localhost", "/special/page")));
}

/// A range of a cached file is a slice without a copy.
#[tokio::test]
async fn a_range_of_what_is_in_memory_is_at_hand() {
    let site = site::site().await;
    let answer =
        ask(&site.handler, &TestRequest::new("shop.localhost", "/ten.txt").with("range", "bytes=2-4")).unwrap();
    let AnswerBody::Bytes(bytes) = answer.body else { panic!("not at hand") };
    assert_eq!(bytes, "234");
}

proptest! {
    /// A decision by fields is the same for a header map and for the engine's raw lines.
    #[test]
    fn fields_are_the_same_in_either_form(
        fields in prop::collection::vec((0..4_usize, "[a-z0-9 ]{0,5}"), 0..8),
        request in 0..5_usize,
    ) {
        let names = ["accept", "accepts", "range", "if-match", "cookie"].map(HeaderName::from_static);
        let (mut map, mut lines) = (HeaderMap::new(), Lines::default());
        for (name, value) in &fields {
            map.append(&names[*name], value.parse().unwrap());
            lines.push(names[*name].as_str().as_bytes(), value.as_bytes());
        }
        let (of_map, of_lines) = (Fields::from(&map), Fields::from(&lines));
        let name = &names[request];
        prop_assert_eq!(of_map.get(name), of_lines.get(name));
        prop_assert_eq!(of_map.contains(name), of_lines.contains(name));
        prop_assert!(of_map.get_all(name).eq(of_lines.get_all(name)));
        prop_assert!(of_map.get_all(name).rev().eq(of_lines.get_all(name).rev()));
        prop_assert!(of_lines.get_all(name).rev().eq(of_lines.get_all(name).collect::<Vec<_>>().into_iter().rev()));
    }
}
