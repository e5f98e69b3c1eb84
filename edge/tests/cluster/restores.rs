//! etcd restored from an earlier snapshot, as documented: revisions go back, and the nodes follow.

#![allow(clippy::disallowed_methods, reason = "what a test removes is not durable")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use devanture_config::api::{NodeState, Scope};
use http::{Method, StatusCode};

use super::world::{APP, Visitors, World, comes, is_installed, nodes, push, served};
use crate::etcd::Cluster;
use crate::support::{RunningEdge, got};

/// Value of an option of the only member.
fn option(etcd: &Cluster, name: &str) -> String {
    let options = etcd.options(0);
    let found = options.iter().find_map(|option| option.strip_prefix(&format!("--{name}=")));
    found.unwrap().to_owned()
}

/// Saves a snapshot of the only member's data, as an operator does.
fn snapshot(etcd: &Cluster) -> PathBuf {
    let path = Path::new(&option(etcd, "data-dir")).with_file_name("snapshot.db");
    etcd.admin(&["snapshot", "save", path.to_str().unwrap()]);
    path
}

/// Kills the only member and restarts the member over the snapshot. Another `token` creates another cluster.
fn restore(etcd: &Cluster, snapshot: &Path, token: &str) {
    // Since release 3.6, restores need the separate program etcdutl.
    let utility = Command::new("etcdutl").arg("version").stdout(Stdio::null()).status();
    etcd.kill(0);
    std::fs::remove_dir_all(option(etcd, "data-dir")).unwrap();
    let same = ["name", "data-dir", "initial-cluster", "initial-advertise-peer-urls"];
    let restored = Command::new(if utility.is_ok() { "etcdutl" } else { "etcdctl" })
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .args(same.map(|name| format!("--{name}={}", option(etcd, name))))
        .arg(format!("--initial-cluster-token={token}"))
        .output()
        .unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    etcd.restart(0);
    etcd.wait_until_healthy();
}

/// Returns true if a node knows a token.
async fn knows(node: &RunningEdge, token: &str) -> bool {
    got(node.ask(Method::GET, "/v1/apps", token)).await.status == StatusCode::OK
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_an_etcd_that_was_restored_from_a_snapshot_back_to_its_state() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let first = push(&world.nodes[0], 1).await.version;
    let saved = snapshot(&world.etcd);
    // Lost by the restore; the files stay in the bucket.
    let second = push(&world.nodes[1], 2).await.version;
    let late_token = world.nodes[1].token(Scope::Read).await;
    world.agrees_on(second).await;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    restore(&world.etcd, &saved, &option(&world.etcd, "initial-cluster-token"));
    world.agrees_on(first).await;
    world.is_complete(2).await;
    for node in &world.nodes {
        comes("the token is gone", async || !knows(node, &late_token).await).await;
        assert!(knows(node, node.admin_token()).await);
        assert_eq!(node.live(APP).await, Some(first));
    }
    // The lost version is pushed again by the other node, and no file is missing.
    let again = push(&world.nodes[0], 2).await;
    assert_eq!(again.version, second);
    world.agrees_on(second).await;
    let third = push(&world.nodes[1], 3).await.version;
    world.agrees_on(third).await;
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_take_up_an_etcd_that_was_restored_as_another_cluster_without_their_mirrors() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    let first = push(&world.nodes[0], 1).await.version;
    let saved = snapshot(&world.etcd);
    let second = push(&world.nodes[1], 2).await.version;
    world.agrees_on(second).await;
    restore(&world.etcd, &saved, "another");
    // A running node keeps serving the known state: endpoints of another cluster may be a mistake.
    for node in &world.nodes {
        comes("it is cut off", async || nodes(node).await.iter().any(|node| node.state == NodeState::Cut)).await;
        assert_eq!(served(node).await, Some(second.short()));
    }
    let mut restarted = Vec::new();
    for mut node in world.nodes.drain(..) {
        let launch = node.kill();
        std::fs::remove_file(node.data_dir().join("catalog.redb")).unwrap();
        restarted.push(Box::pin(node.started_again(launch)).await);
    }
    world.nodes = restarted;
    world.agrees_on(first).await;
    world.is_complete(2).await;
    let third = push(&world.nodes[1], 3).await.version;
    world.agrees_on(third).await;
}
