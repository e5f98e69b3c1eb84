//! Visitor logins at the provider of `[oidc]`: admission, session length, and refusal pages.

use devanture_config::api::{Protection, ProtectionList};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::provider::{Browser, LOGIN_HOST, Provider, protect_both};
use super::world::{PAGE, preview_of, protect, protect_by_password, push_alias, quick};
use crate::support::{eventually, got};
use crate::wire::{ask, protocols};

const SHOP: &str = "shop.localhost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_a_group_of_the_app_gets_in() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    let preview = preview_of(&edge, "shop").await;
    for groups in [&["web"][..], &["shops"], &["platform"], &["others", "web"]] {
        provider.state().groups = groups.iter().map(|&group| group.to_owned()).collect();
        let mut browser = Browser::new(&edge);
        for (host, text) in [(SHOP, "the shop"), (&preview, "the shop"), ("feature-x--shop.localhost", "an alias")] {
            let before = browser.open(&browser.url(host, "/")).await;
            assert_eq!(before.status, StatusCode::UNAUTHORIZED, "{groups:?} {host}");
            let answer = browser.log_in(host, "%2F").await;
            assert_eq!(answer.status, StatusCode::OK, "{groups:?} {host}: {}", answer.text());
            assert!(answer.text().contains(text));
            assert_eq!(answer.header("cache-control"), "private, no-cache");
            // Only the visitor's cookie remains, and the login cookie at the login hostname.
            assert_eq!(browser.jar[host].keys().collect::<Vec<_>>(), ["__Host-Http-devanture-visitor"]);
            assert_eq!(browser.jar[LOGIN_HOST].keys().collect::<Vec<_>>(), ["__Host-Http-devanture-person"]);
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_a_page_that_leads_to_the_login() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    for protocol in protocols(&edge) {
        let answer = ask("/a?b=%22%3E%3Cscript%3E").host(SHOP).with_lines(PAGE).send(&edge, protocol).await;
        assert_eq!(answer.status, 401);
        let page = answer.text();
        let link = "<a id=\"login\" href=\"/.well-known/devanture/login?to=%2Fa%3Fb%3D%2522%253E%253Cscript%253E\">";
        assert!(page.contains(link) && !page.contains("<form") && !page.contains("<script"), "{page}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
        let program = ask("/app.js").host(SHOP).send(&edge, protocol).await;
        assert_eq!((program.status, program.header("content-type").as_str()), (401, "application/problem+json"));
        for (method, path) in [("GET", "/"), ("GET", "/index.html"), ("POST", "/.well-known/devanture/callback")] {
            let other = ask(path).method(method).host(LOGIN_HOST).with_lines(PAGE).send(&edge, protocol).await;
            assert_eq!(other.status, 404, "{protocol:?} {method} {path}: nothing else is there");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_logs_in_without_a_group_of_the_app_stays_out() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    for groups in [&[][..], &["others"], &["Web", "web "]] {
        provider.state().groups = groups.iter().map(|&group| group.to_owned()).collect();
        let mut browser = Browser::new(&edge);
        let answer = browser.log_in(SHOP, "%2Fa").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{groups:?}");
        assert!(answer.text().contains("none of your groups"), "{}", answer.text());
        assert!(answer.text().contains(&format!("href=\"{}\"", browser.url(SHOP, "/a"))), "{}", answer.text());
        assert!(browser.jar.values().flatten().all(|(name, _)| !name.ends_with("visitor")));
    }
    // A group of another app of this edge grants no access here.
    let path = "/v1/apps/blog/environments/prod/protection";
    assert_eq!(got(edge.api(Method::PUT, path).json(&json!({ "mode": "oidc" }))).await.status, StatusCode::OK);
    provider.state().groups = vec!["shops".to_owned()];
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.log_in(SHOP, "%2F").await.status, StatusCode::OK);
    assert_eq!(browser.log_in("blog.localhost", "%2F").await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test]
async fn a_login_ends_with_the_protection_that_it_was_for() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.log_in(SHOP, "%2F").await.status, StatusCode::OK);
    let seen = browser.url(SHOP, "/");
    let edge = {
        let jar = browser.jar.clone();
        let edge = edge.restart().await;
        browser = Browser::new(&edge);
        browser.jar = jar;
        // The port may differ: cookies are independent of ports.
        assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::OK, "{seen}");
        // Setting the same mode again keeps sessions.
        protect_both(&edge).await;
        assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::OK);
        protect_by_password(&edge, "prod").await;
        assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::UNAUTHORIZED);
        protect_both(&edge).await;
        assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::UNAUTHORIZED);
        edge
    };
    edge.stop().await;
}

#[tokio::test]
async fn a_login_is_as_long_as_the_shorter_of_both_limits() {
    let provider = Provider::start().await;
    let edge = provider.setup().with_limit("visitor_login_ms_max", 120_000).start().await;
    protect_both(&edge).await;
    let mut browser = Browser::new(&edge);
    let entry = browser.stop_at(SHOP, "ticket=").await;
    let answer = browser.open(&entry).await;
    let set = answer.headers.get_all("set-cookie").iter().find(|set| set.to_str().unwrap().contains("visitor=login."));
    let lifetime = set.unwrap().to_str().unwrap().split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
    assert!((1..=120).contains(&lifetime.parse::<u64>().unwrap()), "{set:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_down_is_reported_and_nobody_gets_in() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    for (path, status) in [("/.well-known/openid-configuration", 503), ("/token", 500), ("/token", 302)] {
        provider.state().broken.insert(path, status);
        let mut browser = Browser::new(&edge);
        let answer = browser.log_in(SHOP, "%2F").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.text());
        assert!(answer.text().contains("cannot be reached just now"), "{}", answer.text());
        assert!(answer.headers.contains_key("retry-after"));
        provider.state().broken.clear();
        eventually("it is up again", async || browser.log_in(SHOP, "%2F").await.status == StatusCode::OK).await;
    }
    // Existing sessions continue while the provider is down.
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.log_in(SHOP, "%2F").await.status, StatusCode::OK);
    provider.state().broken.insert("/token", 503);
    assert_eq!(browser.open(&browser.url(SHOP, "/")).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn a_provider_that_logs_nobody_in_is_reported() {
    let provider = Provider::start().await;
    let edge = provider.setup().start().await;
    protect_both(&edge).await;
    provider.state().refuses = true;
    let mut browser = Browser::new(&edge);
    let answer = browser.log_in(SHOP, "%2F").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text().contains("The login did not succeed."), "{}", answer.text());
    assert_eq!(provider.state().redeemed, 0);
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_without_a_provider_or_a_hostname_for_it_takes_no_such_protection() {
    let provider = Provider::start().await;
    for (edge, expected) in [
        (quick(), "no hostname where visitors log in"),
        (quick().with_toml("[names]\nlogin = \"login.localhost\"\n"), "no provider"),
    ] {
        let edge = edge.start().await;
        let refused = protect(&edge, "prod", json!({ "mode": "oidc" })).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, Code::BadRequest));
        assert!(refused.problem().detail.contains(expected), "{refused:?}");
        edge.stop().await;
    }
    let edge = provider.setup().start().await;
    for host in [LOGIN_HOST, "*.localhost"] {
        let path = format!("/v1/apps/shop/environments/prod/hostnames/{host}");
        let refused = got(edge.api(Method::PUT, &path)).await;
        assert_eq!(refused.code(), Code::NameReserved, "{host}: {refused:?}");
    }
    protect_both(&edge).await;
    let list: ProtectionList = got(edge.api(Method::GET, "/v1/apps/shop/protection")).await.json();
    assert!(list.protections.iter().all(|status| status.mode == Protection::Oidc && !status.has_password));
    edge.stop().await;
}

#[tokio::test]
async fn what_a_login_is_known_by_is_in_no_log() {
    let provider = Provider::start().await;
    let setup = provider.setup().with_log("[access_log]\nto = \"access.log\"\nqueries = \"kept\"\n");
    let edge = setup.start().await;
    protect_both(&edge).await;
    assert_eq!(Browser::new(&edge).log_in(SHOP, "%2Fseen%3Fby%3Dall").await.status, StatusCode::NOT_FOUND);
    let folder = edge.data_dir().parent().unwrap().to_owned();
    let read = || std::fs::read_to_string(folder.join("access.log")).unwrap_or_default();
    eventually("the requests are logged", async || read().contains("/seen?by=all")).await;
    let log = read();
    for (part, expected) in [("devanture/callback", true), ("ticket=", false), ("code=", false), ("state=", false)] {
        assert_eq!(log.contains(part), expected, "{part}: {log}");
    }
    edge.stop().await;
}
