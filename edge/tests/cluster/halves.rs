//! Pushes of single halves in a cluster: two pipelines push through two nodes, and both halves end up live.

use devanture_config::api::{DeployBegun, DeployOptions, DeployReport, History, Outcome, Rollout};
use devanture_config::manifest::halves::Half;
use devanture_config::problem::{Code, Problem};
use http::{Method, StatusCode};
use serde_json::Value;

use super::instances::{BackendVisitors, backend, push, start};
use super::world::{APP, HOST, World, comes, finish, is_installed};
use crate::support::{RunningEdge, got};

/// Starts a push of one half of a build and uploads the files.
async fn uploaded(node: &RunningEdge, half: Half, build: usize, rollout: Rollout) -> DeployBegun {
    let watch_s = (rollout == Rollout::OneFirst).then_some(1);
    let options = DeployOptions { only: Some(half), rollout, watch_s, ..DeployOptions::default() };
    node.upload_half((APP, "prod"), &backend(build, 1), options).await.unwrap()
}

/// Finishes a push on `node`, which may have been started on another node.
async fn finished(node: &RunningEdge, begun: &DeployBegun, token: &str) -> Result<DeployReport, Box<Problem>> {
    got(finish(node, &begun.deploy, token)).await.into_result()
}

async fn push_half(node: &RunningEdge, half: Half, build: usize, rollout: Rollout) -> DeployReport {
    let begun = uploaded(node, half, build, rollout).await;
    finished(node, &begun, node.admin_token()).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Responses of the front and of the backend for visitors of a node.
async fn seen(node: &RunningEdge) -> (String, u64) {
    let page = node.get(HOST, "/").await.text();
    let who = got(node.visit(Method::GET, HOST, "/api/who")).await;
    assert_eq!(who.status, StatusCode::OK, "{}", who.text());
    (page, serde_json::from_slice::<Value>(&who.body).unwrap()["build"].as_u64().unwrap())
}

/// Waits until every node serves the given builds of both halves.
async fn all_serve(world: &World, front: u64, backend: u64) {
    for node in &world.nodes {
        comes("a node serves both halves", async || seen(node).await == (format!("page {front}"), backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_two_nodes_take_at_once_are_both_live_however_they_are_rolled_out() {
    if !is_installed() {
        return;
    }
    let world = start(3).await;
    let [one, two, three] = &world.nodes[..] else { panic!() };
    push(one, &backend(1, 1)).await;
    let callers = BackendVisitors::of(&[one, two, three]);
    let (at_once, one_first) = (Rollout::AllAtOnce, Rollout::OneFirst);
    for (build, of_front, of_backend) in [(2, at_once, at_once), (3, one_first, at_once), (4, one_first, one_first)] {
        tokio::join!(push_half(one, Half::Front, build, of_front), push_half(two, Half::Backend, build, of_backend));
        let build = u64::try_from(build).unwrap();
        all_serve(&world, build, build).await;
    }

    // A push overtaken by a push of the other half: both go live, whichever node finishes the push.
    let older = uploaded(one, Half::Front, 5, at_once).await;
    push_half(two, Half::Backend, 6, one_first).await;
    finished(three, &older, one.admin_token()).await.unwrap();
    all_serve(&world, 5, 6).await;
    // Overtaken by a push of the same half, the push is superseded.
    let older = uploaded(one, Half::Front, 7, at_once).await;
    push_half(two, Half::Front, 8, at_once).await;
    let superseded = finished(three, &older, one.admin_token()).await.unwrap_err();
    assert_eq!(superseded.code, Code::Superseded);
    all_serve(&world, 8, 6).await;
    callers.stop().await;

    let history: History = got(three.api(Method::GET, "/v1/apps/shop/environments/prod/history")).await.json();
    let live: Vec<_> = history.deploys.iter().filter(|deploy| deploy.outcome == Outcome::Live).collect();
    let of = |half: Half| live.iter().filter(|deploy| deploy.halves == Some(half.into())).count();
    assert_eq!((live.len(), of(Half::Front), of(Half::Backend)), (10, 5, 4), "{live:#?}");
}
