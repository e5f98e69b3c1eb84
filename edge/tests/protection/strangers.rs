//! Responses to strangers, and access by password.

use devanture_config::api::{AuditLog, Protection, ProtectionList, Scope};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{
    LOGIN, PAGE, PASSWORD, cookie_of, enter, form, get_with, preview_of, protect, protect_by_password, push_alias,
    quick,
};
use crate::support::got;
use crate::wire::{ask, protocols};

/// Header that turns OPTIONS into a preflight request.
const PREFLIGHT: &str = "Access-Control-Request-Method: GET";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_sees_nothing_of_what_is_protected() {
    let edge = quick().start().await;
    let host = preview_of(&edge, "shop").await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[&str])] = &[
        ("GET",     "/",                                      &[]),
        ("HEAD",    "/",                                      &[]),
        ("GET",     "/app.js",                                &["Accept: */*"]),
        ("GET",     "/missing",                               &[]),
        ("GET",     "/robots.txt",                            &[]),
        ("GET",     "/.well-known/devanture/release.json",    &[]),
        ("GET",     "/.well-known/devanture/env.json",        &[]),
        ("GET",     "/.well-known/acme-challenge/x",          &[]),
        ("GET",     "//",                                     &[]),
        ("GET",     "/%00",                                   &[]),
        ("POST",    "/",                                      PAGE),
        ("POST",    "/api/x",                                 &[]),
        ("PUT",     "/.well-known/devanture/login",           &[]),
        ("GET",     "/",                                      &["Range: bytes=0-1"]),
        ("GET",     "/",                                      &["If-None-Match: *"]),
        ("OPTIONS", "/",                                      &["Origin: https://a.test", PREFLIGHT]),
        ("GET",     "/",                                      &["Sec-WebSocket-Version: 13"]),
        ("GET",     "/",                                      &["Authorization: Basic YTpi"]),
        ("GET",     "/",                                      &["Authorization: Bearer dvt_00_00"]),
        ("GET",     "/",                                      &["Cookie: __Host-Http-devanture-visitor=password.1.0"]),
    ];
    for protocol in protocols(&edge) {
        let set = protect(&edge, "preview", json!({ "mode": "token" })).await;
        assert_eq!(set.status, StatusCode::OK, "{}", set.text());
        for host in [host.as_str(), "feature-x--shop.localhost"] {
            for (method, target, lines) in cases {
                let answer = ask(target).method(method).host(host).with_lines(lines).send(&edge, protocol).await;
                let what = format!("{protocol:?} {method} {host}{target} {lines:?}: {}", answer.text());
                assert_eq!(answer.status, 401, "{what}");
                assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
                assert_eq!(answer.header("cache-control"), "no-store", "{what}");
                assert_eq!(answer.header("x-robots-tag"), "noindex", "{what}");
                for name in
                    ["etag", "set-cookie", "devanture-version", "use-as-dictionary", "access-control-allow-origin"]
                {
                    assert_eq!(answer.header(name), "", "{what}");
                }
                if *method != "HEAD" {
                    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
                    assert_eq!(problem["code"], "protected", "{what}");
                }
            }
        }
        // The live site is no preview.
        assert_eq!(ask("/").send(&edge, protocol).await.status, 200);
        let set = protect(&edge, "preview", json!({ "mode": "off" })).await;
        assert_eq!(set.status, StatusCode::OK, "{}", set.text());
        for host in [host.as_str(), "feature-x--shop.localhost"] {
            for (method, target, lines) in [("GET", "/", PAGE), ("POST", LOGIN, &[]), ("GET", "/app.js", &[])] {
                let answer = ask(target).method(method).host(host).with_lines(lines).send(&edge, protocol).await;
                assert_eq!(answer.status, 404, "{protocol:?} {method} {host}{target}");
            }
        }
    }
    protect(&edge, "preview", json!({ "mode": "public" })).await;
    assert_eq!(edge.get(&host, "/").await.status, StatusCode::OK);
    edge.stop().await;
}

/// Branch names reveal a company's work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_learn_which_previews_a_protected_app_has() {
    let edge = quick().start().await;
    let version = preview_of(&edge, "shop").await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    let (there, missing) =
        ([&*version, "feature-x--shop.localhost"], ["takeover--shop.localhost", "0123456789ab--shop.localhost"]);
    let is_shown = async |host: &str| edge.visit(Method::GET, host, "/").send().await.is_ok();
    for host in missing {
        assert!(!is_shown(host).await, "{host}: everybody may see what there is");
    }
    for wanted in
        [json!({ "mode": "token" }), json!({ "mode": "off" }), json!({ "mode": "password", "password": PASSWORD })]
    {
        assert_eq!(protect(&edge, "preview", wanted).await.status, StatusCode::OK);
        for protocol in protocols(&edge) {
            for (method, target, lines) in [
                ("GET", "/a", PAGE),
                ("GET", "/", &[]),
                ("POST", "/", &[]),
                ("GET", "/.well-known/devanture/share", &[]),
            ] {
                let answer = async |host: &str| {
                    let answer = ask(target).method(method).host(host).with_lines(lines).send(&edge, protocol).await;
                    (answer.status, answer.fields(), answer.text())
                };
                let expected = answer(there[0]).await;
                for host in [there[1], missing[0], missing[1]] {
                    assert_eq!(answer(host).await, expected, "{protocol:?} {method} {host}{target}");
                }
            }
        }
    }
    // A visitor with access to previews gets a 404; and previews of other apps are not hidden.
    let wrong = enter(&edge, missing[0], &form("wrong horse battery")).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let cookie = cookie_of(&enter(&edge, missing[0], &form(PASSWORD)).await);
    assert_eq!(get_with(&edge, missing[0], "/", &cookie).await.status, StatusCode::NOT_FOUND);
    for host in ["takeover--none.localhost", "Not_a_name--shop.localhost", "abc--shop.localhost"] {
        assert!(!is_shown(host).await, "{host}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_gets_a_page_that_works_without_a_script() {
    let edge = quick().start().await;
    let host = preview_of(&edge, "shop").await;
    for (wanted, has_form) in
        [(json!({ "mode": "password", "password": PASSWORD }), true), (json!({ "mode": "token" }), false)]
    {
        assert_eq!(protect(&edge, "preview", wanted).await.status, StatusCode::OK);
        for protocol in protocols(&edge) {
            let answer = ask("/a?b=%22%3E%3Cscript%3E").host(&host).with_lines(PAGE).send(&edge, protocol).await;
            assert_eq!(answer.status, 401);
            let page = answer.text();
            assert_eq!(
                page.contains("<form method=\"post\" action=\"/.well-known/devanture/login\">"),
                has_form,
                "{page}"
            );
            assert_eq!(page.contains("type=\"password\""), has_form, "{page}");
            assert!(!page.contains("<script") && !page.contains("\">\""), "{page}");
            let policy = answer.header("content-security-policy");
            for word in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
                assert!(policy.contains(word), "{policy}");
            }
            assert!(!policy.contains("script"), "{policy}");
            assert_eq!(answer.header("referrer-policy"), "strict-origin");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("x-robots-tag"), "noindex");
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_one_preview_until_another_is_set() {
    let edge = quick().start().await;
    let host = preview_of(&edge, "shop").await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    protect_by_password(&edge, "preview").await;
    let wrong = enter(&edge, &host, &form("wrong horse battery")).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text().contains("That is not the password."), "{}", wrong.text());
    assert_eq!(wrong.header("set-cookie"), "");
    let right = enter(&edge, &host, &form(PASSWORD)).await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/"), "{}", right.text());
    assert_eq!(right.header("cache-control"), "no-store");
    let cookie = cookie_of(&right);
    for (path, text) in [("/", "the shop"), ("/app.js", "secret")] {
        let answer = get_with(&edge, &host, path, &format!("a=1; {cookie}; b=2")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(answer.text().contains(text));
        assert_eq!(answer.header("cache-control"), "private, no-cache", "{path}");
        assert_eq!(answer.header("x-robots-tag"), "noindex");
        assert!(answer.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("cookie")));
        assert_eq!(answer.header("use-as-dictionary"), "");
        // The visitor's own browser may cache the page, and revalidates each time.
        let tag = answer.header("etag").to_owned();
        let again = edge.visit(Method::GET, &host, path).header("cookie", &cookie).header("if-none-match", tag);
        let again = got(again).await;
        assert_eq!((again.status, again.header("cache-control")), (StatusCode::NOT_MODIFIED, "private, no-cache"));
    }
    let missing = get_with(&edge, &host, "/missing", &cookie).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.header("cache-control").starts_with("private"), "{}", missing.header("cache-control"));
    // The cookie is valid for this hostname alone, and the edge stores no session.
    assert_eq!(get_with(&edge, "feature-x--shop.localhost", "/", &cookie).await.status, StatusCode::UNAUTHORIZED);
    let edge = edge.restart().await;
    assert_eq!(get_with(&edge, &host, "/", &cookie).await.status, StatusCode::OK);
    // Setting the same mode again keeps sessions; another password ends them.
    assert_eq!(protect(&edge, "preview", json!({ "mode": "password" })).await.status, StatusCode::OK);
    assert_eq!(get_with(&edge, &host, "/", &cookie).await.status, StatusCode::OK);
    protect_by_password(&edge, "preview").await;
    assert_eq!(get_with(&edge, &host, "/", &cookie).await.status, StatusCode::UNAUTHORIZED);
    let cookie = cookie_of(&enter(&edge, &host, &form(PASSWORD)).await);
    assert_eq!(get_with(&edge, &host, "/", &cookie).await.status, StatusCode::OK);
    protect(&edge, "preview", json!({ "mode": "token" })).await;
    assert_eq!(get_with(&edge, &host, "/", &cookie).await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_is_protected_as_previews_are() {
    let edge = quick().start().await;
    protect_by_password(&edge, "prod").await;
    assert_eq!(edge.get("shop.localhost", "/").await.status, StatusCode::UNAUTHORIZED);
    let cookie = cookie_of(&enter(&edge, "shop.localhost", &form(PASSWORD)).await);
    assert_eq!(get_with(&edge, "shop.localhost", "/", &cookie).await.text(), "<p>the shop</p>");
    // A push keeps the protection.
    edge.push("shop", &[("index.html", b"two")]).await;
    assert_eq!(edge.get("shop.localhost", "/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get_with(&edge, "shop.localhost", "/", &cookie).await.text(), "two");
    // Previews are separate.
    let host = preview_of(&edge, "shop").await;
    assert_eq!(edge.get(&host, "/").await.status, StatusCode::OK);
    assert_eq!(protect(&edge, "prod", json!({ "mode": "off" })).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(protect(&edge, "prod", json!({})).await.status, StatusCode::OK);
    assert_eq!(edge.get("shop.localhost", "/").await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn the_default_of_the_edge_holds_where_an_app_sets_nothing() {
    let edge = quick().with_top("previews = \"token\"\n").start().await;
    let host = preview_of(&edge, "shop").await;
    assert_eq!(edge.get(&host, "/").await.status, StatusCode::UNAUTHORIZED);
    let list: ProtectionList = got(edge.api(Method::GET, "/v1/apps/shop/protection")).await.json();
    let first = &list.protections[0];
    assert_eq!((first.mode, first.is_default, list.protections.len()), (Protection::Token, true, 1));
    protect(&edge, "preview", json!({ "mode": "public" })).await;
    assert_eq!(edge.get(&host, "/").await.status, StatusCode::OK);
    protect(&edge, "preview", json!({})).await;
    assert_eq!(edge.get(&host, "/").await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test]
async fn who_may_set_it_and_what_is_refused() {
    let edge = quick().start().await;
    for (wanted, status) in [
        (json!({ "mode": "password" }), StatusCode::BAD_REQUEST),
        (json!({ "mode": "token", "password": PASSWORD }), StatusCode::BAD_REQUEST),
        (json!({ "password": PASSWORD }), StatusCode::BAD_REQUEST),
        (json!({ "mode": "password", "password": "short" }), StatusCode::BAD_REQUEST),
        (json!({ "mode": "open" }), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(protect(&edge, "preview", wanted.clone()).await.status, status, "{wanted}");
    }
    let path = "/v1/apps/shop/environments/preview/protection";
    for (scope, environment, may) in [
        (Scope::Push, None, false),
        (Scope::Promote, Some("prod"), false),
        (Scope::Promote, Some("preview"), true),
        (Scope::Promote, None, true),
    ] {
        let token = edge.token_for(scope, Some("shop"), environment).await;
        let answer = got(edge.ask(Method::PUT, path, &token).json(&json!({ "mode": "token" }))).await;
        assert_eq!(answer.status == StatusCode::OK, may, "{scope} {environment:?}: {}", answer.text());
    }
    let foreseen = got(edge.api(Method::PUT, &format!("{path}?dry_run=true")).json(&json!({ "mode": "off" }))).await;
    assert_eq!(foreseen.json::<Value>()["protection"]["mode"], "off");
    let list: ProtectionList = got(edge.api(Method::GET, "/v1/apps/shop/protection")).await.json();
    assert_eq!(list.protections[0].mode, Protection::Token);
    protect_by_password(&edge, "preview").await;
    let catalog = std::fs::read(edge.data_dir().join("catalog.redb")).unwrap();
    for secret in [PASSWORD, "$argon2id$v=19$m=7168,t=1"] {
        assert!(!catalog.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit?app=shop")).await.json();
    assert_eq!((log.entries[0].action.as_str(), log.entries[0].what.as_str()), ("protect", "preview password"));
    edge.stop().await;
}
