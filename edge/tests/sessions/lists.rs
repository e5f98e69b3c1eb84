//! List of sessions, and their end from another session.

use std::sync::Arc;

use devanture_config::api::{Scope, Secret, Session, SessionList, TokenRequest};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_control::access::Credentials;
use devanture_control::ledger::{Actor, Audit};
use devanture_store::catalog::{self, Change, Commit};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Browser, PASSWORD, account, quick};
use crate::support::got;

#[tokio::test]
async fn records_of_sessions_that_have_ended_are_removed_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let limits = Limits::default();
    let credentials = Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
    let browser = devanture_control::access::Browser { from: None, name: "test".to_owned() };
    let begin = async || {
        let request = TokenRequest {
            name: "test".to_owned(),
            app: None,
            environment: None,
            scope: Scope::Read,
            expires_in_s: None,
        };
        let token = credentials.create(&Actor::local(), request).await.unwrap();
        let made = credentials.begin_by_token(&Secret::new(token.token), &browser).await.unwrap();
        credentials.recognise_session(made.secret.expose(), None).await.unwrap();
        (token.id, made.session.id)
    };
    let keys = async |prefix: &str| {
        let found = catalog.list(prefix, None, false, usize::MAX).await.unwrap();
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let ((revoked, of_revoked), (_, old), (_, fresh)) = (begin().await, begin().await, begin().await);
    credentials.write_last_uses().await;
    for id in [&of_revoked, &old, &fresh] {
        assert!(keys("used/").await.contains(&format!("used/{id}")));
    }
    credentials.revoke(&Actor::local(), &revoked).await.unwrap();
    // The last session was unused for a long time, so that no use was ever recorded.
    let (_, idle) = begin().await;
    for (id, field) in [(&old, "expires_ms"), (&idle, "created_ms")] {
        let key = format!("sessions/{id}");
        let mut record: Value = serde_json::from_slice(&catalog.get(&key).await.unwrap().unwrap().value).unwrap();
        record[field] = json!(1);
        let change = Change::Put(key, serde_json::to_vec(&record).unwrap().into());
        catalog.commit(Commit { changes: vec![change], ..Commit::default() }).await.unwrap();
    }
    assert_eq!(keys("sessions/").await.len(), 4);
    // Another node, without cached sessions.
    let credentials = Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
    credentials.remove_ended_sessions().await;
    assert_eq!(keys("sessions/").await, [format!("sessions/{fresh}")]);
    let used = keys("used/").await;
    assert!(used.contains(&format!("used/{fresh}")), "{used:?}");
    assert!([of_revoked, old, idle].iter().all(|id| !used.contains(&format!("used/{id}"))), "{used:?}");
}

#[tokio::test]
async fn a_use_after_a_long_rest_is_known_to_other_nodes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let limits = Limits::default();
    let node = || Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
    let (one, two) = (node(), node());
    let request =
        TokenRequest { name: "test".to_owned(), app: None, environment: None, scope: Scope::Read, expires_in_s: None };
    let token = Secret::new(one.create(&Actor::local(), request).await.unwrap().token);
    let browser = devanture_control::access::Browser { from: None, name: "test".to_owned() };
    let made = one.begin_by_token(&token, &browser).await.unwrap();
    let used = async || catalog.get(&format!("used/{}", made.session.id)).await.unwrap();
    one.recognise_session(made.secret.expose(), None).await.unwrap();
    assert!(used().await.is_none(), "it is written with the others, in a minute");
    // The session began nearly as long ago as the idle limit.
    let key = format!("sessions/{}", made.session.id);
    let mut record: Value = serde_json::from_slice(&catalog.get(&key).await.unwrap().unwrap().value).unwrap();
    let began_ms = record["created_ms"].as_u64().unwrap();
    record["created_ms"] = json!(began_ms - limits.session_idle_ms_max + 60_000);
    let change = Change::Put(key, serde_json::to_vec(&record).unwrap().into());
    catalog.commit(Commit { changes: vec![change], ..Commit::default() }).await.unwrap();
    two.recognise_session(made.secret.expose(), None).await.unwrap();
    let used: Value = serde_json::from_slice(&used().await.expect("the other node can read it").value).unwrap();
    assert!(used["at_ms"].as_u64() >= Some(began_ms), "{used}");
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_own_account_and_by_admins_of_every_app() {
    let edge = quick().start().await;
    for name in ["ada", "bob"] {
        account(&edge, name, "read").await;
    }
    account(&edge, "root", "admin").await;
    let (here, there) = (Browser::of(&edge).entered("ada").await, Browser::of(&edge).entered("ada").await);
    let (bob, root) = (Browser::of(&edge).entered("bob").await, Browser::of(&edge).entered("root").await);
    let list: SessionList = here.get("/v1/sessions").await.json();
    assert_eq!((list.sessions.len(), list.next), (2, None));
    for session in &list.sessions {
        assert_eq!((session.account.as_ref().unwrap().as_str(), session.from.as_str()), ("ada", "127.0.0.1"));
        assert!(session.used_ms >= session.created_ms && session.expires_ms > session.used_ms);
    }
    let own: Session = here.get("/v1/session").await.json();
    assert_eq!(list.sessions.iter().filter(|session| session.current).count(), 1);
    assert!(list.sessions.iter().find(|session| session.current).unwrap().id == own.id);
    let other = list.sessions.iter().find(|session| !session.current).unwrap().id.clone();

    // Another account sees none of the sessions, and an admin of every app sees all, page by page.
    let path = format!("/v1/sessions/{other}");
    assert_eq!(bob.send(Method::DELETE, &path, &json!({})).await.code(), Code::NotFound);
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page: SessionList = root.get(&format!("/v1/sessions?limit=1{after}")).await.json();
        ids.extend(page.sessions.iter().map(|session| session.id.clone()));
        let Some(next) = page.next else { break };
        after = format!("&after={next}");
    }
    assert!(ids.len() == 4 && ids.is_sorted(), "{ids:?}");
    assert_eq!(root.get("/v1/sessions?after=../accounts").await.code(), Code::BadRequest);
    let all: SessionList = got(edge.api(Method::GET, "/v1/sessions")).await.json();
    assert_eq!(all.sessions.len(), 4);

    assert_eq!(here.send(Method::DELETE, &path, &json!({})).await.status, StatusCode::NO_CONTENT);
    assert!(!there.is_in().await && here.is_in().await);
    assert_eq!(here.send(Method::DELETE, &path, &json!({})).await.code(), Code::NotFound);
    let path = format!("/v1/sessions/{}", own.id);
    assert_eq!(root.send(Method::DELETE, &path, &json!({})).await.status, StatusCode::NO_CONTENT);
    assert!(!here.is_in().await && bob.is_in().await && root.is_in().await);
    // A token lists and ends the sessions started with the token, and is no session.
    let token = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let mut by_token = Browser::of(&edge);
    assert_eq!(by_token.try_to_enter(&json!({ "token": token })).await.status, StatusCode::CREATED);
    let list: SessionList = got(edge.ask(Method::GET, "/v1/sessions", &token)).await.json();
    assert!(list.sessions.len() == 1 && list.sessions[0].token.is_some() && !list.sessions[0].current, "{list:?}");
    let own = got(edge.ask(Method::DELETE, "/v1/session", &token)).await;
    assert_eq!(own.code(), Code::Forbidden);
    let path = format!("/v1/sessions/{}", list.sessions[0].id);
    assert_eq!(got(edge.ask(Method::DELETE, &path, &token)).await.status, StatusCode::NO_CONTENT);
    assert!(!by_token.is_in().await);
    edge.stop().await;
}

#[tokio::test]
async fn an_account_has_no_more_sessions_than_the_limit_and_the_oldest_goes() {
    let edge = quick().with_limit("sessions_per_account_max", 2).start().await;
    account(&edge, "ada", "read").await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        browsers.push(Browser::of(&edge).entered("ada").await);
    }
    let mut good = Vec::new();
    for browser in &browsers {
        good.push(browser.is_in().await);
    }
    assert_eq!(good, [false, true, true]);
    edge.stop().await;
}

#[tokio::test]
async fn a_browser_names_itself_and_its_name_is_bounded() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let browser = Browser::of(&edge);
    let name = format!("Mozilla <script>{}", "x".repeat(1_000));
    let request = browser.request(Method::POST, "/v1/session").header("user-agent", &name);
    assert_eq!(got(request.json(&json!({ "account": "ada", "password": PASSWORD }))).await.status, StatusCode::CREATED);
    let list: SessionList = got(edge.api(Method::GET, "/v1/sessions")).await.json();
    assert_eq!(list.sessions[0].browser, name[..200]);
    edge.stop().await;
}
