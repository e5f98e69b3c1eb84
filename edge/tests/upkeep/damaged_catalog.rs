//! A catalog page damaged at runtime is detected, reported and survived.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use devanture_config::api::{BeginDeploy, CatalogPages, RepairRequest, Source, Status};
use devanture_config::edge_toml::EdgeFile;
use devanture_control::safekeeping::{BackupCheck, VerifyOptions};
use devanture_edge::server::{self, Safekeeping, StartError};
use devanture_store::s3::Variables;
use http::{Method, StatusCode};

use super::safekeeping::{SITE, back_up, base, verify};
use crate::support::{RunningEdge, edge, eventually, got, manifest};

/// Text inside a record, which can be parsed with a changed letter, too.
const MESSAGE: &[u8] = b"planted by a test";
const DAMAGED: &[u8] = b"qlanted by a test";

/// Edge with a record that can be located in the file.
async fn with_a_mark() -> RunningEdge {
    marked(edge().start().await).await
}

async fn marked(edge: RunningEdge) -> RunningEdge {
    let message = Some(String::from_utf8(MESSAGE.to_vec()).unwrap());
    let source = Source { message, ..Source::default() };
    let begin = BeginDeploy { manifest: manifest(SITE), source, options: Default::default() };
    edge.try_push("shop", "prod", begin, SITE).await.unwrap();
    edge
}

/// Flips a bit at each intact occurrence of the message: a commit may have rewritten the page from memory.
fn damage(data_dir: &Path) {
    let path = data_dir.join("catalog.redb");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for (at, _) in bytes.windows(MESSAGE.len()).enumerate().filter(|(_, window)| *window == MESSAGE) {
        file.write_all_at(DAMAGED, at as u64).unwrap();
    }
}

/// Calls the program in a folder with an `edge.toml`; returns the exit code and the output.
async fn call(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.args(arguments).args(["--config", "edge.toml"]).current_dir(folder);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + std::str::from_utf8(&output.stderr).unwrap())
}

async fn readiness(edge: &RunningEdge) -> String {
    got(edge.api(Method::GET, "/health/ready")).await.text()
}

async fn verified(file: &EdgeFile, folder: &Path) -> CatalogPages {
    let options = VerifyOptions { app: None, bytes_per_second_max: u64::MAX, read_bucket: false };
    Safekeeping::open(file, folder).await.unwrap().verify(&options).await.unwrap().catalog
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_at_the_least_rate_ends_and_one_that_would_not_is_refused() {
    let edge = with_a_mark().await;
    let checked =
        async |rate: &str| got(edge.api(Method::POST, &format!("/v1/verify?bytes_per_second_max={rate}"))).await.status;
    assert_eq!(checked("65536").await, StatusCode::OK);
    for rate in ["0", "1", "65535", "-1", "fast"] {
        assert_eq!(checked(rate).await, StatusCode::BAD_REQUEST, "{rate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_catalog_is_found_by_a_verification_and_named_everywhere() {
    let edge = with_a_mark().await;
    let report = verify(&edge, None).await;
    assert!(report.catalog == CatalogPages::Whole && report.is_whole(), "{report:?}");
    assert_eq!(verify(&edge, Some("shop")).await.catalog, CatalogPages::Unchecked, "that is of one app");
    assert_eq!(readiness(&edge).await, "ready\n");
    eventually("it is found", async || {
        damage(&edge.data_dir());
        let report = verify(&edge, None).await;
        assert_eq!(report.catalog.is_damaged(), !report.is_whole(), "{report:?}");
        report.catalog.is_damaged()
    })
    .await;
    let ready = readiness(&edge).await;
    assert!(ready.contains("damaged: a page of the catalog is damaged"), "{ready}");
    let status: Status = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json();
    assert!(status.catalog_damaged);
    let metric =
        async || got(edge.api(Method::GET, "/metrics")).await.text().contains("\ndevanture_catalog_damaged 1\n");
    eventually("the metric has it", metric).await;
    eventually("the check of an upgrade finds it", async || {
        damage(&edge.data_dir());
        let faults = server::try_upgrade(edge.file(), &base(&edge)).await.err().unwrap_or_default();
        faults.iter().any(|fault| matches!(fault, StartError::CatalogUnreadable { .. }))
    })
    .await;
    assert_eq!(edge.get("shop.localhost", "/").await.status, 200, "what is live is served");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_damaged_catalog_says_so_and_drops_none_that_is_whole() {
    let edge = with_a_mark().await;
    let places = tempfile::tempdir().unwrap();
    let folder = places.path().join("edge");
    let whole = back_up(&edge, &folder, None, false).await;
    assert_eq!(whole.catalog, CatalogPages::Whole);
    let mut written = None;
    eventually("a backup finds it", async || {
        damage(&edge.data_dir());
        let report = back_up(&edge, &folder, None, false).await;
        let is_damaged = report.catalog.is_damaged();
        written = Some(report.name);
        is_damaged
    })
    .await;
    damage(&edge.data_dir());
    let next = back_up(&edge, &folder, Some(1), false).await;
    assert!(next.removed.is_empty() || !next.catalog.is_damaged(), "{next:?}");
    edge.stop().await;

    let check = |name: String| BackupCheck { name: Some(name), app: None, bytes_per_second_max: u64::MAX };
    let state = async |name: String| {
        server::verify_backup(&folder.as_path().into(), &Variables::new(), &check(name), &|_| {}).await
    };
    let damaged = written.unwrap();
    if next.removed.is_empty() {
        let state_of_whole = state(whole.name).await.unwrap();
        assert!(state_of_whole.is_whole() && !state_of_whole.catalog_damaged, "{state_of_whole:?}");
        let state_of_damaged = state(damaged).await.unwrap();
        assert!(state_of_damaged.catalog_damaged && !state_of_damaged.is_whole(), "{state_of_damaged:?}");
        assert_eq!(state_of_damaged.count, 0, "its files are whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_without_the_edge_writes_what_can_be_read_into_a_fresh_catalog() {
    let edge = with_a_mark().await;
    // Beside a running edge nothing is written.
    let beside = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
    assert_eq!(beside.rewrite_catalog().await.unwrap(), None);
    let (folder, file) = edge.stopped().await;
    let data_dir = folder.path().join("data");
    assert_eq!(verified(&file, folder.path()).await, CatalogPages::Whole);
    damage(&data_dir);
    assert_eq!(verified(&file, folder.path()).await, CatalogPages::Damaged);
    let stores = Safekeeping::open(&file, folder.path()).await.unwrap();
    assert!(stores.repair(&RepairRequest::default()).await.unwrap().catalog.is_damaged());
    let kept = stores.rewrite_catalog().await.unwrap().unwrap();
    assert_eq!(kept, data_dir.join("catalog.damaged"));
    assert!(kept.exists());
    assert!(!data_dir.join("rewritten.redb").exists() && !data_dir.join("rewritten.lock").exists());
    assert_eq!(verified(&file, folder.path()).await, CatalogPages::Whole);

    let edge = RunningEdge::over(folder, file).await;
    assert_eq!(edge.get("shop.localhost", "/").await.status, 200);
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.push("shop", &[("index.html", b"next")]).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_names_a_damaged_catalog_and_repairs_that_of_a_stopped_edge() {
    let edge = marked(edge().in_a_process().start().await).await;
    let base = base(&edge);
    let backups = tempfile::tempdir().unwrap();
    let backup = ["backup", "--to", backups.path().to_str().unwrap()];
    let (code, said) = call(&base, &["verify"]).await;
    assert!(code == Some(0) && said.contains("every page of the catalog is whole"), "{said}");
    eventually("a verification finds it", async || {
        damage(&edge.data_dir());
        let (code, said) = call(&base, &["verify"]).await;
        assert_eq!(said.contains("damaged: a page of the catalog"), code == Some(1), "{said}");
        code == Some(1)
    })
    .await;
    assert!(readiness(&edge).await.contains("damaged: a page of the catalog is damaged"));
    assert_eq!(edge.get("shop.localhost", "/").await.status, 200, "what is live is served");
    edge.stop().await;

    // A new edge: in the first, the damaged page may have been rewritten with a matching checksum.
    let (folder, file) = marked(crate::support::edge().in_a_process().start().await).await.stopped().await;
    let base = folder.path().to_owned();
    damage(&base.join("data"));
    assert_eq!(call(&base, &["verify"]).await.0, Some(1));
    assert_eq!(call(&base, &backup).await.0, Some(1));
    let (code, said) = call(&base, &["repair"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the catalog was written again") && said.contains("catalog.damaged"), "{said}");
    for arguments in [&["verify"][..], &backup] {
        let (code, said) = call(&base, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    let edge = RunningEdge::over(folder, file).await;
    assert_eq!(edge.get("shop.localhost", "/").await.status, 200);
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}
