//! Warnings and refusals of a push because of rules.

use http::Method;
use serde_json::json;

use crate::rules::site::site;
use crate::support::{edge, got};

#[tokio::test]
async fn a_push_with_mistakes_does_not_go_live() {
    let edge = edge().with_app("shop", &[("index.html", b"first")]).start().await;
    let broken = site(&["index.html"]).with_redirects(&["/a /b", "/c", "/d javascript:alert(1)"]);
    let problem = broken.try_push(&edge).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "bad_rules");
    let found: Vec<(&str, usize)> = problem.mistakes.iter().map(|m| (m.file.as_str(), m.line)).collect();
    assert_eq!(found, [("_redirects", 2), ("_redirects", 3)], "{problem:#?}");
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "first");
    edge.stop().await;
}

#[tokio::test]
async fn doubts_are_let_pass_on_request() {
    let edge = edge().start().await;
    let doubtful = || site(&["index.html"]).with_redirects(&["/a /b 301 Country=fr", "/a /c"]);
    let problem = doubtful().strictly().try_push(&edge).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "warnings");
    assert!(problem.mistakes[0].message.contains("Country"), "{problem:#?}");
    doubtful().try_push(&edge).await.unwrap();
    assert_eq!(edge.get("shop.localhost", "/a").await.header("location"), "/c");
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_with_mistakes_of_its_own_gets_no_version() {
    let edge = edge().start().await;
    // Only staging has the rewrite's upstream.
    let shop = site(&["index.html"]).with_toml(
        "[[rewrites]]\nfrom = \"/api/*\"\nto = \"http://127.0.0.1:1/:splat\"\n\
        [env.staging.upstreams]\napi = \"http://127.0.0.1:1\"",
    );
    let version = shop.try_push_to(&edge, "staging").await.unwrap().version;
    let promote = json!({"from": "staging"});
    let promoted = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/promote").json(&promote)).await;
    assert_eq!(promoted.code().as_str(), "bad_rules");
    let switch = json!({"version": version});
    let switched = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch").json(&switch)).await;
    assert_eq!(switched.code().as_str(), "bad_rules");
    assert_eq!(edge.live("shop").await, None);
    // A rollback to a version never live there cannot bypass the check.
    let first = site(&["index.html"]).try_push(&edge).await.unwrap().version;
    let rollback = json!({"version": version});
    let back = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback").json(&rollback)).await;
    assert_eq!(back.code().as_str(), "bad_rules");
    assert_eq!(edge.live("shop").await, Some(first));
    edge.stop().await;
}

#[tokio::test]
async fn more_rules_than_are_allowed_are_refused() {
    let edge = edge().with_limit("rules_max", 2).start().await;
    let many = site(&["index.html"]).with_redirects(&["/a /x", "/b /x", "/c /x"]);
    assert_eq!(many.try_push(&edge).await.unwrap_err().code.as_str(), "bad_rules");
    edge.stop().await;
}
