//! Paths crafted to turn a site's redirect into a redirect to a foreign host.

use devanture_config::PlaceName;
use devanture_http::Fields;
use devanture_serve::handler::{Decision, Head, decide};
use devanture_store::records;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::Url;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::attacks::world::push;
use crate::in_process::{InProcess, Stores};
use crate::support::edge;
use crate::wire::{Answer, connect, read_answers, write};

/// Rules of every form that copy part of the request into the target.
const RULES: &str = "\
    /out/* /:splat\n\
    /as/:name/* /:name/:splat 302\n\
    /raw/* /:splat 308!\n\
    /far/* https://other.example/:splat\n\
    /bare/* https://other.example:8443 301\n\
    /sub/:label https://:label.sub.example.net/ 301\n\
    /q to=:to /:to 302\n\
    /r to=:to https://other.example/:to 302\n\
    /s to=:to /x?next=:to 302\n\
    //two/* //other.example/:splat 302\n\
    /dots/* /./:splat 302\n\
    /de/* /deutsch/:splat 302 Language=de\n";

/// Hosts that the rules' author wrote, and the names of the site.
fn is_expected(host: &str) -> bool {
    let own = ["shop.localhost", "example.org", "www.example.org"];
    let below = host.strip_suffix(".sub.example.net").is_some_and(|label| !label.is_empty() && !label.contains('.'));
    own.contains(&host) || host == "other.example" || below
}

async fn site() -> InProcess {
    let stores = Stores::new();
    let files: &[(&str, &[u8])] =
        &[("index.html", b"home"), ("a/index.html", b"a"), ("b.html", b"b"), ("_redirects", RULES.as_bytes())];
    let route = json!({"path": "/api/*", "to": "http://192.0.2.1"});
    stores.push("shop", files, json!({"rules": "netlify", "routes": [route]})).await;
    for (added_ms, host) in ["www.example.org", "example.org"].into_iter().enumerate() {
        let record = json!({
            "app": "shop", "environment": PlaceName::prod(), "added_ms": added_ms, "by_api": true, "canonical": false,
            "who": "me",
        });
        stores.put(records::hostname_key(&host.parse().unwrap()), record).await;
    }
    stores.handler(devanture_base::telemetry::AccessLog::unread()).await
}

/// Redirect target of a request, if any.
fn location(site: &InProcess, host: &str, path: &str, query: Option<&str>) -> Option<String> {
    let headers: HeaderMap =
        [("accept-language", "de")].map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).into_iter().collect();
    let head = Head {
        method: &Method::GET,
        path,
        query,
        host,
        fields: Fields::Map(&headers),
        now_s: || 0,
        heeds_pins: false,
        target_bytes_max: 4_096,
    };
    match decide(&head, &site.handler.live) {
        Decision::Small(answer) => Some(answer.headers.get("location")?.to_str().unwrap().to_owned()),
        _ => None,
    }
}

/// Paths that browsers, or programs that strip part of a URL, might take for another authority.
fn paths() -> impl Strategy<Value = String> {
    let prefix = prop::sample::select(vec![
        "", "/", "/out/", "/as/", "/raw/", "/far/", "/bare/", "/sub/", "//two/", "/dots/", "/de/", "/a", "/b", "/api/",
        "/q",
    ]);
    let piece = prop::sample::select(vec![
        "/",
        "//",
        "\\",
        ".",
        "..",
        "./",
        "../",
        "%2f",
        "%2F",
        "%5c",
        "%5C",
        "%2e",
        "%09",
        "%0a",
        "%0d%0a",
        "%00",
        "\t",
        "@",
        ":",
        "evil.example",
        "https:",
        "https://",
        "javascript:",
        ";",
        "a",
        "b",
        "b.html",
        "index.html",
        "\u{3002}",
        "%E3%80%82",
        "\u{ff0f}",
        "%EF%BC%8F",
        "[::1]",
        "%2e%2e",
        "..;",
    ]);
    (prefix, prop::collection::vec(piece, 0..7)).prop_map(|(prefix, pieces)| {
        let path = format!("{prefix}{}", pieces.concat());
        if path.starts_with('/') { path } else { format!("/{path}") }
    })
}

fn queries() -> impl Strategy<Value = Option<String>> {
    let value = prop::sample::select(vec![
        "",
        "/",
        "//evil.example",
        "%2f%2fevil.example",
        "\\evil.example",
        "%5cevil.example",
        "..%2f..%2f%2fevil.example",
        ".%2f%2fevil.example",
        "https:%2f%2fevil.example",
        "%09//evil.example",
        "@evil.example",
        ".evil.example",
        "a",
    ]);
    prop::option::of(value.prop_map(|value| format!("to={value}")))
}

/// RFC 9110 §10.2.2; WHATWG URL §4.4, by which browsers parse a `Location`.
#[tokio::test]
async fn no_address_makes_a_redirect_lead_to_an_authority_that_nobody_wrote_into_a_rule() {
    let site = site().await;
    let mut found = 0;
    let hosts = prop::sample::select(vec!["shop.localhost", "example.org", "www.example.org"]);
    let mut runner = TestRunner::new(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() });
    let counted = std::cell::Cell::new(0);
    let outcome = runner.run(&(hosts, paths(), queries()), |(host, path, query)| {
        let Some(location) = location(&site, host, &path, query.as_deref()) else { return Ok(()) };
        counted.set(counted.get() + 1);
        prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{}", location);
        let base = Url::parse(&format!("https://{host}/")).unwrap();
        let url = base.join(&location).unwrap();
        prop_assert!(matches!(url.scheme(), "https") && is_expected(url.host_str().unwrap()), "{} {}", path, location);
        prop_assert!(url.username().is_empty() && url.password().is_none(), "{}", location);
        // The path alone is no network-path reference, either.
        prop_assert!(!url.path().starts_with("//"), "{} {}", path, location);
        let alone = location
            .split_once("://")
            .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        let alone = base.join(alone).unwrap();
        prop_assert_eq!(alone.host_str(), Some(host), "{} {}", path, location);
        Ok(())
    });
    found += counted.get();
    outcome.unwrap();
    assert!(found > 400, "hardly anything is redirected, so that this says nothing: {found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_redirect_to_another_name_or_to_https_keeps_what_begins_an_authority() {
    let edge = edge().with_plain_http().start().await;
    let toml = "[env.prod]\nhostnames = [\"www.example.org\", \"example.org\"]\n";
    push(&edge, "shop", &[("index.html", b"home")], toml).await;
    let to = format!("https://www.example.org:{}", edge.https().port());
    for (path, expected) in [
        ("//evil.example/", "/evil.example/"),
        ("///evil.example", "/evil.example"),
        ("/\\evil.example", "/%5Cevil.example"),
        ("//\\evil.example", "/%5Cevil.example"),
        ("/.//evil.example", "/./evil.example"),
        ("/a/..//evil.example?b=//c", "/a/../evil.example?b=//c"),
        ("/%2Fevil.example", "/%2Fevil.example"),
        ("/%5Cevil.example", "/%5Cevil.example"),
        ("/%09/evil.example", "/%09/evil.example"),
        ("/a?//evil.example", "/a?//evil.example"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: example.org\r\n");
        let mut stream = connect(&edge, "example.org", "http/1.1").await;
        write(&mut stream, format!("{head}\r\n").as_bytes()).await;
        let (answers, _) = read_answers(&mut stream, &[false]).await;
        let mut plain = TcpStream::connect(edge.http().unwrap()).await.unwrap();
        plain.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut read = Vec::new();
        plain.read_to_end(&mut read).await.unwrap();
        for answer in [&answers[0], &Answer::parse(&read, false).unwrap().0] {
            assert_eq!((answer.status, answer.header("location")), (308, format!("{to}{expected}")), "{path}");
        }
    }
    edge.stop().await;
}
