//! Garbage collection in a cluster: one node collects for all nodes, and removes no file in use by another node.

use std::pin::pin;
use std::time::Duration;

use devanture_config::api::{AppUsage, BeginDeploy, DeployList, DeployState};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::world::{APP, World, borrowed, comes, finish, is_installed, push, served, site, try_push, uploaded};
use crate::support::archives::archive;
use crate::support::{RunningEdge, Setup, got, manifest};
use crate::upkeep::safekeeping::back_up;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_by_one_node_takes_nothing_that_a_push_to_another_one_was_promised() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    push(&world.nodes[0], 1).await;
    let begun = uploaded(&world.nodes[1], 2).await;
    assert_eq!(begun.missing.len(), 2);
    // No version refers to the files yet, and a purge ignores their age.
    let purged = got(world.nodes[0].api(Method::POST, "/v1/gc?purge=true&force=true")).await;
    assert_eq!(purged.status, StatusCode::OK, "{}", purged.text());
    let finished = got(finish(&world.nodes[1], &begun.deploy, world.nodes[1].admin_token())).await;
    assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
    for node in &world.nodes {
        assert_eq!(served(node).await, Some(begun.version.short()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collection_took_is_sent_again_by_a_push_to_another_node() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let first = push(&world.nodes[1], 1).await.version;
    push(&world.nodes[0], 2).await;
    let deleted = format!("/v1/apps/shop/versions/{first}?purge=true");
    let gone = got(world.nodes[0].api(Method::DELETE, &deleted)).await;
    assert!(gone.status.is_success(), "{}", gone.text());
    let purged = got(world.nodes[0].api(Method::POST, "/v1/gc?purge=true&force=true")).await;
    assert_eq!(purged.status, StatusCode::OK, "{}", purged.text());
    let report = push(&world.nodes[1], 1).await;
    assert_eq!((report.version, report.files.new), (first, 2));
    for node in &world.nodes {
        assert_eq!(served(node).await, Some(first.short()));
    }
}

/// Law 11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_app_began_on_another_node_is_forgotten_with_it() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let [first, second] = &world.nodes[..] else { panic!("two nodes") };
    push(first, 1).await;
    let begun = uploaded(second, 2).await.deploy;
    let deploys = "/v1/apps/shop/environments/prod/deploys";
    let bad = archive("zip", &[("index.html", b"x"), ("devanture.toml", b"no_such_key = 1")]);
    let refused = second.api(Method::POST, deploys).header("content-type", "application/zip").body(bad);
    assert_eq!(got(refused).await.code(), Code::BadConfig);
    let list: DeployList = got(first.api(Method::GET, deploys)).await.json();
    let failed = list.deploys.iter().find(|entry| entry.state == DeployState::Failed).unwrap().deploy.clone();
    let purged = got(first.api(Method::DELETE, "/v1/apps/shop?purge=true")).await;
    assert_eq!(purged.status, StatusCode::OK, "{}", purged.text());
    for node in &world.nodes {
        for deploy in [&failed, &begun] {
            let path = format!("/v1/apps/shop/deploys/{deploy}");
            comes("a deploy is forgotten", async || {
                got(node.api(Method::GET, &path)).await.status == StatusCode::NOT_FOUND
            })
            .await;
        }
    }
    push(second, 3).await;
    let list: DeployList = got(second.api(Method::GET, deploys)).await.json();
    let states: Vec<_> = list.deploys.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [DeployState::Live], "{list:?}");
}

/// Stored bytes of an app, as reported by a node.
async fn stored_bytes(node: &RunningEdge) -> u64 {
    let usage: AppUsage = got(node.api(Method::GET, &format!("/v1/apps/{APP}/usage"))).await.json();
    usage.limits.iter().find(|limit| limit.name == "stored_bytes_per_app_max").and_then(|limit| limit.used).unwrap()
}

/// Number of files of a site that the app would have to upload to a node.
async fn missing(node: &RunningEdge, number: usize) -> usize {
    let begin = BeginDeploy {
        manifest: manifest(&borrowed(&site(number))),
        source: Default::default(),
        options: Default::default(),
    };
    let path = format!("/v1/apps/{APP}/environments/prod/deploys?dry_run=true");
    let foreseen: Value = got(node.api(Method::POST, &path).json(&begin)).await.json();
    foreseen["missing"].as_array().unwrap_or_else(|| panic!("{foreseen}")).len()
}

/// Law 11: the stored and removed files of an app are the same on all nodes, independent of other apps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_11_what_an_app_stores_is_counted_and_forgotten_on_every_node() {
    if !is_installed() {
        return;
    }
    let each: u64 = site(1).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let limit = |_, setup: Setup| setup.with_limit("stored_bytes_per_app_max", 3 * each);
    let world = World::start_with(2, 1, limit).await;
    let [first, second] = &world.nodes[..] else { panic!("two nodes") };
    let purged = push(first, 1).await.version;
    first.push("blog", &borrowed(&site(1))).await;
    // From here on both nodes have loaded the app's files.
    push(second, 2).await;
    push(first, 3).await;
    for node in &world.nodes {
        comes("all is counted", async || stored_bytes(node).await == 3 * each).await;
        assert_eq!(try_push(node, 4).await.unwrap_err(), "storage_full");
        assert_eq!(missing(node, 1).await, 0);
    }
    let gone = got(first.api(Method::DELETE, &format!("/v1/apps/{APP}/versions/{purged}?purge=true"))).await;
    assert!(gone.status.is_success(), "{}", gone.text());
    for node in &world.nodes {
        comes("what was purged is forgotten", async || missing(node, 1).await == 2).await;
        assert_eq!(stored_bytes(node).await, 2 * each);
    }
    push(second, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_waits_for_a_collection_of_another_node() {
    if !is_installed() {
        return;
    }
    let world = World::start(1, 1).await;
    push(&world.nodes[0], 1).await;
    // The state as a collecting node has it.
    let duty = "devanture/records/duties/collection";
    world.etcd.admin(&["put", duty, "{}"]);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("backups");
    let mut backup = pin!(back_up(&world.nodes[0], &to, None, false));
    assert!(timeout(Duration::from_secs(2), &mut backup).await.is_err(), "its files could go meanwhile");
    world.etcd.admin(&["del", duty]);
    assert!(!backup.await.catalog.is_damaged());
    let collected = got(world.nodes[0].api(Method::POST, "/v1/gc")).await;
    assert_eq!(collected.status, StatusCode::OK, "{}", collected.text());
}
