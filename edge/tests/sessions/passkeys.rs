//! Passkeys: registered in a session, presented in place of the password, and refused after any error.

use devanture_config::api::{AccountList, Challenge, PasskeyInfo, PasskeyList, Session};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Browser, PASSWORD, account, quick};
use crate::support::authenticator::{Authenticator, text};
use crate::support::{Got, RunningEdge, got};

/// Passkey whose client data names the edge's origin.
fn passkey(edge: &RunningEdge) -> Authenticator {
    Authenticator::new("localhost", &format!("https://localhost:{}", edge.admin().port()))
}

async fn challenge(browser: &Browser, purpose: &str) -> Challenge {
    browser.send(Method::POST, "/v1/session/challenge", &json!({ "purpose": purpose })).await.json()
}

async fn confirm(browser: &Browser) {
    let confirmed = browser.send(Method::POST, "/v1/session/confirm", &json!({ "password": PASSWORD })).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text());
}

async fn try_to_register(browser: &Browser, passkey: &Authenticator, challenge: &str) -> Got {
    let (object, client_data) = passkey.create(challenge);
    let body = json!({ "name": "laptop", "attestation_object": text(&object), "client_data_json": text(&client_data) });
    browser.send(Method::POST, "/v1/passkeys", &body).await
}

/// Passkey of an account whose session is confirmed.
async fn registered(edge: &RunningEdge, browser: &Browser) -> Authenticator {
    let made = passkey(edge);
    let challenge = challenge(browser, "register").await;
    let got = try_to_register(browser, &made, &challenge.challenge).await;
    assert_eq!(got.status, StatusCode::CREATED, "{}", got.text());
    made
}

fn assertion(passkey: &Authenticator, challenge: &str, user: &str) -> Value {
    let signed = passkey.get(challenge);
    json!({
        "id": text(&passkey.id),
        "authenticator_data": text(&signed.data),
        "client_data_json": text(&signed.client_data),
        "signature": text(&signed.signature),
        "user_handle": user,
    })
}

#[tokio::test]
async fn a_passkey_is_registered_in_a_confirmed_session_and_logs_in_without_the_password() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let ada = Browser::of(&edge).entered("ada").await;
    let made = passkey(&edge);
    // An unconfirmed session registers no passkey, and gets no challenge that would prompt the user.
    let unconfirmed = ada.send(Method::POST, "/v1/session/challenge", &json!({ "purpose": "register" })).await;
    assert_eq!(unconfirmed.code(), Code::ConfirmationRequired);
    assert_eq!(try_to_register(&ada, &made, "abc").await.code(), Code::ConfirmationRequired);
    confirm(&ada).await;
    let first = challenge(&ada, "register").await;
    let user = first.user.clone().unwrap();
    assert_eq!((first.rp.as_str(), user.name.as_str(), first.credentials.len()), ("localhost", "ada", 0));
    let info: PasskeyInfo = try_to_register(&ada, &made, &first.challenge).await.json();
    assert_eq!((info.name.as_str(), info.used_ms), ("laptop", None));
    assert_eq!(try_to_register(&ada, &made, &first.challenge).await.code(), Code::BadRequest);
    let next = challenge(&ada, "register").await.challenge;
    assert_eq!(try_to_register(&ada, &made, &next).await.code(), Code::Conflict);
    let list: PasskeyList = ada.get("/v1/passkeys").await.json();
    assert_eq!(list.passkeys, std::slice::from_ref(&info));
    let again = challenge(&ada, "register").await;
    assert_eq!(again.credentials[0].id, text(&made.id));

    let mut browser = Browser::of(&edge);
    let login = challenge(&browser, "login").await;
    assert!(login.user.is_none() && login.credentials.is_empty(), "nothing of accounts is reported: {login:?}");
    let shown = json!({ "passkey": assertion(&made, &login.challenge, &user.id) });
    let entered = browser.try_to_enter(&shown).await;
    let session: Session = entered.json();
    assert_eq!((session.account.unwrap().as_str(), session.passkeys), ("ada", 1));
    assert!(browser.is_in().await);
    // An assertion is valid once.
    assert_eq!(browser.clone().try_to_enter(&shown).await.code(), Code::BadLogin);
    let list: PasskeyList = ada.get("/v1/passkeys").await.json();
    assert!(list.passkeys[0].used_ms.is_some());
    let accounts: AccountList = got(edge.api(Method::GET, "/v1/accounts")).await.json();
    assert_eq!(accounts.accounts[0].logins, 2);
    let edge = edge.restart().await;
    let mut browser = Browser::of(&edge);
    // The passkey was registered at another port, since the edge of this test has a random port.
    let login = challenge(&browser, "login").await;
    let elsewhere = browser.try_to_enter(&json!({ "passkey": assertion(&made, &login.challenge, &user.id) })).await;
    assert_eq!(elsewhere.code(), Code::BadLogin);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_passkey_is_answered_alike() {
    let edge = quick().with_limit("login_attempts_per_address_max", 10_000).start().await;
    for name in ["ada", "bob"] {
        account(&edge, name, "read").await;
    }
    let (ada, bob) = (Browser::of(&edge).entered("ada").await, Browser::of(&edge).entered("bob").await);
    for browser in [&ada, &bob] {
        confirm(browser).await;
    }
    let mut made = registered(&edge, &ada).await;
    made.counter = 5;
    let user = challenge(&ada, "register").await.user.unwrap().id;
    let other = challenge(&bob, "register").await.user.unwrap().id;
    let mut browser = Browser::of(&edge);
    let mut refusals = Vec::new();
    let mut refuse = async |passkey: &Authenticator, challenge: &str, user: &str| {
        let refused = browser.try_to_enter(&json!({ "passkey": assertion(passkey, challenge, user) })).await;
        assert_eq!(refused.code(), Code::BadLogin, "{}", refused.text());
        refusals.push(refused.text());
    };
    let login = challenge(&ada, "login").await.challenge;
    for (origin, rp) in [
        ("https://evil.example", "evil.example"),
        ("https://localhost", "localhost"),
        ("https://localhost:1", "localhost"),
        ("https://shop.localhost:8443", "shop.localhost"),
    ] {
        let phished = Authenticator { rp: rp.to_owned(), origin: origin.to_owned(), ..made };
        refuse(&phished, &login, &user).await;
        made = phished;
    }
    (made.rp, made.origin) = ("localhost".to_owned(), format!("https://localhost:{}", edge.admin().port()));
    for flags in [0x00, 0x01, 0x04] {
        made.flags = flags;
        refuse(&made, &login, &user).await;
    }
    made.flags = 0x05;
    refuse(&made, &login, &other).await;
    refuse(&made, &login, "").await;
    refuse(&made, &login, "!").await;
    refuse(&passkey(&edge), &login, &user).await;
    let for_confirmation = challenge(&ada, "confirm").await.challenge;
    for wrong in ["", "abc", &for_confirmation] {
        refuse(&made, wrong, &user).await;
    }
    // A challenge older than the last answered challenge.
    let newer = challenge(&ada, "login").await.challenge;
    let entered = Browser::of(&edge).try_to_enter(&json!({ "passkey": assertion(&made, &newer, &user) })).await;
    assert_eq!(entered.status, StatusCode::CREATED, "{}", entered.text());
    made.counter = 6;
    refuse(&made, &login, &user).await;
    // A cloned authenticator.
    made.counter = 5;
    let next = challenge(&ada, "login").await.challenge;
    refuse(&made, &next, &user).await;
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_challenge_is_answered_once_by_a_passkey_that_it_was_made_for() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let ada = Browser::of(&edge).entered("ada").await;
    confirm(&ada).await;
    let first = registered(&edge, &ada).await;
    // A registration challenge, whichever authenticator answers, even after the removal of the passkey.
    let register = challenge(&ada, "register").await;
    let user = register.user.unwrap().id;
    let for_confirmation = challenge(&ada, "confirm").await;
    assert_eq!(for_confirmation.credentials.len(), 1);
    let second = passkey(&edge);
    let info: PasskeyInfo = try_to_register(&ada, &second, &register.challenge).await.json();
    assert_eq!(try_to_register(&ada, &passkey(&edge), &register.challenge).await.code(), Code::BadRequest);
    let path = format!("/v1/passkeys/{}", info.id);
    assert_eq!(ada.send(Method::DELETE, &path, &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(try_to_register(&ada, &second, &register.challenge).await.code(), Code::BadRequest);
    let third = registered(&edge, &ada).await;

    let confirmed = async |passkey: &Authenticator, challenge: &str| {
        let body = json!({ "passkey": assertion(passkey, challenge, &user) });
        ada.send(Method::POST, "/v1/session/confirm", &body).await.status
    };
    // The challenge lists the existing passkeys, and no later passkey can answer.
    assert_eq!(confirmed(&third, &for_confirmation.challenge).await, StatusCode::UNAUTHORIZED);
    assert_eq!(confirmed(&first, &for_confirmation.challenge).await, StatusCode::OK);
    assert_eq!(confirmed(&first, &for_confirmation.challenge).await, StatusCode::UNAUTHORIZED);
    let again = challenge(&ada, "confirm").await.challenge;
    assert_eq!(confirmed(&third, &again).await, StatusCode::OK);
    assert_eq!(confirmed(&first, &again).await, StatusCode::UNAUTHORIZED);

    let login = challenge(&ada, "login").await.challenge;
    let enter = async |passkey: &Authenticator| {
        Browser::of(&edge).try_to_enter(&json!({ "passkey": assertion(passkey, &login, &user) })).await.status
    };
    // Concurrently, too.
    let (one, other) = tokio::join!(enter(&first), enter(&third));
    let mut ends = [one, other];
    ends.sort();
    assert_eq!(ends, [StatusCode::CREATED, StatusCode::UNAUTHORIZED]);
    edge.stop().await;
}

#[tokio::test]
async fn a_phished_passkey_is_refused_where_its_client_says_another_host() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let ada = Browser::of(&edge).entered("ada").await;
    confirm(&ada).await;
    let mut made = registered(&edge, &ada).await;
    let user = challenge(&ada, "register").await.user.unwrap().id;
    let login = challenge(&ada, "login").await.challenge;
    // An app on another port of the host obtains a signature, and a forged client repeats the app's origin as the host.
    made.origin = "https://localhost:8443".to_owned();
    let body = json!({ "passkey": assertion(&made, &login, &user) });
    let phished = edge.api_by_name(Method::POST, "localhost:8443", "/v1/session").json(&body);
    assert_eq!(got(phished.header("sec-fetch-site", "same-origin")).await.code(), Code::BadLogin);
    // The assertion would be valid at the port of the registration.
    made.origin = format!("https://localhost:{}", edge.admin().port());
    let body = json!({ "passkey": assertion(&made, &login, &user) });
    assert_eq!(Browser::of(&edge).try_to_enter(&body).await.status, StatusCode::CREATED);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_no_passkey_is_not_registered() {
    let edge = quick().with_limit("passkeys_per_account_max", 1).start().await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    confirm(&ada).await;
    let register = challenge(&ada, "register").await.challenge;
    let other_purpose = challenge(&ada, "confirm").await.challenge;
    let other_session = {
        let other = Browser::of(&edge).entered("ada").await;
        confirm(&other).await;
        challenge(&other, "register").await.challenge
    };
    let good = passkey(&edge);
    for wrong in ["", "abc", &other_purpose, &other_session] {
        assert_eq!(try_to_register(&ada, &good, wrong).await.code(), Code::BadRequest);
    }
    let bad = [
        Authenticator { algorithm: -257, ..passkey(&edge) },
        Authenticator { flags: 0x01, ..passkey(&edge) },
        Authenticator { rp: "evil.example".to_owned(), ..passkey(&edge) },
        Authenticator { origin: "https://localhost:1".to_owned(), ..passkey(&edge) },
    ];
    for passkey in &bad {
        assert_eq!(try_to_register(&ada, passkey, &register).await.code(), Code::BadRequest);
    }
    registered(&edge, &ada).await;
    let more = challenge(&ada, "register").await.challenge;
    assert_eq!(try_to_register(&ada, &passkey(&edge), &more).await.code(), Code::TooMany);
    // Passkeys are for accounts.
    let token = edge.admin_token();
    assert_eq!(got(edge.ask(Method::GET, "/v1/passkeys", token)).await.code(), Code::Forbidden);
    let mut by_token = Browser::of(&edge);
    assert_eq!(by_token.try_to_enter(&json!({ "token": token })).await.status, StatusCode::CREATED);
    let refused = by_token.send(Method::POST, "/v1/session/challenge", &json!({ "purpose": "register" })).await;
    assert_eq!(refused.code(), Code::Forbidden);
    let stranger = Browser::of(&edge);
    for purpose in ["register", "confirm"] {
        let refused = stranger.send(Method::POST, "/v1/session/challenge", &json!({ "purpose": purpose })).await;
        assert_eq!(refused.code(), Code::Unauthenticated, "{purpose}");
    }
    let from_elsewhere = stranger.bare(Method::POST, "/v1/session/challenge").json(&json!({ "purpose": "login" }));
    assert_eq!(got(from_elsewhere).await.code(), Code::CrossSite);
    edge.stop().await;
}

#[tokio::test]
async fn a_passkey_is_removed_and_ends_with_the_password() {
    let edge = quick().start().await;
    for name in ["ada", "bob"] {
        account(&edge, name, "read").await;
    }
    let (ada, bob) = (Browser::of(&edge).entered("ada").await, Browser::of(&edge).entered("bob").await);
    for browser in [&ada, &bob] {
        confirm(browser).await;
    }
    let (first, second) = (registered(&edge, &ada).await, registered(&edge, &ada).await);
    let user = challenge(&ada, "register").await.user.unwrap().id;
    let list: PasskeyList = ada.get("/v1/passkeys").await.json();
    let id_of = |id: &[u8]| {
        let hash = blake3::hash(id).to_hex();
        list.passkeys.iter().find(|known| known.id.ends_with(&hash[..32])).unwrap().id.clone()
    };
    let path = format!("/v1/passkeys/{}", id_of(&first.id));
    assert_eq!(bob.send(Method::DELETE, &path, &json!({})).await.code(), Code::NotFound);
    assert_eq!(ada.send(Method::DELETE, &path, &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.send(Method::DELETE, &path, &json!({})).await.code(), Code::NotFound);
    let enter = async |passkey: &Authenticator| {
        let login = challenge(&ada, "login").await.challenge;
        Browser::of(&edge).try_to_enter(&json!({ "passkey": assertion(passkey, &login, &user) })).await.status
    };
    assert_eq!(enter(&first).await, StatusCode::UNAUTHORIZED);
    assert_eq!(enter(&second).await, StatusCode::CREATED);
    let other = json!({ "password": "another horse entirely" });
    assert!(got(edge.api(Method::PUT, "/v1/accounts/ada/password").json(&other)).await.status.is_success());
    assert_eq!(enter(&second).await, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}
