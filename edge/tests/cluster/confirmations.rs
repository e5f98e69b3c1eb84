//! Confirmations of sessions in a cluster: taken by one node and effective on every node at once.

use http::header::{COOKIE, SET_COOKIE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{World, is_installed, push};
use crate::support::{Got, RunningEdge, got};

/// Number of sessions confirmed on one node and used on another: propagation delays appear only occasionally.
const SESSIONS: usize = 30;

/// Browser request to a page of a node.
async fn browse(node: &RunningEdge, method: Method, path: &str, cookie: &str, body: &Value) -> Got {
    let url = format!("https://localhost:{}{path}", node.admin().port());
    let request = node.client().request(method, url).header("sec-fetch-site", "same-origin").header(COOKIE, cookie);
    got(if body.is_null() { request } else { request.json(body) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_confirmed_on_one_node_is_confirmed_on_the_next() {
    if !is_installed() {
        return;
    }
    let quick = |_, setup: crate::support::Setup| {
        setup.with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1).with_limit("tokens_max", 10_000)
    };
    let world = World::start_with(2, 1, quick).await;
    let [first, second] = &world.nodes[..] else { panic!("two nodes") };
    push(first, 1).await;
    let password = json!({ "account": "ada", "password": "correct horse battery" });
    let account = json!({ "name": "ada", "scope": "admin", "password": "correct horse battery" });
    assert_eq!(got(first.api(Method::POST, "/v1/accounts").json(&account)).await.status, StatusCode::CREATED);
    let confirmed = got(first.api(Method::PUT, "/v1/apps/shop/confirmations").json(&json!({ "confirm": ["token"] })));
    assert_eq!(confirmed.await.status, StatusCode::OK);
    for number in 0..SESSIONS {
        let entered = browse(first, Method::POST, "/v1/session", "", &password).await;
        assert_eq!(entered.status, StatusCode::CREATED, "{}", entered.text());
        let cookie = entered.headers.get(SET_COOKIE).unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
        // The other node knows the session as unconfirmed.
        let token = json!({ "name": format!("t{number}"), "app": "shop", "scope": "push" });
        let refused = browse(second, Method::POST, "/v1/tokens", &cookie, &token).await;
        assert_eq!(refused.problem().code.as_str(), "confirmation_required");
        let shown = json!({ "password": "correct horse battery" });
        let confirmed = browse(first, Method::POST, "/v1/session/confirm", &cookie, &shown).await;
        assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text());
        let made = browse(second, Method::POST, "/v1/tokens", &cookie, &token).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text());
    }
}
