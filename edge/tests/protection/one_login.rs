//! One login for every hostname: a logged-in visitor needs no password at the next hostname, until the login ends.

use http::{Method, StatusCode};
use serde_json::json;

use super::accounts::{account, enter, protect_by_accounts, requested, with_login};
use super::provider::{Browser, LOGIN_HOST, Provider, protect_both};
use super::world::{LOGIN, PASSWORD, preview_of, protect, push_alias};
use crate::support::clock::Clock;
use crate::support::{Got, RunningEdge, eventually, got};

const SHOP: &str = "shop.localhost";
const BLOG: &str = "blog.localhost";
const ALIAS: &str = "feature-x--shop.localhost";
const LOGOUT: &str = "/.well-known/devanture/logout";
pub(super) const PERSON: &str = "__Host-Http-devanture-person";

async fn protect_blog(edge: &RunningEdge, mode: &str) {
    let path = "/v1/apps/blog/environments/prod/protection";
    assert_eq!(got(edge.api(Method::PUT, path).json(&json!({ "mode": mode }))).await.status, StatusCode::OK);
}

/// Starts a login at a host. Returns the login page and the login request.
pub(super) async fn begin(browser: &mut Browser<'_>, host: &str) -> (Got, String) {
    let url = browser.url(host, &format!("{LOGIN}?to=%2F"));
    let (url, page) = browser.follow(&url, |_| false).await;
    let request = url.split_once("request=").unwrap_or_else(|| panic!("{url}: {}", page.text())).1.to_owned();
    (page, request)
}

/// Logs in with the password of an account.
pub(super) async fn log_in(browser: &mut Browser<'_>, host: &str, name: &str, password: &str) -> Got {
    let (_, request) = begin(browser, host).await;
    let form = format!("request={request}&login={name}&password={}", password.replace(' ', "+"));
    let url = browser.url(LOGIN_HOST, LOGIN);
    let answer = browser.submit(&url, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let entry = answer.header("location").to_owned();
    browser.follow(&entry, |_| false).await.1
}

/// Form of the continue button for a logged-in account.
pub(super) fn go_on(request: &str, name: &str) -> String {
    format!("request={request}&login={name}&step=continue")
}

/// Continues at a host as a logged-in account.
async fn go_on_at(browser: &mut Browser<'_>, host: &str, name: &str) -> Got {
    let (page, request) = begin(browser, host).await;
    let text = page.text();
    assert!(text.contains(&format!("<strong>{name}</strong>")) && text.contains("id=\"go-on\""), "{host}: {text}");
    assert!(!text.contains("type=\"password\"") && !text.contains("<script"), "{text}");
    let url = browser.url(LOGIN_HOST, LOGIN);
    let answer = browser.submit(&url, &go_on(&request, name)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{host}: {}", answer.text());
    let entry = answer.header("location").to_owned();
    browser.follow(&entry, |_| false).await.1
}

/// Returns true if the login page asks for a password.
async fn wants_password(browser: &mut Browser<'_>, host: &str) -> bool {
    let (page, _) = begin(browser, host).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    page.text().contains("type=\"password\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_password_opens_every_hostname_that_the_person_may_see() {
    let edge = with_login().start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    protect_blog(&edge, "accounts").await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    let preview = preview_of(&edge, "shop").await;
    let mut browser = Browser::new(&edge);
    assert!(log_in(&mut browser, SHOP, "ada", PASSWORD).await.text().contains("the shop"));
    // The login cookie exists at the login hostname alone.
    assert_eq!(browser.jar[LOGIN_HOST].keys().collect::<Vec<_>>(), [PERSON]);
    assert_eq!(browser.jar[SHOP].keys().collect::<Vec<_>>(), ["__Host-Http-devanture-visitor"]);
    for (host, text) in [(preview.as_str(), "the shop"), (ALIAS, "an alias")] {
        let stranger = browser.open(&browser.url(host, "/")).await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{host}: nobody is let in without a click");
        let seen = go_on_at(&mut browser, host, "ada").await;
        assert_eq!((seen.status, seen.header("cache-control")), (StatusCode::OK, "private, no-cache"), "{host}");
        assert!(seen.text().contains(text), "{host}: {}", seen.text());
    }
    // Another app requires an account with access.
    let (page, _) = begin(&mut browser, BLOG).await;
    let text = page.text();
    assert!(text.contains("This account may not see this site.") && text.contains("type=\"password\""), "{text}");
    assert!(!text.contains("id=\"go-on\""), "{text}");
    // The login is valid in this browser alone, and survives a restart.
    assert!(wants_password(&mut Browser::new(&edge), &preview).await);
    let jar = browser.jar.clone();
    let edge = edge.restart().await;
    let mut browser = Browser::new(&edge);
    browser.jar = [(LOGIN_HOST.to_owned(), jar[LOGIN_HOST].clone())].into();
    assert_eq!(go_on_at(&mut browser, ALIAS, "ada").await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn the_provider_is_left_out_at_the_next_hostname() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    protect_blog(&edge, "oidc").await;
    let preview = preview_of(&edge, "shop").await;
    provider.state().groups = vec!["shops".to_owned(), "of no role".to_owned()];
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.log_in(SHOP, "%2F").await.status, StatusCode::OK);
    // The provider may be down meanwhile.
    provider.state().broken.insert("/token", 503);
    assert_eq!(browser.log_in(&preview, "%2F").await.status, StatusCode::OK);
    assert_eq!(provider.state().redeemed, 1);
    // If the login's groups grant no access, the provider is asked for the current groups.
    provider.state().broken.clear();
    provider.state().groups = vec!["web".to_owned()];
    assert_eq!(browser.log_in(BLOG, "%2F").await.status, StatusCode::OK);
    assert_eq!(provider.state().redeemed, 2);
    edge.stop().await;
}

#[tokio::test]
async fn a_role_that_the_operator_takes_away_opens_no_further_hostname() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.log_in(SHOP, "%2F").await.status, StatusCode::OK);
    let jar = browser.jar.clone();
    let (folder, mut file) = edge.stopped().await;
    for group in &mut file.oidc.as_mut().unwrap().groups {
        group.group.insert_str(0, "former-");
    }
    let edge = Box::pin(RunningEdge::over(folder, file)).await;
    let mut browser = Browser::new(&edge);
    browser.jar = jar;
    let answer = browser.log_in(&preview, "%2F").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text());
    assert!(answer.text().contains("none of your groups"), "{}", answer.text());
    edge.stop().await;
}

#[tokio::test]
async fn another_password_and_the_end_of_an_account_end_its_logins_everywhere() {
    let edge = with_login().start().await;
    protect_by_accounts(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    for (name, method, path, body) in [
        ("ada", Method::PUT, "/v1/accounts/ada/password", json!({ "password": "another horse battery" })),
        ("bea", Method::DELETE, "/v1/accounts/bea", json!({})),
    ] {
        account(&edge, name, None, "admin").await;
        let (mut browser, mut other) = (Browser::new(&edge), Browser::new(&edge));
        account(&edge, &format!("{name}-too"), None, "admin").await;
        log_in(&mut browser, SHOP, name, PASSWORD).await;
        log_in(&mut other, SHOP, &format!("{name}-too"), PASSWORD).await;
        let changed = got(edge.api(method, path).json(&body)).await;
        assert!(changed.status.is_success(), "{}", changed.text());
        assert!(wants_password(&mut browser, &preview).await, "{name}: at the hostname of the login");
        let url = browser.url(SHOP, "/");
        eventually("the visitor is out", async || browser.open(&url).await.status == StatusCode::UNAUTHORIZED).await;
        // Other accounts keep their logins, and a new account of the same name is a different account.
        assert_eq!(other.open(&url).await.status, StatusCode::OK, "{name}");
        assert!(!wants_password(&mut other, &preview).await, "{name}");
    }
    account(&edge, "bea", None, "admin").await;
    let mut browser = Browser::new(&edge);
    assert_eq!(log_in(&mut browser, SHOP, "bea", PASSWORD).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn a_person_sees_as_whom_they_are_logged_in_and_logs_out() {
    let edge = with_login().start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    let mut browser = Browser::new(&edge);
    let page = browser.url(LOGIN_HOST, LOGOUT);
    assert!(browser.open(&page).await.text().contains("Nobody is logged in here with this browser."));
    for at_login in [false, true] {
        log_in(&mut browser, SHOP, "ada", PASSWORD).await;
        let shown = browser.open(&page).await;
        assert_eq!((shown.status, shown.header("cache-control")), (StatusCode::OK, "no-store"));
        assert!(shown.text().contains("You are logged in as <strong>ada</strong>."), "{}", shown.text());
        let answer = if at_login {
            let (_, request) = begin(&mut browser, &preview).await;
            let login = browser.url(LOGIN_HOST, LOGIN);
            let answer = browser.submit(&login, &format!("request={request}&login=ada&step=logout")).await;
            assert!(answer.text().contains("type=\"password\""), "another account may: {}", answer.text());
            answer
        } else {
            let answer = browser.submit(&page, "").await;
            assert!(answer.text().contains("You are logged out here."), "{}", answer.text());
            answer
        };
        assert!(answer.header("set-cookie").starts_with(&format!("{PERSON}=; Max-Age=0;")), "{answer:?}");
        assert!(browser.jar[LOGIN_HOST].is_empty());
        assert!(wants_password(&mut browser, &preview).await);
        // Sessions opened before stay open.
        assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::OK);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_login_ends_everywhere_at_the_same_time_however_late_a_hostname_was_opened() {
    let Some(clock) = Clock::new() else { return };
    let edge = clock.on(with_login().with_limit("visitor_login_ms_max", 600_000)).start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    let mut browser = Browser::new(&edge);
    assert_eq!(log_in(&mut browser, SHOP, "ada", PASSWORD).await.status, StatusCode::OK);
    clock.set(500);
    assert_eq!(go_on_at(&mut browser, &preview, "ada").await.status, StatusCode::OK);
    clock.set(700);
    for host in [SHOP, preview.as_str()] {
        assert_eq!(browser.open(&browser.url(host, "/")).await.status, StatusCode::UNAUTHORIZED, "{host}");
        assert!(wants_password(&mut browser, host).await, "{host}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_ticket_lets_nobody_in_after_a_minute() {
    let Some(clock) = Clock::new() else { return };
    let edge = clock.on(with_login()).start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    let mut browser = Browser::new(&edge);
    for (late_s, is_let_in) in [(70, false), (20, true)] {
        clock.set(0);
        let request = requested(&mut browser, SHOP).await;
        let entry = enter(&edge, &request, "ada", PASSWORD).await.header("location").to_owned();
        clock.set(late_s);
        let answer = browser.open(&entry).await;
        let expected = if is_let_in { StatusCode::SEE_OTHER } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status, expected, "{late_s}: {}", answer.text());
        assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status.is_success(), is_let_in);
    }
    // A login request is valid for ten minutes.
    clock.set(0);
    protect(&edge, "prod", json!({ "mode": "public" })).await;
    protect(&edge, "prod", json!({ "mode": "accounts" })).await;
    let request = requested(&mut browser, SHOP).await;
    clock.set(700);
    let late = enter(&edge, &request, "ada", PASSWORD).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(late.text().contains("This login has ended"), "{}", late.text());
    edge.stop().await;
}
