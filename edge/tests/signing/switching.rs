//! Versions going live under required signatures: by a push, a switch, a rollback, a promotion, and after a restart.

use devanture_config::VersionId;
use devanture_config::api::{DeployOptions, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{
    APP, ONE, THREE, TWO, key, post, push, push_to, served, sign, signature, signatures, status, want, want_in,
    want_none,
};
use crate::support::{edge, eventually, got};

#[tokio::test]
async fn what_is_not_signed_goes_live_by_no_way() {
    let edge = edge().with_app(APP, ONE).start().await;
    let one = edge.live(APP).await.unwrap();
    let two = push_to(&edge, "staging", TWO, &[], DeployOptions::default()).await.unwrap().version;
    let (ada, eve) = (key("ada"), key("eve"));
    let three = push(&edge, THREE, &[&ada]).await.unwrap().version;
    let report = want(&edge, &[&ada], 1).await;
    let live = report.signers.live.unwrap();
    assert!(report.changed && live.is_enough && live.signed_by[0].starts_with("ada (SHA256:"), "{live:?}");

    let refused = |code: Code| assert_eq!(code, Code::NotSigned);
    let problem = push(&edge, &[("index.html", b"four")], &[]).await.unwrap_err();
    refused(problem.code);
    assert!(problem.detail.contains("none of its signers"), "{problem:?}");
    assert!(problem.hint.unwrap().contains("ada (SHA256:"));
    // Signed by an unknown key.
    refused(push(&edge, &[("index.html", b"five")], &[&eve]).await.unwrap_err().code);
    refused(post(&edge, "switch", json!({ "version": two })).await.code());
    refused(post(&edge, "rollback", json!({})).await.code());
    refused(post(&edge, "rollback", json!({ "version": one })).await.code());
    refused(post(&edge, "promote", json!({ "from": "staging" })).await.code());
    // A dry run is refused, too.
    refused(post(&edge, "switch?dry_run=true", json!({ "version": two })).await.code());
    // No flag of a push or a switch bypasses the check.
    let forced = json!({ "version": two, "force": true, "allow_refingerprint": true, "no_smoke": true });
    refused(post(&edge, "switch", forced).await.code());
    assert_eq!((served(&edge).await.as_str(), edge.live(APP).await), ("three", Some(three)));

    // A refused version is stored, and can be signed later.
    assert_eq!(sign(&edge, two, &signature(&ada, two)).await.status, StatusCode::OK);
    assert_eq!(post(&edge, "promote", json!({ "from": "staging" })).await.status, StatusCode::OK);
    assert_eq!(served(&edge).await, "two");
    // A rollback to a signed version works.
    assert_eq!(post(&edge, "rollback", json!({})).await.status, StatusCode::OK);
    assert_eq!(served(&edge).await, "three");
    want_none(&edge).await;
    assert_eq!(post(&edge, "switch", json!({ "version": one })).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn a_canary_that_is_not_signed_gets_no_more_visitors_once_signatures_are_wanted() {
    let edge = edge().with_app(APP, ONE).start().await;
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let two = push_to(&edge, "prod", TWO, &[], options).await.unwrap().version;
    let put = async |share: u8, version: Option<VersionId>| {
        let path = "/v1/apps/shop/environments/prod/canary";
        got(edge.api(Method::PUT, path).json(&json!({ "share": share, "version": version }))).await
    };
    assert_eq!(put(10, Some(two)).await.status, StatusCode::OK);
    let ada = key("ada");
    want(&edge, &[&ada], 1).await;
    assert_eq!(put(99, None).await.code(), Code::NotSigned);
    // The canary's share may fall, and may grow once the version is signed.
    assert_eq!(put(5, None).await.status, StatusCode::OK);
    sign(&edge, two, &signature(&ada, two)).await;
    assert_eq!(put(99, None).await.status, StatusCode::OK);
    edge.stop().await;
}

/// Limit of law 3: an unsigned version is not served again, whatever the watch has observed.
#[tokio::test]
async fn a_watch_does_not_go_back_to_what_is_not_signed_any_more() {
    let edge = edge().with_app(APP, &[("index.html", b"one"), ("shoes.html", b"shoes")]).start().await;
    let one = edge.live(APP).await.unwrap();
    for _ in 0..50 {
        edge.get("shop.localhost", "/shoes").await;
    }
    let ada = key("ada");
    let by = [&ada];
    let options = DeployOptions { watch_s: Some(60), ..DeployOptions::default() };
    let meanwhile = async {
        eventually("the switch", async || served(&edge).await == "two").await;
        want(&edge, &[&ada], 1).await;
        loop {
            edge.get("shop.localhost", "/shoes").await;
        }
    };
    let problem = tokio::select! {
        pushed = push_to(&edge, "prod", TWO, &by, options) => pushed.unwrap_err(),
        () = meanwhile => unreachable!("it ends with the push"),
    };
    assert_eq!(problem.code, Code::WatchFailed);
    for text in ["404 rose from 0.0 %", "could not be undone, so it is live", "[not_signed]"] {
        assert!(problem.detail.contains(text), "{text}: {}", problem.detail);
    }
    let hint = problem.hint.unwrap();
    let (signs, goes_back) = (hint.find("`devanture sign "), hint.find("`devanture rollback "));
    assert!(signs.is_some() && signs < goes_back, "what signs it comes first: {hint}");
    assert_eq!(served(&edge).await, "two");
    let two = edge.live(APP).await.unwrap();
    assert_ne!(two, one);
    // The remedy in the hint.
    assert_eq!(post(&edge, "rollback", json!({})).await.code(), Code::NotSigned);
    sign(&edge, one, &signature(&ada, one)).await;
    assert_eq!(post(&edge, "rollback", json!({})).await.status, StatusCode::OK);
    assert_eq!(served(&edge).await, "one");
    edge.stop().await;
}

#[tokio::test]
async fn two_of_three_have_to_sign() {
    let edge = edge().with_app(APP, ONE).start().await;
    let (ada, bob, cyd) = (key("ada"), key("bob"), key("cyd"));
    want(&edge, &[&ada, &bob, &cyd], 2).await;
    let problem = push(&edge, TWO, &[&ada]).await.unwrap_err();
    assert_eq!(problem.code, Code::NotSigned);
    assert!(problem.detail.contains("2 signatures of 3 signers") && problem.detail.contains("only ada"), "{problem:?}");
    // A repeated signature by one signer counts once.
    assert_eq!(push(&edge, TWO, &[&ada, &ada]).await.unwrap_err().code, Code::NotSigned);
    let two = push(&edge, TWO, &[&cyd]).await.unwrap();
    assert!(two.switched, "the signature of an earlier push counts");
    let named = |name: &str| format!("{name} (");
    let signed = status(&edge).await.signed.unwrap();
    assert!(signed.is_enough && signed.signed_by.iter().any(|by| by.starts_with(&named("cyd"))), "{signed:?}");
    assert_eq!(signatures(&edge, two.version).await.signatures.len(), 2);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_live_stays_live_without_a_signature_also_after_a_restart() {
    let edge = edge().with_app(APP, ONE).start().await;
    let one = edge.live(APP).await.unwrap();
    let ada = key("ada");
    let report = want(&edge, &[&ada], 1).await;
    assert!(!report.signers.live.unwrap().is_enough);
    let signed = status(&edge).await.signed.unwrap();
    assert!(!signed.is_enough && signed.signed_by.is_empty());
    let edge = edge.restart().await;
    assert_eq!(served(&edge).await, "one");
    // A push of the live version changes nothing, and a change of settings keeps the version.
    assert!(!push(&edge, ONE, &[]).await.unwrap().switched);
    let path = format!("/v1/apps/{APP}/environments/prod/settings");
    let set = json!({ "set": { "A": { "value": "b" } } });
    assert_eq!(got(edge.api(Method::PATCH, &path).json(&set)).await.status, StatusCode::OK);
    assert_eq!(served(&edge).await, "one");
    // Once a signed version is live, no rollback to the unsigned version is possible.
    push(&edge, TWO, &[&ada]).await.unwrap();
    assert_eq!(post(&edge, "rollback", json!({})).await.code(), Code::NotSigned);
    let edge = edge.restart().await;
    assert_eq!(push(&edge, THREE, &[]).await.unwrap_err().code, Code::NotSigned);
    assert_eq!(served(&edge).await, "two");
    sign(&edge, one, &signature(&ada, one)).await;
    assert_eq!(post(&edge, "rollback", json!({})).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn only_an_admin_says_who_has_to_sign() {
    let edge = edge().with_app(APP, ONE).start().await;
    let ada = key("ada");
    let path = format!("/v1/apps/{APP}/environments/prod/signers");
    let wanted = json!({ "signers": [ada.public().to_string()] });
    for scope in [Scope::Read, Scope::Push, Scope::Promote] {
        let token = edge.token_for(scope, Some(APP), None).await;
        assert_eq!(got(edge.ask(Method::PUT, &path, &token).json(&wanted)).await.code(), Code::Forbidden, "{scope}");
        assert_eq!(got(edge.ask(Method::GET, &path, &token)).await.status, StatusCode::OK, "{scope}");
    }
    let admin = edge.token_for(Scope::Admin, Some(APP), Some("prod")).await;
    let dry = got(edge.ask(Method::PUT, &format!("{path}?dry_run=true"), &admin).json(&wanted)).await;
    assert_eq!(dry.json::<serde_json::Value>()["changed"], true);
    assert!(push(&edge, TWO, &[]).await.unwrap().switched, "nothing was changed");
    assert_eq!(got(edge.ask(Method::PUT, &path, &admin).json(&wanted)).await.status, StatusCode::OK);
    let again = got(edge.ask(Method::PUT, &path, &admin).json(&wanted)).await;
    assert_eq!(again.json::<serde_json::Value>()["changed"], false);
    assert_eq!(push(&edge, THREE, &[]).await.unwrap_err().code, Code::NotSigned);
    // Other environments continue, and so do previews, which are not live.
    let staging = push_to(&edge, "staging", THREE, &[], DeployOptions::default()).await.unwrap();
    assert!(staging.switched);
    want_in(&edge, "staging", &[&ada], 1).await;
    let code = |wanted| got(edge.ask(Method::PUT, &path, &admin).json(&wanted));
    let (key, twice) = (ada.public().to_string(), ada.public().to_string());
    assert_eq!(code(json!({ "signers": [key, twice] })).await.code(), Code::BadRequest);
    assert_eq!(
        code(json!({ "signers": [ada.public().to_string()], "signatures_min": 2 })).await.code(),
        Code::BadRequest
    );
    assert_eq!(code(json!({ "signers": ["ssh-rsa AAAA"] })).await.code(), Code::BadRequest);
    let audit = got(edge.api(Method::GET, &format!("/v1/audit?app={APP}"))).await.text();
    assert!(audit.contains("set_signers") && audit.contains(&ada.public().fingerprint()), "{audit}");
    edge.stop().await;
}
