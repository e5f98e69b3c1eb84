//! Visitor logins that are forged, replayed, redirected, or meant for another browser, app or provider: all are
//! refused.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::provider::{Browser, CLIENT, LOGIN_HOST, Provider, protect_both};
use super::world::{get_with, preview_of};
use crate::support::{Got, RunningEdge, eventually, got};
use crate::trust::issuer::{SigningKey, now_s};

const SHOP: &str = "shop.localhost";
const BLOG: &str = "blog.localhost";
const COOKIE: &str = "__Host-Http-devanture-login";

async fn protect_blog(edge: &RunningEdge) {
    let path = "/v1/apps/blog/environments/prod/protection";
    assert_eq!(got(edge.api(Method::PUT, path).json(&json!({ "mode": "oidc" }))).await.status, StatusCode::OK);
}

/// Asserts that a response admits no visitor and redirects nowhere.
#[track_caller]
fn is_refused(answer: &Got, what: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.text());
    let sets = answer.headers.get_all("set-cookie").iter();
    assert!(sets.into_iter().all(|set| !set.to_str().unwrap().contains("visitor")), "{what}: {answer:?}");
    assert_eq!(answer.header("location"), "", "{what}");
}

#[tokio::test]
async fn a_state_is_good_in_its_own_browser_and_once() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    let mut browser = Browser::new(&edge);
    let back = browser.stop_at(SHOP, "callback?").await;
    let (address, query) = back.split_once('?').unwrap();
    let (code, state) = query.split_once("&state=").unwrap();
    let mut stranger = Browser::new(&edge);
    is_refused(&stranger.open(&back).await, "without a cookie");
    let begun = stranger.stop_at(SHOP, "/authorize").await;
    is_refused(&stranger.open(&back).await, "with the cookie of another login");
    let others = begun.split("&state=").nth(1).unwrap().split('&').next().unwrap();
    for (state, what) in [
        (others.to_owned(), "the state of another login"),
        ("0".repeat(64), "a state that was made up"),
        (format!("{state}0"), "a longer one"),
        (state[..62].to_owned(), "a shorter one"),
        (String::new(), "none"),
    ] {
        is_refused(&browser.open(&format!("{address}?{code}&state={state}")).await, what);
    }
    is_refused(&browser.open(&format!("{address}?{code}")).await, "no state");
    assert_eq!(provider.state().redeemed, 0, "no code was sent to the provider");
    // The browser's own login survives the attacks.
    let before = browser.jar.clone();
    let (_, answer) = browser.follow(&back, |_| false).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    is_refused(&browser.open(&back).await, "a second time");
    browser.jar = before;
    is_refused(&browser.open(&back).await, "a second time, with the cookie of the first");
    assert_eq!(provider.state().redeemed, 1, "the provider hears of a login once");
    edge.stop().await;
}

#[tokio::test]
async fn a_code_of_another_login_is_not_redeemed() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    protect_blog(&edge).await;
    for other in [SHOP, BLOG] {
        let (mut browser, mut attacker) = (Browser::new(&edge), Browser::new(&edge));
        let back = browser.stop_at(SHOP, "callback?").await;
        let attackers = attacker.stop_at(other, "callback?").await;
        let (injected, _) = attackers.split_once("&state=").unwrap();
        let (_, state) = back.split_once("&state=").unwrap();
        // PKCE: the code requires the verifier of the attacker's browser.
        is_refused(&browser.open(&format!("{injected}&state={state}")).await, other);
    }
    let mut browser = Browser::new(&edge);
    let back = browser.stop_at(SHOP, "callback?").await;
    let redeemed = provider.state().redeemed;
    is_refused(&browser.open(&format!("{back}&iss=https%3A%2F%2Fother.example")).await, "a code of another provider");
    let back = browser.stop_at(SHOP, "callback?").await;
    let (_, state) = back.split_once("&state=").unwrap();
    let address = browser.url(LOGIN_HOST, "/.well-known/devanture/callback");
    is_refused(&browser.open(&format!("{address}?code=&state={state}")).await, "an empty code");
    let back = browser.stop_at(SHOP, "callback?").await;
    let (_, state) = back.split_once("&state=").unwrap();
    is_refused(&browser.open(&format!("{address}?code={}&state={state}", "a".repeat(5_000))).await, "a long code");
    assert_eq!(provider.state().redeemed, redeemed, "none of them was sent to the provider");
    edge.stop().await;
}

#[tokio::test]
async fn a_ticket_is_good_in_the_browser_and_at_the_hostname_that_it_is_for() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    protect_blog(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    let mut attacker = Browser::new(&edge);
    let entry = attacker.stop_at(SHOP, "ticket=").await;
    let (_, ticket) = entry.split_once("ticket=").unwrap();
    // A link from an attacker logs no visitor in under the attacker's identity.
    let mut victim = Browser::new(&edge);
    is_refused(&victim.open(&entry).await, "without a cookie");
    let begun = victim.stop_at(SHOP, "/authorize").await;
    is_refused(&victim.open(&entry).await, "with the cookie of another login");
    // A login started by the attacker and completed by the victim does not help the attacker, either.
    let request = attacker.stop_at(SHOP, "request=").await;
    let (_, lured) = victim.follow(&request, |_| false).await;
    is_refused(&lured, "a login that another browser began");
    drop(begun);
    for host in [preview.as_str(), BLOG] {
        let url = attacker.url(host, &format!("/.well-known/devanture/login?ticket={ticket}"));
        let own = attacker.jar[SHOP].clone();
        attacker.jar.insert(host.to_owned(), own);
        let answer = attacker.open(&url).await;
        is_refused(&answer, host);
        assert!(!answer.headers.contains_key("set-cookie"), "{host}");
    }
    let (payload, mac) = ticket.split_once('.').unwrap();
    let flipped = format!("{}{}", if mac.starts_with('0') { '1' } else { '0' }, &mac[1..]);
    let (_, request) = request.split_once("request=").unwrap();
    for bad in [
        format!("{payload}.{flipped}"),
        format!("A{payload}.{mac}"),
        payload.to_owned(),
        format!("{payload}."),
        format!("{ticket}.{mac}"),
        request.to_owned(),
        "a".repeat(5_000),
        String::new(),
    ] {
        let url = attacker.url(SHOP, &format!("/.well-known/devanture/login?ticket={bad}"));
        is_refused(&attacker.open(&url).await, &bad);
        let url = attacker.url(LOGIN_HOST, &format!("/.well-known/devanture/login?request={bad}"));
        let answer = attacker.open(&url).await;
        // The unmodified request is valid.
        assert_eq!(answer.status == StatusCode::SEE_OTHER, bad == request, "{bad}");
    }
    let url = attacker.url(LOGIN_HOST, &format!("/.well-known/devanture/login?request={ticket}"));
    is_refused(&attacker.open(&url).await, "what lets in is no request");
    edge.stop().await;
}

#[tokio::test]
async fn a_ticket_lets_in_once() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    let mut browser = Browser::new(&edge);
    let entry = browser.stop_at(SHOP, "ticket=").await;
    assert_eq!(browser.open(&entry).await.status, StatusCode::SEE_OTHER);
    // A repeated request redirects again and grants no further session.
    let again = browser.open(&entry).await;
    assert_eq!((again.status, again.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert!(!again.headers.contains_key("set-cookie"));
    browser.jar.clear();
    is_refused(&browser.open(&entry).await, "a second time");
    edge.stop().await;
}

#[tokio::test]
async fn an_identity_token_that_is_not_of_this_login_lets_nobody_in() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    for (claim, value) in [
        ("nonce", json!("0".repeat(64))),
        ("nonce", Value::Null),
        ("aud", json!("another-client")),
        ("aud", json!([CLIENT, "another-client"])),
        ("azp", json!("another-client")),
        ("iss", json!("https://login.example.org")),
        ("iss", Value::Null),
        ("exp", json!(now_s() - 120)),
        ("exp", Value::Null),
        ("nbf", json!(now_s() + 600)),
        ("sub", Value::Null),
    ] {
        provider.state().claims = [(claim.to_owned(), value.clone())].into();
        let mut browser = Browser::new(&edge);
        is_refused(&browser.log_in(SHOP, "%2F").await, &format!("{claim} {value}"));
        assert!(browser.jar.values().flatten().all(|(name, _)| !name.ends_with("visitor")), "{claim}");
    }
    provider.state().claims.clear();
    provider.state().forger = Some(SigningKey::new("EdDSA"));
    is_refused(&Browser::new(&edge).log_in(SHOP, "%2F").await, "a key that is not the provider's");
    provider.state().forger = None;
    assert_eq!(Browser::new(&edge).log_in(SHOP, "%2F").await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn a_login_leads_to_no_other_host() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    for (to, expected) in [
        ("%2Fa%3Fb%3Dc", "/a?b=c"),
        ("//evil.example", "/"),
        ("%2F%2Fevil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("/%09/evil.example", "/"),
        ("/%0d%0aSet-Cookie:%20a=b", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        (".evil.example", "/"),
        ("@evil.example", "/"),
        (":443@evil.example", "/"),
        ("", "/"),
        ("/.well-known/devanture/login", "/"),
        ("/.well-known/devanture/callback", "/"),
    ] {
        let mut browser = Browser::new(&edge);
        let url = browser.url(SHOP, &format!("/.well-known/devanture/login?to={to}"));
        let (entry, _) = browser.follow(&url, |url| url.contains("ticket=")).await;
        let own = format!("https://{SHOP}:{}/.well-known/devanture/login?ticket=", edge.https().port());
        assert!(entry.starts_with(&own), "{to}: {entry}");
        let entered = browser.open(&entry).await;
        assert_eq!((entered.status, entered.header("location")), (StatusCode::SEE_OTHER, expected), "{to}");
    }
    let long = format!("/{}", "a".repeat(2_000));
    let mut browser = Browser::new(&edge);
    let url = browser.url(SHOP, &format!("/.well-known/devanture/login?to={long}"));
    assert_eq!(browser.follow(&url, |_| false).await.1.status, StatusCode::OK, "one that is too long is left out");
    // Header fields that name another host are ignored.
    let begun = edge.visit(Method::GET, SHOP, "/.well-known/devanture/login?to=%2F");
    let begun = got(begun.header("x-forwarded-host", "evil.example").header("forwarded", "host=evil.example")).await;
    let own = format!("https://{LOGIN_HOST}:{}/.well-known/devanture/login?request=", edge.https().port());
    assert!(begun.header("location").starts_with(&own), "{begun:?}");
    edge.stop().await;
}

#[tokio::test]
async fn cookies_of_another_app_or_of_a_neighbour_let_nobody_in() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    protect_blog(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    let mut browser = Browser::new(&edge);
    for host in [SHOP, BLOG, &preview] {
        assert_eq!(browser.log_in(host, "%2F").await.status, StatusCode::OK, "{host}");
    }
    let cookie = |host: &str| {
        let (name, value) = browser.jar[host].iter().next().unwrap();
        (name.clone(), value.clone())
    };
    let (name, own) = cookie(SHOP);
    for (host, status) in [(SHOP, 200), (BLOG, 401), (preview.as_str(), 401)] {
        let (_, value) = cookie(host);
        assert_eq!(get_with(&edge, SHOP, "/", &format!("{name}={value}")).await.status.as_u16(), status, "{host}");
    }
    for bad in [
        format!("{name}={}", own.replacen("login", "password", 1)),
        format!("{}={own}", name.trim_start_matches("__Host-Http-")),
        format!("{COOKIE}={own}"),
    ] {
        assert_eq!(get_with(&edge, SHOP, "/", &bad).await.status, StatusCode::UNAUTHORIZED, "{bad}");
    }
    // A neighboring app's cookie before the own cookie neither blocks a login nor counts as one.
    let (_, foreign) = cookie(BLOG);
    let both = format!("{name}={foreign}; {name}={own}");
    assert_eq!(get_with(&edge, SHOP, "/", &both).await.status, StatusCode::OK);
    let (mut victim, mut attacker) = (Browser::new(&edge), Browser::new(&edge));
    let back = attacker.stop_at(SHOP, "callback?").await;
    let tossed = attacker.jar[LOGIN_HOST][COOKIE].clone();
    victim.jar.entry(LOGIN_HOST.to_owned()).or_default().insert(COOKIE.to_owned(), tossed);
    let (_, answer) = victim.follow(&back, |_| false).await;
    is_refused(&answer, "a login that was tossed into the browser");
    edge.stop().await;
}

#[tokio::test]
async fn codes_that_are_refused_are_limited() {
    let provider = Provider::start().await;
    let edge = provider.setup().with_limit("login_attempts_per_address_max", 3).start().await;
    protect_both(&edge).await;
    let mut browser = Browser::new(&edge);
    for number in 0..3 {
        let back = browser.stop_at(SHOP, "callback?").await;
        let (_, state) = back.split_once("&state=").unwrap();
        let url =
            browser.url(LOGIN_HOST, &format!("/.well-known/devanture/callback?code=guess-{number}&state={state}"));
        is_refused(&browser.open(&url).await, "a code that was guessed");
    }
    assert_eq!(provider.state().redeemed, 3);
    let answer = browser.log_in(SHOP, "%2F").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(provider.state().redeemed, 3, "the provider is not asked");
    edge.stop().await;
}

#[tokio::test]
async fn a_begun_login_sends_the_provider_one_code_whatever_it_answers() {
    let provider = Provider::start().await;
    let edge = provider.setup().with_limit("login_attempts_per_address_max", 3).start().await;
    protect_both(&edge).await;
    // A proxy in front of a provider answers with statuses that look like an attack.
    provider.state().broken.insert("/token", 403);
    let mut browser = Browser::new(&edge);
    let back = browser.stop_at(SHOP, "callback?").await;
    let before = browser.jar.clone();
    assert_eq!(browser.open(&back).await.status, StatusCode::SERVICE_UNAVAILABLE);
    browser.jar = before;
    is_refused(&browser.open(&back).await, "the same login again");
    assert_eq!(provider.state().waiting, 1);
    // Such a response counts like a refusal by the provider.
    let third = Browser::new(&edge).log_in(SHOP, "%2F").await;
    assert_eq!(third.status, StatusCode::SERVICE_UNAVAILABLE, "{}", third.text());
    let limited = Browser::new(&edge).log_in(SHOP, "%2F").await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS, "{}", limited.text());
    assert_eq!(provider.state().waiting, 2);
    edge.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_busy_is_left_alone_and_what_it_does_not_hear_of_does_not_count() {
    let provider = Provider::start().await;
    let edge = provider.setup().with_limit("login_attempts_per_address_max", 2).start().await;
    protect_both(&edge).await;
    provider.state().broken.insert("/token", 429);
    for number in 0..5 {
        let answer = Browser::new(&edge).log_in(SHOP, "%2F").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{number}: {}", answer.text());
    }
    assert_eq!(provider.state().waiting, 1);
    edge.stop().await;
}

#[tokio::test]
async fn no_more_logins_are_confirmed_at_once_than_the_limit_says() {
    let provider = Provider::start().await;
    let edge = provider.setup().with_limit("visitor_logins_at_once_max", 1).start().await;
    protect_both(&edge).await;
    let (mut first, mut second) = (Browser::new(&edge), Browser::new(&edge));
    let (one, other) = (first.stop_at(SHOP, "callback?").await, second.stop_at(SHOP, "callback?").await);
    let held = Arc::new(Notify::new());
    provider.state().held = Some(Arc::clone(&held));
    let beside = async {
        eventually("the provider was reached", async || provider.state().waiting == 1).await;
        let answer = second.open(&other).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert!(answer.text().contains("cannot be reached just now"), "{}", answer.text());
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(provider.state().waiting, 1, "the provider hears of one alone");
        provider.state().held = None;
        held.notify_one();
    };
    let (answer, ()) = tokio::join!(first.follow(&one, |_| false), beside);
    assert_eq!(answer.1.status, StatusCode::OK, "{}", answer.1.text());
    // Then the limit permits attempts again, and refused attempts do not count.
    assert_eq!(second.log_in(SHOP, "%2F").await.status, StatusCode::OK);
    edge.stop().await;
}
