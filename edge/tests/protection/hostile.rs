//! Forged, replayed and foreign credentials, cross-site forms, and redirects to other hosts.

use std::net::IpAddr;

use devanture_config::api::Scope;
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{
    LOGIN, PAGE, PASSWORD, cookie_of, enter, form, get_with, path_of, preview_of, protect, protect_by_password,
    push_alias, quick, share,
};
use crate::support::{RunningEdge, got};
use crate::wire::{ask, protocols};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cookie_is_good_but_the_one_that_was_given_out_here() {
    let edge = quick().with_app("blog", &[("index.html", b"the blog")]).start().await;
    let (host, of_blog) = (preview_of(&edge, "shop").await, preview_of(&edge, "blog").await);
    protect_by_password(&edge, "preview").await;
    let path = "/v1/apps/blog/environments/preview/protection";
    let wanted = json!({ "mode": "password", "password": "another horse battery" });
    assert_eq!(got(edge.api(Method::PUT, path).json(&wanted)).await.status, StatusCode::OK);
    let foreign = cookie_of(&enter(&edge, &of_blog, &form("another horse battery")).await);
    let cookie = cookie_of(&enter(&edge, &host, &form(PASSWORD)).await);
    let (name, value) = cookie.split_once('=').unwrap();
    let parts: Vec<&str> = value.split('.').collect();
    let [subject, expires, mac] = parts[..] else { panic!("{value}") };
    let link = share(&edge, json!({ "target": edge.live("shop").await.unwrap().to_string() })).await;
    let later = format!("{expires}0");
    let flipped = format!("{}{}", if mac.starts_with('0') { '1' } else { '0' }, &mac[1..]);
    for protocol in protocols(&edge) {
        for bad in [
            foreign.clone(),
            format!("{name}={subject}.{later}.{mac}"),
            format!("{name}={subject}.{expires}.{flipped}"),
            format!("{name}={subject}.1.{mac}"),
            format!("{name}={}.{expires}.{mac}", link.share.id),
            format!("{name}={subject}.{expires}"),
            format!("{name}={value}.{value}"),
            format!("{name}=\"{value}\""),
            format!("{}={value}", name.to_ascii_lowercase()),
            format!("{}={value}", name.trim_start_matches("__Host-Http-")),
            format!("{name}="),
            format!("{name}={}", "a".repeat(4_000)),
            format!("x={cookie}"),
            path_of(&link),
        ] {
            let answer = ask("/").host(&host).with("cookie", bad.as_str()).send(&edge, protocol).await;
            assert_eq!(answer.status, 401, "{protocol:?} {bad}");
        }
        // Other cookies beside the valid cookie are harmless.
        for good in [format!("{foreign}; {cookie}"), format!("{cookie}; {name}=x"), format!("a=\"; {cookie}")] {
            let answer = ask("/").host(&host).with("cookie", good.as_str()).send(&edge, protocol).await;
            assert_eq!(answer.status, 200, "{protocol:?} {good}");
        }
        let two = ask("/").host(&host).with("cookie", "a=1").with("cookie", cookie.as_str());
        assert_eq!(two.send(&edge, protocol).await.status, 200, "{protocol:?}");
    }
    // A link of another app, and a modified link.
    let path = path_of(&link);
    for bad in
        [path.replace("link=", "link=0"), path.replace('_', ""), format!("{path}0"), path.replace("?link=", "?x=")]
    {
        let answer = got(edge.visit(Method::GET, &host, &bad).header("accept", "text/html")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""), "{bad}");
    }
    let elsewhere = got(edge.visit(Method::GET, &of_blog, &path).header("accept", "text/html")).await;
    assert_eq!((elsewhere.status, elsewhere.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_leads_to_no_other_host() {
    let edge = quick().start().await;
    let host = preview_of(&edge, "shop").await;
    protect_by_password(&edge, "preview").await;
    for (to, expected) in [
        ("%2Fa%3Fb%3Dc", "/a?b=c"),
        ("/a/b", "/a/b"),
        ("//evil.example", "/"),
        ("%2F%2Fevil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("/%09/evil.example", "/"),
        ("/%0d%0aSet-Cookie:%20a=b", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
        ("/%C3%A9", "/%C3%A9"),
        ("/.well-known/devanture/login", "/"),
    ] {
        let entered = enter(&edge, &host, &format!("to={to}&password={}", PASSWORD.replace(' ', "+"))).await;
        assert_eq!((entered.status, entered.header("location")), (StatusCode::SEE_OTHER, expected), "{to}");
        assert_eq!(entered.headers.get_all("set-cookie").iter().count(), 1, "{to}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_page_itself_logs_a_visitor_in() {
    let edge = quick().start().await;
    let host = preview_of(&edge, "shop").await;
    protect_by_password(&edge, "preview").await;
    let own = format!("https://{host}:{}", edge.https().port());
    let form_type = ("content-type", "application/x-www-form-urlencoded");
    for (fields, status) in [
        (vec![form_type], 303),
        (vec![form_type, ("origin", own.as_str())], 303),
        (vec![form_type, ("sec-fetch-site", "cross-site")], 401),
        (vec![form_type, ("sec-fetch-site", "same-site"), ("origin", own.as_str())], 401),
        (vec![form_type, ("origin", "https://evil.example")], 401),
        (vec![form_type, ("origin", "null")], 401),
        (vec![("content-type", "text/plain")], 400),
        (vec![("content-type", "application/json")], 400),
        (vec![], 400),
    ] {
        let mut request = edge.visit(Method::POST, &host, LOGIN).body(form(PASSWORD));
        for (name, value) in &fields {
            request = request.header(*name, *value);
        }
        let answer = got(request).await;
        assert_eq!(answer.status.as_u16(), status, "{fields:?}: {}", answer.text());
        assert_eq!(answer.headers.contains_key("set-cookie"), status == 303, "{fields:?}");
    }
    let long = enter(&edge, &host, &format!("password={}", "a".repeat(20_000))).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(enter(&edge, &host, "").await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_the_app_opens_what_it_may_read() {
    let edge = quick().with_app("blog", &[("index.html", b"the blog")]).start().await;
    let host = preview_of(&edge, "shop").await;
    protect(&edge, "preview", json!({ "mode": "token" })).await;
    protect(&edge, "prod", json!({ "mode": "token" })).await;
    for (app, environment, of_preview, of_prod) in [
        (Some("shop"), None, 200, 200),
        (Some("shop"), Some("preview"), 200, 401),
        (Some("shop"), Some("prod"), 401, 200),
        (Some("blog"), None, 401, 401),
    ] {
        let token = edge.token_for(Scope::Read, app, environment).await;
        for protocol in protocols(&edge) {
            let lines = format!("Authorization: Bearer {token}");
            for (host, status) in [(host.as_str(), of_preview), ("shop.localhost", of_prod)] {
                let answer = ask("/").host(host).with_lines(&[&lines]).send(&edge, protocol).await;
                assert_eq!(answer.status, status, "{protocol:?} {host} {app:?} {environment:?}");
                if status == 200 {
                    assert_eq!(answer.header("cache-control"), "private, no-cache");
                }
            }
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn attempts_at_a_password_are_limited() {
    let edge = quick().with_limit("login_attempts_per_address_max", 3).start().await;
    let host = preview_of(&edge, "shop").await;
    push_alias(&edge, "feature-x", "an alias").await;
    protect_by_password(&edge, "preview").await;
    for number in 0..3 {
        let answer = enter(&edge, &host, &form(&format!("wrong horse {number}"))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    // The right password is refused as well, and at another preview, too.
    for host in [host.as_str(), "feature-x--shop.localhost"] {
        let answer = enter(&edge, host, &form(PASSWORD)).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        // Until the first attempt is a quarter of an hour old.
        let retry_s: u64 = answer.header("retry-after").parse().unwrap();
        assert!((61..=900).contains(&retry_s) && !answer.headers.contains_key("set-cookie"), "{retry_s}");
    }
    edge.stop().await;
}

/// Sends the form from another address of this machine.
async fn enter_from(edge: &RunningEdge, last: u8, host: &str, password: &str) -> StatusCode {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(edge.ca()).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).local_address(IpAddr::from([127, 0, 0, last]));
    let client = client.resolve(host, edge.https()).redirect(reqwest::redirect::Policy::none()).no_proxy();
    let url = format!("https://{host}:{}{LOGIN}", edge.https().port());
    let request = client.build().unwrap().post(url).header("content-type", "application/x-www-form-urlencoded");
    got(request.body(form(password))).await.status
}

#[tokio::test]
async fn a_stranger_locks_out_no_other_visitor_and_nobody_from_the_api() {
    let limited = quick().with_limit("login_attempts_per_account_max", 2);
    let edge = limited.with_limit("login_attempts_per_address_max", 4).start().await;
    let host = preview_of(&edge, "shop").await;
    protect_by_password(&edge, "preview").await;
    for password in ["wrong horse one", "wrong horse two"] {
        assert_eq!(enter_from(&edge, 2, &host, password).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(enter_from(&edge, 2, &host, PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(enter_from(&edge, 3, &host, PASSWORD).await, StatusCode::SEE_OTHER);
    // Login windows are separate: neither account names nor addresses there count against visitors.
    let login = async |login: &str| {
        let url = format!("https://{}/v1/login", edge.admin());
        let body = json!({ "login": login, "password": "wrong horse three" });
        got(edge.client().post(url).json(&body)).await.status
    };
    for name in ["visitor shop preview", "visitor shop preview", "ada", "bob"] {
        assert_eq!(login(name).await, StatusCode::UNAUTHORIZED, "{name}");
    }
    assert_eq!(login("cy").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(enter_from(&edge, 1, &host, PASSWORD).await, StatusCode::SEE_OTHER);
    // Many strangers together share a limit, which blocks no address from which the password was entered before.
    for last in 10..12 {
        assert_eq!(enter_from(&edge, last, &host, "wrong horse").await, StatusCode::UNAUTHORIZED, "{last}");
    }
    assert_eq!(enter_from(&edge, 12, &host, "wrong horse").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(enter_from(&edge, 3, &host, PASSWORD).await, StatusCode::SEE_OTHER);
    edge.stop().await;
}

#[tokio::test]
async fn the_secret_of_a_link_is_in_no_log() {
    let edge = quick().with_log("[access_log]\nto = \"access.log\"\nqueries = \"kept\"\n").start().await;
    protect(&edge, "preview", json!({ "mode": "token" })).await;
    let host = preview_of(&edge, "shop").await;
    let made = share(&edge, json!({ "target": edge.live("shop").await.unwrap().to_string() })).await;
    let opened = got(edge.visit(Method::GET, &host, &path_of(&made)).header("accept", "text/html")).await;
    assert_eq!(opened.status, StatusCode::SEE_OTHER);
    assert_eq!(get_with(&edge, &host, "/", &cookie_of(&opened)).await.status, StatusCode::OK);
    let folder = edge.data_dir().parent().unwrap().to_owned();
    let read = || std::fs::read_to_string(folder.join("access.log")).unwrap_or_default();
    crate::support::eventually("the request is logged", async || read().contains("/.well-known/devanture/share")).await;
    let path = path_of(&made);
    let (_, secret) = path.split_once('_').unwrap();
    // Other spellings of the path lead to the right path, or to none.
    let cookie = cookie_of(&opened);
    let (_, query) = path.split_once('?').unwrap();
    for (spelling, leads_on) in [
        ("//.well-known/devanture/share", true),
        ("/./.well-known/devanture/share", true),
        ("/x/../.well-known/devanture/share", true),
        ("/.well-known/devanture/%73hare", true),
        ("/.well-known/devanture/share/", false),
        ("/.Well-Known/Devanture/Share", false),
        ("/.well-known%5Cdevanture%5Cshare", false),
    ] {
        let target = format!("{spelling}?{query}");
        for protocol in protocols(&edge) {
            let asked = ask(&target).host(&host).with("cookie", cookie.as_str());
            let answer = asked.with("referer", format!("https://{host}{target}")).send(&edge, protocol).await;
            if leads_on {
                assert_eq!((answer.status, answer.header("location")), (308, path.clone()), "{protocol:?} {spelling}");
                assert_eq!(answer.header("referrer-policy"), "no-referrer", "{protocol:?} {spelling}");
                assert!(answer.header("cache-control").contains("no-store"), "{protocol:?} {spelling}");
            }
        }
    }
    let last = ask("/last").host(&host).with("cookie", cookie.as_str()).send(&edge, crate::wire::Protocol::Http1).await;
    assert_eq!(last.status, 404);
    crate::support::eventually("the last request is logged", async || read().contains("/last")).await;
    assert!(!read().contains(secret));
    let answer = ask("/").host(&host).with_lines(PAGE).send(&edge, crate::wire::Protocol::Http2).await;
    assert_eq!(answer.status, 401);
    edge.stop().await;
}

/// Previews under the deleted settings must stay as protected as before.
#[tokio::test]
async fn the_deletion_of_preview_opens_no_preview_that_is_there() {
    let edge = quick().start().await;
    push_alias(&edge, "feature-x", "an alias").await;
    protect_by_password(&edge, "preview").await;
    let hosts = [preview_of(&edge, "shop").await, "feature-x--shop.localhost".to_owned()];
    let deleted = got(edge.api(Method::DELETE, "/v1/apps/shop/environments/preview")).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    for host in hosts {
        assert_eq!(edge.get(&host, "/").await.status, 401, "{host}");
    }
    edge.stop().await;
}
