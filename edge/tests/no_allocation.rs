//! Deciding the usual request for a file allocates no memory. The allocator counts for every step.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::hint::black_box;
use std::rc::Rc;

use devanture_base::telemetry::{AccessLog, LogSettings, Tallies};
use devanture_config::edge_toml::LogAddresses;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;
use devanture_http::{AnswerHead, Fields, Lines, Outcome as _, RequestHead, Service as _};
use devanture_serve::handler::EngineService;
use devanture_site::conditional::{self, Outcome, Preconditions, Validators};
use devanture_site::method::Method;
use devanture_site::negotiate::{self, Coding};
use devanture_site::range::{self, RangeOutcome};
use devanture_site::resolve::{PathIndex, Resolution, not_found_page, resolve};
use devanture_site::target::{Target, normalise, normalise_for_route};
use devanture_site::{fields, navigation};
use http::{Method as HttpMethod, StatusCode, Version};

use crate::in_process;

/// Runs `work` and returns the number of allocations.
fn allocations(work: impl FnMut()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Vec::<u8>::with_capacity(10)))), 1);
}

#[test]
fn a_normal_path_is_found_without_memory() {
    let paths = ["index.html", "about.html", "docs/index.html", "assets/app-B3xY9_aZ.js", "404.html", "docs/404.html"];
    let paths: Vec<BundlePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
    let index = PathIndex::new(&paths);
    for handling in [HtmlHandling::AutoTrailingSlash, HtmlHandling::AsIs, HtmlHandling::None] {
        for path in ["/", "/about", "/docs/", "/assets/app-B3xY9_aZ.js", "/404.html", "/missing", "/docs/missing/x.js"]
        {
            if handling == HtmlHandling::AutoTrailingSlash && path == "/404.html" {
                continue; // This one is redirected, and its place is written down.
            }
            let count = allocations(|| {
                let Target::Normal(normal) = normalise(black_box(path), 4_096) else { panic!("{path}") };
                assert!(matches!(normalise_for_route(path, 4_096), Target::Normal(_)));
                match resolve(&index, handling, &normal) {
                    Resolution::Missing => drop(black_box(not_found_page(&index, &normal))),
                    found => drop(black_box(found)),
                }
            });
            assert_eq!(count, 0, "{path} {handling:?}");
        }
    }
}

#[test]
fn an_encoding_is_chosen_without_memory() {
    let available = [(Coding::Identity, 1_000), (Coding::Gzip, 300), (Coding::Zstd, 280), (Coding::Br, 250)];
    for accept in
        [None, Some("gzip, deflate, br, zstd"), Some("*;q=0.5, br;q=0"), Some("x"), Some("gzip;q=1.0,br;q=0.9")]
    {
        let count = allocations(|| {
            black_box(negotiate::choose(black_box(accept.map(str::as_bytes)), available));
        });
        assert_eq!(count, 0, "{accept:?}");
    }
}

#[test]
fn preconditions_are_evaluated_without_memory() {
    let validators = Validators { etag: "\"0123456789abcdef\"", last_modified: 784_111_777, date_is_strong: true };
    let dates: [&[u8]; 3] =
        [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"];
    let tags: &[u8] = b"\"a\", W/\"b\", \"0123456789abcdef\"";
    for date in dates {
        let conditions = Preconditions {
            if_match: Some(tags),
            if_none_match: None,
            if_modified_since: Some(date),
            if_unmodified_since: Some(date),
            now_seconds: 1_768_435_200,
        };
        let count = allocations(|| {
            let by_tag = Preconditions { if_none_match: Some(tags), ..conditions };
            assert_eq!(conditional::evaluate(true, black_box(&by_tag), &validators), Outcome::NotModified);
            let by_date = Preconditions { if_match: None, ..conditions };
            assert_eq!(conditional::evaluate(true, black_box(&by_date), &validators), Outcome::NotModified);
            assert!(conditional::range_applies(Some(date), &validators, conditions.now_seconds));
        });
        assert_eq!(count, 0);
    }
}

#[test]
fn one_range_is_read_without_memory() {
    for value in ["bytes=0-499", "bytes=500-", "bytes=-500", "bytes=9999-", "lines=1-2", "bytes=5-1"] {
        let count = allocations(|| {
            let outcome = range::parse(black_box(Some(value.as_bytes())), 1_000);
            assert!(!matches!(outcome, RangeOutcome::Several(_)));
        });
        assert_eq!(count, 0, "{value}");
    }
}

#[test]
fn fields_and_methods_are_read_without_memory() {
    let accept: &[u8] = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let count = allocations(|| {
        let one = fields::joined([black_box(accept)]);
        assert!(navigation::wants_page(None, None, one.as_deref()));
        assert!(Method::of(black_box("GET")).is_read());
        assert_eq!(Method::of("BREW"), Method::NotImplemented);
    });
    assert_eq!(count, 0);
}

#[test]
fn a_request_is_counted_and_a_line_that_nobody_wants_is_left_without_memory() {
    let settings = LogSettings {
        addresses: LogAddresses::Full,
        queries: true,
        lines_max: 16,
        readers_max: 1,
        readers_per_app_max: 1,
        reader_lines_max: 1,
        kept_bytes_max: 0,
        kept_apps_max: 0,
    };
    let log = AccessLog::new(settings, None);
    let tally = Tallies::default().of("shop", "prod");
    // The first call on a thread chooses the thread's counter and allocates.
    tally.count(StatusCode::OK);
    for _ in 0..2 {
        let count = allocations(|| {
            assert!(!log.is_on());
            tally.count(black_box(StatusCode::NOT_FOUND));
        });
        assert_eq!(count, 0);
    }
}

/// From the request head to the counted response, only the engine allocates, within a bound.
#[tokio::test]
async fn a_plain_request_is_answered_and_counted_without_memory() {
    let stores = in_process::Stores::new();
    stores.encode(b"page", devanture_store::blobs::Form::Br, b"br").await;
    stores.push("shop", &[("index.html", b"page"), ("ten.txt", b"0123456789")], serde_json::json!({})).await;
    let paged: in_process::Files<'_> = &[("index.html", b"page"), ("404.html", b"nothing")];
    stores.push("paged", paged, serde_json::json!({})).await;
    let host = "www.shop.example".parse().unwrap();
    let record =
        serde_json::json!({"app": "shop", "environment": "prod", "added_ms": 1, "canonical": true, "who": "me"});
    stores.put(devanture_store::records::hostname_key(&host), record).await;
    let served = stores.handler(AccessLog::unread()).await;
    let lane = EngineService::new(Rc::clone(&served.handler), std::net::Ipv4Addr::LOCALHOST.into(), |_| true);
    let browser = [
        ("user-agent", "Mozilla/5.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
    ];
    for (status, method, authority, path, more) in [
        (200, HttpMethod::GET, "shop.localhost", "/", None),
        (200, HttpMethod::HEAD, "shop.localhost:8443", "/ten.txt", None),
        (200, HttpMethod::GET, "www.shop.example", "/ten.txt", None),
        (304, HttpMethod::GET, "shop.localhost", "/", Some(("if-none-match", "*"))),
        (
            304,
            HttpMethod::GET,
            "shop.localhost",
            "/ten.txt",
            Some(("if-modified-since", "Tue, 14 Nov 2023 22:13:21 GMT")),
        ),
        (404, HttpMethod::GET, "shop.localhost", "/missing", None),
        (404, HttpMethod::GET, "paged.localhost", "/missing/page", None),
    ] {
        let mut lines = Lines::default();
        for (name, value) in browser.into_iter().chain(more) {
            lines.push(name.as_bytes(), value.as_bytes());
        }
        let request = RequestHead {
            version: Version::HTTP_2,
            method: &method,
            scheme: Some("https"),
            authority: Some(authority),
            path,
            query: None,
            fields: Fields::Lines(&lines),
        };
        let answer = || {
            let mut answer =
                lane.answer(black_box(&request), std::time::Instant::now(), |answer| answer).now().unwrap();
            assert_eq!(answer.status.as_u16(), status, "{path}");
            assert!(matches!(answer.head, AnswerHead::Prepared(..)));
            answer.outcome.sent(1);
            answer.outcome.complete(std::time::Instant::now());
        };
        // The first response builds the shared parts.
        answer();
        assert_eq!(allocations(answer), 0, "{method} {authority} {path} {status}");
    }
}
