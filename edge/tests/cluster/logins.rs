//! Logins to a cluster: so many attempts are allowed on all nodes together.

use devanture_config::problem::Code;
use http::Method;
use serde_json::json;

use super::world::{World, is_installed};
use crate::support::{RunningEdge, got};

/// Attempts that an account may have within the window.
const ATTEMPTS_MAX: u64 = 8;

/// The code that an attempt is answered with.
async fn attempt(node: &RunningEdge, login: &str) -> Code {
    let url = format!("https://localhost:{}/v1/login", node.admin().port());
    let request = node.client().request(Method::POST, url).json(&json!({"login": login, "password": "a wrong one"}));
    let answer = got(request).await;
    answer.code()
}

/// Attempts until one is not looked at, and its code.
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
        // A few may come before those of the other node are reported.
        assert!(code == Code::TooManyAttempts && count < ATTEMPTS_MAX / 2, "{count} {code:?}");
    }
}
