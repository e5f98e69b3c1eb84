//! Confirmations: a change that an app requires confirmation for is refused in unconfirmed sessions, by every path.

use devanture_config::api::{Confirmations, Scope, Session, TokenMade};
use devanture_config::problem::Code;
use devanture_control::admin::OPERATIONS;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Browser, PASSWORD, account, quick};
use crate::support::{RunningEdge, got};

pub(super) const CONFIRM: &str = "/v1/session/confirm";
const SETTING: &str = "/v1/apps/shop/confirmations";

pub(super) async fn set(edge: &RunningEdge, confirm: Value) {
    let set = got(edge.api(Method::PUT, SETTING).json(&json!({ "confirm": confirm }))).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.text());
}

pub(super) async fn push(edge: &RunningEdge, text: &str) -> String {
    edge.push("shop", &[("index.html", text.as_bytes())]).await.version.to_string()
}

#[tokio::test]
async fn what_replaces_the_live_version_is_confirmed_by_whichever_way() {
    let edge = quick().start().await;
    let (old, _) = (push(&edge, "old").await, push(&edge, "new").await);
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["promote"])).await;
    let prod = "/v1/apps/shop/environments/prod";
    let manifest = json!({ "format": 1, "files": {} });
    let ways = [
        (format!("{prod}/switch"), json!({ "version": old })),
        (format!("{prod}/rollback"), json!({})),
        (format!("{prod}/promote"), json!({ "from": "staging" })),
        (format!("{prod}/deploys"), json!({ "manifest": manifest })),
    ];
    for (path, body) in &ways {
        let refused = ada.send(Method::POST, path, body).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
    }
    // Visitors' content depends on more than the version, and another environment may take a hostname from `prod`.
    let host = got(edge.api(Method::PUT, &format!("{prod}/hostnames/www.example.org")).json(&json!({}))).await;
    assert_eq!(host.status, StatusCode::OK, "{}", host.text());
    for (method, path, body) in [
        (Method::PATCH, format!("{prod}/settings"), json!({ "set": { "API": { "value": "x", "public": true } } })),
        (Method::PUT, format!("{prod}/hostnames/www.example.org"), json!({})),
        (Method::PUT, "/v1/apps/shop/environments/staging/hostnames/www.example.org".to_owned(), json!({})),
        (Method::PUT, format!("{prod}/upstreams/api/members/http:%2F%2F203.0.113.7:3000"), json!({})),
        (Method::POST, format!("{prod}/run"), json!({ "command": ["true"] })),
        // The deletion of the app would delete the list of confirmations.
        (Method::DELETE, "/v1/apps/shop".to_owned(), json!({})),
    ] {
        let refused = ada.send(method, &path, &body).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
    }
    // A token that could make the change in place of the session.
    for wanted in [
        json!({ "name": "x", "scope": "push" }),
        json!({ "name": "x", "scope": "push", "app": "shop" }),
        json!({ "name": "x", "scope": "admin", "app": "shop", "environment": "prod" }),
    ] {
        let refused = ada.send(Method::POST, "/v1/tokens", &wanted).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{wanted}: {}", refused.text());
    }
    let read = json!({ "name": "x", "scope": "read", "app": "shop" });
    assert_eq!(ada.send(Method::POST, "/v1/tokens", &read).await.status, StatusCode::CREATED);
    // The requirement cannot be removed without confirmation, either.
    for confirm in [json!([]), json!(["token", "delete"])] {
        let refused = ada.send(Method::PUT, SETTING, &json!({ "confirm": confirm })).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{confirm}");
    }
    let more = ada.send(Method::PUT, SETTING, &json!({ "confirm": ["promote", "delete"] })).await;
    assert_eq!(more.status, StatusCode::OK, "more is always possible: {}", more.text());
    // Dry runs, changes of other environments, and changes by a program with a token.
    let predicted = ada.send(Method::POST, &format!("{prod}/switch?dry_run"), &json!({ "version": old })).await;
    assert_eq!(predicted.status, StatusCode::OK, "{}", predicted.text());
    let staging = "/v1/apps/shop/environments/staging/switch";
    assert_eq!(ada.send(Method::POST, staging, &json!({ "version": old })).await.status, StatusCode::OK);
    let by_token = edge.api(Method::POST, &format!("{prod}/switch")).json(&json!({ "version": old }));
    assert_eq!(got(by_token).await.status, StatusCode::OK);

    let confirmed: Session = ada.send(Method::POST, CONFIRM, &json!({ "password": PASSWORD })).await.json();
    assert!(confirmed.confirmed_until_ms.is_some());
    let rollback = ada.send(Method::POST, &format!("{prod}/rollback"), &json!({})).await;
    assert_eq!(rollback.status, StatusCode::OK, "{}", rollback.text());
    assert_eq!(ada.send(Method::PUT, SETTING, &json!({ "confirm": [] })).await.status, StatusCode::OK);
    // The confirmation of one session does not apply to another session of the account.
    set(&edge, json!(["promote"])).await;
    let other = Browser::of(&edge).entered("ada").await;
    let refused = other.send(Method::POST, &format!("{prod}/rollback"), &json!({})).await;
    assert_eq!(refused.code(), Code::ConfirmationRequired);
    edge.stop().await;
}

/// Iterates over the table of operations: a new operation requires confirmation, or is listed as harmless to visitors.
#[tokio::test]
async fn every_change_of_what_visitors_of_prod_get_is_confirmed() {
    let edge = quick().start().await;
    let version = push(&edge, "hi").await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    set(&edge, json!(["promote"])).await;
    let mut asked = 0;
    // The end of a push, which was confirmed at the start, and operations that return to the live version.
    let free = ["finish", "abortCanary", "unpin", "revokeShare"];
    for operation in OPERATIONS.iter().filter(|row| row.changes().is_some() && !free.contains(&row.id)) {
        let mut path = operation.path.replace("{app}", "shop").replace("{env}", "prod");
        for (parameter, value) in [
            ("{host}", "www.example.org"),
            ("{address}", "http:%2F%2F203.0.113.7:3000"),
            ("{name}", "api"),
            ("{snapshot}", "x"),
            ("{id}", &version),
        ] {
            path = path.replace(parameter, value);
        }
        let body = match operation.id {
            "makeShare" => json!({ "target": "prod" }),
            "undelete" => json!({ "environment": "prod" }),
            _ => json!({}),
        };
        let refused = ada.send(operation.method.clone(), &path, &body).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{}: {}", operation.id, refused.text());
        asked += 1;
    }
    assert!(asked > 22, "{asked} operations");
    // In another environment no such change requires confirmation.
    let pause = ada.send(Method::POST, "/v1/apps/shop/environments/staging/pause", &json!({})).await;
    assert_eq!(pause.code(), Code::NothingLive);
    edge.stop().await;
}

#[tokio::test]
async fn deletions_and_tokens_are_confirmed_where_the_app_says_so() {
    let edge = quick().start().await;
    let (old, _) = (push(&edge, "old").await, push(&edge, "new").await);
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    let shown: Confirmations = ada.get(SETTING).await.json();
    assert!(shown.confirm.is_empty(), "nothing by default");
    set(&edge, json!(["delete", "token"])).await;
    let shown: Confirmations = ada.get(SETTING).await.json();
    assert_eq!(serde_json::to_value(&shown).unwrap(), json!({ "confirm": ["token", "delete"] }));
    let app = "/v1/apps/shop";
    for (method, path) in [
        (Method::DELETE, app.to_owned()),
        (Method::DELETE, format!("{app}/environments/prod")),
        (Method::DELETE, format!("{app}/versions/{old}")),
        (Method::DELETE, format!("{app}/aliases/x")),
        (Method::DELETE, format!("{app}/environments/prod/hostnames/www.example.org")),
        (Method::POST, format!("{app}/withdrawn")),
        (Method::PUT, format!("{app}/environments/staging/data/archive?replace=true")),
        (Method::POST, format!("{app}/environments/staging/data/snapshots/x/restore")),
    ] {
        let refused = ada.send(method, &path, &json!({ "path": "/index.html" })).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}: {}", refused.text());
    }
    for wanted in [json!({ "name": "x", "scope": "read", "app": "shop" }), json!({ "name": "x", "scope": "read" })] {
        let refused = ada.send(Method::POST, "/v1/tokens", &wanted).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{wanted}: {}", refused.text());
    }
    let elsewhere = ada.send(Method::POST, "/v1/tokens", &json!({ "name": "x", "scope": "read", "app": "blog" })).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED, "{}", elsewhere.text());
    // A change of the live version is different.
    let rollback = ada.send(Method::POST, &format!("{app}/environments/prod/rollback"), &json!({})).await;
    assert_eq!(rollback.status, StatusCode::OK, "{}", rollback.text());
    // The lack of permission is reported before the need for confirmation.
    account(&edge, "eve", "read").await;
    let eve = Browser::of(&edge).entered("eve").await;
    for (method, path, body) in [
        (Method::DELETE, app, json!({})),
        (Method::POST, "/v1/tokens", json!({ "name": "x", "scope": "read", "app": "shop" })),
        (Method::PUT, SETTING, json!({ "confirm": [] })),
    ] {
        assert_eq!(eve.send(method, path, &body).await.code(), Code::Forbidden, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_session_is_confirmed_by_what_could_begin_it_and_for_a_while() {
    let edge = quick().with_limit("confirmation_ms_max", 1_000).start().await;
    push(&edge, "hi").await;
    for name in ["ada", "bob"] {
        account(&edge, name, "admin").await;
    }
    set(&edge, json!(["delete"])).await;
    let ada = Browser::of(&edge).entered("ada").await;
    let token = edge.token(Scope::Admin).await;
    for (body, code) in [
        (json!({ "password": "wrong horse battery" }), Code::BadLogin),
        (json!({ "token": token }), Code::BadRequest),
        (json!({}), Code::BadRequest),
        (json!({ "password": PASSWORD, "token": token }), Code::BadRequest),
    ] {
        assert_eq!(ada.send(Method::POST, CONFIRM, &body).await.code(), code, "{body}");
    }
    assert!(ada.is_in().await, "a wrong password ends no session");
    let mut by_token = Browser::of(&edge);
    assert_eq!(by_token.try_to_enter(&json!({ "token": token })).await.status, StatusCode::CREATED);
    let other: TokenMade =
        got(edge.api(Method::POST, "/v1/tokens").json(&json!({ "name": "o", "scope": "admin" }))).await.json();
    for (body, code) in [
        (json!({ "token": other.token }), Code::BadToken),
        (json!({ "token": "dvt_0_0" }), Code::BadToken),
        (json!({ "password": PASSWORD }), Code::BadRequest),
    ] {
        assert_eq!(by_token.send(Method::POST, CONFIRM, &body).await.code(), code, "{body}");
    }
    assert_eq!(by_token.send(Method::POST, CONFIRM, &json!({ "token": token })).await.status, StatusCode::OK);
    assert_eq!(got(edge.api(Method::POST, CONFIRM).json(&json!({ "token": token }))).await.code(), Code::Forbidden);
    // A confirmation expires.
    assert_eq!(ada.send(Method::POST, CONFIRM, &json!({ "password": PASSWORD })).await.status, StatusCode::OK);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let shown: Session = ada.get("/v1/session").await.json();
    assert_eq!(shown.confirmed_until_ms, None);
    let refused = ada.send(Method::DELETE, "/v1/apps/shop", &json!({})).await;
    assert_eq!(refused.code(), Code::ConfirmationRequired);
    edge.stop().await;
}
