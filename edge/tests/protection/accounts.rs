//! Visitor logins with an edge account at the login hostname: admission and refusals.

use http::{Method, StatusCode};
use serde_json::json;

use super::provider::{Browser, LOGIN_HOST, Provider};
use super::world::{LOGIN, PASSWORD, preview_of, protect, protect_by_password, quick};
use crate::support::{Got, RunningEdge, Setup, got};

const SHOP: &str = "shop.localhost";
const BLOG: &str = "blog.localhost";

pub(super) fn with_login() -> Setup {
    quick().with_app("blog", &[("index.html", b"the blog")]).with_toml(&format!("[names]\nlogin = \"{LOGIN_HOST}\"\n"))
}

pub(super) async fn account(edge: &RunningEdge, name: &str, app: Option<&str>, scope: &str) {
    let wanted = json!({ "name": name, "app": app, "scope": scope, "password": PASSWORD });
    let made = got(edge.api(Method::POST, "/v1/accounts").json(&wanted)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
}

pub(super) async fn protect_by_accounts(edge: &RunningEdge) {
    for place in ["preview", "prod"] {
        let set = protect(edge, place, json!({ "mode": "accounts" })).await;
        assert_eq!(set.status, StatusCode::OK, "{}", set.text());
    }
}

/// Login request that a browser brings to the login page.
pub(super) async fn requested(browser: &mut Browser<'_>, host: &str) -> String {
    browser.stop_at(host, "request=").await.split_once("request=").unwrap().1.to_owned()
}

/// Sends the form of the login page.
pub(super) async fn enter(edge: &RunningEdge, request: &str, account: &str, password: &str) -> Got {
    let form = edge.visit(Method::POST, LOGIN_HOST, LOGIN).header("content-type", "application/x-www-form-urlencoded");
    let body = format!("request={request}&login={account}&password={}", password.replace(' ', "+"));
    got(form.header("sec-fetch-site", "same-origin").body(body)).await
}

#[track_caller]
pub(super) fn is_refused(answer: &Got, status: u16, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text());
    assert_eq!((answer.header("location"), answer.header("set-cookie")), ("", ""), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_rights_in_the_app_gets_in() {
    let edge = with_login().start().await;
    for (name, app, scope) in [("ada", Some("shop"), "read"), ("bea", None, "admin"), ("cy", Some("blog"), "push")] {
        account(&edge, name, app, scope).await;
    }
    protect_by_accounts(&edge).await;
    let preview = preview_of(&edge, "shop").await;
    for (name, gets_in) in [("ada", true), ("bea", true), ("cy", false)] {
        for host in [SHOP, preview.as_str()] {
            let mut browser = Browser::new(&edge);
            let stranger = browser.open(&browser.url(host, "/a?b=c")).await;
            assert!(stranger.text().contains("login?to=%2Fa%3Fb%3Dc"), "{}", stranger.text());
            let (_, page) = browser.follow(&browser.url(host, &format!("{LOGIN}?to=%2Fapp.js")), |_| false).await;
            let text = page.text();
            for part in ["name=\"login\"", "type=\"password\"", "name=\"request\"", host] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(!text.contains("<script"), "{text}");
            // A browser sends the form to the page's own host alone, which redirects to the site.
            let policy = page.header("content-security-policy");
            let origin = browser.url(host, "");
            assert!(policy.contains(&format!("form-action 'self' {origin};")), "{policy}");
            let request = text.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap();
            let answer = enter(&edge, request, name, PASSWORD).await;
            if !gets_in {
                is_refused(&answer, 401, name);
                assert!(answer.text().contains("This account may not see this site."), "{}", answer.text());
                continue;
            }
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
            let cookie = answer.header("set-cookie");
            assert!(cookie.starts_with("__Host-Http-devanture-person="), "only who has logged in there: {cookie}");
            let entry = answer.header("location").to_owned();
            let (url, seen) = browser.follow(&entry, |_| false).await;
            assert_eq!((seen.status, url), (StatusCode::OK, browser.url(host, "/app.js")), "{name}");
            assert_eq!(seen.header("cache-control"), "private, no-cache");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_attempts_are_limited() {
    let edge = with_login().with_limit("login_attempts_per_account_max", 3).start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    let request = requested(&mut Browser::new(&edge), SHOP).await;
    for (name, password) in [("ada", "wrong horse battery"), ("nobody", PASSWORD), ("", PASSWORD), ("ada", "")] {
        let answer = enter(&edge, &request, name, password).await;
        is_refused(&answer, 401, name);
        assert!(answer.text().contains("The account or the password is wrong."), "{}", answer.text());
        assert!(!answer.text().contains(PASSWORD), "{}", answer.text());
    }
    enter(&edge, &request, "ada", "wrong horse battery").await;
    let limited = enter(&edge, &request, "ada", PASSWORD).await;
    is_refused(&limited, 429, "also the right one");
    assert!(limited.headers.contains_key("retry-after"));
    // The page is public: password guesses there must not lock accounts out of the API.
    let url = format!("https://localhost:{}/v1/login", edge.admin().port());
    let login = got(edge.client().post(url).json(&json!({ "login": "ada", "password": PASSWORD }))).await;
    assert_eq!(login.status, StatusCode::OK, "{}", login.text());
    edge.stop().await;
}

#[tokio::test]
async fn only_the_page_itself_takes_a_password_for_what_was_requested() {
    let edge = with_login().start().await;
    account(&edge, "ada", None, "admin").await;
    protect_by_accounts(&edge).await;
    let path = "/v1/apps/blog/environments/prod/protection";
    assert_eq!(got(edge.api(Method::PUT, path).json(&json!({ "mode": "accounts" }))).await.status, StatusCode::OK);
    let mut browser = Browser::new(&edge);
    let request = requested(&mut browser, SHOP).await;
    let own = browser.url(LOGIN_HOST, "");
    let form_type = ("content-type", "application/x-www-form-urlencoded");
    for (fields, status) in [
        (vec![form_type, ("origin", own.as_str())], 303),
        (vec![form_type, ("sec-fetch-site", "cross-site")], 401),
        (vec![form_type, ("sec-fetch-site", "same-site"), ("origin", own.as_str())], 401),
        (vec![form_type, ("origin", "https://evil.example")], 401),
        (vec![("content-type", "application/json")], 400),
        (vec![], 400),
    ] {
        let body = format!("request={request}&login=ada&password={}", PASSWORD.replace(' ', "+"));
        let mut form = edge.visit(Method::POST, LOGIN_HOST, LOGIN).body(body);
        for (name, value) in &fields {
            form = form.header(*name, *value);
        }
        let answer = got(form).await;
        assert_eq!(answer.status.as_u16(), status, "{fields:?}: {}", answer.text());
        assert_eq!(answer.headers.contains_key("location"), status == 303, "{fields:?}");
    }
    for bad in ["", "a.b", &format!("{request}0"), &request.replacen('.', "A.", 1)] {
        is_refused(&enter(&edge, bad, "ada", PASSWORD).await, 401, bad);
    }
    // A password form at an app's hostname is refused.
    let form = edge.visit(Method::POST, SHOP, LOGIN).header("content-type", "application/x-www-form-urlencoded");
    let body = format!("request={request}&login=ada&password={}", PASSWORD.replace(' ', "+"));
    is_refused(&got(form.header("sec-fetch-site", "same-origin").body(body)).await, 401, "an app's hostname");
    // An entry for one app is invalid at another app, or in another browser.
    let entry = enter(&edge, &request, "ada", PASSWORD).await.header("location").to_owned();
    let (_, ticket) = entry.split_once("ticket=").unwrap();
    let at_blog = browser.url(BLOG, &format!("{LOGIN}?ticket={ticket}"));
    let at_login = browser.url(LOGIN_HOST, &format!("{LOGIN}?request={ticket}"));
    browser.jar.insert(BLOG.to_owned(), browser.jar[SHOP].clone());
    for url in [at_blog, at_login] {
        is_refused(&browser.open(&url).await, 401, &url);
    }
    is_refused(&Browser::new(&edge).open(&entry).await, 401, "another browser");
    assert_eq!(browser.open(&entry).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::OK);
    // Another mode, even if the first mode follows again, ends all sessions.
    protect_by_password(&edge, "prod").await;
    assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::UNAUTHORIZED);
    protect_by_accounts(&edge).await;
    assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::UNAUTHORIZED);
    is_refused(&enter(&edge, &request, "ada", PASSWORD).await, 401, "what was requested before");
    edge.stop().await;
}

#[tokio::test]
async fn the_provider_opens_nothing_that_is_for_accounts() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_by_accounts(&edge).await;
    let path = "/v1/apps/blog/environments/prod/protection";
    assert_eq!(got(edge.api(Method::PUT, path).json(&json!({ "mode": "oidc" }))).await.status, StatusCode::OK);
    let mut browser = Browser::new(&edge);
    let request = requested(&mut browser, SHOP).await;
    let back = browser.stop_at(BLOG, "callback?").await;
    // The visitor puts the login request for accounts into the cookie of the login at the provider.
    let own = browser.jar.get_mut(LOGIN_HOST).unwrap().get_mut("__Host-Http-devanture-login").unwrap();
    *own = format!("{}.{request}", own.split('.').next().unwrap());
    is_refused(&browser.open(&back).await, 401, "what is for accounts");
    assert_eq!(provider.state().redeemed, 0);
    // An account cannot answer a login request for the provider.
    account(&edge, "ada", None, "admin").await;
    let request = requested(&mut browser, BLOG).await;
    is_refused(&enter(&edge, &request, "ada", PASSWORD).await, 401, "what is for the provider");
    edge.stop().await;
}
