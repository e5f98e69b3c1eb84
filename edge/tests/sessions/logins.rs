//! Start and end of sessions.

use devanture_config::api::{AccountList, AuditLog, Scope, Session, TokenMade};
use devanture_config::problem::Code;
use http::header::SET_COOKIE;
use http::{Method, StatusCode};
use serde_json::json;

use super::{Browser, COOKIE_NAME, PASSWORD, account, quick};
use crate::support::{RunningEdge, eventually, got};

#[tokio::test]
async fn a_session_of_an_account_may_what_the_account_may_now() {
    let edge = quick().with_app("shop", &[("index.html", b"hi")]).start().await;
    account(&edge, "ada", "read").await;
    let mut ada = Browser::of(&edge);
    let entered = ada.try_to_enter(&json!({ "account": "ADA", "password": PASSWORD })).await;
    let session: Session = entered.json();
    assert_eq!(entered.status, StatusCode::CREATED);
    assert_eq!((session.account.unwrap().as_str(), session.token), ("ada", None));
    assert_eq!((session.rights.len(), &*session.rights[0].scopes), (1, &[Scope::Read][..]));
    let lifetime_ms = session.expires_ms.unwrap() - session.created_ms.unwrap();
    assert_eq!((lifetime_ms, session.confirmed_until_ms, session.passkeys), (604_800_000, None, 0));
    assert_eq!(entered.headers.get_all(SET_COOKIE).iter().count(), 1);
    let (pair, attributes) = entered.header("set-cookie").split_once("; ").unwrap();
    assert!(pair.starts_with(&format!("{COOKIE_NAME}=dvs_{}_", session.id)), "{pair}");
    assert_eq!(attributes, "Max-Age=604800; Path=/; Secure; HttpOnly; SameSite=Strict");
    assert!(!entered.text().contains(pair.rsplit('_').next().unwrap()), "the secret is in the cookie alone");
    let status = "/v1/apps/shop/environments/prod";
    assert_eq!(ada.get(status).await.status, StatusCode::OK);
    let refused = ada.send(Method::POST, &format!("{status}/rollback"), &json!({})).await;
    assert_eq!(refused.code(), Code::Forbidden, "{}", refused.text());
    // The session secret is no token.
    let secret = ada.cookie.split_once('=').unwrap().1.to_owned();
    assert_eq!(got(edge.ask(Method::GET, status, &secret)).await.code(), Code::BadToken);
    let list: AccountList = got(edge.api(Method::GET, "/v1/accounts")).await.json();
    assert_eq!((list.accounts[0].logins, list.accounts[0].last_login_ms), (1, session.created_ms));
    let edge: RunningEdge = edge.restart().await;
    assert!(Browser { port: edge.admin().port(), ..ada }.is_in().await, "it outlives a restart");
    edge.stop().await;
}

#[tokio::test]
async fn a_session_of_a_token_does_not_outlive_it() {
    let edge = quick().with_app("shop", &[("index.html", b"hi")]).start().await;
    let wanted = json!({ "name": "ci", "app": "shop", "scope": "push", "expires_in_s": 3_600 });
    let token: TokenMade = got(edge.api(Method::POST, "/v1/tokens").json(&wanted)).await.json();
    let mut ci = Browser::of(&edge);
    let session: Session = ci.try_to_enter(&json!({ "token": token.token })).await.json();
    assert_eq!((session.account, session.token.as_deref()), (None, Some("ci")));
    assert_eq!(session.rights[0].app.as_ref().unwrap().as_str(), "shop");
    assert_eq!(session.rights[0].scopes, [Scope::Read, Scope::Push]);
    assert_eq!(session.expires_ms, token.expires_ms);
    assert!(session.id.starts_with(&token.id));
    assert!(ci.is_in().await);
    let lock = "/v1/apps/shop/environments/prod/lock";
    assert_eq!(ci.send(Method::PUT, lock, &json!({ "reason": "x" })).await.status, StatusCode::OK);
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit")).await.json();
    let entry = serde_json::to_value(&log.entries[0]).unwrap();
    assert_eq!((&entry["action"], &entry["who"], &entry["by"]), (&json!("lock"), &json!("ci"), &json!("token")));
    assert_eq!((&entry["via"], &entry["credential"]), (&json!("session"), &json!(session.id)));
    let revoked = got(edge.api(Method::DELETE, &format!("/v1/tokens/{}", token.id))).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.text());
    assert!(!ci.is_in().await);
    // Token with an expiry.
    let wanted = json!({ "name": "short", "scope": "read", "expires_in_s": 1 });
    let token: TokenMade = got(edge.api(Method::POST, "/v1/tokens").json(&wanted)).await.json();
    let mut short = Browser::of(&edge);
    let entered = short.try_to_enter(&json!({ "token": token.token })).await;
    if entered.status == StatusCode::CREATED {
        let session: Session = entered.json();
        assert_eq!(session.expires_ms, token.expires_ms);
        eventually("the session ends with its token", async || !short.is_in().await).await;
    } else {
        // The token expired before the exchange.
        assert_eq!(entered.code(), Code::BadToken);
    }
    edge.stop().await;
}

#[tokio::test]
async fn who_shows_nothing_gets_no_session() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let mut browser = Browser::of(&edge);
    let login: serde_json::Value = {
        let body = json!({ "login": "ada", "password": PASSWORD });
        got(edge.client().post(format!("https://localhost:{}/v1/login", edge.admin().port())).json(&body)).await.json()
    };
    for (body, code) in [
        (json!({ "account": "ada", "password": "wrong horse battery" }), Code::BadLogin),
        (json!({ "account": "bob", "password": PASSWORD }), Code::BadLogin),
        (json!({ "token": "dvt_000000000000_00" }), Code::BadToken),
        (json!({ "token": "" }), Code::BadToken),
        // A login token is valid for no other exchange.
        (json!({ "token": login["access_token"] }), Code::BadToken),
        (json!({ "token": login["refresh_token"] }), Code::BadToken),
        (json!({}), Code::Unauthenticated),
        (json!({ "account": "ada" }), Code::Unauthenticated),
        (json!({ "account": "ada", "password": PASSWORD, "token": "x" }), Code::Unauthenticated),
        (json!({ "account": "ada", "password": PASSWORD, "next": "https://evil.example" }), Code::Unauthenticated),
        (json!([]), Code::Unauthenticated),
    ] {
        let refused = browser.try_to_enter(&body).await;
        assert_eq!(refused.code(), code, "{body}: {}", refused.text());
        assert!(browser.cookie.is_empty());
    }
    edge.stop().await;
}

#[tokio::test]
async fn wrong_passwords_are_limited_together_with_those_of_logins() {
    let edge = quick().with_limit("login_attempts_per_account_max", 3).start().await;
    account(&edge, "ada", "read").await;
    let mut browser = Browser::of(&edge);
    let wrong = json!({ "account": "ada", "password": "wrong horse battery" });
    for _ in 0..2 {
        assert_eq!(browser.try_to_enter(&wrong).await.code(), Code::BadLogin);
    }
    let body = json!({ "login": "ada", "password": "wrong horse battery" });
    let login = edge.client().post(format!("https://localhost:{}/v1/login", edge.admin().port())).json(&body);
    assert_eq!(got(login).await.code(), Code::BadLogin);
    let limited = browser.try_to_enter(&json!({ "account": "ada", "password": PASSWORD })).await;
    assert_eq!(limited.code(), Code::TooManyAttempts);
    assert!(limited.header("retry-after").parse::<u64>().is_ok());
    edge.stop().await;
}

#[tokio::test]
async fn a_logout_another_password_and_a_deletion_end_sessions_at_once() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let ada = Browser::of(&edge).entered("ada").await;
    let out = ada.send(Method::DELETE, "/v1/session", &json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let removal = format!("{COOKIE_NAME}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict");
    assert_eq!(out.header("set-cookie"), removal);
    assert_eq!(ada.get("/v1/session").await.code(), Code::BadToken);

    let ada = Browser::of(&edge).entered("ada").await;
    let other = json!({ "password": "another horse entirely" });
    assert!(got(edge.api(Method::PUT, "/v1/accounts/ada/password").json(&other)).await.status.is_success());
    assert!(!ada.is_in().await);

    let mut ada = Browser::of(&edge);
    let entered = ada.try_to_enter(&json!({ "account": "ada", "password": "another horse entirely" })).await;
    assert_eq!(entered.status, StatusCode::CREATED);
    assert!(got(edge.api(Method::DELETE, "/v1/accounts/ada")).await.status.is_success());
    assert!(!ada.is_in().await);
    // A new account of the same name is a different account.
    account(&edge, "ada", "admin").await;
    assert!(!ada.is_in().await);
    edge.stop().await;
}

#[tokio::test]
async fn a_session_ends_at_its_age_and_when_nobody_uses_it() {
    let edge = quick().with_limit("session_ms_max", 1_000).start().await;
    account(&edge, "ada", "read").await;
    let mut ada = Browser::of(&edge);
    let entered = ada.try_to_enter(&json!({ "account": "ada", "password": PASSWORD })).await;
    assert!(entered.header("set-cookie").contains("; Max-Age=1; "), "{}", entered.header("set-cookie"));
    // However often the session is used.
    eventually("the session ends at its age", async || !ada.is_in().await).await;
    edge.stop().await;

    let edge = quick().with_limit("session_idle_ms_max", 1_000).start().await;
    account(&edge, "ada", "read").await;
    let ada = Browser::of(&edge).entered("ada").await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert!(!ada.is_in().await);
    edge.stop().await;
}

#[tokio::test]
async fn another_login_of_a_browser_ends_its_former_session_and_shares_nothing_with_it() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let mut browser = Browser::of(&edge).entered("ada").await;
    let former = browser.clone();
    browser = browser.entered("ada").await;
    let parts = |browser: &Browser| browser.cookie.split('_').map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (parts(&former), parts(&browser));
    assert!(before[before.len() - 2] != after[after.len() - 2] && before.last() != after.last());
    assert!(browser.is_in().await && !former.is_in().await);
    // A cookie planted in a browser is never the cookie after the login.
    let mut planted = Browser { cookie: format!("{COOKIE_NAME}=dvs_{}_00", "0".repeat(24)), ..browser.clone() };
    planted = planted.entered("ada").await;
    assert!(!planted.cookie.contains("000000000000_00"));
    edge.stop().await;
}

#[tokio::test]
async fn what_a_session_makes_does_not_outlive_it() {
    let edge = quick().start().await;
    account(&edge, "ada", "admin").await;
    let mut ada = Browser::of(&edge);
    let session: Session = ada.try_to_enter(&json!({ "account": "ada", "password": PASSWORD })).await.json();
    let token: TokenMade = ada.send(Method::POST, "/v1/tokens", &json!({ "name": "x", "scope": "read" })).await.json();
    assert_eq!(token.expires_ms, session.expires_ms);
    let refused = ada.send(Method::POST, "/v1/accounts", &json!({ "name": "eve", "scope": "admin" })).await;
    assert_eq!(refused.code(), Code::Forbidden);
    edge.stop().await;
}

/// Otherwise a thief with a stolen cookie would keep a token beyond the end of the session.
#[tokio::test]
async fn only_a_confirmed_session_of_an_account_makes_a_token_that_outlives_it() {
    let edge = quick().start().await;
    account(&edge, "ada", "admin").await;
    let mut ada = Browser::of(&edge);
    let session: Session = ada.try_to_enter(&json!({ "account": "ada", "password": PASSWORD })).await.json();
    let lasting = |name: &str, days: u64| json!({ "name": name, "scope": "admin", "expires_in_s": days * 86_400 });
    let thief = ada.clone();
    for path in ["/v1/tokens", "/v1/tokens?dry_run=true"] {
        let refused = thief.send(Method::POST, path, &lasting("x", 30)).await;
        assert_eq!(refused.code(), Code::ConfirmationRequired, "{path}");
    }
    for proof in [json!({ "password": "a guess of some length" }), json!({ "token": edge.admin_token() }), json!({})] {
        assert!(!thief.send(Method::POST, "/v1/session/confirm", &proof).await.status.is_success(), "{proof}");
    }
    // Neither by a created token, nor by a session of the created token, confirmed with the token.
    let short: TokenMade = thief.send(Method::POST, "/v1/tokens", &lasting("short", 1)).await.json();
    let by_token = got(edge.ask(Method::POST, "/v1/tokens", &short.token).json(&lasting("x", 30))).await;
    assert_eq!(by_token.code(), Code::Forbidden);
    let mut of_token = Browser::of(&edge);
    assert_eq!(of_token.try_to_enter(&json!({ "token": short.token })).await.status, StatusCode::CREATED);
    let confirmed = of_token.send(Method::POST, "/v1/session/confirm", &json!({ "token": short.token })).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text());
    assert_eq!(of_token.send(Method::POST, "/v1/tokens", &lasting("x", 30)).await.code(), Code::Forbidden);

    let confirmed = ada.send(Method::POST, "/v1/session/confirm", &json!({ "password": PASSWORD })).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text());
    let beyond = ada.send(Method::POST, "/v1/tokens", &lasting("x", 366)).await;
    assert_eq!(
        (beyond.code(), beyond.problem().limit.unwrap().name.as_str()),
        (Code::Forbidden, "account_token_ms_max")
    );
    let made: TokenMade = ada.send(Method::POST, "/v1/tokens", &lasting("lasting", 30)).await.json();
    assert!(made.expires_ms > session.expires_ms, "{made:?}");
    let brief: TokenMade = ada.send(Method::POST, "/v1/tokens", &json!({ "name": "x", "scope": "read" })).await.json();
    assert_eq!(brief.expires_ms, session.expires_ms, "only what asks for it");
    // The token outlives the session; derived tokens end with the token, and all tokens end with the account.
    let child = got(edge.ask(Method::POST, "/v1/tokens", &made.token).json(&json!({ "name": "y", "scope": "read" })));
    let child: TokenMade = child.await.json();
    assert_eq!(child.expires_ms, made.expires_ms);
    assert_eq!(ada.send(Method::DELETE, "/v1/session", &json!({})).await.status, StatusCode::NO_CONTENT);
    let answer = async |token: &str| got(edge.ask(Method::GET, "/v1/apps", token)).await;
    for token in [&made.token, &child.token] {
        assert_eq!(answer(token).await.status, StatusCode::OK);
    }
    account(&edge, "bob", "admin").await;
    assert!(got(edge.api(Method::DELETE, "/v1/accounts/ada")).await.status.is_success());
    account(&edge, "ada", "admin").await;
    for token in [&made.token, &child.token] {
        assert_eq!(answer(token).await.code(), Code::BadToken);
    }
    assert_eq!(answer(&short.token).await.status, StatusCode::OK, "as before");
    edge.stop().await;
}
