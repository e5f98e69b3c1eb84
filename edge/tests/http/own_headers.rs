//! Header fields of the edge: dates, caching, and omitted fields.

use std::time::{Duration, SystemTime};

use http::Method;

use crate::http::site::{page, shop};
use crate::support::{edge, got};
use crate::wire::{Protocol, ask, protocols};

fn seconds(date: &str) -> u64 {
    // Parsing fails for any date other than an IMF-fixdate of whole seconds (RFC 9110 §5.6.7).
    let read = httpdate::parse_http_date(date).unwrap_or_else(|_| panic!("{date:?}"));
    assert_eq!(httpdate::fmt_http_date(read), date);
    read.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_a_date_and_none_names_the_software() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[&str], u16)] = &[
        ("GET",     "/",            &[],                       200),
        ("GET",     "/",            &["Range: bytes=0-1"],     206),
        ("GET",     "/",            &["If-None-Match: *"],     304),
        ("GET",     "/about.html",  &[],                       307),
        ("GET",     "//about",      &[],                       308),
        ("GET",     "/%00",         &[],                       400),
        ("GET",     "/missing",     &[],                       404),
        ("POST",    "/",            &[],                       405),
        ("GET",     "/",            &["If-Match: \"a\""],      412),
        ("GET",     "/",            &["Range: bytes=99999-"],  416),
        ("BREW",    "/",            &[],                       501),
        ("OPTIONS", "/",            &[],                       204),
    ];
    for protocol in protocols(&edge) {
        for (method, target, lines, status) in cases {
            let before = SystemTime::now() - Duration::from_secs(2);
            let answer = ask(target).method(method).with_lines(lines).send(&edge, protocol).await;
            assert_eq!(answer.status, *status);
            // RFC 9110 §6.6.1
            let date = seconds(&answer.header("date"));
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            assert!(date <= now && date >= before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
            for name in ["server", "x-powered-by", "via", "strict-transport-security", "set-cookie"] {
                assert_eq!(answer.header(name), "", "{protocol:?} {method} {target}");
            }
            for (name, value) in answer.fields() {
                assert!(!value.contains(env!("CARGO_PKG_VERSION")), "{name}: {value}");
                assert!(!value.to_ascii_lowercase().contains("hyper"), "{name}: {value}");
            }
            let is_file = matches!(status, 200 | 206);
            assert_eq!(answer.header("accept-ranges"), if is_file { "bytes" } else { "" }, "{status}");
            if !answer.body.is_empty() {
                assert_eq!(answer.header("x-content-type-options"), "nosniff", "{protocol:?} {method} {target}");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_kept_is_seen_by_the_name_alone() {
    let edge = shop().await;
    let (immutable, revalidate) = ("public, max-age=31536000, immutable", "public, max-age=0, must-revalidate");
    #[rustfmt::skip]
    let cases = [
        ("/assets/app-B3xY9_aZ.js",   200, immutable),
        ("/",                         200, revalidate),
        ("/lines.txt",                200, revalidate),
        ("/about.html",               307, revalidate),
        ("//about",                   308, revalidate),
        // A miss never inherits the caching of a file name.
        ("/assets/app-C3xY9_aZ.js",   404, revalidate),
        ("/%00",                      400, "no-store"),
    ];
    for protocol in protocols(&edge) {
        for (target, status, expected) in cases {
            let answer = ask(target).send(&edge, protocol).await;
            assert_eq!(
                (answer.status, answer.header("cache-control").as_str()),
                (status, expected),
                "{protocol:?} {target}"
            );
        }
        // The page for a miss is no file, and so has no validator.
        let missing = ask("/assets/app-C3xY9_aZ.js").send(&edge, protocol).await;
        assert_eq!((missing.header("etag"), missing.header("last-modified")), Default::default());
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_modified_is_the_switch_and_a_rollback_moves_it_forward() {
    let edge = edge().start().await;
    let next_second = async || tokio::time::sleep(Duration::from_millis(1_050)).await;
    let (one, two) = (page("one"), page("two"));
    let first = edge.push("shop", &[("index.html", &one), ("same.txt", b"same")]).await;
    let date = async |target: &'static str| {
        let mut dates = Vec::new();
        for protocol in protocols(&edge) {
            let answer = ask(target).send(&edge, protocol).await;
            let (modified, now) = (seconds(&answer.header("last-modified")), seconds(&answer.header("date")));
            assert!(modified <= now, "RFC 9110 §8.8.2.1: never in the future");
            dates.push(modified);
        }
        assert_eq!(dates[0], dates[1]);
        dates[0]
    };
    let at_first = date("/").await;
    assert_eq!(date("/same.txt").await, at_first, "one switch, one date");
    next_second().await;
    edge.push("shop", &[("index.html", &two), ("same.txt", b"same")]).await;
    let at_second = date("/").await;
    assert!(at_second > at_first);
    assert_eq!(date("/same.txt").await, at_second);
    next_second().await;
    let path = "/v1/apps/shop/environments/prod/rollback";
    let rolled_back = got(edge.api(Method::POST, path).json(&serde_json::json!({}))).await;
    assert!(rolled_back.status.is_success(), "{}", rolled_back.text());
    assert_eq!(edge.live("shop").await.unwrap().to_string(), first.version.to_string());
    assert!(date("/").await > at_second, "a rollback moves it forward, never back");
    // A client with the newer page sends the newer date, and gets the older page.
    let answer = ask("/")
        .with("If-Modified-Since", httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at_second)));
    assert_eq!(answer.send(&edge, Protocol::Http1).await.status, 200);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_a_version_can_be_traced_to_it() {
    let edge = edge().start().await;
    let pushed = edge.push("shop", &[("index.html", b"hi")]).await;
    let short = &pushed.version.to_string()[..12];
    for protocol in protocols(&edge) {
        for (target, status) in [("/", 200), ("/missing", 404), ("/index.html", 307), ("//", 308), ("/%00", 400)] {
            let answer = ask(target).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("devanture-version").as_str()), (status, short), "{target}");
            assert_eq!(answer.header("x-robots-tag"), "");
        }
        // Previews are hidden from search engines.
        let host = format!("{short}--shop.localhost");
        for (target, status) in [("/", 200), ("/missing", 404)] {
            let answer = ask(target).host(&host).send(&edge, protocol).await;
            assert_eq!(
                (answer.status, answer.header("x-robots-tag").as_str()),
                (status, "noindex"),
                "{protocol:?} {target}"
            );
        }
        let release = ask("/.well-known/devanture/release.json").send(&edge, protocol).await;
        assert_eq!(release.header("content-type"), "application/json");
        assert!(release.text().contains(&pushed.version.to_string()));
    }
    edge.stop().await;
}
