//! Public settings as read by the front.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devanture_config::api::{PauseReport, PlaceStatus};
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    ENV, SITE, history, patch, post, preview, promote, publish, push, push_site, rollback, settings, shown, site,
    started,
};
use crate::support::{Files, edge, got, manifest};
use crate::wire::{Protocol, ask};

#[tokio::test]
async fn each_environment_shows_what_is_public_of_its_own_and_a_preview_that_of_preview() {
    let edge = started().await;
    let report = push(&edge, "staging", "staged").await;
    let alias = edge.api(Method::PUT, "/v1/apps/shop/aliases/feature").json(&json!({ "version": report.version }));
    got(alias).await.json::<PlaceStatus>();
    let hosts = ["shop.localhost", "staging--shop.localhost", "feature--shop.localhost", &preview(&report)];
    for host in hosts {
        assert_eq!(edge.get(host, ENV).await.text(), "{}", "{host}");
    }
    let set = json!({ "set": {
        "API_URL": { "value": "https://api.example.org", "public": true },
        "LEVEL": { "value": "plain" },
        "KEY": { "value": "hush", "secret": true },
    } });
    let changed = patch(&edge, "prod", set).await;
    assert_eq!((changed.revision, changed.previous, changed.changed, changed.live), (1, 0, true, true));
    publish(&edge, "staging", "API_URL", "https://staging.example.org").await;
    let expected = |text: &str| json!({ "API_URL": text });
    assert_eq!(shown(&edge, hosts[0]).await, expected("https://api.example.org"));
    assert_eq!(shown(&edge, hosts[1]).await, expected("https://staging.example.org"));
    assert_eq!((shown(&edge, hosts[2]).await, shown(&edge, hosts[3]).await), (json!({}), json!({})));
    // `preview` has no live version; the environment's settings nevertheless apply to all previews.
    assert!(!publish(&edge, "preview", "API_URL", "https://test.example.org").await.live);
    for host in &hosts[2..] {
        assert_eq!(shown(&edge, host).await, expected("https://test.example.org"), "{host}");
    }
    assert_eq!(shown(&edge, hosts[1]).await, expected("https://staging.example.org"));
    // A restart keeps all settings, and another app sees none.
    let edge = edge.restart().await;
    edge.push("other", SITE).await;
    for (host, value) in hosts.iter().zip(["api", "staging", "test", "test"]) {
        assert_eq!(shown(&edge, host).await, expected(&format!("https://{value}.example.org")), "{host}");
    }
    assert_eq!(shown(&edge, "other.localhost").await, json!({}));
    patch(&edge, "preview", json!({ "unset": ["API_URL"] })).await;
    assert_eq!((shown(&edge, hosts[2]).await, shown(&edge, hosts[3]).await), (json!({}), json!({})));
    edge.stop().await;
}

#[tokio::test]
async fn another_spelling_of_its_path_leads_to_it_and_to_no_backend() {
    let edge = edge().start().await;
    let files: Files<'_> = &[("index.html", b"home")];
    let toml = "[[routes]]\npath = \"/*\"\nto = \"http://127.0.0.1:9\"\n";
    push_site(&edge, "prod", site(files, toml, &[]), files).await;
    for path in [
        "/.well-known/devanture/%65nv.json",
        "/%2Ewell-known/devanture/env.json",
        "/.well-known%2Fdevanture/env.json",
        "//.well-known/devanture/env.json",
        "/x%2F/%2e./.well-known/devanture/env.json",
    ] {
        let answer = ask(path).host("shop.localhost").send(&edge, Protocol::Http1).await;
        assert_eq!((answer.status, answer.header("location").as_str()), (308, ENV), "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn it_is_validated_by_a_strong_tag_and_nothing_of_the_site_stands_before_it() {
    let edge = edge().start().await;
    let files: Files<'_> = &[
        ("index.html", b"home"),
        (".well-known/devanture/env.json", b"a file"),
        (".well-known/devanture/other.json", b"another file"),
    ];
    let toml = "not_found = \"single-page-application\"\n[[routes]]\npath = \"/.well-known/devanture/env.json\"\n\
        to = \"http://127.0.0.1:9\"\n[[redirects]]\nfrom = \"/.well-known/*\"\nto = \"/else\"\nforce = true\n\
        [[headers]]\nfor = \"/.well-known/devanture/other.json\"\nbasic_auth = [\"me:word\"]\n[[headers]]\nfor = \"/*\"\nset = { \"X-A\" = \"1\" }\n";
    push_site(&edge, "prod", site(files, toml, &[]), files).await;
    publish(&edge, "prod", "A", "1").await;
    let first = edge.get("shop.localhost", ENV).await;
    assert_eq!((first.status, first.text()), (StatusCode::OK, r#"{"A":"1"}"#.to_owned()));
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("content-type", "application/json"),
        ("x-content-type-options", "nosniff"),
        ("x-a", ""),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 20, "{tag}");
    let ask = async |method: Method, name: &str, value: &str| {
        got(edge.visit(method, "shop.localhost", ENV).header(name, value)).await
    };
    for (method, name, value, status) in [
        (Method::GET, "if-none-match", tag.as_str(), 304),
        (Method::HEAD, "if-none-match", &format!("\"x\", W/{tag}"), 304),
        (Method::GET, "if-none-match", "\"x\"", 200),
        (Method::GET, "if-match", "\"x\"", 412),
        (Method::GET, "if-match", &tag, 200),
        (Method::POST, "x-b", "", 405),
        (Method::OPTIONS, "x-b", "", 405),
    ] {
        let answer = ask(method.clone(), name, value).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {name}: {value}");
        if status == 304 {
            assert_eq!((answer.header("etag"), answer.body.len()), (tag.as_str(), 0));
            assert_eq!(answer.header("content-length"), "");
        }
    }
    let head = got(edge.visit(Method::HEAD, "shop.localhost", ENV)).await;
    assert_eq!((head.header("content-length"), head.header("etag")), ("9", tag.as_str()));
    // Files beside the settings belong to the site.
    assert_eq!(edge.get("shop.localhost", "/.well-known/devanture/other.json").await.status, StatusCode::UNAUTHORIZED);

    // The settings remain readable during a pause, and changes apply.
    post(&edge, "prod", "pause", json!({})).await.json::<PauseReport>();
    assert_eq!(edge.get("shop.localhost", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    publish(&edge, "prod", "A", "2").await;
    let second = ask(Method::GET, "if-none-match", &tag).await;
    assert_eq!(second.text(), r#"{"A":"2"}"#);
    publish(&edge, "prod", "A", "1").await;
    assert_eq!(edge.get("shop.localhost", ENV).await.header("etag"), tag);
    edge.stop().await;
}

#[tokio::test]
async fn a_change_holds_at_once_without_loading_the_version_again() {
    let edge = started().await;
    let before = edge.get("shop.localhost", "/").await;
    // Files removed from the disk could not be loaded again.
    std::fs::rename(edge.data_dir().join("manifests"), edge.data_dir().join("elsewhere")).unwrap();
    for number in 0..20 {
        let changed = publish(&edge, "prod", "NUMBER", &number.to_string()).await;
        assert_eq!(changed.revision, number + 1);
        assert_eq!(shown(&edge, "shop.localhost").await, json!({ "NUMBER": number.to_string() }));
    }
    let after = edge.get("shop.localhost", "/").await;
    assert_eq!(after.text(), "home");
    assert_eq!(after.header("last-modified"), before.header("last-modified"), "no file of it is another");
    std::fs::rename(edge.data_dir().join("elsewhere"), edge.data_dir().join("manifests")).unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn law_1_one_request_sees_one_version_and_the_settings_that_it_is_live_with() {
    let edge = Arc::new(edge().start().await);
    let mut ids = Vec::new();
    for text in ["one", "two"] {
        let report = push(&edge, "prod", text).await;
        publish(&edge, "prod", "VERSION", &report.version.short()).await;
        ids.push(report.version);
    }
    // Between the push of the second version and the change of settings the two did not match; from here on they match.
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (edge, is_over) = (Arc::clone(&edge), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut seen = std::collections::BTreeSet::new();
                while !is_over.load(Ordering::Acquire) {
                    let answer = edge.get("shop.localhost", ENV).await;
                    let version = answer.header("devanture-version").to_owned();
                    assert_eq!(answer.json::<serde_json::Value>()["VERSION"], version.as_str());
                    seen.insert(version);
                }
                seen.len()
            })
        })
        .collect();
    for number in 0..40 {
        let report = rollback(&edge, json!({ "version": ids[number % 2], "with_settings": true })).await;
        assert!(report.switched && report.settings.unwrap().restored);
    }
    is_over.store(true, Ordering::Release);
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.unwrap());
    }
    assert!(seen.contains(&2), "{seen:?}");
}

#[tokio::test]
async fn what_was_set_before_the_first_push_holds_from_it_on_and_a_promotion_copies_nothing() {
    let edge = started().await;
    publish(&edge, "staging", "A", "1").await;
    let changed = publish(&edge, "staging", "A", "2").await;
    assert_eq!((changed.revision, changed.live), (2, false));
    push(&edge, "staging", "staged").await;
    assert_eq!(shown(&edge, "staging--shop.localhost").await, json!({ "A": "2" }));
    assert_eq!(history(&edge, "staging").await.deploys[0].settings, 2);
    publish(&edge, "prod", "B", "3").await;
    let promoted = promote(&edge, "staging", "prod").await;
    assert!(promoted.switched && promoted.settings.is_none());
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "staged");
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "B": "3" }));
    // An environment created by a promotion has separate settings, too.
    publish(&edge, "demo", "C", "4").await;
    promote(&edge, "staging", "demo").await;
    assert_eq!(shown(&edge, "demo--shop.localhost").await, json!({ "C": "4" }));
    assert_eq!(settings(&edge, "demo").await.revision, 1);
    // A push that finds the version live keeps the settings, too.
    let files: Files<'_> = &[("index.html", b"staged")];
    push_site(&edge, "prod", manifest(files), files).await;
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "B": "3" }));
    edge.stop().await;
}
