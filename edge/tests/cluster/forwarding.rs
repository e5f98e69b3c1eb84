//! Push requests that arrive at another node than the node of the push.

use std::time::Duration;

use devanture_config::api::{BlobsStored, DeployBegun, DeployReport, DeployState, DeployStatus, Scope};
use devanture_config::problem::Code;
use devanture_config::{Digest, blob_batch};
use http::{Method, StatusCode};

use super::world::{APP, World, begun, bytes_of, comes, finish, is_installed, put, served};
use crate::support::{RunningEdge, got};

async fn status(node: &RunningEdge, deploy: &str) -> DeployStatus {
    got(node.api(Method::GET, &format!("/v1/apps/{APP}/deploys/{deploy}"))).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_a_push_may_come_to_another_node() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    let [first, second, third] = &world.nodes[..] else { panic!("three nodes") };
    let token = first.admin_token();
    let DeployBegun { deploy, missing, version, .. } = begun(first, token, 1).await;
    assert_eq!(missing.len(), 2);
    assert_eq!(status(second, &deploy).await.state, DeployState::Begun);
    // A refusal by the push's node is a refusal by every node.
    assert_eq!(put(second, token, &deploy, missing[0], b"other bytes".to_vec()).await.code(), Code::BlobMismatch);
    assert_eq!(put(second, token, &deploy, Digest::of(b"unnamed"), b"unnamed".to_vec()).await.code(), Code::BadRequest);
    let (other_app, other_token) = (first.token_for(Scope::Push, Some("another"), None).await, third.admin_token());
    let path = format!("/v1/apps/another/deploys/{deploy}/finish");
    assert_eq!(got(third.ask(Method::POST, &path, &other_app)).await.code(), Code::NotFound);
    assert_eq!(got(finish(third, &deploy, &other_app)).await.code(), Code::NotFound);
    assert_eq!(got(finish(third, &deploy, other_token)).await.code(), Code::Forbidden, "it is another's push");

    assert_eq!(put(second, token, &deploy, missing[0], bytes_of(1, missing[0])).await.status, StatusCode::NO_CONTENT);
    let bytes = bytes_of(1, missing[1]);
    let batch = [&blob_batch::head(&missing[1], u32::try_from(bytes.len()).unwrap())[..], &bytes].concat();
    let request = third.ask(Method::POST, &format!("/v1/apps/{APP}/blobs?deploy={deploy}"), token);
    let stored: BlobsStored = got(request.header("content-type", blob_batch::MEDIA_TYPE).body(batch)).await.json();
    assert_eq!(stored.stored, [missing[1]]);

    let events = got(finish(third, &deploy, token).header("accept", "text/event-stream")).await;
    assert_eq!(events.header("content-type"), "text/event-stream", "{}", events.text());
    let text = events.text();
    let done = text.split("\n\n").find_map(|event| event.strip_prefix("event: done\ndata: ")).unwrap();
    assert_eq!(serde_json::from_str::<DeployReport>(done).unwrap().version, version);
    for node in &world.nodes {
        assert_eq!(served(node).await, Some(version.short()));
        let status = status(node, &deploy).await;
        assert_eq!((status.state, status.version), (DeployState::Live, Some(version)));
        assert!(status.report.is_some(), "as the node says that has taken it: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_whose_node_was_killed_is_unreachable_for_a_lease_and_then_begins_again() {
    if !is_installed() {
        return;
    }
    let mut world = World::start(2, 1).await;
    let token = world.nodes[0].admin_token().to_owned();
    let DeployBegun { deploy, missing, .. } = begun(&world.nodes[0], &token, 1).await;
    world.nodes[0].kill();
    comes("the node counts as gone", async || {
        let answer = put(&world.nodes[1], &token, &deploy, missing[0], bytes_of(1, missing[0])).await;
        match answer.code() {
            Code::NotFound => true,
            Code::NodeUnreachable => false,
            other => panic!("{other:?}: {}", answer.text()),
        }
    })
    .await;
    let DeployBegun { deploy, missing, version, .. } = begun(&world.nodes[1], &token, 1).await;
    for digest in missing {
        assert_eq!(
            put(&world.nodes[1], &token, &deploy, digest, bytes_of(1, digest)).await.status,
            StatusCode::NO_CONTENT
        );
    }
    let finish = finish(&world.nodes[1], &deploy, &token);
    let report: DeployReport = got(finish.timeout(Duration::from_secs(60))).await.json();
    assert_eq!(report.version, version);
}
