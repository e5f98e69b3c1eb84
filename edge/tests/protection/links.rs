//! Share links: each opens one preview, until it expires or is revoked.

use devanture_config::api::{AuditLog, Scope, ShareList};
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{
    PAGE, PASSWORD, cookie_of, enter, get_with, path_of, preview_of, protect, push_alias, quick, share,
};
use crate::support::{Got, RunningEdge, got};
use crate::wire::{ask, protocols};

const ALIAS: &str = "feature-x--shop.localhost";

async fn open(edge: &RunningEdge, host: &str, path: &str) -> Got {
    got(edge.visit(Method::GET, host, path).header("accept", "text/html")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_opens_one_preview_until_it_is_revoked() {
    let edge = quick().start().await;
    let host = preview_of(&edge, "shop").await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    protect(&edge, "preview", json!({ "mode": "token" })).await;
    let version = edge.live("shop").await.unwrap();
    let of_version = share(&edge, json!({ "target": version.short().as_str() })).await;
    let of_alias = share(&edge, json!({ "target": "feature-x", "expires_s": 3_600 })).await;
    assert_eq!((of_version.share.host.as_str(), of_alias.share.host.as_str()), (host.as_str(), ALIAS));
    for protocol in protocols(&edge) {
        let opened = ask(&path_of(&of_alias)).host(ALIAS).with_lines(PAGE).send(&edge, protocol).await;
        assert_eq!((opened.status, opened.header("location").as_str()), (303, "/"), "{protocol:?}");
        assert_eq!(opened.header("referrer-policy"), "no-referrer");
        assert_eq!(opened.header("cache-control"), "no-store");
        let cookie = opened.header("set-cookie");
        let cookie = cookie.split(';').next().unwrap();
        let page = ask("/").host(ALIAS).with("cookie", cookie).send(&edge, protocol).await;
        assert_eq!((page.status, page.text().as_str()), (200, "<p>an alias</p>"), "{protocol:?}");
        assert_eq!(ask("/").host(&host).with("cookie", cookie).send(&edge, protocol).await.status, 401, "{protocol:?}");
        // A link to another preview opens no page here.
        let other = ask(&path_of(&of_version)).host(ALIAS).with_lines(PAGE).send(&edge, protocol).await;
        assert_eq!((other.status, other.header("set-cookie").as_str()), (401, ""), "{protocol:?}");
    }
    // A link may be opened repeatedly, and follows the alias, also after a move.
    let cookie = cookie_of(&open(&edge, ALIAS, &path_of(&of_alias)).await);
    push_alias(&edge, "feature-x", "<p>moved</p>").await;
    assert_eq!(get_with(&edge, ALIAS, "/", &cookie).await.text(), "<p>moved</p>");
    let edge = edge.restart().await;
    assert_eq!(get_with(&edge, ALIAS, "/", &cookie).await.text(), "<p>moved</p>");
    let list: ShareList = got(edge.api(Method::GET, "/v1/apps/shop/shares")).await.json();
    let ids: Vec<&str> = list.shares.iter().map(|share| share.id.as_str()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&of_alias.share.id.as_str()));
    let path = format!("/v1/apps/shop/shares/{}", of_alias.share.id);
    let foreseen = got(edge.api(Method::DELETE, &format!("{path}?dry_run=true"))).await;
    assert_eq!(foreseen.status, StatusCode::OK, "{}", foreseen.text());
    assert_eq!(get_with(&edge, ALIAS, "/", &cookie).await.status, StatusCode::OK);
    assert_eq!(got(edge.api(Method::DELETE, &path)).await.status, StatusCode::OK);
    assert_eq!(get_with(&edge, ALIAS, "/", &cookie).await.status, StatusCode::UNAUTHORIZED);
    let again = open(&edge, ALIAS, &path_of(&of_alias)).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(again.text().contains("This link has ended, or was revoked."), "{}", again.text());
    assert_eq!(got(edge.api(Method::DELETE, &path)).await.status, StatusCode::NOT_FOUND);
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit?app=shop")).await.json();
    let actions: Vec<&str> = log.entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions[0], "revoke_share");
    assert_eq!(actions.iter().filter(|action| **action == "share").count(), 2);
    // On a public preview, a link still leads to the preview.
    protect(&edge, "preview", json!({ "mode": "public" })).await;
    let opened = open(&edge, &host, &path_of(&of_version)).await;
    assert_eq!((opened.status, opened.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert!(!opened.headers.contains_key("set-cookie"));
    // Neither the list nor the log nor the data folder contains the secret.
    let secret = path_of(&of_version);
    let (_, secret) = secret.split_once('_').unwrap();
    for path in ["/v1/apps/shop/shares", "/v1/audit?app=shop"] {
        assert!(!got(edge.api(Method::GET, path)).await.text().contains(secret), "{path}");
    }
    let catalog = std::fs::read(edge.data_dir().join("catalog.redb")).unwrap();
    assert!(!catalog.windows(secret.len()).any(|window| window == secret.as_bytes()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_may_ask_for_a_password() {
    let edge = quick().start().await;
    push_alias(&edge, "feature-x", "<p>an alias</p>").await;
    protect(&edge, "preview", json!({ "mode": "token" })).await;
    let made = share(&edge, json!({ "target": "feature-x", "password": PASSWORD })).await;
    assert!(made.share.has_password);
    let path = path_of(&made);
    let page = open(&edge, ALIAS, &path).await;
    assert_eq!((page.status, page.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""));
    let (_, text) = path.split_once("link=").unwrap();
    assert!(page.text().contains(&format!("name=\"link\" value=\"{text}\"")), "{}", page.text());
    let wrong = enter(&edge, ALIAS, &format!("link={text}&password=wrong+horse+battery")).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""));
    assert!(wrong.text().contains("name=\"link\""), "{}", wrong.text());
    let right = enter(&edge, ALIAS, &format!("link={text}&password={}", PASSWORD.replace(' ', "+"))).await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/"), "{}", right.text());
    assert_eq!(get_with(&edge, ALIAS, "/", &cookie_of(&right)).await.text(), "<p>an alias</p>");
    edge.stop().await;
}

#[tokio::test]
async fn links_have_bounds_and_take_the_right_to_push() {
    let edge =
        quick().with_limit("share_links_per_app_max", 2).with_limit("share_link_ms_max", 3_600_000).start().await;
    let path = "/v1/apps/shop/shares";
    for (wanted, status) in [
        (json!({ "target": "prod", "expires_s": 3_601 }), StatusCode::BAD_REQUEST),
        (json!({ "target": "prod", "expires_s": 0 }), StatusCode::BAD_REQUEST),
        (json!({ "target": "nothing" }), StatusCode::NOT_FOUND),
        (json!({ "target": "" }), StatusCode::NOT_FOUND),
        (json!({ "target": "ffffffffffff" }), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(got(edge.api(Method::POST, path).json(&wanted)).await.status, status, "{wanted}");
    }
    for (scope, environment, may) in
        [(Scope::Read, None, false), (Scope::Push, Some("preview"), false), (Scope::Push, Some("prod"), true)]
    {
        let token = edge.token_for(scope, Some("shop"), environment).await;
        let wanted = json!({ "target": "prod", "expires_s": 60 });
        let answer = got(edge.ask(Method::POST, path, &token).json(&wanted)).await;
        assert_eq!(answer.status == StatusCode::CREATED, may, "{scope} {environment:?}: {}", answer.text());
    }
    share(&edge, json!({ "target": "prod", "expires_s": 60 })).await;
    let more = got(edge.api(Method::POST, path).json(&json!({ "target": "prod", "expires_s": 60 }))).await;
    assert_eq!(more.status, StatusCode::CONFLICT, "{}", more.text());
    edge.stop().await;
}
