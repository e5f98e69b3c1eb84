//! One version digest, served by each environment according to the overlay.

use std::collections::BTreeSet;

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{SITE, preview, promote, push_site, site};
use crate::support::archives::{KINDS, archive, media_type};
use crate::support::{RunningEdge, edge, got};

/// Backend that answers every request with one word.
async fn backend(word: &'static str) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// Files below a folder of the edge's data.
fn stored(edge: &RunningEdge, folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![edge.data_dir().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.extend([path.display().to_string()]),
            }
        }
    }
    found
}

#[tokio::test]
async fn one_digest_differs_by_environment_in_routes_rules_pages_and_hostnames_and_a_promotion_sends_nothing() {
    let (one, two) = (backend("base api").await, backend("staging api").await);
    let edge = edge().start().await;
    let toml = format!(
        "html_handling = \"auto-trailing-slash\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:{one}\"\n\
        [[redirects]]\nfrom = \"/old\"\nto = \"/for-all\"\n[cache]\n\"/index.html\" = \"1h\"\n\
        [env.staging]\nnot_found = \"none\"\nhtml_handling = \"as-is\"\n[env.prod]\nhostnames = [\"www.example.org\"]\n"
    );
    let overlay = format!(
        "html_handling = \"none\"\nhostnames = [\"staging.example.org\"]\n[[routes]]\npath = \"/api/*\"\n\
        to = \"http://127.0.0.1:{two}\"\n[[redirects]]\nfrom = \"/old\"\nto = \"/for-staging\"\n"
    );
    let manifest = site(SITE, &toml, &[("devanture.staging.toml", &overlay)]);
    let report = push_site(&edge, "staging", manifest.clone(), SITE).await;
    assert_eq!(report.version, manifest.id());
    let before = (stored(&edge, "blobs"), stored(&edge, "manifests"));
    let promoted = promote(&edge, "staging", "prod").await;
    assert_eq!((promoted.version, promoted.switched), (report.version, true));
    assert_eq!((stored(&edge, "blobs"), stored(&edge, "manifests")), before);

    // Path, and the response in prod, in staging and in the version's preview.
    let hosts = ["shop.localhost".to_owned(), "staging--shop.localhost".to_owned(), preview(&report)];
    for (path, expected) in [
        ("/api/x", ["base api", "staging api", "base api"]),
        ("/old", ["→ /for-all", "→ /for-staging", "→ /for-all"]),
        ("/about", ["about", "404", "about"]),
        ("/about.html", ["→ /about", "about", "→ /about"]),
        ("/devanture.staging.toml", ["404", "404", "404"]),
    ] {
        for (host, expected) in hosts.iter().zip(expected) {
            let answer = edge.get(host, path).await;
            let found = match answer.status {
                StatusCode::OK => answer.text(),
                status if status.is_redirection() => format!("→ {}", answer.header("location")),
                status => status.as_u16().to_string(),
            };
            assert_eq!(found, expected, "{host} {path}");
        }
    }
    assert_eq!(edge.get("www.example.org", "/api/x").await.text(), "base api");
    assert_eq!(edge.get("staging.example.org", "/api/x").await.text(), "staging api");
    edge.stop().await;
}

#[tokio::test]
async fn the_overlays_of_an_archive_count_and_are_no_files_of_it() {
    let edge = edge().start().await;
    let overlay: &[u8] = b"[[redirects]]\nfrom = \"/old\"\nto = \"/for-staging\"\n";
    for kind in KINDS {
        let app = format!("by-{}", kind.replace('.', ""));
        let send = async |environment: &str, archive: Vec<u8>| {
            let path = format!("/v1/apps/{app}/environments/{environment}/deploys");
            got(edge.api(Method::POST, &path).header("content-type", media_type(kind)).body(archive)).await
        };
        for wrapper in ["", "site/"] {
            let names =
                ["index.html", "devanture.toml", "devanture.staging.toml"].map(|name| format!("{wrapper}{name}"));
            let base = format!("app = \"{app}\"\n");
            let files: [(&str, &[u8]); 3] =
                [(&names[0], wrapper.as_bytes()), (&names[1], base.as_bytes()), (&names[2], overlay)];
            let sent = send("staging", archive(kind, &files)).await;
            let report: devanture_config::api::DeployReport = sent.json();
            // `devanture.toml` is a file of the bundle, and is never served; the overlay neither counts nor is served.
            assert_eq!(report.files.total, 2, "{kind} {wrapper}");
            let host = format!("staging--{app}.localhost");
            assert_eq!(edge.get(&host, "/old").await.header("location"), "/for-staging");
            for name in ["devanture.toml", "devanture.staging.toml"] {
                assert_eq!(edge.get(&host, &format!("/{name}")).await.status, StatusCode::NOT_FOUND);
            }
        }
        let wrong: &[(&str, &[u8])] =
            &[("index.html", b"x"), ("devanture.staging.toml", b"\napp = \"y\"\n"), ("devanture.ABC.toml", b"")];
        let problem = send("staging", archive(kind, wrong)).await.problem();
        let places: Vec<(&str, usize)> = problem.mistakes.iter().map(|m| (m.file.as_str(), m.line)).collect();
        assert_eq!(problem.code, Code::BadConfig);
        assert_eq!(places, [("devanture.ABC.toml", 0), ("devanture.staging.toml", 2)], "{kind}");
    }
    edge.stop().await;
}
