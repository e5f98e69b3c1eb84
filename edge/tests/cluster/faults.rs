//! Nodes that are killed, cut off or out of disk during a push: one version is live everywhere afterwards.

use devanture_config::VersionId;
use devanture_config::api::{DeployBegun, DeployStatus, NodeState};
use futures_util::StreamExt as _;
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, Visitors, World, comes, finish, is_installed, nodes, push, served, try_push, uploaded};
use crate::etcd::Cable;
use crate::small_disk::{FailingDisk, SmallDisk};
use crate::support::{RunningEdge, got};

/// Steps of a push, in order.
const STEPS: [&str; 4] = ["verify", "compress", "prepare", "switch"];

/// Finishes a push up to the start of the named step.
async fn finished_until(node: &RunningEdge, begun: &DeployBegun, step: &str) {
    let answer =
        finish(node, &begun.deploy, node.admin_token()).header("accept", "text/event-stream").send().await.unwrap();
    let (mut stream, mut text) = (answer.bytes_stream(), String::new());
    while !text.contains(&format!("\"name\":\"{step}\"")) {
        match stream.next().await {
            Some(Ok(bytes)) => text.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{step} does not come: {other:?} {text}"),
        }
    }
}

/// Live version as reported and served by every node.
async fn agreed(world: &World) -> VersionId {
    let live = world.nodes[0].live(APP).await.unwrap();
    for node in &world.nodes {
        assert_eq!(node.live(APP).await, Some(live));
    }
    world.agrees_on(live).await;
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_at_any_step_of_its_push_leaves_one_version_live() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    let mut before = push(&world.nodes[1], 0).await.version;
    for (number, step) in STEPS.into_iter().enumerate() {
        let begun = uploaded(&world.nodes[0], 2 * number + 1).await;
        let visitors = Visitors::of(&[&world.nodes[1]]);
        finished_until(&world.nodes[0], &begun, step).await;
        let launch = world.nodes[0].kill();
        let live = world.nodes[1].live(APP).await.unwrap();
        assert!([before, begun.version].contains(&live), "{step}: {live}");
        // Pushed by the other node, also while the lease of the killed node lasts.
        before = push(&world.nodes[1], 2 * number + 2).await.version;
        visitors.stop().await;
        let killed = world.nodes.remove(0);
        world.nodes.insert(0, Box::pin(killed.started_again(launch)).await);
        world.is_complete(2).await;
        assert_eq!(agreed(&world).await, before, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_while_another_one_pushes_is_left_out_or_serves_it() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    push(&world.nodes[0], 0).await;
    for (number, step) in STEPS.into_iter().enumerate() {
        let begun = uploaded(&world.nodes[0], number + 1).await;
        let visitors = Visitors::of(&[&world.nodes[0]]);
        let mut killed = world.nodes.pop().unwrap();
        let (finished, launch) =
            tokio::join!(got(finish(&world.nodes[0], &begun.deploy, world.nodes[0].admin_token())), async {
                comes("the step has begun", async || has_begun(&world.nodes[0], &begun, step).await).await;
                killed.kill()
            });
        assert_eq!(finished.status, StatusCode::OK, "{step}: {}", finished.text());
        assert_eq!(served(&world.nodes[0]).await, Some(begun.version.short()), "{step}");
        visitors.stop().await;
        world.nodes.push(Box::pin(killed.started_again(launch)).await);
        world.is_complete(2).await;
        assert_eq!(agreed(&world).await, begun.version, "{step}");
    }
}

/// Returns true once a push has reached a step or a later step.
async fn has_begun(node: &RunningEdge, begun: &DeployBegun, step: &str) -> bool {
    let path = format!("/v1/apps/{APP}/deploys/{}", begun.deploy);
    let status: DeployStatus = got(node.api(Method::GET, &path)).await.json();
    let position = |name: &str| STEPS.iter().position(|known| *known == name);
    status.steps.iter().any(|known| position(&known.name) >= position(step))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_in_its_push_fails_it_and_follows_the_others_when_it_is_back() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(1, 1).await;
    let url = world.etcd.endpoints().remove(0);
    let cable = Cable::lay(url.rsplit_once('/').unwrap().1.parse().unwrap());
    let alone = world.setup(1, &[format!("http://{}", cable.address)]).start().await;
    world.nodes.push(alone);
    world.is_complete(2).await;
    let before = push(&world.nodes[1], 0).await.version;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let begun = uploaded(&world.nodes[1], 1).await;
    cable.cut();
    let refused = got(finish(&world.nodes[1], &begun.deploy, world.nodes[1].admin_token())).await;
    assert_eq!(refused.problem().code.as_str(), "catalog_unavailable", "{}", refused.text());
    assert_eq!(served(&world.nodes[1]).await, Some(before.short()));
    let live = push(&world.nodes[0], 2).await.version;
    let own = nodes(&world.nodes[1]).await;
    assert!(own.iter().any(|node| node.name == "edge-2" && node.state == NodeState::Cut), "{own:?}");
    cable.repair();
    world.is_complete(2).await;
    assert_eq!(agreed(&world).await, live);
    visitors.stop().await;
    push(&world.nodes[1], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_one_node_fails_pushes_and_no_visitor() {
    let Some(disk) = SmallDisk::mount().filter(|_| is_installed()) else { return };
    let world = World::start_with(2, 1, |index, setup| match index {
        1 => setup.below(disk.path().to_str().unwrap()),
        _ => setup,
    })
    .await;
    let before = push(&world.nodes[0], 0).await.version;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    disk.fill(0);
    for node in [1, 0] {
        assert_eq!(try_push(&world.nodes[node], 1).await.unwrap_err(), "disk_full");
    }
    world.agrees_on(before).await;
    visitors.stop().await;
    disk.empty();
    comes("pushes go on", async || try_push(&world.nodes[0], 2).await.is_ok()).await;
    agreed(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_one_node_that_cannot_be_written_holds_up_no_switch_and_no_rollback() {
    let Some(disk) = FailingDisk::mount().filter(|_| is_installed()) else { return };
    let world = World::start_with(2, 1, |index, setup| match index {
        1 => setup.below(disk.path().to_str().unwrap()),
        _ => setup,
    })
    .await;
    let first = push(&world.nodes[0], 0).await.version;
    let second = push(&world.nodes[0], 1).await.version;
    world.agrees_on(second).await;
    disk.fail();
    for version in [first, second, first] {
        let path = format!("/v1/apps/{APP}/environments/prod/switch");
        let switched = got(world.nodes[0].api(Method::POST, &path).json(&json!({ "version": version }))).await;
        assert!(switched.status.is_success(), "{}", switched.text());
        world.agrees_on(version).await;
    }
    let path = format!("/v1/apps/{APP}/environments/prod/rollback");
    let back = got(world.nodes[1].api(Method::POST, &path)).await;
    assert!(back.status.is_success(), "{}", back.text());
    world.agrees_on(second).await;
    assert_eq!(try_push(&world.nodes[0], 2).await.unwrap_err(), "disk_unwritable");
    let ready = got(world.nodes[1].api(Method::GET, "/health/ready")).await.text();
    assert!(ready.contains("\nunwritable: "), "{ready}");
}
