//! Aliases and versions have separate hostnames, and `X-Robots-Tag` keeps search engines away.

use http::{Method, StatusCode};

use super::{SITE, edge, got, push};
use crate::wire::{ask, protocols};

/// Every response of a version has the field: pages, redirects, misses, responses without a body.
#[tokio::test]
async fn aliases_and_versions_are_left_out_by_search_engines_and_environments_are_not() {
    let edge = edge().start().await;
    let toml =
        "[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:9\"\n[env.prod]\nhostnames = [\"example.org\"]\n";
    let files: &[(&str, &[u8])] = &[SITE[0], SITE[1], ("robots.txt", b"Allow: /"), ("404.html", b"not here")];
    let version = push(&edge, "shop", files, toml).await.version;
    let alias = edge.api(Method::PUT, "/v1/apps/shop/aliases/feature-x");
    let alias = got(alias.json(&serde_json::json!({"version": version}))).await;
    assert_eq!(alias.status, StatusCode::OK);
    let preview = format!("{}--shop.localhost", version.short());
    let etag = got(edge.visit(Method::GET, &preview, "/")).await.header("etag").to_owned();
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str, u16)] = &[
        ("GET",     "/",               "",                     200),
        ("HEAD",    "/",               "",                     200),
        ("GET",     "/",               "If-None-Match",        304),
        ("GET",     "/robots.txt",     "",                     200),
        ("GET",     "/robots.txt",     "Range",                206),
        ("GET",     "/about.html",     "",                     307),
        ("GET",     "/a/../about",     "",                     308),
        ("GET",     "/missing",        "",                     404),
        ("POST",    "/",               "",                     405),
        ("OPTIONS", "/",               "",                     204),
        ("GET",     "/api/x",          "",                     502),
        ("GET",     "/.well-known/devanture/release.json", "", 200),
    ];
    for protocol in protocols(&edge) {
        for (method, path, condition, status) in cases {
            for (host, expected) in [
                (preview.as_str(), "noindex"),
                ("feature-x--shop.localhost", "noindex"),
                ("shop.localhost", ""),
                ("example.org", ""),
            ] {
                let mut request = ask(path).host(host).method(method);
                request = match *condition {
                    "If-None-Match" => request.with("If-None-Match", etag.clone()),
                    "Range" => request.with("Range", "bytes=0-1"),
                    _ => request,
                };
                let answer = request.send(&edge, protocol).await;
                let found = (answer.status, answer.header("x-robots-tag"));
                assert_eq!(found, (*status, expected.to_owned()), "{protocol:?} {method} {host}{path}");
            }
        }
    }
    edge.stop().await;
}
