//! Redirects to the canonical name: over both protocols, and from plain HTTP in one step.

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use devanture_config::api::DeployOptions;

use super::{SITE, add, add_canonical, edge, got, names, push, push_as, remove};
use crate::http3_client::Client;
use crate::support::RunningEdge;
use crate::wire::{Answer, Protocol, ask, protocols};

const TOML: &str = "[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:9\"\n[env.prod]\n\
    hostnames = [\"example.org\", \"www.example.org\", \"*.example.org\", \"bücher.example\"]\ncanonical = \"www.example.org\"\n";

async fn shop() -> RunningEdge {
    let edge = edge().with_plain_http().start().await;
    push(&edge, "shop", SITE, TOML).await;
    edge
}

#[tokio::test]
async fn every_other_name_leads_to_the_canonical_one_with_path_and_query() {
    let edge = shop().await;
    let port = edge.https().port();
    for protocol in protocols(&edge) {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/a/b%20c?x=1&y=%2F"),
            ("GET", "/missing.js?"),
            ("GET", "//evil.example/"),
            ("GET", "/a/../b"),
            ("GET", "/%5C"),
            ("GET", "/.well-known/devanture/release.json"),
            // Redirects precede routes: the backend only sees the canonical name.
            ("GET", "/api/x?y"),
            ("HEAD", "/about"),
            ("POST", "/api/x"),
            ("DELETE", "/"),
            ("OPTIONS", "/"),
            ("BREW", "/"),
        ] {
            for host in ["example.org", "xn--bcher-kva.example"] {
                let answer = ask(path).host(host).method(method).send(&edge, protocol).await;
                // Two slashes could start another host.
                let location = format!("https://www.example.org:{port}{}", path.replace("//", "/"));
                assert_eq!((answer.status, answer.header("location")), (308, location), "{method} {host}{path}");
                assert_eq!(answer.header("cache-control"), "public, max-age=0, must-revalidate");
                assert!(answer.body.is_empty() && !answer.headers.contains_key("vary"), "{answer:?}");
            }
        }
        // The canonical name, names covered by the wildcard, and the edge's default names serve.
        for host in ["www.example.org", "a.example.org", "shop.localhost"] {
            let answer = ask("/").host(host).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "home"), "{host}");
        }
        // Unassigned names.
        for host in ["a.b.example.org", "other.example"] {
            assert!(visit_error(&edge, host, protocol).await, "{host}");
        }
    }
    edge.stop().await;
}

/// A site that redirects by `_redirects` to a name other than the canonical name.
#[tokio::test]
async fn a_rule_against_the_canonical_name_does_not_lead_around_in_a_circle() {
    const RULES: &str = "\
        https://example.org/* https://www.example.org/:splat 301!\n\
        /moved https://www.example.org/elsewhere 301!\n";
    let edge = edge().start().await;
    let toml = "rules = \"netlify\"\n[env.prod]\nhostnames = [\"example.org\", \"www.example.org\"]\n";
    let files: &[(&str, &[u8])] = &[("index.html", b"home"), ("_redirects", RULES.as_bytes())];
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    push_as(&edge, files, toml, options).await;
    let port = edge.https().port();
    for protocol in protocols(&edge) {
        for path in ["/", "/?x=1", "/index.html"] {
            let answer = ask(path).host("www.example.org").send(&edge, protocol).await;
            let location = format!("https://example.org:{port}{path}");
            assert_eq!((answer.status, answer.header("location")), (308, location), "{path}");
            let answer = ask(path).host("example.org").send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "home"), "{path}");
        }
    }
    // Without a canonical name, the site's rule applies.
    let toml = toml.replace("hostnames", "canonical = \"none\"\nhostnames");
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    push_as(&edge, files, &toml, options).await;
    let answer = ask("/a").host("example.org").send(&edge, Protocol::Http1).await;
    assert_eq!((answer.status, answer.header("location").as_str()), (301, "https://www.example.org/a"));
    edge.stop().await;
}

/// Returns true if the local authority has no certificate for a host, so that the handshake fails.
async fn visit_error(edge: &RunningEdge, host: &str, protocol: Protocol) -> bool {
    if protocol == Protocol::Http3 {
        return Client::try_connect(edge, host, edge.http3().unwrap()).await.is_err();
    }
    let version = if protocol == Protocol::Http2 { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
    edge.visit(Method::GET, host, "/").version(version).send().await.is_err()
}

/// Sends one head to the plain listener and returns the response.
pub(super) async fn plain(edge: &RunningEdge, head: &str) -> Answer {
    let mut stream = TcpStream::connect(edge.http().unwrap()).await.unwrap();
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    Answer::parse(&read, head.starts_with("HEAD")).unwrap().0
}

#[tokio::test]
async fn plain_http_leads_to_the_canonical_name_in_one_step() {
    let edge = shop().await;
    let port = edge.https().port();
    for (host, to) in [
        ("example.org", "www.example.org"),
        ("EXAMPLE.org.:80", "www.example.org"),
        ("b%C3%BCcher.example", "www.example.org"),
        ("www.example.org", "www.example.org"),
        ("any.example.org", "any.example.org"),
        ("shop.localhost", "shop.localhost"),
    ] {
        let answer = plain(&edge, &format!("GET /a?b=c HTTP/1.1\r\nHost: {host}")).await;
        let location = format!("https://{to}:{port}/a?b=c");
        assert_eq!((answer.status, answer.header("location")), (308, location), "{host}");
    }
    assert_eq!(plain(&edge, "GET / HTTP/1.1\r\nHost: a.b.example.org").await.status, 404);
    edge.stop().await;
}

#[tokio::test]
async fn a_name_is_one_in_each_of_its_spellings() {
    let edge = shop().await;
    add_canonical(&edge, "shop", "b%C3%BCcher.example").await;
    let mut stream = crate::wire::connect(&edge, "xn--bcher-kva.example", "http/1.1").await;
    for host in ["xn--bcher-kva.example", "XN--BCHER-kva.Example.", "b%C3%BCcher.example", "B%c3%9Ccher.example:443"] {
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        let (answers, _) = crate::wire::read_answers(&mut stream, &[false]).await;
        assert_eq!((answers[0].status, answers[0].text().as_str()), (200, "home"), "{host}");
    }
    // Unicode name as typed by a user.
    let answer = got(edge.visit(Method::GET, "bücher.example", "/about")).await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "about"));
    drop(stream);
    edge.stop().await;
}

#[tokio::test]
async fn which_name_is_canonical_changes_at_once_and_without_a_restart() {
    let edge = edge().start().await;
    push(&edge, "shop", SITE, "").await;
    let leads_to = async |host: &str| {
        let answer = got(edge.visit(Method::GET, host, "/")).await;
        match answer.status {
            StatusCode::OK => String::new(),
            _ => answer.header("location").to_owned(),
        }
    };
    let at = |host: &str| format!("https://{host}:{}/", edge.https().port());
    // Names added by the API alone: the first is canonical.
    add(&edge, "shop", "www.example.org").await;
    assert_eq!(leads_to("www.example.org").await, "");
    add(&edge, "shop", "example.org").await;
    assert_eq!(leads_to("example.org").await, at("www.example.org"));
    add_canonical(&edge, "shop", "example.org").await;
    assert_eq!(leads_to("www.example.org").await, at("example.org"));
    assert_eq!(leads_to("example.org").await, "");
    // A choice by the API overrides the version's choice, and outlives the version.
    let two = "[env.prod]\nhostnames = [\"www.example.org\", \"example.org\", \"example.com\"]\n";
    push(&edge, "shop", &[("index.html", b"two")], two).await;
    assert_eq!(names(&edge, "shop").await, [">example.com", "=example.org", ">www.example.org"]);
    let token = edge.admin_token().to_owned();
    let unset = super::name_with(&edge, &token, ("PUT", "shop", "prod", "example.org"), "{\"canonical\":false}").await;
    assert_eq!(unset.status, StatusCode::OK);
    assert_eq!(leads_to("example.org").await, at("www.example.org"));
    let none = format!("{two}canonical = \"none\"\n");
    push(&edge, "shop", &[("index.html", b"three")], &none).await;
    assert_eq!(names(&edge, "shop").await, ["example.com", "example.org", "www.example.org"]);
    assert_eq!(leads_to("example.com").await, "");
    // A rollback also restores the canonical name.
    let back = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback")).await;
    assert_eq!(back.status, StatusCode::OK);
    assert_eq!(names(&edge, "shop").await, [">example.com", ">example.org", "=www.example.org"]);
    // After the removal of the canonical name, the next name replaces it.
    assert_eq!(remove(&edge, "shop", "www.example.org").await.canonical.unwrap().as_str(), "example.org");
    assert_eq!(leads_to("example.com").await, at("example.org"));
    let edge = edge.restart().await;
    assert_eq!(names(&edge, "shop").await, [">example.com", "=example.org"]);
    let answer = got(edge.visit(Method::GET, "example.com", "/x")).await;
    assert_eq!(answer.header("location"), format!("https://example.org:{}/x", edge.https().port()));
    edge.stop().await;
}
