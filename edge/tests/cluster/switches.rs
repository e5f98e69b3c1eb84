//! Pushes and switches in a cluster: by any node, for all nodes.

use std::time::Instant;

use futures_util::future::join_all;
use http::{Method, StatusCode};

use super::world::{APP, Visitors, World, borrowed, comes, is_installed, nodes, push, served, site, try_push};
use crate::support::got;
use devanture_config::api::{AuditLog, NodeState, Scope, Status};

/// Rounds of concurrent pushes by all nodes: a few, or `DEVANTURE_PUSH_ROUNDS`.
fn rounds() -> usize {
    std::env::var("DEVANTURE_PUSH_ROUNDS").map_or(15, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_any_node_is_live_on_all_of_them_when_it_is_answered() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    for (number, node) in [(1, 1), (2, 2), (3, 0)] {
        let report = push(&world.nodes[node], number).await;
        let prepare = report.steps.iter().find(|step| step.name == "prepare").unwrap();
        assert_eq!(prepare.detail, "edge-1 ready · edge-2 ready · edge-3 ready");
        for node in &world.nodes {
            assert_eq!(served(node).await, Some(report.version.short()));
        }
        let log: AuditLog = got(world.nodes[0].api(Method::GET, "/v1/audit?limit=1")).await.json();
        assert_eq!(log.entries[0].node.as_deref(), Some(format!("edge-{}", node + 1).as_str()), "{log:?}");
    }
    for node in &world.nodes {
        let listed = nodes(node).await;
        let names: Vec<&str> = listed.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["edge-1", "edge-2", "edge-3"]);
        for node in &listed {
            assert_eq!(node.state, NodeState::Ready, "{node:?}");
            assert_eq!(node.versions.len(), 1, "{node:?}");
            assert_eq!((node.versions[0].version, node.versions[0].wanted), (listed[0].versions[0].version, None));
            assert_eq!(node.cache.map(|cache| cache.bytes_max), Some(50 << 30), "{node:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_an_environment_lists_the_nodes_and_hides_their_machines_from_tokens_of_one_app() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let version = push(&world.nodes[0], 1).await.version;
    world.nodes[1].push("other", &borrowed(&site(2))).await;
    let path = format!("/v1/apps/{APP}/environments/prod");
    let plain: Status = got(world.nodes[1].api(Method::GET, &path)).await.json();
    assert!(plain.nodes.is_empty(), "they are listed on request");
    let with_nodes = format!("{path}?nodes=true");
    let status: Status = got(world.nodes[1].api(Method::GET, &with_nodes)).await.json();
    let token = world.nodes[0].token_for(Scope::Read, Some(APP), None).await;
    let of_one_app: Status = got(world.nodes[1].ask(Method::GET, &with_nodes, &token)).await.json();
    for (status, sees_machines) in [(status, true), (of_one_app, false)] {
        let names: Vec<&str> = status.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["edge-1", "edge-2"]);
        for node in &status.nodes {
            assert_eq!((node.state, node.lag), (NodeState::Ready, Some(0)), "{node:?}");
            assert_eq!(node.versions.len(), 1, "those of another app are not listed: {node:?}");
            assert_eq!((node.versions[0].version, node.versions[0].wanted), (Some(version), None));
            let shown = [node.advertise.is_some(), node.cache.is_some(), node.certificate_ends_s.is_some()];
            assert_eq!(shown, [sees_machines; 3], "{node:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_of_every_node_see_no_failure_and_no_mix_during_switches_by_all_nodes() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    push(&world.nodes[0], 0).await;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let mut last = None;
    for number in 1..=20 {
        last = Some(push(&world.nodes[number % 3], number % 7).await.version);
    }
    world.agrees_on(last.unwrap()).await;
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_is_gone_after_its_lease_and_a_push_goes_on_without_it() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(3, 1).await;
    push(&world.nodes[0], 1).await;
    world.nodes[2].kill();
    let killed = world.nodes.pop().unwrap();
    let report = push(&world.nodes[0], 2).await;
    let prepare = report.steps.iter().find(|step| step.name == "prepare").unwrap();
    // The node may have been lost before the push listed the nodes.
    let expected = ["edge-1 ready · edge-2 ready · edge-3 gone", "edge-1 ready · edge-2 ready"];
    assert!(expected.contains(&prepare.detail.as_str()), "{}", prepare.detail);
    drop(killed);
    world.agrees_on(report.version).await;
    comes("the node is not listed", async || nodes(&world.nodes[0]).await.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_gone_after_its_lease_and_follows_when_it_goes_on() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    push(&world.nodes[0], 1).await;
    world.nodes[1].process().suspend();
    let report = push(&world.nodes[0], 2).await;
    assert_eq!(served(&world.nodes[0]).await, Some(report.version.short()));
    world.nodes[1].process().resume();
    world.agrees_on(report.version).await;
    world.is_complete(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_after_many_switches_serves_the_newest_version() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    push(&world.nodes[0], 0).await;
    let mut back = world.nodes.pop().unwrap();
    let launch = back.kill();
    let mut last = None;
    for number in 1..=30 {
        last = Some(push(&world.nodes[0], number % 5).await.version);
    }
    world.nodes.push(back.started_again(launch).await);
    world.agrees_on(last.unwrap()).await;
    world.is_complete(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pushes_by_three_nodes_at_once_one_is_live_everywhere_and_none_fails_without_a_reason() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    push(&world.nodes[0], 0).await;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let (began, mut answered, mut superseded) = (Instant::now(), 0, 0);
    for round in 0..rounds() {
        let pushes = world.nodes.iter().enumerate().map(|(index, node)| try_push(node, 3 * round + index + 1));
        let outcomes = join_all(pushes).await;
        for outcome in &outcomes {
            match outcome {
                Ok(_) => answered += 1,
                Err(code) if code == "superseded" => superseded += 1,
                Err(_) => panic!("{outcomes:?}"),
            }
        }
        let won: Vec<_> = outcomes.iter().flatten().map(|report| report.version).collect();
        let live = world.nodes[0].live(APP).await.unwrap();
        assert!(won.contains(&live), "{live} is live: {outcomes:?}");
        for node in &world.nodes {
            assert_eq!(node.live(APP).await, Some(live));
        }
        world.agrees_on(live).await;
    }
    eprintln!("{answered} pushes went live, {superseded} were superseded, within {:?}", began.elapsed());
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_by_one_node_is_read_by_another_at_once() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    push(&world.nodes[0], 1).await;
    for round in 0..10 {
        let (one, other) = (&world.nodes[round % 2], &world.nodes[(round + 1) % 2]);
        let token = one.token(Scope::Read).await;
        let seen = got(other.ask(Method::GET, "/v1/apps/shop/environments/prod", &token)).await;
        assert_eq!(seen.status, StatusCode::OK, "{}", seen.text());
        let name = format!("branch-{round}");
        let version = one.live(APP).await.unwrap();
        let alias = format!("/v1/apps/shop/aliases/{name}");
        let made = got(one.api(Method::PUT, &alias).json(&serde_json::json!({ "version": version }))).await;
        assert!(made.status.is_success(), "{}", made.text());
        assert!(made.headers.contains_key("devanture-revision"));
        let listed = got(other.api(Method::GET, "/v1/apps/shop/aliases")).await;
        assert!(listed.text().contains(&name), "{}", listed.text());
    }
}
