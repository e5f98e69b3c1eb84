//! Canaries and pins in a cluster: every node gives a visitor the same version, and changes by one node apply on all
//! nodes.

use devanture_config::api::DeployOptions;
use http::Method;
use serde_json::json;

use super::world::{HOST, World, comes, is_installed, push};
use crate::deploying::gate;
use crate::signing::world::push_to;
use crate::support::{RunningEdge, got};

const CANARY: &str = "/v1/apps/shop/environments/prod/canary";

/// Versions that a node gives to visitors, by cookie.
async fn versions(node: &RunningEdge, cookies: &[String]) -> Vec<String> {
    let mut versions = Vec::new();
    for cookie in cookies {
        let answer = got(node.visit(Method::GET, HOST, "/").header("cookie", cookie)).await;
        versions.push(answer.header("devanture-version").to_owned());
    }
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_give_a_visitor_the_same_version_and_an_abort_reaches_all_of_them() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let [one, other] = &world.nodes[..] else { panic!("there are two nodes") };
    let live = push(one, 1).await.version;
    world.agrees_on(live).await;
    let files: &[(&str, &[u8])] = &[("index.html", b"<title>2</title>")];
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let canary = push_to(one, "prod", files, &[], options).await.unwrap().version;
    let id = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let cookies: Vec<String> = (1..=40).map(|n| format!("__Host-devanture-visitor={:016x}", id(n))).collect();
    let of_canary = |versions: &[String]| versions.iter().filter(|version| **version == canary.short()).count();
    let mut before = 0;
    for (node, body) in [(one, json!({ "version": canary, "share": 30 })), (other, json!({ "share": 70 }))] {
        let answer = got(node.api(Method::PUT, CANARY).json(&body)).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        let given = versions(node, &cookies).await;
        assert!((before + 1..cookies.len()).contains(&of_canary(&given)), "{given:?}");
        before = of_canary(&given);
        for node in [one, other] {
            comes("a node gives the same", async || versions(node, &cookies).await == given).await;
        }
    }
    let ended = got(one.api(Method::DELETE, CANARY).json(&json!({}))).await;
    assert!(ended.status.is_success(), "{}", ended.text());
    for node in [one, other] {
        comes("nobody gets it", async || versions(node, &cookies).await.iter().all(|version| *version == live.short()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_hold_a_visitor_on_the_same_version_until_somebody_goes_back() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let [one, other] = &world.nodes[..] else { panic!("there are two nodes") };
    let live = async |node: &RunningEdge, page: &str| {
        let files: &[(&str, &[u8])] = &[("index.html", page.as_bytes())];
        gate::push(node, "prod", "pin = \"session\"", DeployOptions::default(), files).await.unwrap().version
    };
    let first = live(one, "<title>1</title>").await;
    world.agrees_on(first).await;
    let visit = one.visit(Method::GET, HOST, "/").header("accept", "text/html").header("user-agent", "Firefox/140.0");
    let cookies = [got(visit).await.header("set-cookie").split(';').next().unwrap().to_owned()];
    let mut held = Vec::new();
    for (node, page) in [(other, "<title>2</title>"), (one, "<title>3</title>")] {
        let version = live(node, page).await;
        world.agrees_on(version).await;
        held.push(version);
        for node in [one, other] {
            assert_eq!(versions(node, &cookies).await, [first.short()]);
        }
    }
    let back = json!({ "version": first });
    let answer = got(other.api(Method::POST, "/v1/apps/shop/environments/prod/rollback").json(&back)).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    world.agrees_on(first).await;
    let now = cookies[0].split_once('.').unwrap().1;
    for version in held {
        let cookies = [format!("__Host-devanture-pin={}.{now}", version.short())];
        for node in [one, other] {
            assert_eq!(versions(node, &cookies).await, [first.short()], "nobody is held on what came after");
        }
    }
}
