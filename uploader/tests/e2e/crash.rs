//! Kills at any moment, a full disk, a flipped byte: the live version stays live (law 3).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::edge::{Edge, edge, files};
use crate::support::inputs;
use crate::support::leave_out;

async fn get(edge: &Edge, path: &str) -> (u16, Vec<u8>) {
    let answer = edge.client(true).get(edge.url("shop.localhost", path)).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

fn stored_blobs(edge: &Edge) -> usize {
    files(&edge.data_dir.join("blobs")).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_killed_in_a_push_keeps_what_was_live_and_takes_the_push_again() {
    let (Some(small), Some(large)) = (inputs::vite("a"), inputs::jupyterlab("4.4.8")) else { return };
    let mut edge = edge().start();
    let before = edge.push("shop", &small);
    let page = files(&small).remove("index.html").unwrap();
    // Killed at several points of the way: after the first blobs, in the middle, among the last steps.
    for share in [20, 120, 250] {
        let blobs_before = stored_blobs(&edge);
        let push = edge.command(small.parent().unwrap(), "shop", &["push", large.to_str().unwrap(), "--json"]);
        let mut push =
            { push }.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        for _ in 0..2_000 {
            if stored_blobs(&edge) >= blobs_before.max(share) || push.try_wait().unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        edge.kill();
        push.kill().ok();
        push.wait().unwrap();
        edge.restart();
        assert_eq!(get(&edge, "/").await, (200, page.clone()));
        assert_eq!(edge.json("shop", &["status"])["version"], before["version"]);
        assert!(files(&edge.data_dir.join("tmp")).is_empty(), "what an interrupted write left is removed at the start");
    }
    let after = edge.push("shop", &large);
    assert_eq!(after["switched"], true);
    assert_eq!(get(&edge, "/jupyterlab/static/index.html").await.0, 307);
    // And once more, right after the switch: the switch was durable before the push reported success.
    edge.kill();
    edge.restart();
    assert_eq!(edge.json("shop", &["status"])["version"], after["version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_is_under_way_and_exits_with_0() {
    let Some(site) = inputs::swagger("5.29.0") else { return };
    let mut edge = edge().start();
    edge.push("shop", &site);
    let client = edge.client(true);
    let mut answer = client.get(edge.url("shop.localhost", "/swagger-ui-bundle.js.map")).send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    let rest = tokio::spawn(async move { answer.bytes().await.unwrap().len() });
    let status = tokio::task::block_in_place(|| edge.terminate());
    assert!(status.success(), "{status}");
    let whole = files(&site)["swagger-ui-bundle.js.map"].len();
    assert_eq!(first.len() + rest.await.unwrap(), whole);
}

/// A small temporary file system; only root can make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        // Not even a CI machine must be able to mount: the same code is held by the store's own failing writer.
        eprintln!("left out: a small file system can be mounted by root alone");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_problem_of_its_own_and_what_was_live_stays() {
    let (Some(small), Some(large)) = (inputs::vite("a"), inputs::swagger("5.29.0")) else { return };
    let Some(disk) = SmallDisk::new(8 * 1024 * 1024) else { return };
    let mut edge = edge().with_data_in(&disk.path().join("data")).start();
    edge.push("shop", &small);
    let page = files(&small).remove("index.html").unwrap();
    let ran = edge.run("shop", &["push", large.to_str().unwrap(), "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("disk_full", Some(1)), "{ran:#?}");
    assert_eq!(ran.last_line(), "The previous version is still running.");
    assert_eq!(get(&edge, "/").await, (200, page.clone()));
    edge.kill();
    edge.restart();
    assert_eq!(get(&edge, "/").await, (200, page));
}

/// A site with a unique page and an incompressible file.
fn site_with(page: &str, bytes: u32, seed: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), page).unwrap();
    let noise = |at: u32| (at ^ seed).wrapping_mul(2_654_435_761).rotate_left(at % 31).to_be_bytes()[1];
    let noise: Vec<u8> = (0..bytes).map(noise).collect();
    std::fs::write(folder.path().join("video.mp4"), noise).unwrap();
    folder
}

/// Fills a disk to the last byte.
fn fill(disk: &SmallDisk, name: &str) {
    use std::io::Write;
    let mut file = std::fs::File::create(disk.path().join(name)).unwrap();
    for length in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![1; length]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_freed_by_deleting() {
    let Some(disk) = SmallDisk::new(24 * 1024 * 1024) else { return };
    let edge = edge().with_data_in(&disk.path().join("data")).start();
    let sites = [("one", 3_000_000, 1), ("two", 2_000_000, 2), ("three", 100_000, 3)];
    let sites = sites.map(|(page, bytes, seed)| site_with(page, bytes, seed));
    let versions: Vec<String> =
        sites.iter().map(|site| edge.push("shop", site.path())["version"].as_str().unwrap().to_owned()).collect();
    fill(&disk, "other");
    let refused = edge.run("shop", &["push", site_with("four", 10_000, 4).path().to_str().unwrap(), "--json"]);
    assert_eq!(refused.problem(), "disk_full");

    let report = edge.json("shop", &["delete", &versions[0], "--now", "--purge"]);
    assert!(report["purged"]["bytes"].as_u64().unwrap() > 3_000_000, "{report}");
    let largest = || files(&edge.data_dir.join("blobs")).values().map(Vec::len).max().unwrap();
    assert_eq!(largest(), 2_000_000);
    fill(&disk, "other-2");
    // A restorable version stays until a collection with `purge`.
    edge.json("shop", &["delete", &versions[1], "--now"]);
    fill(&disk, "other-3");
    assert_eq!(edge.json("", &["gc"])["versions"].as_array().unwrap().len(), 0);
    assert_eq!(largest(), 2_000_000);
    let report = edge.json("", &["gc", "--purge"]);
    assert_eq!(report["versions"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["bytes"].as_u64().unwrap() > 2_000_000, "{report}");
    assert_eq!(get(&edge, "/").await, (200, b"three".to_vec()));
    edge.push("shop", site_with("four", 10_000, 4).path());
    assert_eq!(get(&edge, "/").await, (200, b"four".to_vec()));
}

/// The files of a failed push are the only removable files.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_on_a_full_disk_waits_for_nothing() {
    let Some(disk) = SmallDisk::new(24 * 1024 * 1024) else { return };
    let mut edge = edge().with_data_in(&disk.path().join("data")).start();
    edge.push("shop", site_with("one", 100_000, 1).path());
    let large = site_with("two", 500_000, 2);
    for number in 0..60_u32 {
        let mut video = std::fs::read(large.path().join("video.mp4")).unwrap();
        video[..4].copy_from_slice(&number.to_be_bytes());
        std::fs::write(large.path().join(format!("{number}.mp4")), video).unwrap();
    }
    assert_eq!(edge.run("shop", &["push", large.path().to_str().unwrap(), "--json"]).problem(), "disk_full");
    // No push is under way any more.
    edge.kill();
    edge.restart();
    fill(&disk, "other");
    let report = edge.json("", &["gc"]);
    assert!(report["bytes"].as_u64().unwrap() > 5_000_000, "{report}");
    assert_eq!(get(&edge, "/").await, (200, b"one".to_vec()));
    edge.push("shop", site_with("three", 1_000_000, 3).path());
}

/// Law 4: blobs match their hashes. A file with an encoding is restored from the encoding; a file without an encoding
/// is not served.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_does_not_match_its_hash_is_never_served() {
    let Some(site) = inputs::vite("a") else { return };
    let mut edge = edge().start();
    edge.push("shop", &site);
    let mut stylesheets: Vec<_> = files(&site).into_iter().filter(|(path, _)| path.ends_with(".css")).collect();
    stylesheets.sort_by_key(|(_, bytes)| bytes.len());
    let [small, large] = &stylesheets[..] else { panic!("{stylesheets:?}") };
    edge.kill();
    let stored = files(&edge.data_dir.join("blobs"));
    for (_, bytes) in [small, large] {
        let place = stored.iter().find(|(_, stored)| *stored == bytes).unwrap().0;
        let mut turned = bytes.clone();
        turned[0] ^= 1;
        std::fs::write(edge.data_dir.join("blobs").join(place), turned).unwrap();
    }
    edge.restart();
    let (status, body) = get(&edge, &format!("/{}", small.0)).await;
    assert!(status == 503 && body != small.1, "{status}");
    assert_eq!(get(&edge, &format!("/{}", large.0)).await, (200, large.1.clone()));
    assert!(edge.log().contains("do not match their hash"), "{}", edge.log());
    assert_eq!(files(&edge.data_dir.join("quarantine")).len(), 2);
    // The same push repairs the store: the quarantined blob counts as missing.
    let report = edge.push("shop", &site);
    assert_eq!(report["bytes"]["sent"], small.1.len());
    assert_eq!(get(&edge, &format!("/{}", small.0)).await, (200, small.1.clone()));
}

#[test]
fn a_second_edge_over_the_same_data_names_the_first_and_exits_with_2() {
    let edge = edge().start();
    // The new edge takes over through this socket; the first edge opens the socket again, unless the name is in use.
    let socket = edge.data_dir.join("takeover.sock");
    std::fs::remove_file(&socket).unwrap();
    std::fs::create_dir(&socket).unwrap();
    let second = Command::new(crate::support::edge::program("devanture-edge"))
        .args(["--config", "edge.toml"])
        .current_dir(edge.folder.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(stderr.contains("another process has") && stderr.contains("process "), "{stderr}");
    if !Path::new("/proc").is_dir() {
        leave_out("the process' number cannot be told without /proc");
    }
}
