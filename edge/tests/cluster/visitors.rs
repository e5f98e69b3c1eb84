//! Visitors who log in on one node and continue on another; a password change of the account logs out on all nodes.

use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, World, is_installed, push};
use crate::support::{Got, RunningEdge, eventually, got};

const LOGIN_HOST: &str = "login.localhost";
const LOGIN: &str = "/.well-known/devanture/login";
const PASSWORD: &str = "correct horse battery";

/// Cookie whose name has the given end, in the form a browser sends.
fn cookie(answer: &Got, name: &str) -> String {
    let sets = answer.headers.get_all("set-cookie").iter();
    let mut pairs = sets.map(|set| set.to_str().unwrap().split(';').next().unwrap().to_owned());
    pairs.find(|pair| pair.starts_with(&format!("__Host-Http-devanture-{name}="))).unwrap()
}

/// Path and query of a redirect target: test nodes have different ports.
fn target(answer: &Got) -> String {
    let location = answer.header("location");
    format!("/{}", location.splitn(4, '/').nth(3).unwrap_or_else(|| panic!("{}", answer.text())))
}

async fn open(node: &RunningEdge, host: &str, path: &str, cookie: &str) -> Got {
    got(node.visit(Method::GET, host, path).header("accept", "text/html").header("cookie", cookie)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_of_one_node_is_one_of_all_and_ends_on_all() {
    if !is_installed() {
        return;
    }
    let world = World::start_with(2, 1, |_, setup| {
        let setup = setup.with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1);
        setup.with_toml(&format!("[names]\nlogin = \"{LOGIN_HOST}\"\n"))
    })
    .await;
    let [one, other] = [&world.nodes[0], &world.nodes[1]];
    world.agrees_on(push(one, 0).await.version).await;
    let account = json!({ "name": "ada", "app": APP, "scope": "read", "password": PASSWORD });
    assert_eq!(got(one.api(Method::POST, "/v1/accounts").json(&account)).await.status, StatusCode::CREATED);
    let path = format!("/v1/apps/{APP}/environments/prod/protection");
    let set = got(one.api(Method::PUT, &path).json(&json!({ "mode": "accounts" }))).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.text());
    let host = format!("{APP}.localhost");
    eventually("the other node protects it, too", async || {
        open(other, &host, "/", "").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    // Each step is on another node.
    let begun = open(one, &host, &format!("{LOGIN}?to=%2F"), "").await;
    let (browser, request) = (cookie(&begun, "login"), target(&begun).split_once("request=").unwrap().1.to_owned());
    let form = format!("request={request}&login=ada&password={}", PASSWORD.replace(' ', "+"));
    let form = other.visit(Method::POST, LOGIN_HOST, LOGIN).body(form);
    let entered = got(form.header("content-type", "application/x-www-form-urlencoded")).await;
    let person = cookie(&entered, "person");
    let let_in = open(one, &host, &target(&entered), &browser).await;
    let visitor = cookie(&let_in, "visitor");
    assert_eq!(open(other, &host, "/", &visitor).await.status, StatusCode::OK);
    let page = format!("{LOGIN}?request={request}");
    for node in [one, other] {
        assert!(open(node, LOGIN_HOST, &page, &person).await.text().contains("<strong>ada</strong>"));
    }
    let password = json!({ "password": "another horse battery" });
    let set = got(one.api(Method::PUT, "/v1/accounts/ada/password").json(&password)).await;
    assert!(set.status.is_success(), "{}", set.text());
    for node in [one, other] {
        eventually("the visitor is out", async || {
            open(node, &host, "/", &visitor).await.status == StatusCode::UNAUTHORIZED
                && open(node, LOGIN_HOST, &page, &person).await.text().contains("type=\"password\"")
        })
        .await;
    }
}
