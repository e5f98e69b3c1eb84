//! Accounts, logins, refreshes, and attackers.

use std::sync::Arc;

use devanture_config::api::{AccountList, AccountRequest, AuditLog, LoggedIn, LoginRequest, Scope, Secret};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_control::access::Credentials;
use devanture_control::ledger::{Actor, Audit};
use devanture_store::catalog;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use super::{PASSWORD, account, login, login_from, open, quick, refresh, status_with, try_login};
use crate::support::{RunningEdge, edge, got};

#[tokio::test]
async fn an_account_logs_in_and_may_do_what_its_scope_says() {
    let edge = quick().with_app("shop", &[("index.html", b"hi")]).start().await;
    account(&edge, "Ada@Example.org", "read").await;
    let ada = login(&edge, "ada@example.ORG").await;
    assert_eq!((ada.account.as_str(), ada.scope, ada.expires_in_s > 890), ("ada@example.org", Scope::Read, true));
    assert_eq!(status_with(&edge, ada.access_token.expose()).await, StatusCode::OK);
    let push = edge.ask(Method::POST, "/v1/apps/shop/environments/prod/rollback", ada.access_token.expose());
    assert_eq!(got(push).await.code(), Code::Forbidden);
    // A refresh token authorizes no request.
    assert_eq!(status_with(&edge, ada.refresh_token.expose()).await, StatusCode::UNAUTHORIZED);
    let list: AccountList = got(edge.api(Method::GET, "/v1/accounts")).await.json();
    assert_eq!((list.accounts.len(), list.accounts[0].logins), (1, 1));
    let twice = json!({ "name": "ADA@example.org", "scope": "read", "password": PASSWORD });
    assert_eq!(got(edge.api(Method::POST, "/v1/accounts").json(&twice)).await.code(), Code::Conflict);
    edge.stop().await;
}

#[tokio::test]
async fn an_account_that_is_not_there_answers_as_a_wrong_password_does() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let wrong = try_login(&edge, "ada", "wrong horse battery").await;
    assert_eq!(wrong.code(), Code::BadLogin);
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
    for unknown in ["bob", "", "no name at all", "../ada", &"a".repeat(5_000)] {
        let got = try_login(&edge, unknown, PASSWORD).await;
        assert_eq!((got.status, got.body), (wrong.status, wrong.body.clone()), "{unknown}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn who_shows_nothing_is_unauthenticated() {
    let edge = quick().start().await;
    let url = |operation: &str| format!("https://localhost:{}/v1/{operation}", edge.admin().port());
    for operation in ["login", "logout", "refresh"] {
        for body in ["", "{", "[]", "{}", r#"{"login":1}"#, r#"{"login":"a","password":"b","more":1}"#, "\u{0}"] {
            let request = edge.client().post(url(operation)).header("content-type", "application/json");
            let got = got(request.body(body)).await;
            assert_eq!(
                (got.status, got.code()),
                (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
                "{operation} {body}"
            );
        }
        let huge = format!(r#"{{"login":"{}","password":"x"}}"#, "a".repeat(100_000));
        let request = edge.client().post(url(operation)).header("content-type", "application/json").body(huge);
        assert_eq!(got(request).await.code(), Code::Unauthenticated);
        assert_eq!(got(edge.client().post(url(operation))).await.code(), Code::Unauthenticated);
        let refused = got(edge.client().get(url(operation))).await;
        assert_eq!((refused.code(), refused.header("allow")), (Code::MethodNotAllowed, "POST"));
    }
    for token in ["", "x", "dvr_", "dvr_0_0", "dvt_000000000000_00", "dvr_/../accounts_0"] {
        assert_eq!(refresh(&edge, token).await.status, StatusCode::UNAUTHORIZED);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_refresh_gives_the_next_pair_and_an_old_token_ends_the_login() {
    let edge = quick().with_limit("refresh_grace_ms_max", 0).start().await;
    account(&edge, "ada", "read").await;
    let other = login(&edge, "ada").await;
    let first = login(&edge, "ada").await;
    let second: LoggedIn = refresh(&edge, first.refresh_token.expose()).await.json();
    assert_ne!(first.refresh_token, second.refresh_token);
    assert!(second.refresh_expires_in_s <= first.refresh_expires_in_s, "a refresh prolongs nothing");
    let third: LoggedIn = refresh(&edge, second.refresh_token.expose()).await.json();
    for pair in [&first, &second, &third] {
        assert_eq!(status_with(&edge, pair.access_token.expose()).await, StatusCode::OK, "each until it ends");
    }
    // A guess of a token's second half revokes nothing.
    let (id, secrets) = third.refresh_token.expose().rsplit_once('_').unwrap();
    assert_eq!(refresh(&edge, &format!("{id}_{}", "0".repeat(secrets.len()))).await.code(), Code::BadToken);
    assert_eq!(status_with(&edge, third.access_token.expose()).await, StatusCode::OK);

    assert_eq!(refresh(&edge, first.refresh_token.expose()).await.code(), Code::BadToken);
    for pair in [&first, &second, &third] {
        assert_eq!(status_with(&edge, pair.access_token.expose()).await, StatusCode::UNAUTHORIZED);
        assert_eq!(refresh(&edge, pair.refresh_token.expose()).await.code(), Code::BadToken);
    }
    assert_eq!(status_with(&edge, other.access_token.expose()).await, StatusCode::OK, "the other login goes on");
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit")).await.json();
    let reuse: Vec<_> = log.entries.iter().filter(|entry| entry.action == "reuse_refresh_token").collect();
    assert_eq!(reuse.len(), 1, "{log:#?}");
    assert_eq!((reuse[0].who.as_str(), reuse[0].from.as_str()), ("ada", "127.0.0.1"));
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_can_be_requested_again_and_the_lost_one_is_good_no_more() {
    let edge = quick().with_limit("refresh_grace_ms_max", 60_000).start().await;
    account(&edge, "ada", "read").await;
    let first = login(&edge, "ada").await;
    let lost: LoggedIn = refresh(&edge, first.refresh_token.expose()).await.json();
    let again: LoggedIn = refresh(&edge, first.refresh_token.expose()).await.json();
    assert_eq!(status_with(&edge, again.access_token.expose()).await, StatusCode::OK);
    assert_eq!(status_with(&edge, lost.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    // The response was not lost but read by an attacker.
    assert_eq!(refresh(&edge, lost.refresh_token.expose()).await.code(), Code::BadToken);
    assert_eq!(status_with(&edge, again.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test]
async fn a_token_whose_successor_was_used_has_no_second_time() {
    let edge = quick().with_limit("refresh_grace_ms_max", 60_000).start().await;
    account(&edge, "ada", "read").await;
    let first = login(&edge, "ada").await;
    let second: LoggedIn = refresh(&edge, first.refresh_token.expose()).await.json();
    assert_eq!(status_with(&edge, second.access_token.expose()).await, StatusCode::OK);
    assert_eq!(refresh(&edge, first.refresh_token.expose()).await.code(), Code::BadToken);
    assert_eq!(status_with(&edge, second.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test]
async fn of_many_refreshes_with_one_token_one_pair_is_left() {
    let edge = quick().with_limit("refresh_grace_ms_max", 60_000).start().await;
    account(&edge, "ada", "read").await;
    let first = login(&edge, "ada").await;
    let answers = join_all((0..8).map(|_| refresh(&edge, first.refresh_token.expose()))).await;
    let pairs: Vec<LoggedIn> =
        answers.into_iter().filter(|got| got.status.is_success()).map(|got| got.json()).collect();
    let mut good = 0;
    for pair in &pairs {
        good += usize::from(status_with(&edge, pair.access_token.expose()).await == StatusCode::OK);
    }
    assert_eq!(good, 1, "of {}", pairs.len());
    edge.stop().await;
}

#[tokio::test]
async fn a_logout_another_password_and_a_deletion_end_logins_at_once() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let (one, two) = (login(&edge, "ada").await, login(&edge, "ada").await);
    let out = open(&edge, "logout", &json!({ "refresh_token": one.refresh_token })).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(status_with(&edge, one.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status_with(&edge, two.access_token.expose()).await, StatusCode::OK);

    let other = json!({ "password": "another horse entirely" });
    let set = got(edge.api(Method::PUT, "/v1/accounts/ada/password").json(&other)).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    assert_eq!(status_with(&edge, two.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&edge, two.refresh_token.expose()).await.code(), Code::BadToken);
    assert_eq!(try_login(&edge, "ada", PASSWORD).await.code(), Code::BadLogin);
    let three: LoggedIn = try_login(&edge, "ada", "another horse entirely").await.json();

    assert_eq!(got(edge.api(Method::DELETE, "/v1/accounts/ada")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(status_with(&edge, three.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(got(edge.api(Method::DELETE, "/v1/accounts/ada")).await.code(), Code::NotFound);
    // A new account of the same name is a different account.
    account(&edge, "ada", "admin").await;
    assert_eq!(refresh(&edge, three.refresh_token.expose()).await.code(), Code::BadToken);
    edge.stop().await;
}

#[tokio::test]
async fn an_account_has_no_more_logins_than_the_limit_and_the_oldest_goes() {
    let edge = quick().with_limit("logins_per_account_max", 2).start().await;
    account(&edge, "ada", "read").await;
    let mut logins = Vec::new();
    for _ in 0..3 {
        logins.push(login(&edge, "ada").await);
    }
    let mut good = Vec::new();
    for login in &logins {
        good.push(status_with(&edge, login.access_token.expose()).await == StatusCode::OK);
    }
    assert_eq!(good, [false, true, true]);
    edge.stop().await;
}

#[tokio::test]
async fn a_password_has_a_least_length_and_an_account_a_name() {
    let edge = quick().start().await;
    for wanted in [
        json!({ "name": "ada", "scope": "read", "password": "too short" }),
        json!({ "name": "a/b", "scope": "read", "password": PASSWORD }),
        json!({ "name": "ada", "scope": "root", "password": PASSWORD }),
    ] {
        let got = got(edge.api(Method::POST, "/v1/accounts").json(&wanted)).await;
        assert_eq!(got.code(), Code::BadRequest, "{wanted}");
        assert!(!got.text().contains("too short"), "what was sent is not repeated");
    }
    edge.stop().await;
}

#[tokio::test]
async fn attempts_are_limited_by_account_and_a_stranger_does_not_lock_the_owner_out() {
    let edge = quick().with_limit("login_attempts_per_account_max", 3).start().await;
    account(&edge, "ada", "read").await;
    assert!(login_from(&edge, 2, "ada", PASSWORD).await.status.is_success());
    for _ in 0..3 {
        assert_eq!(login_from(&edge, 3, "ada", "wrong horse battery").await.code(), Code::BadLogin);
    }
    for last in [3, 4] {
        let limited = login_from(&edge, last, "ada", PASSWORD).await;
        assert_eq!((limited.status, limited.code()), (StatusCode::TOO_MANY_REQUESTS, Code::TooManyAttempts));
        let wait_s: u64 = limited.header("retry-after").parse().unwrap();
        assert!((1..=900).contains(&wait_s), "{wait_s}");
    }
    // From a known address, ada can still log in; a success resets the count.
    for _ in 0..2 {
        assert_eq!(login_from(&edge, 2, "ada", "wrong horse battery").await.code(), Code::BadLogin);
        assert_eq!(login_from(&edge, 2, "ada", "wrong horse battery").await.code(), Code::BadLogin);
        assert!(login_from(&edge, 2, "ada", PASSWORD).await.status.is_success());
    }
    // A missing account has the same limit.
    for _ in 0..3 {
        assert_eq!(login_from(&edge, 3, "bob", PASSWORD).await.code(), Code::BadLogin);
    }
    assert_eq!(login_from(&edge, 3, "bob", PASSWORD).await.code(), Code::TooManyAttempts);
    edge.stop().await;
}

#[tokio::test]
async fn attempts_are_limited_by_address_whichever_account_they_are_for() {
    let edge = quick().with_limit("login_attempts_per_address_max", 4).start().await;
    account(&edge, "ada", "read").await;
    for name in ["ada", "bob", "eve", "dan"] {
        login_from(&edge, 5, name, "wrong horse battery").await;
    }
    assert_eq!(login_from(&edge, 5, "ada", PASSWORD).await.code(), Code::TooManyAttempts);
    assert!(login_from(&edge, 6, "ada", PASSWORD).await.status.is_success());
    edge.stop().await;
}

#[tokio::test]
async fn attempts_count_for_a_window_and_no_longer() {
    let edge =
        quick().with_limit("login_attempts_per_account_max", 1).with_limit("login_window_ms", 1_000).start().await;
    account(&edge, "ada", "read").await;
    assert_eq!(try_login(&edge, "ada", "wrong horse battery").await.code(), Code::BadLogin);
    let mut tries = 0;
    while !try_login(&edge, "ada", PASSWORD).await.status.is_success() {
        tries += 1;
        assert!(tries < 500, "it is never let in again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_flood_of_logins_is_refused_for_a_while_and_starves_nobody() {
    let edge = edge()
        .with_limit("argon2_memory_kib", 65_536)
        .with_limit("argon2_at_once_max", 1)
        .with_limit("argon2_waiting_max", 1)
        .with_limit("login_attempts_per_account_max", 1_000)
        .start()
        .await;
    let flood = join_all((0..20).map(|number| {
        let edge = &edge;
        async move { try_login(edge, &format!("name-{number}"), PASSWORD).await }
    }));
    let other = async {
        let mut answered = 0;
        for _ in 0..10 {
            answered += usize::from(got(edge.api(Method::GET, "/v1/tokens")).await.status.is_success());
        }
        answered
    };
    let (flood, answered) = tokio::join!(flood, other);
    assert_eq!(answered, 10);
    let busy: Vec<_> = flood.iter().filter(|got| got.status == StatusCode::SERVICE_UNAVAILABLE).collect();
    assert!(!busy.is_empty());
    assert_eq!((busy[0].code(), busy[0].header("retry-after")), (Code::Busy, "5"));
    assert!(flood.iter().all(|got| matches!(got.code(), Code::Busy | Code::BadLogin)));
    edge.stop().await;
}

#[tokio::test]
async fn logins_outlive_a_restart() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let ada = login(&edge, "ada").await;
    let edge: RunningEdge = edge.restart().await;
    assert_eq!(status_with(&edge, ada.access_token.expose()).await, StatusCode::OK);
    let next: LoggedIn = refresh(&edge, ada.refresh_token.expose()).await.json();
    assert_eq!(status_with(&edge, next.access_token.expose()).await, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn a_password_is_hashed_again_at_the_login_after_the_parameters_were_raised() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let credentials = |passes: u64| {
        let limits = Limits { argon2_memory_kib: 7_168, argon2_passes: passes, ..Limits::default() };
        Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits)
    };
    let kept = async || {
        let record = catalog.get("accounts/ada").await.unwrap().unwrap();
        String::from_utf8_lossy(&record.value).into_owned()
    };
    let wanted = AccountRequest {
        name: "ada".parse().unwrap(),
        app: None,
        environment: None,
        scope: Scope::Read,
        password: Some(Secret::new(PASSWORD)),
    };
    credentials(1).create_account(&Actor::local(), wanted).await.unwrap();
    assert!(kept().await.contains("m=7168,t=1,p=1"));
    let request = LoginRequest { login: "ada".to_owned(), password: Secret::new(PASSWORD) };
    let raised = credentials(2);
    let first = raised.login(&request, None).await.unwrap();
    let again = kept().await;
    assert!(again.contains("m=7168,t=2,p=1"), "{again}");
    raised.recognise(first.access_token.expose(), None).await.unwrap();
    raised.login(&request, None).await.unwrap();
    assert_eq!(kept().await, again, "once is enough");
}
