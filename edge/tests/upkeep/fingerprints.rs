//! Fingerprinted names are immutable: other content under the same name goes live by no path, except by override.

use devanture_config::api::DeployOptions;
use devanture_config::problem::{Code, Problem};
use http::Method;
use serde_json::{Value, json};

use crate::support::edge;
use crate::upkeep::{api, push, store, switch};

#[track_caller]
fn explains(problem: &Problem, old: &str, new: &str) {
    assert_eq!(problem.code, Code::FingerprintReused);
    let expected = format!(
        "`a/app-4f2a91bc.js` has other content in {new} than in {old}, which was live in prod within the last year. So \
         have 1 more of its fingerprinted names."
    );
    assert_eq!(problem.detail, expected);
    assert!(problem.hint.as_deref().unwrap().contains("--allow-refingerprint"), "{problem:?}");
}

#[tokio::test]
async fn other_content_under_a_fingerprinted_name_goes_live_by_no_way() {
    let edge = edge().start().await;
    let files = |text: &'static [u8]| -> [(&'static str, &'static [u8]); 3] {
        [("index.html", b"home"), ("a/app-4f2a91bc.js", text), ("a/b-91c2aa03.css", text)]
    };
    let one = edge.push("shop", &files(b"one")).await.version;
    // Another version with the content was live later, and is the version to report.
    let last = edge.push("shop", &[&files(b"one")[..], &[("more.txt", b"more")]].concat()).await.version.short();
    // In an environment where the names are new, any content is permitted.
    let new =
        push(&edge, "staging", Default::default(), DeployOptions::default(), &files(b"two")).await.unwrap().version;
    let short = new.short();

    let pushed = push(&edge, "prod", Default::default(), DeployOptions::default(), &files(b"two")).await.unwrap_err();
    explains(&pushed, &last, &short);
    explains(&switch(&edge, "prod", &new.to_string()).await.problem(), &last, &short);
    let promote = |insist: bool| {
        let body = json!({"from": "staging", "allow_refingerprint": insist});
        api(&edge, Method::POST, "environments/prod/promote", body)
    };
    explains(&promote(false).await.problem(), &last, &short);
    assert_eq!(edge.get("shop.localhost", "/a/app-4f2a91bc.js").await.text(), "one");

    assert_eq!(promote(true).await.json::<Value>()["version"], new.to_string());
    assert_eq!(edge.get("shop.localhost", "/a/app-4f2a91bc.js").await.text(), "two");
    // Both contents were live now, so that either may be live again.
    assert_eq!(switch(&edge, "prod", &one.to_string()).await.status, 200);
    assert_eq!(switch(&edge, "prod", &new.to_string()).await.status, 200);
    edge.stop().await;
}

#[tokio::test]
async fn a_rollback_to_what_was_never_live_there_is_looked_at_as_a_switch() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("app-4f2a91bc.js", b"one")]).await.version;
    let new = store(&edge, &[("app-4f2a91bc.js", b"two")]).await.version;
    let rollback = |version| api(&edge, Method::POST, "environments/prod/rollback", json!({"version": version}));
    let problem = rollback(new).await.problem();
    assert_eq!(problem.code, Code::FingerprintReused);
    // A rollback has no such flag.
    let hint = format!("`devanture switch {} --allow-refingerprint` makes it live all the same", new.short());
    assert_eq!(problem.hint, Some(hint));
    assert_eq!(edge.live("shop").await, Some(one));
    let body = json!({"version": new, "allow_refingerprint": true});
    assert_eq!(api(&edge, Method::POST, "environments/prod/switch", body).await.status, 200);
    // Now both were live.
    for version in [one, new] {
        assert_eq!(rollback(version).await.json::<Value>()["version"], version.to_string());
    }
    edge.stop().await;
}

/// Pauses and failed pushes are history entries, too.
#[tokio::test]
async fn what_was_live_is_known_behind_any_number_of_pauses() {
    let edge = edge().start().await;
    edge.push("shop", &[("app-4f2a91bc.js", b"one")]).await;
    for number in 0..220 {
        let body = json!({"message": number.to_string()});
        assert_eq!(api(&edge, Method::POST, "environments/prod/pause", body).await.status, 200);
        assert_eq!(api(&edge, Method::POST, "environments/prod/resume", Value::Null).await.status, 200);
    }
    let pushed =
        push(&edge, "prod", Default::default(), DeployOptions::default(), &[("app-4f2a91bc.js", b"two")]).await;
    assert_eq!(pushed.unwrap_err().code, Code::FingerprintReused);
    edge.stop().await;
}

#[tokio::test]
async fn who_insists_switches_and_pushes() {
    let edge = edge().start().await;
    edge.push("shop", &[("app-4f2a91bc.js", b"one")]).await;
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let two = push(&edge, "prod", Default::default(), options, &[("app-4f2a91bc.js", b"two")]).await.unwrap().version;
    let body = json!({"version": two, "allow_refingerprint": true});
    assert_eq!(api(&edge, Method::POST, "environments/prod/switch", body).await.status, 200);
    let options = DeployOptions { allow_refingerprint: true, ..DeployOptions::default() };
    let pushed = push(&edge, "prod", Default::default(), options, &[("app-4f2a91bc.js", b"three")]).await.unwrap();
    assert!(pushed.switched);
    // A deletion does not clear browser caches: the name keeps the old content.
    assert_eq!(api(&edge, Method::DELETE, &format!("versions/{two}"), Value::Null).await.status, 200);
    let options = DeployOptions::default();
    let problem = push(&edge, "prod", Default::default(), options, &[("app-4f2a91bc.js", b"four")]).await.unwrap_err();
    assert_eq!(problem.code, Code::FingerprintReused);
    edge.stop().await;
}
