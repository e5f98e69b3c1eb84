//! A fingerprinted name keeps its word: other content under it goes live by no way, unless somebody insists.

use devanture_config::api::DeployOptions;
use devanture_config::problem::{Code, Problem};
use http::Method;
use serde_json::{Value, json};

use crate::support::edge;
use crate::{api, push, switch};

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
    // Another version with that content was live later, and is the one to tell.
    let last = edge.push("shop", &[&files(b"one")[..], &[("more.txt", b"more")]].concat()).await.version.short();
    // In an environment where the names are new, they may stand for anything.
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
    // Both contents were live now, so that either may be again.
    assert_eq!(switch(&edge, "prod", &one.to_string()).await.status, 200);
    assert_eq!(switch(&edge, "prod", &new.to_string()).await.status, 200);
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
    // A deletion does not make browsers forget: the name still stands for what it stood for.
    assert_eq!(api(&edge, Method::DELETE, &format!("versions/{two}"), Value::Null).await.status, 200);
    let options = DeployOptions::default();
    let problem = push(&edge, "prod", Default::default(), options, &[("app-4f2a91bc.js", b"four")]).await.unwrap_err();
    assert_eq!(problem.code, Code::FingerprintReused);
    edge.stop().await;
}
