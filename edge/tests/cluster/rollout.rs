//! Rollout to one node first: the node alone serves the version until the watch ends.

use devanture_config::VersionId;
use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport, History, Outcome, Rollout, StepState};
use devanture_config::problem::{Code, Problem};
use http::{Method, StatusCode};

use super::world::{APP, HOST, Visitors, World, borrowed, comes, is_installed, push, served, site};
use crate::support::{RunningEdge, got, manifest};

/// Watch of the first node in seconds, for tests that wait for the end …
const SHORT_S: u64 = 4;
/// … and for tests with another end.
const LONG_S: u64 = 600;

/// Pushes a site to one node first, with a watch of `watch_s` seconds.
async fn push_one_first(node: &RunningEdge, number: usize, watch_s: u64) -> Result<DeployReport, Box<Problem>> {
    let files = site(number);
    // One page of the previous site is missing.
    let files = &borrowed(&files)[..1];
    let options = DeployOptions { watch_s: Some(watch_s), rollout: Rollout::OneFirst, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    node.try_push(APP, "prod", begin, files).await
}

/// Version created by a push to one node first.
fn version_of(number: usize) -> VersionId {
    let files = site(number);
    manifest(&borrowed(&files)[..1]).id()
}

/// Waits until the first node serves the new version, and the other nodes the old version.
async fn first_alone_serves(world: &World, new: VersionId, old: VersionId) {
    comes("the first node alone serves it", async || served(&world.nodes[0]).await == Some(new.short())).await;
    for node in &world.nodes[1..] {
        assert_eq!(served(node).await, Some(old.short()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_serves_it_first_and_the_others_when_the_watch_has_passed() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    let old = push(&world.nodes[0], 1).await.version;
    let (pushed, ()) =
        tokio::join!(push_one_first(&world.nodes[0], 2, SHORT_S), first_alone_serves(&world, version_of(2), old));
    let report = pushed.unwrap();
    let first = report.steps.iter().find(|step| step.name == "first").unwrap();
    assert!(first.detail.starts_with("edge-1: "), "{first:?}");
    assert!(report.steps.iter().any(|step| step.name == "watch" && step.state == StepState::Done), "{report:#?}");
    for node in &world.nodes {
        assert_eq!(served(node).await, Some(report.version.short()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_errors_rise_on_the_first_node_nothing_is_switched_anywhere() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    let old = push(&world.nodes[0], 1).await.version;
    let about = || world.nodes[0].get(HOST, "/about");
    for _ in 0..100 {
        assert_eq!(about().await.status, StatusCode::OK);
    }
    let visitors = Visitors::of(&world.nodes[1..].iter().collect::<Vec<_>>());
    let traffic = async {
        first_alone_serves(&world, version_of(2), old).await;
        comes("the first node has gone back", async || about().await.status == StatusCode::OK).await;
    };
    let (pushed, ()) = tokio::join!(push_one_first(&world.nodes[0], 2, LONG_S), traffic);
    let problem = pushed.unwrap_err();
    assert_eq!(problem.code, Code::WatchFailed);
    for text in ["404 rose from 0.0 %", "on edge-1", "No other node was switched"] {
        assert!(problem.detail.contains(text), "{}", problem.detail);
    }
    visitors.stop().await;
    world.agrees_on(old).await;
    let path = format!("/v1/apps/{APP}/environments/prod/history");
    let history: History = got(world.nodes[2].api(Method::GET, &path)).await.json();
    let outcomes: Vec<Outcome> = history.deploys.iter().map(|deploy| deploy.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Live]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_node_that_is_killed_serves_what_the_others_do_when_it_is_back() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    let old = push(&world.nodes[0], 1).await.version;
    tokio::select! {
        pushed = push_one_first(&world.nodes[0], 2, LONG_S) => panic!("{pushed:?}"),
        () = first_alone_serves(&world, version_of(2), old) => {}
    }
    let killed = world.nodes.remove(0);
    let back = Box::pin(killed.killed_and_started()).await;
    world.nodes.insert(0, back);
    world.agrees_on(old).await;
}
