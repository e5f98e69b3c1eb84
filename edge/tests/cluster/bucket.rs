//! Objects lost or damaged in the bucket: reported by verification, and stored again by a node with the files.

use std::collections::BTreeSet;
use std::process::Command;

use devanture_config::Digest;
use devanture_config::api::{RepairRequest, VerifyReport};
use devanture_store::blobs::Key;
use http::Method;

use super::world::{APP, World, is_installed};
use crate::support::{Files, RunningEdge, got};

/// Verification report of a node; reads the objects or compares the lengths alone.
async fn verify(node: &RunningEdge, read_bucket: bool) -> VerifyReport {
    got(node.api(Method::POST, &format!("/v1/verify?read_bucket={read_bucket}"))).await.json()
}

async fn repair(node: &RunningEdge, read_bucket: bool) -> VerifyReport {
    let request = RepairRequest { read_bucket, ..RepairRequest::default() };
    got(node.api(Method::POST, "/v1/repair").json(&request)).await.json()
}

/// Files, of all versions, that are missing or damaged in the bucket.
fn damaged(report: &VerifyReport) -> BTreeSet<&str> {
    assert!(report.damaged.is_empty() && report.is_whole() == report.bucket.is_empty(), "{report:?}");
    report.bucket.iter().flat_map(|version| version.files.iter().map(String::as_str)).collect()
}

/// Runs the program on the machine of a running node; returns the exit code and the output.
fn program(node: &RunningEdge, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    let folder = node.data_dir();
    command.current_dir(folder.parent().unwrap()).args(arguments).args(["--config", "edge.toml"]);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_are_lost_cut_short_or_changed_are_named_and_stored_again_by_a_node_that_has_them() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    let files: Files<'_> = &[
        ("index.html", b"<h1>the page</h1>"),
        ("cut.txt", b"cut short"),
        ("lost.txt", b"lost"),
        ("other.txt", b"one"),
    ];
    let version = world.nodes[0].push(APP, files).await.version;
    let (bucket, node) = (world.bucket(), &world.nodes[1]);
    assert!(damaged(&verify(node, true).await).is_empty());
    let path = |bytes: &[u8]| Key::Blob(Digest::of(bytes)).path().unwrap();
    bucket.remove([path(b"lost")]).await.unwrap();
    bucket.write(&path(b"cut short"), [b"cut".as_slice().into()]).await.unwrap();
    bucket.write(&path(b"one"), [b"two".as_slice().into()]).await.unwrap();

    // Without reading the objects, a listing reveals lost and truncated objects alone.
    let found = verify(node, false).await;
    assert_eq!(damaged(&found), ["cut.txt", "lost.txt"].into());
    assert_eq!((found.bucket[0].version, found.bucket[0].live_in.len()), (version, 1), "{found:?}");
    let found = verify(node, true).await;
    assert_eq!(damaged(&found), ["cut.txt", "lost.txt", "other.txt"].into());
    let (code, text) = tokio::task::block_in_place(|| program(node, &["verify", "--read-bucket"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("3 files damaged or missing: ") && text.contains("in the bucket"), "{text}");

    let repaired = repair(node, false).await;
    assert_eq!((repaired.repaired, damaged(&repaired)), (2, BTreeSet::new()));
    let (code, text) = tokio::task::block_in_place(|| program(node, &["repair", "--read-bucket"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("repaired: 1 file"), "{text}");
    for node in &world.nodes {
        assert!(damaged(&verify(node, true).await).is_empty());
    }
    for (_, bytes) in files {
        assert_eq!(bucket.read(&path(bytes)).await.unwrap().unwrap(), *bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_lacks_and_the_bucket_has_lost_is_named_as_damage_and_stored_again_by_another_node() {
    if !is_installed() {
        return;
    }
    let world = World::start(2, 1).await;
    world.nodes[0].push(APP, &[("index.html", b"<h1>1</h1>"), ("a.txt", b"of the first")]).await;
    let (bucket, key) = (world.bucket(), Key::Blob(Digest::of(b"of the first")));
    let path = key.path().unwrap();
    bucket.remove([path.clone()]).await.unwrap();
    let held = world.nodes[1].data_dir().join(&path);
    tokio::fs::remove_file(&held).await.unwrap();
    let found = verify(&world.nodes[1], false).await;
    assert_eq!(found.damaged[0].files, ["a.txt"], "{found:?}");
    assert!(found.bucket.is_empty() && !found.is_whole());
    assert_eq!(repair(&world.nodes[1], false).await.repaired, 0);
    assert_eq!(repair(&world.nodes[0], false).await.repaired, 1);
    let found = verify(&world.nodes[1], false).await;
    assert!(found.is_whole(), "{found:?}");
}
