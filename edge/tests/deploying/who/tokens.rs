//! Tokens: permissions to create, list and revoke tokens, and the time of the last use.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{Scope, TokenInfo, TokenList, TokenMade, TokenRequest};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_control::access::Credentials;
use devanture_control::ledger::{Actor, Audit};
use devanture_store::catalog;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PASSWORD, account, login, quick, status_with};
use crate::support::{Got, RunningEdge, edge, got};

async fn make(edge: &RunningEdge, token: &str, wanted: Value) -> Got {
    got(edge.ask(Method::POST, "/v1/tokens", token).json(&wanted)).await
}

async fn made(edge: &RunningEdge, wanted: Value) -> TokenMade {
    make(edge, edge.admin_token(), wanted).await.json()
}

async fn list(edge: &RunningEdge, token: &str, query: &str) -> Vec<TokenInfo> {
    got(edge.ask(Method::GET, &format!("/v1/tokens{query}"), token)).await.json::<TokenList>().tokens
}

async fn revoke(edge: &RunningEdge, token: &str, id: &str) -> Got {
    got(edge.ask(Method::DELETE, &format!("/v1/tokens/{id}"), token)).await
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_the_next_request() {
    let edge = edge().start().await;
    let ci = made(&edge, json!({ "name": "ci", "scope": "push" })).await;
    assert_eq!(status_with(&edge, &ci.token).await, StatusCode::OK);
    assert_eq!(revoke(&edge, edge.admin_token(), &ci.id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(status_with(&edge, &ci.token).await, StatusCode::UNAUTHORIZED);
    for id in [ci.id.as_str(), "x", "..%2Faccounts", "000000000000", "ABCDEFABCDEF"] {
        assert_eq!(revoke(&edge, edge.admin_token(), id).await.code(), Code::NotFound, "{id}");
    }
    let edge = edge.restart().await;
    assert_eq!(status_with(&edge, &ci.token).await, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test]
async fn a_token_may_revoke_itself_and_no_other() {
    let edge = edge().start().await;
    let one = made(&edge, json!({ "name": "one", "app": "shop", "scope": "read" })).await;
    let two = made(&edge, json!({ "name": "two", "app": "shop", "scope": "push" })).await;
    assert_eq!(revoke(&edge, &two.token, &one.id).await.code(), Code::Forbidden);
    assert_eq!(revoke(&edge, &two.token, &two.id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(status_with(&edge, &two.token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status_with(&edge, &one.token).await, StatusCode::OK);
    edge.stop().await;
}

/// Law 11.
#[tokio::test]
async fn an_admin_of_one_app_makes_sees_and_revokes_tokens_of_that_app_alone() {
    let edge = edge().start().await;
    let shop = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let blog = made(&edge, json!({ "name": "blog", "app": "blog", "scope": "push" })).await;
    let all = made(&edge, json!({ "name": "all", "scope": "read" })).await;
    let code = async |wanted: Value| make(&edge, &shop, wanted).await.code();
    assert_eq!(code(json!({ "name": "x", "scope": "read" })).await, Code::Forbidden, "for every app");
    assert_eq!(code(json!({ "name": "x", "app": "blog", "scope": "read" })).await, Code::NotFound);
    let ci: TokenMade = make(&edge, &shop, json!({ "name": "ci", "app": "shop", "scope": "push" })).await.json();
    let names = |list: Vec<TokenInfo>| {
        let mut names: Vec<String> = list.into_iter().map(|token| token.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(list(&edge, &shop, "").await), ["admin", "ci"]);
    assert_eq!(names(list(&edge, edge.admin_token(), "").await), ["admin", "all", "blog", "ci", "test"]);
    assert_eq!(names(list(&edge, edge.admin_token(), "?app=blog").await), ["blog"]);
    assert_eq!(got(edge.ask(Method::GET, "/v1/tokens?app=blog", &shop)).await.code(), Code::NotFound);
    assert_eq!(got(edge.ask(Method::GET, "/v1/tokens", &ci.token)).await.code(), Code::Forbidden);
    for id in [&blog.id, &all.id] {
        assert_eq!(revoke(&edge, &shop, id).await.code(), Code::NotFound);
    }
    assert_eq!(revoke(&edge, &shop, &ci.id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        make(&edge, &ci.token, json!({ "name": "x", "app": "shop", "scope": "read" })).await.code(),
        Code::BadToken
    );
    edge.stop().await;
}

#[tokio::test]
async fn no_token_makes_one_that_outranks_or_outlives_it() {
    let edge = edge().start().await;
    for scope in [Scope::Read, Scope::Push, Scope::Promote] {
        let token = edge.token_for(scope, Some("shop"), None).await;
        let got = make(&edge, &token, json!({ "name": "x", "app": "shop", "scope": "read" })).await;
        assert_eq!(got.code(), Code::Forbidden, "{scope}");
    }
    let staging = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    let code = async |wanted: Value| make(&edge, &staging, wanted).await.code();
    assert_eq!(code(json!({ "name": "x", "app": "shop", "scope": "read" })).await, Code::Forbidden);
    assert_eq!(
        code(json!({ "name": "x", "app": "shop", "environment": "prod", "scope": "read" })).await,
        Code::Forbidden
    );
    let narrow = json!({ "name": "x", "app": "shop", "environment": "staging", "scope": "push" });
    let narrow: TokenMade = make(&edge, &staging, narrow).await.json();
    assert_eq!(revoke(&edge, &staging, &narrow.id).await.status, StatusCode::NO_CONTENT);
    let whole = made(&edge, json!({ "name": "whole", "app": "shop", "scope": "read" })).await;
    assert_eq!(revoke(&edge, &staging, &whole.id).await.code(), Code::NotFound);

    let brief = made(&edge, json!({ "name": "brief", "scope": "admin", "expires_in_s": 3_600 })).await;
    let longer = make(&edge, &brief.token, json!({ "name": "x", "scope": "read", "expires_in_s": 7_200 })).await;
    assert_eq!(longer.code(), Code::Forbidden);
    let same: TokenMade = make(&edge, &brief.token, json!({ "name": "x", "scope": "read" })).await.json();
    assert_eq!(same.expires_ms, brief.expires_ms, "it ends with its maker");
    let shorter = json!({ "name": "x", "scope": "read", "expires_in_s": 60 });
    let shorter: TokenMade = make(&edge, &brief.token, shorter).await.json();
    assert!(shorter.expires_ms < brief.expires_ms);
    let account = json!({ "name": "eve", "scope": "admin", "password": PASSWORD });
    let refused = got(edge.ask(Method::POST, "/v1/accounts", &brief.token).json(&account)).await;
    assert_eq!(refused.code(), Code::Forbidden, "an account would outlive it");
    edge.stop().await;
}

#[tokio::test]
async fn the_last_use_of_a_token_is_listed_and_outlives_a_restart() {
    let edge = edge().start().await;
    let ci = made(&edge, json!({ "name": "ci", "scope": "read" })).await;
    let find = async |edge: &RunningEdge| {
        list(edge, edge.admin_token(), "").await.into_iter().find(|token| token.id == ci.id).unwrap()
    };
    let unused = find(&edge).await;
    assert_eq!((unused.last_used_ms, unused.made_by.as_deref()), (None, Some("test")));
    assert_eq!(status_with(&edge, &ci.token).await, StatusCode::OK);
    let used = find(&edge).await;
    assert!(used.last_used_ms.unwrap() >= used.created_ms);
    assert_eq!(used.last_used_from.as_deref(), Some("127.0.0.1"));
    let edge = edge.restart().await;
    assert_eq!(find(&edge).await, used);
    edge.stop().await;
}

#[tokio::test]
async fn a_use_that_is_written_late_does_not_bring_a_revoked_token_back() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let limits = Limits::default();
    let credentials = || Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
    // Two instances over one catalog: one receives no notice of revocations by the other.
    let (one, other) = (credentials(), credentials());
    let request =
        TokenRequest { name: "ci".to_owned(), app: None, environment: None, scope: Scope::Read, expires_in_s: None };
    let made = one.create(&Actor::local(), request).await.unwrap();
    one.recognise(&made.token, None).await.unwrap();
    other.revoke(&Actor::local(), &made.id).await.unwrap();
    one.write_last_uses().await;
    assert!(catalog.list("tokens/", None, false, 10).await.unwrap().is_empty());
    assert!(catalog.list("used/", None, false, 10).await.unwrap().is_empty());
    one.recognise(&made.token, None).await.unwrap_err();
}

#[tokio::test]
async fn a_list_of_tokens_has_pages() {
    let edge = edge().start().await;
    for number in 0..5 {
        made(&edge, json!({ "name": format!("t{number}"), "scope": "read" })).await;
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page: TokenList = got(edge.api(Method::GET, &format!("/v1/tokens?limit=2{after}"))).await.json();
        assert!(page.tokens.len() <= 2);
        found.extend(page.tokens.into_iter().map(|token| token.id));
        let Some(next) = page.next else { break };
        after = format!("&after={next}");
    }
    let mut sorted = found.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((found.len(), &found), (6, &sorted));
    assert_eq!(got(edge.api(Method::GET, "/v1/tokens?after=..%2Fx")).await.code(), Code::BadRequest);
    edge.stop().await;
}

#[tokio::test]
async fn there_are_no_more_tokens_than_the_limit() {
    let edge = edge().with_limit("tokens_max", 2).start().await;
    let second = made(&edge, json!({ "name": "second", "scope": "read" })).await;
    assert_eq!(make(&edge, edge.admin_token(), json!({ "name": "x", "scope": "read" })).await.code(), Code::TooMany);
    assert_eq!(revoke(&edge, edge.admin_token(), &second.id).await.status, StatusCode::NO_CONTENT);
    made(&edge, json!({ "name": "third", "scope": "read" })).await;
    edge.stop().await;
}

#[tokio::test]
async fn what_goes_on_ends_with_the_token_that_began_it() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let limits = Limits::default();
    let audit = Audit::new(Arc::clone(&catalog), &limits);
    let credentials = Arc::new(Credentials::new(Arc::clone(&catalog), audit, &limits));
    let token = async |expires_in_s| {
        let request =
            TokenRequest { name: "logs".to_owned(), app: None, environment: None, scope: Scope::Read, expires_in_s };
        let made = credentials.create(&Actor::local(), request).await.unwrap();
        (credentials.recognise(&made.token, None).await.unwrap(), made.id)
    };
    let ((first, first_id), (other, _)) = (token(None).await, token(None).await);
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut watch = credentials.in_force(first.clone()).await;
    assert!(watch.is_good().await);
    let mut of_reader = credentials.in_force(first.clone()).await;
    assert!(of_reader.is_good().await);
    let (ended, ()) = tokio::join!(tokio::time::timeout(PATIENCE, watch.ended()), async {
        tokio::task::yield_now().await;
        credentials.revoke(&Actor::local(), &first_id).await.unwrap();
    });
    ended.unwrap();
    assert!(!of_reader.is_good().await, "known before it was waited for");
    // Later requests observe the revocation, too, and other tokens stay valid.
    let mut later = credentials.in_force(first).await;
    tokio::time::timeout(PATIENCE, later.ended()).await.unwrap();
    assert!(!later.is_good().await && !watch.is_good().await);
    let mut others = credentials.in_force(other).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), others.ended()).await.is_err());
    assert!(others.is_good().await);
    let mut brief = credentials.in_force(token(Some(1)).await.0).await;
    tokio::time::timeout(PATIENCE, brief.ended()).await.unwrap();
}

#[tokio::test]
async fn what_a_login_makes_does_not_outlive_it() {
    let edge = quick().with_limit("access_token_ms_max", 60_000).start().await;
    account(&edge, "ada", "admin").await;
    let ada = login(&edge, "ada").await;
    let access = ada.access_token.expose();
    let ends_ms = devanture_base::clock::now_ms() + ada.refresh_expires_in_s * 1_000;
    let token: TokenMade = make(&edge, access, json!({ "name": "ci", "scope": "admin" })).await.json();
    let late_ms = token.expires_ms.unwrap().abs_diff(ends_ms);
    assert!(late_ms < 60_000, "it ends with the login: {late_ms} ms");
    let info = list(&edge, access, "").await.into_iter().find(|info| info.id == token.id).unwrap();
    assert_eq!((info.made_by.as_deref(), info.expires_ms), (Some("ada"), token.expires_ms));
    let longer = json!({ "name": "x", "scope": "read", "expires_in_s": ada.refresh_expires_in_s + 60 });
    assert_eq!(make(&edge, access, longer).await.code(), Code::Forbidden);
    let shorter = json!({ "name": "x", "scope": "read", "expires_in_s": 3_600 });
    assert_eq!(make(&edge, access, shorter).await.status, StatusCode::CREATED);
    // Neither directly nor by a token that it created.
    let wanted = json!({ "name": "eve", "scope": "admin", "password": PASSWORD });
    for by in [access, &token.token] {
        assert_eq!(got(edge.ask(Method::POST, "/v1/accounts", by).json(&wanted)).await.code(), Code::Forbidden);
    }
    edge.stop().await;
}
