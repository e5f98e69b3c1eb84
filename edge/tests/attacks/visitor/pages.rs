//! Site information for clients without a browser: deep links work, and the source of the site stays hidden.

use devanture_config::api::{BeginDeploy, Source};
use http::{Method, StatusCode};

use crate::attacks::world::{push, site};
use crate::support::{edge, got};

const HOST: &str = "shop.localhost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deep_link_of_an_application_answers_who_is_no_browser() {
    let edge = edge().start().await;
    let files = &[("index.html", b"app".as_slice())];
    push(&edge, "shop", files, "not_found = \"single-page-application\"").await;
    push(&edge, "rules", files, "[[rewrites]]\nfrom = \"/*\"\nto = \"/index.html\"").await;
    for host in [HOST, "rules.localhost"] {
        let status = async |method: Method, path: &str, fields: &[(&str, &str)]| {
            let visit = edge.visit(method, host, path);
            let visit = fields.iter().fold(visit, |visit, (name, value)| visit.header(*name, *value));
            got(visit).await.status
        };
        for (path, fields) in [
            ("/users/5", &[][..]),
            ("/users/5", &[("accept", "*/*")]),
            ("/users/j.doe", &[("accept", "*/*")]),
            ("/users/5", &[("accept", "text/html")]),
            ("/a.js", &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")]),
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(status(method, path, fields).await, StatusCode::OK, "{host} {path} {fields:?}");
            }
        }
        for (path, fields) in [
            ("/gone.js", &[("accept", "*/*")][..]),
            ("/gone.PNG", &[]),
            ("/users/5", &[("accept", "application/json")]),
            ("/users/5", &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("accept", "*/*")]),
            ("/users/5", &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("accept", "*/*")]),
        ] {
            assert_eq!(status(Method::GET, path, fields).await, StatusCode::NOT_FOUND, "{host} {path} {fields:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_learns_of_a_release_only_what_the_site_shows() {
    let edge = edge().start().await;
    let files = &[("index.html", b"page".as_slice())];
    for (toml, is_public) in [("", false), ("public_source = false", false), ("public_source = true", true)] {
        let source = Source {
            commit: Some("4f2a91bc03de".to_owned()),
            branch: Some("secret-branch".to_owned()),
            message: Some("Hide the hole of ACME".to_owned()),
            ..Source::default()
        };
        let begin = BeginDeploy { manifest: site(files, toml), source, options: Default::default() };
        edge.try_push("shop", "prod", begin, files).await.unwrap();
        let release = edge.get(HOST, "/.well-known/devanture/release.json").await.json::<serde_json::Value>();
        assert!(release["version"].is_string() && release["stored"].is_string(), "{release}");
        for (key, value) in [("branch", "secret-branch"), ("message", "Hide the hole of ACME")] {
            assert_eq!(release[key] == value, is_public, "{toml}: {release}");
        }
        assert_eq!(release["commit"].is_string(), is_public, "{toml}: {release}");
    }
    edge.stop().await;
}
