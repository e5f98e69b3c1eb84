//! Behavior of a cluster while etcd or the bucket is unavailable.

use http::Method;

use super::world::{HOST, Visitors, World, comes, is_installed, nodes, push, served, try_push};
use crate::support::got;
use devanture_config::api::NodeState;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_serve_without_etcd_and_the_bucket_also_after_a_restart() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    let version = push(&world.nodes[0], 1).await.version;
    let visitors = Visitors::of(&[&world.nodes[0]]);
    world.etcd.kill(0);
    world.store.suspend();
    let refused = try_push(&world.nodes[0], 2).await.unwrap_err();
    assert_eq!(refused, "catalog_unavailable");
    let node = world.nodes.pop().unwrap();
    world.nodes.push(node.killed_and_started().await);
    for node in &world.nodes {
        let page = got(node.visit(Method::GET, HOST, "/")).await;
        assert_eq!(
            page.headers.get("devanture-version").map(|v| v.to_str().unwrap()),
            Some(&*version.short()),
            "{} {}",
            page.status,
            page.text()
        );
    }
    comes("a node says that it is cut off", async || {
        nodes(&world.nodes[0]).await.iter().any(|node| node.name == "edge-1" && node.state == NodeState::Cut)
    })
    .await;
    let ready = got(world.nodes[0].api(Method::GET, "/health/ready")).await;
    assert!(ready.status.is_success(), "{}", ready.text());
    visitors.stop().await;
    // The last node from before the outage, so that no node has reached etcd since the start.
    let node = world.nodes.remove(0);
    world.nodes.insert(0, node.killed_and_started().await);
    assert_eq!(served(&world.nodes[0]).await, Some(version.short()));
    world.etcd.restart(0);
    world.store.resume();
    world.is_complete(2).await;
    comes("pushes go on", async || try_push(&world.nodes[1], 3).await.is_ok()).await;
    let live = world.nodes[1].live(super::world::APP).await.unwrap();
    world.agrees_on(live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_leader_of_etcd_costs_a_push_a_moment_and_visitors_nothing() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 3).await;
    push(&world.nodes[0], 0).await;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    for round in 1..=2 {
        let leader = world.etcd.leader();
        world.etcd.kill(leader);
        comes("a push succeeds", async || try_push(&world.nodes[round % 2], round).await.is_ok()).await;
        let live = world.nodes[0].live(super::world::APP).await.unwrap();
        world.agrees_on(live).await;
        world.etcd.restart(leader);
        world.etcd.wait_until_healthy();
    }
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_while_the_bucket_is_away_fails_and_leaves_what_was_live() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let version = push(&world.nodes[0], 1).await.version;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    world.store.suspend();
    let refused = try_push(&world.nodes[0], 2).await.unwrap_err();
    assert_eq!(refused, "store_unavailable");
    for node in &world.nodes {
        assert_eq!(served(node).await, Some(version.short()));
    }
    world.store.resume();
    comes("pushes go on", async || try_push(&world.nodes[1], 2).await.is_ok()).await;
    visitors.stop().await;
}
