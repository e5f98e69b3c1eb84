//! Invitations: created by an admin, accepted once, by JSON or on the page.

use devanture_config::api::{AccountList, AuditLog, InvitationMade};
use devanture_config::problem::Code;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PASSWORD, account, login, open, quick, status_with, try_login};
use crate::support::{Got, RunningEdge, got};

/// Creates an account without a password.
async fn newcomer(edge: &RunningEdge, name: &str, scope: &str) {
    let wanted = json!({ "name": name, "scope": scope });
    let made = got(edge.api(Method::POST, "/v1/accounts").json(&wanted)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
}

async fn invite(edge: &RunningEdge, name: &str) -> String {
    let made = got(edge.api(Method::POST, &format!("/v1/accounts/{name}/invitation"))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    made.json::<InvitationMade>().invitation.expose().to_owned()
}

async fn accept(edge: &RunningEdge, invitation: &str, password: &str) -> Got {
    open(edge, "invitations", &json!({ "invitation": invitation, "password": password })).await
}

async fn accounts(edge: &RunningEdge) -> AccountList {
    got(edge.api(Method::GET, "/v1/accounts")).await.json()
}

#[tokio::test]
async fn an_invitation_sets_a_password_once() {
    let edge = quick().start().await;
    newcomer(&edge, "ada@example.org", "read").await;
    assert_eq!(try_login(&edge, "ada@example.org", PASSWORD).await.code(), Code::BadLogin);
    assert_eq!(try_login(&edge, "ada@example.org", "").await.code(), Code::BadLogin);
    let first = invite(&edge, "ada@example.org").await;
    let second = invite(&edge, "ADA@example.org").await;
    let listed = &accounts(&edge).await.accounts[0];
    assert!(listed.password_ms == 0 && listed.invited_until_ms.is_some(), "{listed:?}");
    assert_eq!(accept(&edge, &first, PASSWORD).await.code(), Code::BadToken, "another one replaced it");
    assert_eq!(accept(&edge, &second, "too short").await.code(), Code::BadRequest);
    // Of two concurrent requests, exactly one sets the password.
    let both = join_all([accept(&edge, &second, PASSWORD), accept(&edge, &second, PASSWORD)]).await;
    assert_eq!(both.iter().filter(|got| got.status == StatusCode::OK).count(), 1, "{both:?}");
    assert_eq!(accept(&edge, &second, "another horse battery").await.code(), Code::BadToken);
    login(&edge, "ada@example.org").await;
    let listed = &accounts(&edge).await.accounts[0];
    assert!(listed.password_ms > 0 && listed.invited_until_ms.is_none(), "{listed:?}");
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit")).await.json();
    let of = |action: &str| log.entries.iter().find(|entry| entry.action == action).unwrap();
    assert_eq!((of("invite").who.as_str(), of("accept_invitation").who.as_str()), ("test", "ada@example.org"));
    assert!(!serde_json::to_string(&log).unwrap().contains(&second));
    edge.stop().await;
}

#[tokio::test]
async fn an_invitation_ends_the_logins_only_when_it_is_accepted() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let before = login(&edge, "ada").await;
    let invitation = invite(&edge, "ada").await;
    assert_eq!(status_with(&edge, before.access_token.expose()).await, StatusCode::OK);
    assert_eq!(accept(&edge, &invitation, "another horse battery").await.status, StatusCode::OK);
    assert_eq!(status_with(&edge, before.access_token.expose()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(try_login(&edge, "ada", PASSWORD).await.code(), Code::BadLogin);
    // A password set by an admin, a revocation and a deletion each end an invitation.
    let set = json!({ "password": PASSWORD });
    for (method, path, body) in [
        (Method::PUT, "/v1/accounts/ada/password", Some(set)),
        (Method::DELETE, "/v1/accounts/ada/invitation", None),
        (Method::DELETE, "/v1/accounts/ada", None),
    ] {
        let invitation = invite(&edge, "ada").await;
        let request = edge.api(method, path);
        let done = got(body.iter().fold(request, |request, body| request.json(body))).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT, "{path}: {}", done.text());
        assert_eq!(accept(&edge, &invitation, PASSWORD).await.code(), Code::BadToken, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_is_no_invitation_is_answered_alike_and_so_often() {
    let edge = quick().with_limit("login_attempts_per_address_max", 8).start().await;
    newcomer(&edge, "ada", "read").await;
    let invitation = invite(&edge, "ada").await;
    let of_nobody = format!("dvi_{}_{}", hex::encode("bob"), "0".repeat(64));
    let wrong = format!("{}{}", &invitation[..invitation.len() - 64], "0".repeat(64));
    let first = accept(&edge, "", PASSWORD).await;
    assert_eq!((first.status, first.code()), (StatusCode::UNAUTHORIZED, Code::BadToken));
    for text in ["dvi_", "dvi_zz_00", "../ada", &of_nobody, &wrong, &"a".repeat(5_000)] {
        let got = accept(&edge, text, PASSWORD).await;
        assert_eq!((got.status, got.body), (first.status, first.body.clone()), "{text}");
    }
    assert_eq!(accept(&edge, &wrong, PASSWORD).await.code(), Code::BadToken);
    assert_eq!(accept(&edge, &wrong, PASSWORD).await.code(), Code::TooManyAttempts);
    for body in [json!({}), json!({ "invitation": invitation }), json!([])] {
        assert_eq!(open(&edge, "invitations", &body).await.code(), Code::Unauthenticated);
    }
    edge.stop().await;
}

#[tokio::test]
async fn passwords_that_are_too_short_are_no_attempts() {
    let edge = quick().with_limit("login_attempts_per_address_max", 2).start().await;
    newcomer(&edge, "ada", "read").await;
    let invitation = invite(&edge, "ada").await;
    for _ in 0..4 {
        assert_eq!(accept(&edge, &invitation, "too short").await.code(), Code::BadRequest);
    }
    assert_eq!(accept(&edge, &invitation, PASSWORD).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn who_may_not_make_accounts_makes_no_invitations_and_a_lifetime_is_bounded() {
    let edge = quick().with_limit("invitation_ms_max", 60_000).start().await;
    account(&edge, "ada", "admin").await;
    newcomer(&edge, "bob", "read").await;
    let ada = login(&edge, "ada").await;
    let path = "/v1/accounts/bob/invitation";
    let refused = got(edge.ask(Method::POST, path, ada.access_token.expose())).await;
    assert_eq!(refused.code(), Code::Forbidden, "a login ends, and the account of a person stays");
    for (path, seconds, code) in
        [(path, 61, Code::BadRequest), (path, 0, Code::BadRequest), ("/v1/accounts/eve/invitation", 60, Code::NotFound)]
    {
        let request = edge.api(Method::POST, path).json(&json!({ "expires_in_s": seconds }));
        assert_eq!(got(request).await.code(), code, "{path} {seconds}");
    }
    assert_eq!(got(edge.api(Method::DELETE, path)).await.code(), Code::NotFound, "it has none");
    let predicted = got(edge.api(Method::POST, &format!("{path}?dry_run"))).await;
    assert_eq!(predicted.status, StatusCode::OK, "{}", predicted.text());
    assert_eq!(accounts(&edge).await.accounts[1].invited_until_ms, None);
    edge.stop().await;
}

#[tokio::test]
async fn the_last_account_that_runs_the_edge_is_not_deleted_from_afar() {
    let edge = quick().start().await;
    account(&edge, "ada", "admin").await;
    newcomer(&edge, "bob", "admin").await;
    let delete = async |name: &str, query: &str| -> Got {
        got(edge.api(Method::DELETE, &format!("/v1/accounts/{name}{query}"))).await
    };
    for query in ["?dry_run", ""] {
        assert_eq!(delete("ada", query).await.code(), Code::Conflict, "bob cannot log in yet");
    }
    assert_eq!(accept(&edge, &invite(&edge, "bob").await, PASSWORD).await.status, StatusCode::OK);
    let predicted: Value = delete("ada", "?dry_run").await.json();
    assert_eq!(predicted["name"], "ada");
    let both = join_all([delete("ada", ""), delete("bob", "")]).await;
    assert_eq!(both.iter().filter(|got| got.status == StatusCode::NO_CONTENT).count(), 1, "{both:?}");
    assert_eq!(accounts(&edge).await.accounts.len(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn the_page_of_an_invitation_is_the_same_for_all_and_takes_its_form() {
    let edge = quick().start().await;
    newcomer(&edge, "ada", "read").await;
    let invitation = invite(&edge, "ada").await;
    let url = format!("https://localhost:{}/v1/invitations", edge.admin().port());
    let page = got(edge.client().get(&url)).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::UNAUTHORIZED, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!((page.header("referrer-policy"), page.header("cache-control")), ("no-referrer", "no-store"));
    assert_eq!(got(edge.client().get(format!("{url}?{invitation}"))).await.code(), Code::BadRequest);
    let form = async |invitation: &str, password: &str| -> Got {
        let text = format!("invitation={invitation}&password={}", password.replace(' ', "+"));
        let request = edge.client().post(&url).header("content-type", "application/x-www-form-urlencoded");
        got(request.body(text)).await
    };
    let short = form(&invitation, "too short").await;
    assert!(short.status == StatusCode::BAD_REQUEST && short.text().contains("12 characters"), "{}", short.text());
    assert!(short.text().contains("go back to try again"), "{}", short.text());
    let wrong = form("<script>", PASSWORD).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text().contains("`devanture account invite`"), "{}", wrong.text());
    let done = form(&invitation, PASSWORD).await;
    assert!(done.status == StatusCode::OK && done.text().contains("The password of ada is set"), "{}", done.text());
    login(&edge, "ada").await;
    edge.stop().await;
}
