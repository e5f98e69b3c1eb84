//! A data folder with a lost or replaced catalog: no file is deleted.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devanture_config::api::{CollectReport, CollectStopped, History};
use devanture_config::edge_toml::{EdgeFile, LogFormat, LogTarget};
use devanture_config::problem::{Code, Problem};
use devanture_edge::server::{Local, Server, StartError, adopt, check};
use devanture_store::catalog::{self, Change, Commit};
use http::Method;
use serde_json::json;

use crate::support::{RunningEdge, Setup, edge, got, manifest};

/// Edge that collects on request only, without an age limit.
fn collecting() -> Setup {
    edge().with_limit("grace_ms_max", 0).with_toml("[retention]\ncollect_every_s = 0")
}

fn files_in(folder: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { [path].into() }).collect()
}

fn stored(data_dir: &Path) -> BTreeSet<PathBuf> {
    ["blobs", "manifests"].iter().flat_map(|kind| files_in(&data_dir.join(kind))).collect()
}

/// Sets the time of every stored file to the earliest possible time.
fn age(data_dir: &Path) {
    for path in stored(data_dir) {
        std::fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
}

async fn collect(edge: &RunningEdge, query: &str) -> CollectReport {
    got(edge.api(Method::POST, &format!("/v1/gc{query}"))).await.json()
}

async fn started(file: &EdgeFile, folder: &Path) -> Result<(), StartError> {
    let (file, folder) = (file.clone(), folder.to_owned());
    let start = move || Server::start(&file, &folder).map(Server::drain);
    tokio::task::spawn_blocking(start).await.unwrap().map(|_cut| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_without_its_catalog_does_not_start_until_an_empty_one_is_adopted() {
    let edge = collecting().with_app("shop", &[("index.html", b"hi"), ("a.txt", b"a")]).start().await;
    let (folder, file) = edge.stopped().await;
    let data_dir = folder.path().join("data");
    std::fs::remove_file(data_dir.join("catalog.redb")).unwrap();
    age(&data_dir);
    let before = stored(&data_dir);
    assert_eq!(before.len(), 3);

    let error = started(&file, folder.path()).await.unwrap_err();
    assert!(matches!(error, StartError::CatalogMissing { .. }), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("devanture-edge adopt"), "{error}");
    let [of_check] = &check(&file, folder.path())[..] else { panic!("the catalog is missing") };
    assert_eq!((of_check.to_string(), of_check.exit_code()), (error.to_string(), 2), "a check says what a start says");
    assert!(!data_dir.join("catalog.redb").exists());

    assert!(adopt(&file, folder.path()).unwrap());
    assert!(!adopt(&file, folder.path()).unwrap(), "there is one now");
    assert!(check(&file, folder.path()).is_empty());
    let edge = RunningEdge::over(folder, file).await;
    let report = collect(&edge, "").await;
    assert_eq!(report.stopped, Some(CollectStopped { referenced: 0, unreferenced: 3 }));
    assert_eq!((report.files, stored(&data_dir)), (0, before));

    let report = collect(&edge, "?force=true").await;
    assert_eq!((report.stopped, report.files, stored(&data_dir)), (None, 3, BTreeSet::new()));
    assert_eq!(files_in(&data_dir.join("collected")).len(), 3, "they stay for a while");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_was_cut_short_is_named_with_what_to_do() {
    let edge = collecting().with_app("shop", &[("index.html", b"hi")]).start().await;
    let (folder, file) = edge.stopped().await;
    let catalog = folder.path().join("data/catalog.redb");
    let whole = std::fs::read(&catalog).unwrap();
    for bytes in [&whole[..whole.len() / 4], &[7; 10_000][..], &[]] {
        std::fs::write(&catalog, bytes).unwrap();
        let of_start = started(&file, folder.path()).await.unwrap_err();
        for error in [of_start, adopt(&file, folder.path()).unwrap_err()] {
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(text.contains("catalog.redb") && text.contains("backup") && text.contains("adopt"), "{text}");
        }
        assert_eq!(std::fs::read(&catalog).unwrap(), bytes, "nothing was made over it");
    }
    std::fs::write(&catalog, whole).unwrap();
    RunningEdge::over(folder, file).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_out_of_proportion_takes_no_file() {
    let edge = collecting().with_limit("collect_unreferenced_files_max", 2).start().await;
    edge.push("shop", &[("index.html", b"hi")]).await;
    for number in 0..3_u8 {
        // Three files without a record.
        let bytes = [number; 100];
        let digest = devanture_config::Digest::of(&bytes);
        let shard = edge.data_dir().join("blobs").join(&digest.to_string()[..2]);
        std::fs::create_dir_all(&shard).unwrap();
        std::fs::write(shard.join(digest.to_string()), bytes).unwrap();
    }
    age(&edge.data_dir());
    for query in ["?dry_run=true", ""] {
        let stopped = collect(&edge, query).await.stopped;
        assert_eq!(stopped, Some(CollectStopped { referenced: 2, unreferenced: 3 }), "{query}");
    }
    assert_eq!(stored(&edge.data_dir()).len(), 5);
    assert_eq!(collect(&edge, "?force=true").await.files, 3);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_is_replaced_while_the_edge_runs_is_left_alone() {
    let edge = collecting().with_app("shop", &[("index.html", b"hi")]).start().await;
    let data_dir = edge.data_dir();
    let aside = data_dir.with_file_name("aside");
    std::fs::rename(&data_dir, &aside).unwrap();
    for file in files_in(&aside).into_iter().filter(|path| path.is_file()) {
        let copy = data_dir.join(file.strip_prefix(&aside).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
    age(&data_dir);
    let before = stored(&data_dir);

    for (path, what) in [("/v1/gc?force=true", "a collection"), ("/v1/apps/shop/environments/prod/pause", "a change")] {
        let answer = got(edge.api(Method::POST, path).json(&serde_json::json!({}))).await;
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem.code, Code::NotReady, "{what}");
        assert!(problem.detail.contains("moved or replaced"), "{what}: {problem}");
    }
    let files: &[(&str, &[u8])] = &[("index.html", b"new")];
    let begin = devanture_config::api::BeginDeploy {
        manifest: manifest(files),
        source: Default::default(),
        options: Default::default(),
    };
    assert_eq!(edge.try_push("shop", "prod", begin, files).await.unwrap_err().code, Code::NotReady);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "hi");
    assert_eq!(stored(&data_dir), before);

    std::fs::remove_dir_all(&data_dir).unwrap();
    std::fs::rename(&aside, &data_dir).unwrap();
    edge.push("shop", files).await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "new");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_that_an_older_catalog_refers_to() {
    let retention = "[retention]\ncollect_every_s = 0\nkeep_days = 0\nkeep_versions = 1";
    let edge = edge().with_limit("grace_ms_max", 0).with_toml(retention);
    let edge = edge.with_app("shop", &[("index.html", b"old")]).start().await;
    let (folder, file) = edge.stopped().await;
    let data_dir = folder.path().join("data");
    let backup = folder.path().join("backup.redb");
    std::fs::copy(data_dir.join("catalog.redb"), &backup).unwrap();

    let edge = RunningEdge::over(folder, file).await;
    edge.push("shop", &[("index.html", b"new")]).await;
    // As if the old version's record had been removed after its retention.
    edge.push("shop", &[("index.html", b"newest")]).await;
    age(&data_dir);
    assert_eq!(collect(&edge, "").await.versions.len(), 1);
    assert_eq!(files_in(&data_dir.join("collected")).len(), 1, "the page; manifests stay for their names");
    let (folder, file) = edge.stopped().await;

    std::fs::copy(&backup, data_dir.join("catalog.redb")).unwrap();
    let edge = RunningEdge::over(folder, file).await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "old");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_is_moved_while_the_edge_runs_is_reported_and_what_is_live_is_served() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let catalog = edge.data_dir().join("catalog.redb");
    assert_eq!(got(edge.api(Method::GET, "/health/ready")).await.text(), "ready\n");
    std::fs::rename(&catalog, catalog.with_extension("away")).unwrap();
    let ready = got(edge.api(Method::GET, "/health/ready")).await;
    assert_eq!(ready.status, 200, "another edge could not serve more");
    let text = ready.text();
    assert!(text.contains("catalog.redb was moved or replaced while the edge runs"), "{text}");
    assert_eq!(edge.get("shop.localhost", "/").await.body, "hi");
    for path in
        ["/v1/apps/shop/environments/prod/pause", "/v1/apps/shop/environments/prod/pause?dry_run=true", "/v1/gc"]
    {
        let answer = got(edge.api(Method::POST, path).json(&json!({}))).await;
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem.code, Code::NotReady, "{path}");
    }
    std::fs::rename(catalog.with_extension("away"), &catalog).unwrap();
    assert_eq!(got(edge.api(Method::GET, "/health/ready")).await.text(), "ready\n");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_copied_over_the_catalog_of_a_running_edge_is_what_the_next_start_opens() {
    let edge = edge().with_app("shop", &[("index.html", b"old")]).start().await;
    let (folder, file) = edge.stopped().await;
    let backup = std::fs::read(folder.path().join("data/catalog.redb")).unwrap();
    let edge = RunningEdge::over(folder, file).await;
    edge.push("shop", &[("index.html", b"new")]).await;

    let catalog = edge.data_dir().join("catalog.redb");
    std::fs::write(&catalog, &backup).unwrap();
    let text = got(edge.api(Method::GET, "/health/ready")).await.text();
    assert!(text.contains("catalog.redb was moved or replaced while the edge runs"), "{text}");
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "new", "what is live is served");
    let answer = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/pause").json(&json!({}))).await;
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem.code, Code::NotReady);

    let (folder, file) = edge.stopped().await;
    assert!(std::fs::read(&catalog).unwrap() == backup, "nothing was written to it");
    let edge = RunningEdge::over(folder, file).await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "old");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_made_in_an_empty_folder_beside_an_edge_that_runs() {
    let edge = edge().start().await;
    let mut file = edge.file().clone();
    file.listen.admin = edge.admin();
    let elsewhere = tempfile::tempdir().unwrap();
    let Err(refused) = Local::open(&file, elsewhere.path()).await else { panic!("an edge runs") };
    assert!(refused.to_string().contains("was moved or replaced while it runs"), "{refused}");
    assert!(!elsewhere.path().join("data").exists());
    edge.stop().await;
}

/// One byte of a record is damaged: the database opens, and one history entry cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_over_a_damaged_entry_of_the_history_guesses_nothing() {
    let edge = edge().start().await;
    let mut versions = Vec::new();
    for page in ["one", "two", "three"] {
        versions.push(edge.push("shop", &[("index.html", page.as_bytes())]).await.version);
    }
    let (folder, file) = edge.stopped().await;
    {
        let catalog = catalog::open(&folder.path().join("data/catalog.redb")).unwrap();
        let entries = catalog.list("history/shop/", None, true, 9).await.unwrap();
        let changes = vec![Change::Put(entries[1].0.clone(), b"{\"deploy\":".as_slice().into())];
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }
    let edge = RunningEdge::over(folder, file).await;
    let history: History = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/history")).await.json();
    assert_eq!((history.deploys.len(), history.unreadable), (2, 1));

    let path = "/v1/apps/shop/environments/prod/rollback";
    let answer = got(edge.api(Method::POST, path).json(&json!({}))).await;
    let refused: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status.as_u16(), refused.code), (409, Code::NotReady));
    assert!(refused.hint.unwrap().contains(&format!("devanture rollback {}", versions[0].short())));
    assert_eq!(edge.live("shop").await, Some(versions[2]));
    let named = json!({ "version": versions[0] });
    assert_eq!(got(edge.api(Method::POST, path).json(&named)).await.status, 200);
    assert_eq!(edge.live("shop").await, Some(versions[0]));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_is_cut_or_empty_is_no_fine_one_for_a_check() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let (folder, file) = edge.stopped().await;
    let (catalog, lock) = (folder.path().join("data/catalog.redb"), folder.path().join("data/catalog.lock"));
    std::fs::remove_file(&lock).unwrap();
    let before = std::fs::read(&catalog).unwrap();
    assert!(check(&file, folder.path()).is_empty());
    assert!(std::fs::read(&catalog).unwrap() == before && !lock.exists(), "a check writes nothing");
    std::fs::write(&catalog, b"").unwrap();
    let [found] = &check(&file, folder.path())[..] else { panic!("the catalog is empty") };
    assert_eq!(found.to_string(), started(&file, folder.path()).await.unwrap_err().to_string());
    assert!(found.to_string().contains("put the catalog back from a backup"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_a_start_would_fail_by() {
    let edge = edge().start().await;
    let (folder, file) = edge.stopped().await;
    let base = folder.path();
    let format = base.join("data/format");
    std::fs::write(&format, "devanture 99\n").unwrap();
    std::fs::write(base.join("file"), "").unwrap();
    std::fs::create_dir(base.join("folder")).unwrap();
    let with = |change: &dyn Fn(&mut EdgeFile)| {
        let mut file = file.clone();
        change(&mut file);
        file
    };
    let log = |path: &'static str| {
        with(&move |file| {
            file.data_dir = "other".into();
            file.access_log.format = LogFormat::Combined;
            file.access_log.to = LogTarget::File(path.into());
        })
    };
    for (file, text) in [
        (file.clone(), "written by another release"),
        (with(&|file| file.data_dir = "file".into()), "is a file, and `data_dir`"),
        (log("nowhere/access.log"), "nowhere/access.log cannot be opened: its folder is missing"),
        (log("file/access.log"), "its folder is a file"),
        (log("folder"), "it is a folder"),
    ] {
        let [found] = &check(&file, base)[..] else { panic!("{text}") };
        assert!(found.to_string().contains(text), "{found}");
        let of_start = started(&file, base).await.unwrap_err();
        assert_eq!(found.exit_code(), of_start.exit_code(), "{of_start}");
    }
    for damaged in ["", "devanture\n", "devanture \u{1}\n"] {
        std::fs::write(&format, damaged).unwrap();
        let [found] = &check(&file, base)[..] else { panic!("{damaged:?}") };
        let found = found.to_string();
        assert!(found.contains("it is damaged: write `devanture 1` into it"), "{found}");
    }
    std::fs::write(&format, "devanture 1").unwrap();
    assert!(check(&file, base).is_empty(), "it was written by hand");
    std::fs::remove_file(format).unwrap();
    assert!(check(&file, base).is_empty());
    assert!(!base.join("data/format").exists(), "a check writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_catalog_is_one_sentence_without_the_text_of_a_panic() {
    const PAGE_BYTES: usize = 4_096;
    let edge = edge().in_a_process().with_app("shop", &[("index.html", b"hi")]).start().await;
    let (folder, _file) = edge.stopped().await;
    let catalog = folder.path().join("data/catalog.redb");
    let written = std::fs::read(&catalog).unwrap();
    let mut refused = 0;
    let pages = written.chunks(PAGE_BYTES).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    for (page, _) in pages {
        let mut bytes = written.clone();
        bytes[page * PAGE_BYTES..][..PAGE_BYTES].fill(0xff);
        std::fs::write(&catalog, bytes).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
        let list = command.args(["token", "list", "--config", "edge.toml"]).current_dir(folder.path());
        let output = list.output().await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("panicked"), "page {page}: {text}");
        refused += usize::from(text.contains("catalog.redb") && output.status.code() != Some(0));
    }
    assert!(refused > 0);
}
