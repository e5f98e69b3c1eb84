//! Hostnames taken from `prod`, and aliases that expire earlier: the losing app's confirmation setting applies.

use devanture_config::api::{BeginDeploy, DeployOptions, Session};
use devanture_config::problem::Code;
use devanture_config::site_toml::Serving;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::confirmations::{CONFIRM, push, set};
use super::{Browser, PASSWORD, account, quick};
use crate::support::{Files, Got, RunningEdge, got, manifest};

const STAGING: &str = "/v1/apps/shop/environments/staging";

/// Stores a version that lists a hostname for `staging`; returns the push that would make the version live there.
async fn stored(edge: &RunningEdge, files: Files<'_>, host: &str) -> BeginDeploy {
    let begin = listing(files, host, true);
    edge.try_push("shop", "staging", begin, files).await.unwrap();
    listing(files, host, false)
}

fn listing(files: Files<'_>, host: &str, no_switch: bool) -> BeginDeploy {
    let mut manifest = manifest(files);
    let serving = Serving { hostnames: Some(vec![host.parse().unwrap()]), ..Serving::default() };
    manifest.env.insert("staging".parse().unwrap(), serving);
    let options = DeployOptions { no_switch, ..DeployOptions::default() };
    BeginDeploy { manifest, source: Default::default(), options }
}

async fn give(edge: &RunningEdge, place: &str, host: &str) {
    let path = format!("/v1/apps/{place}/hostnames/{host}");
    let given = got(edge.api(Method::PUT, &path).json(&json!({}))).await;
    assert_eq!(given.status, StatusCode::OK, "{host}: {}", given.text());
}

/// A name of `prod`, a name below the wildcard, the default name, and the wildcard.
const NAMES: [&str; 4] = ["old.example.com", "www.example.org", "shop.localhost", "*.example.org"];

#[tokio::test]
async fn a_hostname_leaves_prod_by_a_confirmed_session_alone_whichever_app_gets_it() {
    let edge = quick().start().await;
    push(&edge, "hi").await;
    edge.push("blog", &[("index.html", b"blog")]).await;
    give(&edge, "shop/environments/prod", "*.example.org").await;
    give(&edge, "shop/environments/prod", "old.example.com").await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["promote"])).await;
    let to = |place: &str, name: &str| format!("/v1/apps/{place}/hostnames/{name}");
    for name in NAMES {
        let path = to("shop/environments/staging", name);
        let refused = ada.send(Method::PUT, &path, &json!({})).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
        let predicted = ada.send(Method::PUT, &format!("{path}?dry_run"), &json!({})).await;
        assert_eq!(predicted.status, StatusCode::OK, "{path}: {}", predicted.text());
    }
    // The other app requires no confirmations, and no app may have another app's default name.
    for name in NAMES.into_iter().filter(|name| *name != "shop.localhost") {
        let path = to("blog/environments/prod", name);
        let refused = ada.send(Method::PUT, &path, &json!({})).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
    }
    let mut manifest = manifest(&[("index.html", b"blog")]);
    manifest.base.hostnames = Some(vec!["www.example.org".parse().unwrap()]);
    let refused =
        ada.send(Method::POST, "/v1/apps/blog/environments/prod/deploys", &json!({ "manifest": manifest })).await;
    assert_eq!(refused.code(), Code::ConfirmationRequired, "{}", refused.text());
    // A name without visitors of `prod`.
    let free = ada.send(Method::PUT, &to("shop/environments/staging", "www.example.net"), &json!({})).await;
    assert_eq!(free.status, StatusCode::OK, "{}", free.text());
    let confirmed = ada.send(Method::POST, CONFIRM, &json!({ "password": PASSWORD })).await;
    assert!(confirmed.json::<Session>().confirmed_until_ms.is_some());
    let taken = ada.send(Method::PUT, &to("shop/environments/staging", "www.example.org"), &json!({})).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    edge.stop().await;
}

#[tokio::test]
async fn what_a_version_lists_is_taken_from_prod_by_a_confirmed_session_alone() {
    let edge = quick().start().await;
    push(&edge, "hi").await;
    give(&edge, "shop/environments/prod", "*.example.org").await;
    let begin = stored(&edge, &[("index.html", b"listing")], "www.example.org").await;
    let version = begin.manifest.id().to_string();
    // The version is live in `next`, where it lists no hostname, and `staging` has another version.
    let next = "/v1/apps/shop/environments/next/switch";
    assert_eq!(got(edge.api(Method::POST, next).json(&json!({ "version": version }))).await.status, StatusCode::OK);
    let other = manifest(&[("index.html", b"other")]);
    let other = BeginDeploy { manifest: other, source: Default::default(), options: Default::default() };
    edge.try_push("shop", "staging", other, &[("index.html", b"other")]).await.unwrap();
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["promote"])).await;
    for (method, way, body) in [
        (Method::POST, "deploys", serde_json::to_value(&begin).unwrap()),
        (Method::POST, "switch", json!({ "version": version })),
        (Method::POST, "promote", json!({ "from": "next" })),
        (Method::PUT, "canary", json!({ "version": version, "share": 10 })),
    ] {
        let refused = ada.send(method, &format!("{STAGING}/{way}"), &body).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{way}: {}", refused.text());
    }
    // A rollback succeeds, and leaves the name in place.
    let back = ada.send(Method::POST, &format!("{STAGING}/rollback"), &json!({ "version": version })).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    let names: Value = ada.get(&format!("{STAGING}/hostnames")).await.json();
    assert_eq!(names["hostnames"], json!([]));
    edge.stop().await;
}

/// New apps, environments and aliases take precedence over a wildcard that covered the address.
#[tokio::test]
async fn an_address_below_a_wildcard_of_prod_is_taken_by_a_confirmed_session_alone() {
    let edge = quick().start().await;
    let version = push(&edge, "hi").await;
    give(&edge, "shop/environments/prod", "*.localhost").await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["promote"])).await;
    let (switch, alias) = (format!("{STAGING}/switch"), "/v1/apps/shop/aliases/feature");
    let of_version = json!({ "version": version });
    let pushed = json!({ "manifest": manifest(&[("index.html", b"blog")]) });
    for (method, path, body) in [
        (Method::POST, "/v1/apps/blog/environments/prod/deploys", &pushed),
        (Method::POST, switch.as_str(), &of_version),
        (Method::PUT, alias, &of_version),
    ] {
        let refused = ada.send(method, path, body).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
    }
    assert_eq!(ada.send(Method::POST, CONFIRM, &json!({ "password": PASSWORD })).await.status, StatusCode::OK);
    for (method, path) in [(Method::POST, switch.as_str()), (Method::PUT, alias)] {
        let taken = ada.send(method, path, &of_version).await;
        assert!(taken.status.is_success(), "{path}: {}", taken.text());
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_alias_ends_earlier_by_a_confirmed_session_alone() {
    let edge = quick().start().await;
    let version = push(&edge, "hi").await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["delete"])).await;
    let alias = "/v1/apps/shop/aliases/feature";
    let ending = |expires: &str| json!({ "version": version, "expires": expires });
    let ok = |answer: &Got| assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    ok(&ada.send(Method::PUT, alias, &json!({ "version": version })).await);
    for before in ["never", "in ten days"] {
        let refused = ada.send(Method::PUT, alias, &ending("1d")).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{before}: {}", refused.text());
        ok(&ada.send(Method::PUT, &format!("{alias}?dry_run"), &ending("1d")).await);
        // A push cannot take the address, either.
        let options = DeployOptions {
            alias: Some("feature".parse().unwrap()),
            alias_expires: Some("1d".parse().unwrap()),
            ..DeployOptions::default()
        };
        let begin = BeginDeploy { manifest: manifest(&[("index.html", b"hi")]), source: Default::default(), options };
        let deploys = "/v1/apps/shop/environments/preview/deploys";
        let refused = ada.send(Method::POST, deploys, &serde_json::to_value(&begin).unwrap()).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{before}: {}", refused.text());
        ok(&got(edge.api(Method::PUT, alias).json(&ending("10d"))).await);
    }
    // A later expiry, and the same expiry.
    ok(&ada.send(Method::PUT, alias, &ending("20d")).await);
    ok(&ada.send(Method::PUT, alias, &json!({ "version": version })).await);
    assert_eq!(ada.send(Method::POST, CONFIRM, &json!({ "password": PASSWORD })).await.status, StatusCode::OK);
    ok(&ada.send(Method::PUT, alias, &ending("1d")).await);
    edge.stop().await;
}

#[tokio::test]
async fn a_webhook_is_pointed_elsewhere_by_a_confirmed_session_alone() {
    let edge = quick().start().await;
    push(&edge, "hi").await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["delete"])).await;
    let webhook = "/v1/apps/shop/webhooks/audit";
    let to = |host: &str| json!({ "url": format!("https://{host}/x") });
    let new = ada.send(Method::PUT, webhook, &to("one.example.com")).await;
    assert_eq!(new.status, StatusCode::OK, "nothing is taken away: {}", new.text());
    let rotate = format!("{webhook}/rotate?now");
    for (method, path, body) in
        [(Method::PUT, webhook, to("two.example.com")), (Method::POST, rotate.as_str(), json!({}))]
    {
        let refused = ada.send(method, path, &body).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
    }
    assert_eq!(ada.send(Method::POST, CONFIRM, &json!({ "password": PASSWORD })).await.status, StatusCode::OK);
    assert_eq!(ada.send(Method::PUT, webhook, &to("two.example.com")).await.status, StatusCode::OK);
    edge.stop().await;
}
