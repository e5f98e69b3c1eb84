//! Certificate authorities validate a name at paths that no app answers at names assigned by the edge.

use devanture_config::api::DeployOptions;

use super::redirect::plain;
use super::{add, edge, push, push_as};
use crate::support::Files;
use crate::wire::{Protocol, ask, protocols};

/// Validation paths: ACME, and an agreed change to a website.
const PATHS: [&str; 2] = ["/.well-known/acme-challenge/token", "/.well-known/pki-validation/fileauth.txt"];
const FILES: Files<'static> = &[
    ("index.html", b"home"),
    (".well-known/acme-challenge/token", b"proof"),
    (".well-known/pki-validation/fileauth.txt", b"proof"),
];
const HOSTNAMES: &str = "[env.prod]\nhostnames = [\"example.org\"]\ncanonical = \"example.org\"\n";

#[tokio::test]
async fn no_app_proves_that_it_has_a_name_of_the_edges_domains() {
    let edge = edge().with_plain_http().start().await;
    let version = push(&edge, "shop", FILES, HOSTNAMES).await.version.short();
    // Names assigned by the operator, including a wildcard for all unassigned names.
    for host in ["given.localhost", "*.localhost"] {
        add(&edge, "shop", host).await;
    }
    let preview = format!("{version}--shop.localhost");
    let hosts = ["shop.localhost", &preview, "given.localhost", "any.localhost"];
    // By a file, by a backend, and by a redirect, which authorities follow.
    for ways in [
        "",
        "[[routes]]\npath = \"/.well-known/*\"\nto = \"http://127.0.0.1:9\"\n",
        "[[redirects]]\nfrom = \"/.well-known/*\"\nto = \"https://elsewhere.example/\"\nforce = true\n",
    ] {
        let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
        push_as(&edge, FILES, &format!("{ways}{HOSTNAMES}"), options).await;
        for path in PATHS {
            for host in hosts {
                for protocol in protocols(&edge) {
                    let answer = ask(path).host(host).send(&edge, protocol).await;
                    assert_eq!((answer.status, answer.header("location").as_str()), (404, ""), "{host}{path} {ways}");
                    assert!(!answer.text().contains("proof"), "{host}{path} {ways}");
                }
                let answer = plain(&edge, &format!("GET {path} HTTP/1.1\r\nHost: {host}")).await;
                assert_eq!((answer.status, answer.header("location").as_str()), (404, ""), "{host}{path} {ways}");
            }
        }
    }
    // Allowed at a custom hostname, whose owner chooses the authority.
    push_as(&edge, FILES, HOSTNAMES, DeployOptions::default()).await;
    for path in PATHS {
        for protocol in protocols(&edge) {
            let answer = ask(path).host("example.org").send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "proof"), "{path}");
        }
        assert_eq!(plain(&edge, &format!("GET {path} HTTP/1.1\r\nHost: example.org")).await.status, 308);
    }
    edge.stop().await;
}

/// Other spellings that a backend, a client or a rule may read as one of [`PATHS`].
const SPELLINGS: [&str; 14] = [
    "/.well-known/%61cme-challenge/token",
    "/%2ewell-known/acme-challenge/token",
    "/.well-known%2Facme-challenge/token",
    "/.well-known%5Cacme-challenge%5ctoken",
    "//.well-known/acme-challenge/token",
    "/./.well-known/acme-challenge/token",
    "/.well-known/pki%2Dvalidation//fileauth.txt",
    "/%2F.%77ell-known%2fpki-validation/fileauth.txt",
    "/.well-known/acme-challenge;a/token",
    "/.well-known;a=b/pki-validation%3Bc/fileauth.txt",
    "/;a/.well-known/acme-challenge/token",
    "/.WELL-KNOWN/Acme-Challenge/token",
    "/%252ewell-known/acme-challenge/token",
    "/.well-known./acme-challenge%20/token",
];

#[tokio::test]
async fn no_spelling_of_a_path_for_proofs_is_an_apps_at_a_name_of_the_edges_domains() {
    let edge = edge().with_plain_http().start().await;
    push(&edge, "shop", FILES, HOSTNAMES).await;
    // The edge redirects visitors of this name to the canonical name.
    add(&edge, "shop", "given.localhost").await;
    for ways in [
        "[[routes]]\npath = \"/*\"\nto = \"http://127.0.0.1:9\"\n",
        "[[redirects]]\nfrom = \"/.well-known/*\"\nto = \"https://elsewhere.example/\"\nforce = true\n",
    ] {
        let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
        push_as(&edge, FILES, &format!("{ways}{HOSTNAMES}"), options).await;
        for path in SPELLINGS {
            for host in ["shop.localhost", "given.localhost"] {
                let answer = ask(path).host(host).send(&edge, Protocol::Http1).await;
                assert_eq!((answer.status, answer.header("location").as_str()), (404, ""), "{host}{path} {ways}");
                let answer = plain(&edge, &format!("GET {path} HTTP/1.1\r\nHost: {host}")).await;
                assert_eq!((answer.status, answer.header("location").as_str()), (404, ""), "{host}{path} {ways}");
            }
        }
        // A path that leaves another folder again is redirected to the right spelling.
        let around = format!("/x/..{}", PATHS[0]);
        for host in ["shop.localhost", "given.localhost"] {
            let answer = ask(&around).host(host).send(&edge, Protocol::Http1).await;
            assert_eq!((answer.status, answer.header("location").as_str()), (308, PATHS[0]), "{host} {ways}");
            let answer = plain(&edge, &format!("GET {around} HTTP/1.1\r\nHost: {host}")).await;
            assert_eq!((answer.status, answer.header("location").as_str()), (404, ""), "{host} {ways}");
        }
    }
    edge.stop().await;
}
