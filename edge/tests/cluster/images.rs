//! Container image backends in a cluster: a podman per node and a shared registry.

use devanture_config::api::{BeginDeploy, DeployOptions};
use devanture_config::manifest::halves::Half;
use devanture_config::problem::Code;
use http::Method;
use serde_json::json;

use super::instances::nodes_of;
use super::world::{APP, HOST, World, comes, is_installed};
use crate::containers::engine::{Engine, bundle, push};
use crate::containers::image::Image;
use crate::support::{RunningEdge, got, manifest, podman, try_got};

/// Returns true if visitors of a node are served by the image that answers `word`.
async fn answers(node: &RunningEdge, word: &str) -> bool {
    try_got(node.visit(Method::GET, HOST, "/api/")).await.is_ok_and(|got| got.text().starts_with(&format!("{word} ")))
}

async fn all_answer(nodes: &[RunningEdge], word: &str) {
    for node in nodes {
        comes("a node reaches the image", async || answers(node, word).await).await;
    }
}

/// Returns true if an engine has the image of a version.
fn has(engine: &Engine, version: impl ToString) -> bool {
    let version = version.to_string();
    engine.images().iter().any(|name| name.ends_with(&version))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_gets_an_image_by_itself_and_one_that_cannot_says_why() {
    if !is_installed() || !podman::is_installed() {
        return;
    }
    let first = Engine::start();
    let mut engines = [first.beside(), first.beside(), first];
    let tables: Vec<String> = engines.iter().map(|engine| engine.table("")).collect();
    let mut world = World::start_with(3, 1, |index, setup| setup.with_runner().with_toml(&tables[index])).await;
    let (one, two) = (Image::new("one", &json!({})), Image::new("two", &json!({})));
    engines[0].put("api", "1", &one).await;
    let server = |image: String| {
        let times = json!({ "instances": 1, "start_ms": 20_000, "stop_ms": 1_000, "warm_ms": 0 });
        let mut server = json!({ "image": image, "routes": ["/api/*"] });
        server.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        server
    };
    let fixed = server(format!("{}@{}", engines[0].name("api"), one.digest()));

    // A node without podman keeps the version from going live, whichever node handles the push.
    engines[2].end_podman();
    for node in &world.nodes {
        let refused = push(node, "prod", bundle(&fixed, None), None).await.unwrap_err();
        assert_eq!(refused.code, Code::ImageRefused, "{refused:?}");
        assert!(refused.detail.starts_with("edge-3: "), "{}", refused.detail);
    }
    engines[2].start_podman();
    let (pushed, _) = push(&world.nodes[0], "prod", bundle(&fixed, None), None).await.unwrap();
    assert!(engines.iter().all(|engine| has(engine, pushed.version)), "also where no instance runs");
    all_answer(&world.nodes, "one").await;

    // The front alone is pushed, and the version that fetched the image is deleted: the image is still needed.
    let mut front = manifest(&[("index.html", b"another front")]);
    front.base.server = Some(serde_json::from_value(fixed).unwrap());
    let options = DeployOptions { only: Some(Half::Front), ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: front, source: Default::default(), options };
    let kept = world.nodes[1].try_push(APP, "prod", begin, &[("index.html", b"another front")]).await.unwrap().version;
    let path = format!("/v1/apps/{APP}/versions/{}", pushed.version);
    assert!(got(world.nodes[1].api(Method::DELETE, &path)).await.status.is_success());
    let runs_it = nodes_of(&world.nodes[0]).await;
    let killed = world.nodes.iter().position(|node| runs_it == [node.file().node.as_str()]).unwrap();
    let mut away = world.nodes.remove(killed);
    let launch = away.kill();
    all_answer(&world.nodes, "one").await;

    // The tag moves to another image while a node is down; the node fetches the image after the restart.
    engines[0].put("api", "1", &two).await;
    let tag = server(format!("{}:1", engines[0].name("api")));
    let (moved, begun) = push(&world.nodes[1], "prod", bundle(&tag, None), None).await.unwrap();
    assert!(begun.image.unwrap().to_string().ends_with(two.digest()));
    assert!(!has(&engines[killed], moved.version));
    let back = Box::pin(away.started_again(launch)).await;
    comes("the node that was away has the image", async || has(&engines[killed], moved.version)).await;
    world.nodes.insert(killed, back);
    all_answer(&world.nodes, "two").await;

    // Rollback by the restarted node, which fetches the missing parts of the image again.
    let rollback = world.nodes[killed].api(Method::POST, "/v1/apps/shop/environments/prod/rollback").json(&json!({}));
    let rolled_back = got(rollback).await;
    assert!(rolled_back.status.is_success(), "{}", rolled_back.text());
    all_answer(&world.nodes, "one").await;
    assert!(has(&engines[killed], kept));
}
