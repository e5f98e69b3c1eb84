//! Webhooks in a cluster: one node sends for all nodes, and another node takes over after a failure.

use std::collections::BTreeSet;

use devanture_config::api::WebhookState;

use super::world::{World, comes, is_installed, push};
use crate::webhooks::receiver::{Answer, Receiver};
use crate::webhooks::world::signatures_by;
use http::Method;
use serde_json::{Value, json};

use crate::support::{RunningEdge, got};

const WEBHOOK: &str = "/v1/apps/shop/webhooks/ci";

async fn lock(node: &RunningEdge, reason: &str) {
    let path = "/v1/apps/shop/environments/prod/lock";
    let answer = got(node.api(Method::PUT, path).json(&json!({ "reason": reason }))).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_sends_for_all_and_another_when_it_dies() {
    if !is_installed() {
        return;
    }
    let mut world = World::start_with(3, 1, |_, setup| setup.with_limit("webhook_ms_max", 2_000)).await;
    let report = push(&world.nodes[0], 1).await;
    let app = report.app.to_string();
    assert_eq!(app, "shop", "the world pushes another app");
    let receiver = Receiver::start().await;
    let wanted = json!({ "url": receiver.url("/"), "events": ["environment.locked"] });
    let set: Value = got(world.nodes[0].api(Method::PUT, WEBHOOK).json(&wanted)).await.json();
    let secret = set["secret"].as_str().unwrap().to_owned();
    for node in &world.nodes {
        comes("a node knows the webhook", async || got(node.api(Method::GET, WEBHOOK)).await.status.is_success()).await;
    }
    for round in 0..3 {
        for (index, node) in world.nodes.iter().enumerate() {
            lock(node, &format!("{round} by {index}")).await;
        }
    }
    receiver.has(9).await;
    let ids = || receiver.received().iter().map(|one| one.field("webhook-id").to_owned()).collect::<BTreeSet<_>>();
    let waiting = async |node: &RunningEdge| {
        let details: Value = got(node.api(Method::GET, WEBHOOK)).await.json();
        details["webhook"]["waiting"].as_u64().unwrap()
    };
    comes("nothing waits", async || waiting(&world.nodes[0]).await == 0).await;
    assert_eq!((ids().len(), receiver.received().len()), (9, 9), "each came once");
    assert!(receiver.received().iter().all(|message| signatures_by(&secret, message) == 1));

    // Either the sending node or another node dies with a message in flight.
    receiver.answers([Answer::Silence]);
    lock(&world.nodes[2], "on its way").await;
    receiver.has(10).await;
    for index in [0, 1] {
        world.nodes[index].kill();
        lock(&world.nodes[2], &format!("after {index}")).await;
    }
    comes("those of the last node come", async || {
        let received = receiver.received();
        received.iter().filter(|one| one.json()["data"]["reason"].as_str().unwrap().starts_with("after")).count() >= 2
    })
    .await;
    comes("the one that was on its way comes again", async || waiting(&world.nodes[2]).await == 0).await;
    assert_eq!(ids().len(), 12);
    let details: Value = got(world.nodes[2].api(Method::GET, WEBHOOK)).await.json();
    assert_eq!(details["webhook"]["state"], serde_json::to_value(WebhookState::Active).unwrap());
}
