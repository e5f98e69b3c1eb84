//! Attacks on the login hostname: by pages of apps, by forged and foreign cookies, and by crafted links.

use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::json;

use super::accounts::{account, is_refused, protect_by_accounts, with_login};
use super::one_login::{PERSON, begin, go_on, log_in};
use super::provider::{Browser, LOGIN_HOST, Provider};
use super::world::{LOGIN, PASSWORD, get_with, preview_of};
use crate::support::{RunningEdge, got};

const SHOP: &str = "shop.localhost";
const BLOG: &str = "blog.localhost";
const LOGOUT: &str = "/.well-known/devanture/logout";

async fn protect_blog(edge: &RunningEdge, mode: &str) {
    let path = "/v1/apps/blog/environments/prod/protection";
    assert_eq!(got(edge.api(Method::PUT, path).json(&json!({ "mode": mode }))).await.status, StatusCode::OK);
}

/// Replaces the login cookie.
fn toss(browser: &mut Browser<'_>, value: &str) {
    browser.jar.entry(LOGIN_HOST.to_owned()).or_default().insert(PERSON.to_owned(), value.to_owned());
}

/// Status of a request to the login hostname with header fields and the cookies of a browser.
async fn status_of(
    browser: &mut Browser<'_>,
    url: &str,
    request: RequestBuilder,
    fields: &[(&str, &str)],
) -> (u16, String) {
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = browser.send(url, request).await;
    (answer.status.as_u16(), answer.header("location").to_owned())
}

#[tokio::test]
async fn no_page_of_an_app_goes_on_or_logs_out_in_the_name_of_a_person() {
    let edge = with_login().start().await;
    account(&edge, "ada", None, "admin").await;
    protect_by_accounts(&edge).await;
    protect_blog(&edge, "accounts").await;
    let mut browser = Browser::new(&edge);
    log_in(&mut browser, SHOP, "ada", PASSWORD).await;
    let (page, request) = begin(&mut browser, BLOG).await;
    // The page cannot be framed, and loses its opener window.
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!((page.status, page.header("x-frame-options")), (StatusCode::UNAUTHORIZED, "DENY"));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        assert_eq!(page.header(name), "same-origin");
    }
    assert_eq!(page.header("access-control-allow-origin"), "");
    let own = browser.url(LOGIN_HOST, "");
    for (fields, status) in [
        (&[("sec-fetch-site", "cross-site")][..], 401),
        (&[("sec-fetch-site", "same-site"), ("origin", own.as_str())], 401),
        (&[("origin", "https://blog.localhost")], 401),
        (&[("origin", "null")], 401),
        (&[("sec-fetch-site", "same-origin")], 303),
    ] {
        let url = browser.url(LOGIN_HOST, LOGIN);
        let form = edge.client().post(&url).header("content-type", "application/x-www-form-urlencoded");
        let (found, location) = status_of(&mut browser, &url, form.body(go_on(&request, "ada")), fields).await;
        assert_eq!((found, location.is_empty()), (status, status == 401), "{fields:?}");
        let url = browser.url(LOGIN_HOST, LOGOUT);
        if status == 401 {
            let logout = edge.client().post(&url);
            assert_eq!(status_of(&mut browser, &url, logout, fields).await.0, 200, "{fields:?}");
            assert!(browser.jar[LOGIN_HOST].contains_key(PERSON), "{fields:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_a_page_loads_from_the_hostname_of_the_login_is_the_same_for_everybody() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    account(&edge, "ada", None, "admin").await;
    protect_by_accounts(&edge).await;
    protect_blog(&edge, "oidc").await;
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.log_in(BLOG, "%2F").await.status, StatusCode::OK);
    let of_provider = browser.jar[LOGIN_HOST][PERSON].clone();
    let at_provider = browser.stop_at(BLOG, "request=").await;
    log_in(&mut browser, SHOP, "ada", PASSWORD).await;
    let of_account = browser.jar[LOGIN_HOST][PERSON].clone();
    let at_accounts = browser.stop_at(SHOP, "request=").await;
    for (cookie, url) in [(of_account, at_accounts), (of_provider, at_provider)] {
        for fields in [
            &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")][..],
            &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        ] {
            let mut seen = Vec::new();
            for value in [Some(cookie.as_str()), None] {
                let request =
                    fields.iter().fold(edge.client().get(&url), |request, (name, value)| request.header(*name, *value));
                let answer = got(match value {
                    Some(value) => request.header("cookie", format!("{PERSON}={value}")),
                    None => request,
                });
                let answer = answer.await;
                let location = answer.header("location").split('?').next().unwrap().to_owned();
                seen.push((answer.status, location, answer.text()));
            }
            assert_eq!(seen[0], seen[1], "{fields:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_cookie_that_was_made_up_or_is_of_something_else_logs_nobody_in() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    account(&edge, "bea", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    protect_blog(&edge, "oidc").await;
    let (mut browser, mut bea) = (Browser::new(&edge), Browser::new(&edge));
    log_in(&mut bea, SHOP, "bea", PASSWORD).await;
    let of_bea = bea.jar[LOGIN_HOST][PERSON].clone();
    log_in(&mut browser, SHOP, "ada", PASSWORD).await;
    let own = browser.jar[LOGIN_HOST][PERSON].clone();
    let visitor = browser.jar[SHOP]["__Host-Http-devanture-visitor"].clone();
    let preview = preview_of(&edge, "shop").await;
    let (_, request) = begin(&mut browser, &preview).await;
    let (payload, mac) = own.split_once('.').unwrap();
    let (payload_of_bea, _) = of_bea.split_once('.').unwrap();
    let url = browser.url(LOGIN_HOST, LOGIN);
    for bad in [
        "".to_owned(),
        ".".to_owned(),
        payload.to_owned(),
        format!("{payload}."),
        format!("{payload_of_bea}.{mac}"),
        format!("A{payload}.{mac}"),
        format!("{payload}.{}", "0".repeat(64)),
        format!("{own}0"),
        visitor,
        request.clone(),
        "a".repeat(5_000),
    ] {
        toss(&mut browser, &bad);
        is_refused(&browser.submit(&url, &go_on(&request, "ada")).await, 401, &bad);
        assert!(begin(&mut browser, &preview).await.0.text().contains("type=\"password\""), "{bad}");
    }
    // The button continues as the account shown on the page.
    toss(&mut browser, &of_bea);
    is_refused(&browser.submit(&url, &go_on(&request, "ada")).await, 401, "another person meanwhile");
    // A login of one kind is invalid for the other kind.
    let mut at_provider = Browser::new(&edge);
    assert_eq!(at_provider.log_in(BLOG, "%2F").await.status, StatusCode::OK);
    let of_provider = at_provider.jar[LOGIN_HOST][PERSON].clone();
    toss(&mut browser, &of_provider);
    assert!(begin(&mut browser, &preview).await.0.text().contains("type=\"password\""));
    for name in ["oidc:248289761001", "248289761001", "ada"] {
        is_refused(&browser.submit(&url, &go_on(&request, name)).await, 401, name);
    }
    toss(&mut browser, &own);
    let redeemed = provider.state().redeemed;
    browser.log_in(BLOG, "%2F").await;
    assert_eq!(provider.state().redeemed, redeemed + 1, "an account is none of the provider");
    // The login cookie is invalid at an app's hostname, and an app's cookie is invalid at the login hostname.
    assert_eq!(get_with(&edge, SHOP, "/", &format!("{PERSON}={own}")).await.status, StatusCode::UNAUTHORIZED);
    let renamed = format!("__Host-Http-devanture-visitor={own}");
    assert_eq!(get_with(&edge, SHOP, "/", &renamed).await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test]
async fn a_person_is_known_at_the_hostname_of_their_login_alone() {
    let edge = with_login().start().await;
    account(&edge, "ada", Some("shop"), "read").await;
    protect_by_accounts(&edge).await;
    let mut browser = Browser::new(&edge);
    log_in(&mut browser, SHOP, "ada", PASSWORD).await;
    let own = browser.jar[LOGIN_HOST][PERSON].clone();
    // An app at the former login hostname may receive a browser's cookie, which is invalid at the new login hostname.
    let (folder, mut file) = edge.stopped().await;
    file.names.login = Some("sign-in.localhost".parse().unwrap());
    let edge = Box::pin(RunningEdge::over(folder, file)).await;
    let browser = Browser::new(&edge);
    let request = got(edge.visit(Method::GET, SHOP, &format!("{LOGIN}?to=%2F"))).await;
    let url = request.header("location").to_owned();
    assert!(url.starts_with(&browser.url("sign-in.localhost", LOGIN)), "{url}");
    let page = got(edge.client().get(&url).header("cookie", format!("{PERSON}={own}"))).await;
    assert!(page.text().contains("type=\"password\"") && !page.text().contains("ada"), "{}", page.text());
    edge.stop().await;
}

#[tokio::test]
async fn an_address_that_somebody_is_given_gets_its_maker_nothing() {
    let edge = with_login().start().await;
    account(&edge, "ada", None, "admin").await;
    protect_by_accounts(&edge).await;
    protect_blog(&edge, "accounts").await;
    let (mut victim, mut attacker) = (Browser::new(&edge), Browser::new(&edge));
    log_in(&mut victim, SHOP, "ada", PASSWORD).await;
    // The attacker starts a login, and the victim completes the login.
    let lured = attacker.stop_at(BLOG, "request=").await;
    let page = victim.open(&lured).await;
    assert_eq!((page.status, page.header("location")), (StatusCode::UNAUTHORIZED, ""), "nothing happens by itself");
    let (_, request) = lured.split_once("request=").unwrap();
    let url = victim.url(LOGIN_HOST, LOGIN);
    let entry = victim.submit(&url, &go_on(request, "ada")).await.header("location").to_owned();
    is_refused(&victim.open(&entry).await, 401, "the login is of another browser");
    // An entry for one app opens no other app, however the request is modified.
    let (_, own) = begin(&mut victim, SHOP).await;
    let (payload, mac) = own.split_once('.').unwrap();
    let (other_payload, _) = request.split_once('.').unwrap();
    for bad in [format!("{other_payload}.{mac}"), format!("{payload}x.{mac}"), String::new()] {
        is_refused(&victim.submit(&url, &go_on(&bad, "ada")).await, 401, &bad);
    }
    edge.stop().await;
}
