//! Settings and `release` of backends, requested from a node that does not run the instances.

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::instances::{backend, healthy, nodes_of, push, start};
use super::world::{APP, HOST, World, comes, is_installed};
use crate::support::backends::Backend;
use crate::support::{Got, RunningEdge, got};

/// Path of the settings.
const SETTINGS: &str = "/v1/apps/shop/environments/prod/settings";
/// Reports the build and the environment; with `BROKEN` set, the process ends at once.
const SERVER: &str = r"
if (process.env.BROKEN) process.exit(1);
const who = { node: process.env.DEVANTURE_NODE, build: BUILD, colour: process.env.COLOUR };
const server = require('http').createServer((request, answer) => answer.end(JSON.stringify(who)));
setTimeout(() => server.listen(+process.env.PORT, '127.0.0.1'), AFTER_MS);
process.on('SIGTERM', () => process.exit(0));
";

/// Backend of one instance that listens after `after_ms` milliseconds.
fn built(build: usize, after_ms: u64) -> Backend {
    let server = SERVER.replace("BUILD", &build.to_string()).replace("AFTER_MS", &after_ms.to_string());
    backend(build, 1).with_file("server.js", &server, false)
}

/// Starts a world with a backend of one instance; returns the index of a node that does not run the instance.
async fn started() -> (World, usize) {
    let world = start(3).await;
    push(&world.nodes[0], &built(1, 0)).await;
    let running = nodes_of(&world.nodes[0]).await;
    let without = world.nodes.iter().position(|node| !running.contains(&node.file().node)).unwrap();
    (world, without)
}

async fn set(node: &RunningEdge, name: &str, value: &str) -> Got {
    got(node.api(Method::PATCH, SETTINGS).json(&json!({ "set": { name: { "value": value } } }))).await
}

/// Report of the backend for a visitor of a node.
async fn who(node: &RunningEdge) -> Value {
    let got = got(node.visit(Method::GET, HOST, "/api/who")).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    serde_json::from_slice(&got.body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_hold_when_the_instances_of_other_nodes_are_healthy_with_them_and_not_before() {
    if !is_installed() {
        return;
    }
    let (world, without) = started().await;
    let node = &world.nodes[without];
    let refused = set(node, "BROKEN", "1").await;
    assert_eq!(refused.code(), Code::CrashLoop, "{}", refused.text());
    assert_eq!(got(node.api(Method::GET, SETTINGS)).await.json::<Value>()["revision"], 0);
    for node in &world.nodes {
        assert_eq!(who(node).await["build"], 1, "what was live goes on");
    }
    let taken = set(node, "COLOUR", "green").await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    for node in &world.nodes {
        assert_eq!(who(node).await["colour"], "green");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_two_nodes_change_at_once_all_hold() {
    if !is_installed() {
        return;
    }
    let (world, _) = started().await;
    let colours = ["red", "green", "blue"];
    let changes = world.nodes.iter().zip(colours).map(|(node, colour)| set(node, "COLOUR", colour));
    for changed in futures_util::future::join_all(changes).await {
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    }
    let held: Value = got(world.nodes[0].api(Method::GET, SETTINGS)).await.json();
    let colour = &held["settings"][0]["value"];
    for node in &world.nodes {
        comes("a node has what holds", async || who(node).await["colour"] == *colour).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_goes_live_with_settings_that_changed_meanwhile_if_other_nodes_have_it_with_them() {
    if !is_installed() {
        return;
    }
    let (world, without) = started().await;
    let node = &world.nodes[without];
    let second = built(2, 5_000);
    let pushing = node.push_backend(node.admin_token(), (APP, "prod"), &second);
    let changing = async {
        let starts = async || {
            let list: Value = got(node.api(Method::GET, "/v1/apps/shop/environments/prod/instances")).await.json();
            list["instances"].as_array().unwrap().len() > 1
        };
        comes("the second one starts", starts).await;
        set(node, "COLOUR", "green").await
    };
    let (pushed, changed) = tokio::join!(pushing, changing);
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    let version = pushed.unwrap().version;
    // Not only after the five seconds of a start.
    let list = healthy(node).await;
    assert!(list.iter().any(|one| (one.version, one.settings) == (version, 1)), "{list:?}");
    let who = who(node).await;
    assert_eq!((&who["build"], &who["colour"]), (&json!(2), &json!("green")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_runs_on_one_node_at_a_time() {
    if !is_installed() {
        return;
    }
    let world = start(2).await;
    // Two instances would want the same port.
    let port = crate::etcd::ports::chosen(1)[0].port();
    let release = format!(
        "require('net').createServer().listen({port}, '127.0.0.1', () => setTimeout(() => process.exit(0), 2000))"
    );
    let with_release = |build| built(build, 0).with("release", json!(["node", "-e", release]));
    let backends = [with_release(1), with_release(2)];
    let pushes = world.nodes.iter().zip(&backends);
    let pushes = pushes.map(|(node, backend)| node.push_backend(node.admin_token(), (APP, "prod"), backend));
    let pushed = futures_util::future::join_all(pushes).await;
    assert!(pushed.iter().any(Result::is_ok), "{pushed:?}");
    for problem in pushed.into_iter().filter_map(Result::err) {
        assert_eq!(problem.code, Code::Superseded, "{problem:?}");
    }
}
