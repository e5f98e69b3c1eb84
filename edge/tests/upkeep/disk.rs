//! A disk that cannot be written although bytes are free: what is live is served, records are read, what would change
//! something is refused by name, and readiness and a metric say so.

use devanture_config::api::BeginDeploy;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use crate::small_disk::{FailingDisk, SmallDisk};
use crate::support::{RunningEdge, edge, eventually, got, manifest};

const HOST: &str = "shop.localhost";
const OLD: &[(&str, &[u8])] = &[("index.html", b"old")];
const NEW: &[(&str, &[u8])] = &[("index.html", b"new")];
const PLACE: &str = "/v1/apps/shop/environments/prod";

async fn readiness(edge: &RunningEdge) -> String {
    let ready = got(edge.api(Method::GET, "/health/ready")).await;
    assert_eq!(ready.status, StatusCode::OK, "another edge could not serve more");
    ready.text()
}

async fn push(edge: &RunningEdge, files: &[(&str, &[u8])]) -> Result<(), Code> {
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, files).await.map(drop).map_err(|problem| problem.code)
}

/// What an edge does while its disk cannot be written.
async fn assert_reads_alone(edge: &RunningEdge) {
    // The first refusal may be what finds it out.
    for _ in 0..2 {
        let paused = got(edge.api(Method::POST, &format!("{PLACE}/pause")).json(&json!({}))).await;
        assert_eq!((paused.status, paused.code()), (StatusCode::INSUFFICIENT_STORAGE, Code::DiskUnwritable));
    }
    assert_eq!(push(edge, NEW).await, Err(Code::DiskUnwritable));
    assert_eq!(edge.get(HOST, "/").await.text(), "old");
    let status = got(edge.api(Method::GET, PLACE)).await;
    assert_eq!(status.status, StatusCode::OK, "{}", status.text());
    let ready = readiness(edge).await;
    assert!(ready.starts_with("ready\nunwritable: "), "{ready}");
    let metrics = got(edge.api(Method::GET, "/metrics")).await;
    assert_eq!(metrics.status, StatusCode::OK);
    let metrics = metrics.text();
    assert!(metrics.lines().any(|line| line == "devanture_disk_unwritable 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_is_named_and_a_start_over_it_serves_what_is_live() {
    let Some(disk) = FailingDisk::mount() else { return };
    let below = disk.path().to_str().unwrap();
    let mut edge = edge().below(below).in_a_process().with_app("shop", OLD).start().await;
    assert_eq!(readiness(&edge).await, "ready\n");
    disk.fail();
    assert_reads_alone(&edge).await;
    let launch = edge.kill();
    disk.mount_again("rw");
    disk.remount("ro");
    let edge = edge.started_again(launch).await;
    assert_reads_alone(&edge).await;
    disk.remount("rw");
    eventually("a push is taken", async || push(&edge, NEW).await.is_ok()).await;
    eventually("nothing is left to say", async || readiness(&edge).await == "ready\n").await;
    assert_eq!(edge.get(HOST, "/").await.text(), "new");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_drafts_is_made_again_when_somebody_removed_it() {
    let edge = edge().with_app("shop", OLD).start().await;
    std::fs::remove_dir_all(edge.data_dir().join("tmp")).unwrap();
    assert_eq!(push(&edge, NEW).await, Ok(()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_upgrade_finds_that_the_catalog_cannot_be_handed_over() {
    let Some(disk) = SmallDisk::mount() else { return };
    let edge = edge().below(disk.path().to_str().unwrap()).in_a_process().with_app("shop", OLD).start().await;
    let found = async || {
        let faults = devanture_edge::server::try_upgrade(edge.file(), edge.data_dir().parent().unwrap()).await.err();
        faults.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found().await, Vec::<String>::new());
    disk.fill(0);
    let full = found().await;
    assert!(full.iter().any(|fault| fault.contains("cannot hand its catalog over")), "{full:?}");
    disk.empty();
    edge.stop().await;
}
