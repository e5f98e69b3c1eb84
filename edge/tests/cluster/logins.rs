//! Logins to a cluster: the attempt limit covers all nodes together, and a session is valid on all nodes.

use devanture_config::problem::Code;
use http::header::{COOKIE, SET_COOKIE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{World, comes, is_installed};
use crate::support::{Got, RunningEdge, got};

/// Maximum login attempts of an account within the window.
const ATTEMPTS_MAX: u64 = 8;

/// Error code of a login attempt.
async fn attempt(node: &RunningEdge, login: &str) -> Code {
    let url = format!("https://localhost:{}/v1/login", node.admin().port());
    let request = node.client().request(Method::POST, url).json(&json!({"login": login, "password": "a wrong one"}));
    let answer = got(request).await;
    answer.code()
}

/// Number of attempts until a refusal without a check, and the code.
async fn attempts(node: &RunningEdge, login: &str) -> (u64, Code) {
    let mut count = 0;
    loop {
        let code = attempt(node, login).await;
        if code != Code::BadLogin {
            return (count, code);
        }
        count += 1;
        assert!(count <= ATTEMPTS_MAX, "there is no limit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_were_made_on_one_node_count_on_all_of_them() {
    if !is_installed() {
        return;
    }
    let limited = |_, setup: crate::support::Setup| setup.with_limit("login_attempts_per_account_max", ATTEMPTS_MAX);
    let world = World::start_with(3, 1, limited).await;
    assert_eq!(attempts(&world.nodes[0], "ada").await, (ATTEMPTS_MAX, Code::TooManyAttempts));
    for node in &world.nodes[1..] {
        let (count, code) = attempts(node, "ada").await;
        // A few attempts may precede the report from the other node.
        assert!(code == Code::TooManyAttempts && count < ATTEMPTS_MAX / 2, "{count} {code:?}");
    }
}

/// Browser request from a page of the node.
async fn browse(node: &RunningEdge, method: Method, path: &str, cookie: &str, body: &Value) -> Got {
    let url = format!("https://localhost:{}{path}", node.admin().port());
    let request = node.client().request(method, url).header("sec-fetch-site", "same-origin").header(COOKIE, cookie);
    got(if body.is_null() { request } else { request.json(body) }).await
}

/// Logs in on a node and returns the session cookie.
async fn entered(node: &RunningEdge) -> String {
    let body = json!({ "account": "ada", "password": "correct horse battery" });
    let entered = browse(node, Method::POST, "/v1/session", "", &body).await;
    assert_eq!(entered.status, StatusCode::CREATED, "{}", entered.text());
    let field = entered.headers.get(SET_COOKIE).unwrap().to_str().unwrap();
    field.split(';').next().unwrap().to_owned()
}

async fn status(node: &RunningEdge, cookie: &str) -> StatusCode {
    browse(node, Method::GET, "/v1/session", cookie, &Value::Null).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_begun_on_one_node_is_good_and_ends_on_all_of_them() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    let account = json!({ "name": "ada", "scope": "admin", "password": "correct horse battery" });
    let made = got(world.nodes[0].api(Method::POST, "/v1/accounts").json(&account)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    for (index, node) in world.nodes.iter().enumerate() {
        comes("each node knows the account", async || {
            got(node.api(Method::GET, "/v1/accounts")).await.text().contains("\"ada\"")
        })
        .await;
        let (cookie, other) = (entered(node).await, entered(node).await);
        // Immediately, though the other nodes may not have received the update yet.
        for node in &world.nodes {
            assert_eq!(status(node, &cookie).await, StatusCode::OK, "{index}");
        }
        // An action on one node takes effect, and the confirmation applies to all nodes.
        let next = &world.nodes[(index + 1) % 3];
        let confirmed = json!({ "password": "correct horse battery" });
        let confirmed = browse(next, Method::POST, "/v1/session/confirm", &cookie, &confirmed).await;
        assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text());
        let token = json!({ "name": "lasting", "scope": "read", "expires_in_s": 2_592_000 });
        comes("the confirmation is known", async || {
            browse(node, Method::POST, "/v1/tokens", &cookie, &token).await.status == StatusCode::CREATED
        })
        .await;
        let ended = browse(next, Method::DELETE, "/v1/session", &cookie, &Value::Null).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text());
        assert_eq!(status(next, &cookie).await, StatusCode::UNAUTHORIZED, "{index}");
        for node in &world.nodes {
            comes("the session ends everywhere", async || status(node, &cookie).await == StatusCode::UNAUTHORIZED)
                .await;
            assert_eq!(status(node, &other).await, StatusCode::OK, "the other one goes on: {index}");
        }
    }
}

/// A suspended node receives no updates, and reads the requests sent meanwhile first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_revoked_changes_nothing_at_a_node_that_stood_still() {
    const TOKENS: usize = 16;
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let [one, other] = [&world.nodes[0], &world.nodes[1]];
    let body = json!({ "name": "ci", "scope": "admin" });
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        let made: Value = got(one.api(Method::POST, "/v1/tokens").json(&body)).await.json();
        let token = made["token"].as_str().unwrap().to_owned();
        // By a connection opened before the node stops.
        assert_eq!(got(other.ask(Method::GET, "/v1/apps", &token)).await.status, StatusCode::OK);
        tokens.push((made["id"].as_str().unwrap().to_owned(), token));
    }
    other.process().suspend();
    for (id, _) in &tokens {
        let revoked = got(one.api(Method::DELETE, &format!("/v1/tokens/{id}"))).await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.text());
    }
    let changes = tokens.iter().map(|(_, token)| got(other.ask(Method::POST, "/v1/tokens", token).json(&body)));
    let resumed = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        other.process().resume();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(changes), resumed);
    // While rejoining, the node may not know the token's state.
    let refused = [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE];
    for answer in answers {
        assert!(refused.contains(&answer.status), "{}: {}", answer.status, answer.text());
    }
}
