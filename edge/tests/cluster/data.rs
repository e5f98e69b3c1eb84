//! Data of backends in a cluster: the data of each node, accessible through any node.

use devanture_config::api::{DataList, DataReport, RunExit};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::instances::{backend, push, start};
use super::runs::Command;
use super::world::{comes, is_installed};
use crate::data::unpacked;
use crate::support::{Got, RunningEdge, got};

const DATA: &str = "/v1/apps/shop/environments/prod/data";
/// More than three programs buffer at any moment.
const LARGE_BYTES: u64 = 40_000_000;

async fn ask(node: &RunningEdge, method: Method, path: &str) -> Got {
    got(node.api(method, &format!("{DATA}{path}"))).await
}

async fn replace(node: &RunningEdge, query: &str, archive: &[u8]) -> Got {
    let request = node.api(Method::PUT, &format!("{DATA}/archive{query}"));
    got(request.header("content-type", "application/zstd").body(archive.to_vec())).await
}

async fn snapshot(node: &RunningEdge, query: &str) -> Got {
    got(node.api(Method::POST, &format!("{DATA}/snapshots{query}")).json(&json!({ "name": "mine" }))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_of_each_node_is_read_and_replaced_through_any_other() {
    if !is_installed() {
        return;
    }
    let world = start(3).await;
    push(&world.nodes[0], &backend(1, 1)).await;
    let (one, two, three) = (&world.nodes[0], &world.nodes[1], &world.nodes[2]);
    let (_, end) = Command::begin(two, "prod", "echo kept > data/kept").await.unwrap().end().await;
    assert_eq!(end.exit, RunExit::Code(0));
    assert_eq!(ask(one, Method::GET, "").await.code(), Code::BadRequest, "each node has data of its own");
    assert_eq!(ask(one, Method::GET, "?node=edge-9").await.code(), Code::NotFound);
    let list: DataList = ask(one, Method::GET, "?node=edge-2").await.json();
    assert_eq!((list.node.as_str(), list.files), ("edge-2", 1));
    assert_eq!(ask(two, Method::GET, "?node=edge-1").await.json::<DataList>().files, 0);

    // Pulled from the second node and pushed to the third, through other nodes.
    let pulled = ask(three, Method::GET, "/archive?node=edge-2").await;
    assert_eq!(unpacked(&pulled.body)["kept"], b"kept\n");
    let replaced: DataReport = replace(one, "?node=edge-3", &pulled.body).await.json();
    assert_eq!((replaced.node.as_str(), replaced.files), ("edge-3", 1));
    let again = replace(two, "?node=edge-3", &pulled.body).await;
    assert_eq!(again.code(), Code::Conflict, "{}", again.text());
    let cut_off = replace(two, "?node=edge-3&replace", &pulled.body[..pulled.body.len() - 8]).await;
    assert_eq!(cut_off.code(), Code::ArchiveCutOff, "{}", cut_off.text());
    let (output, _) = Command::begin(three, "prod", "cat data/kept").await.unwrap().end().await;
    assert_eq!(output, "kept\n");

    // A snapshot belongs to one node, and refused requests are absent from the audit log.
    assert_eq!(snapshot(one, "?node=edge-3").await.json::<DataReport>().node, "edge-3");
    assert_eq!(snapshot(two, "?node=edge-3").await.code(), Code::Conflict);
    let elsewhere = ask(one, Method::POST, "/snapshots/mine/restore?node=edge-2").await;
    assert_eq!(elsewhere.code(), Code::NotFound);
    assert!(elsewhere.problem().hint.unwrap().contains("--node edge-2"));
    let restored: DataReport = ask(one, Method::POST, "/snapshots/mine/restore?node=edge-3").await.json();
    assert_eq!((restored.node.as_str(), restored.files), ("edge-3", 1));
    let audit: Value = got(one.api(Method::GET, "/v1/audit?app=shop")).await.json();
    let entries = audit["entries"].as_array().unwrap();
    for (action, what) in [("snapshot_data", "mine on edge-3"), ("restore_data", "mine on edge-3")] {
        let of: Vec<_> = entries.iter().filter(|entry| entry["action"] == action).collect();
        assert_eq!(of.len(), 1, "{of:?}");
        assert_eq!((&of[0]["what"], &of[0]["node"]), (&json!(what), &json!("edge-3")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_from_a_node_that_dies_breaks_off_and_the_node_is_said_to_be_gone() {
    if !is_installed() {
        return;
    }
    let mut world = start(2).await;
    push(&world.nodes[0], &backend(1, 1)).await;
    let script = format!("head -c {LARGE_BYTES} /dev/urandom > data/large");
    let (_, end) = Command::begin(&world.nodes[1], "prod", &script).await.unwrap().end().await;
    assert_eq!(end.exit, RunExit::Code(0));
    let mut dies = world.nodes.remove(1);
    let node = &world.nodes[0];
    let mut download = node.api(Method::GET, &format!("{DATA}/archive?node=edge-2")).send().await.unwrap();
    assert_eq!(download.status(), StatusCode::OK);
    assert!(download.chunk().await.unwrap().is_some());
    dies.kill();
    let end = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "a part was given as if it were the whole");
    comes("the node is gone", async || {
        let asked = ask(node, Method::GET, "?node=edge-2").await;
        asked.status != StatusCode::OK && asked.code() == Code::NotFound
    })
    .await;
}
