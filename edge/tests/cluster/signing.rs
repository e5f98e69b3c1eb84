//! Signatures in a cluster: signer settings made on one node apply on all nodes, and each node verifies signatures.

use devanture_config::api::DeployOptions;
use devanture_config::problem::Code;
use serde_json::json;

use super::world::{World, comes, is_installed, push};
use crate::signing::world::{key, live_log, post, push_to, status, want};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_makes_live_what_is_not_signed() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let [one, other] = &world.nodes[..] else { panic!("there are two nodes") };
    let first = push(one, 1).await.version;
    world.agrees_on(first).await;
    let ada = key("ada");
    want(one, &[&ada], 1).await;
    comes("the other node knows it", async || status(other).await.signed.is_some()).await;
    let files: &[(&str, &[u8])] = &[("index.html", b"<title>2</title>")];
    for node in [one, other] {
        let refused = push_to(node, "prod", files, &[], DeployOptions::default()).await.unwrap_err();
        assert_eq!(refused.code, Code::NotSigned);
    }
    world.agrees_on(first).await;
    let signed = push_to(other, "prod", files, &[&ada], DeployOptions::default()).await.unwrap();
    world.agrees_on(signed.version).await;
    comes("both know who signed it", async || status(one).await.signed.is_some_and(|signed| signed.is_enough)).await;
    assert_eq!(post(one, "rollback", json!({})).await.code(), Code::NotSigned);
    let entries = live_log(other, "").await.entries;
    assert_eq!(entries.iter().map(|entry| entry.version).collect::<Vec<_>>(), [first, signed.version]);
}
