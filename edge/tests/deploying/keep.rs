//! Garbage collection: referenced data stays, old data is removed, and removals are reported.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devanture_config::api::{
    BeginDeploy, CollectReport, DeployBegun, DeployOptions, DeployReport, History, Scope, WhyCollected,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::{Digest, VersionId};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, Setup, edge, eventually, got, manifest};

/// Edge that keeps the newest versions by number alone, has no grace period, and collects on request. Background
/// compression is off, since recompression would change the bytes to collect.
pub(crate) fn keeping(keep_versions: u64) -> Setup {
    let retention = format!("[retention]\nkeep_versions = {keep_versions}\nkeep_days = 0\ncollect_every_s = 0");
    edge().with_limit("grace_ms_max", 0).with_toml(&format!("{retention}\n[compress]\nbackground = false"))
}

/// Every file below a data folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// Sets the time of every stored file to the earliest possible time.
pub(crate) fn age(edge: &RunningEdge) {
    for kind in ["blobs", "manifests"] {
        for path in files_in(&edge.data_dir().join(kind)) {
            std::fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
}

/// Names of the files of one kind.
fn names(edge: &RunningEdge, kind: &str) -> BTreeSet<String> {
    let files = files_in(&edge.data_dir().join(kind));
    files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn has_blob(edge: &RunningEdge, bytes: &[u8]) -> bool {
    names(edge, "blobs").contains(&Digest::of(bytes).to_string())
}

pub(crate) async fn collect(edge: &RunningEdge, query: &str) -> CollectReport {
    got(edge.api(Method::POST, &format!("/v1/gc{query}"))).await.json()
}

fn taken(report: &CollectReport) -> BTreeSet<VersionId> {
    report.versions.iter().map(|version| version.version).collect()
}

pub(crate) async fn api(edge: &RunningEdge, method: Method, path: &str, body: Value) -> Got {
    let request = edge.api(method, &format!("/v1/apps/{path}"));
    got(if body.is_null() { request } else { request.json(&body) }).await
}

async fn switch(edge: &RunningEdge, environment: &str, version: VersionId) -> Got {
    let path = format!("shop/environments/{environment}/switch");
    api(edge, Method::POST, &path, json!({ "version": version })).await
}

async fn store(edge: &RunningEdge, app: &str, files: Files<'_>) -> DeployReport {
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    edge.try_push(app, "prod", begin, files).await.unwrap()
}

/// Compressible, so that variants exist.
fn long(text: &str) -> Vec<u8> {
    format!("<!doctype html><title>{text}</title>{}", "<p>a text that compresses well</p>\n".repeat(60)).into_bytes()
}

#[tokio::test]
async fn versions_beyond_what_is_kept_go_with_their_files_and_no_others() {
    let edge = keeping(2).start().await;
    let page = |number: usize| long(&format!("page {number}"));
    let mut pushed = Vec::new();
    for number in 1..=5 {
        let page = page(number);
        pushed.push(edge.push("shop", &[("index.html", &page), ("all.css", b"all")]).await.version);
    }
    // Another app has the first page, too, and learns nothing of the removal.
    edge.push("other", &[("index.html", &page(1))]).await;
    age(&edge);
    let foreseen = collect(&edge, "?dry_run=true").await;
    let expected: BTreeSet<VersionId> = pushed[..3].iter().copied().collect();
    assert!(foreseen.dry_run && foreseen.files > 0 && foreseen.bytes > 0);
    assert_eq!(taken(&foreseen), expected);
    assert!(foreseen.versions.iter().all(|one| one.why == WhyCollected::Retention && one.app.as_str() == "shop"));
    assert!(has_blob(&edge, &page(2)), "a dry run does nothing");
    let done = collect(&edge, "").await;
    assert_eq!((done.versions, done.files, done.bytes), (foreseen.versions, foreseen.files, foreseen.bytes));
    let stored =
        [has_blob(&edge, &page(1)), has_blob(&edge, &page(2)), has_blob(&edge, &page(3)), has_blob(&edge, b"all")];
    assert_eq!(stored, [true, false, false, true]);
    let gone = Digest::of(&page(2)).to_string();
    assert!(names(&edge, "variants").iter().all(|name| !name.starts_with(&gone)));
    let short = pushed[0].short();
    assert!(
        edge.visit(Method::GET, &format!("{short}--shop.localhost"), "/").send().await.is_err_and(|_| true)
            || edge.get(&format!("{short}--shop.localhost"), "/").await.status == 404
    );
    assert_eq!(edge.get("other.localhost", "/").await.body, page(1));
    // The history contains the removed version, and so does the response to a request for the version.
    let history: History = api(&edge, Method::GET, "shop/environments/prod/history", Value::Null).await.json();
    assert_eq!(history.collected.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!((history.deploys.len(), history.deleted), (5, Vec::new()));
    assert_eq!(switch(&edge, "prod", pushed[0]).await.code(), Code::VersionCollected);
    assert_eq!(switch(&edge, "staging", pushed[1]).await.problem().status, 410);
    let rollback = json!({ "version": pushed[1].short() });
    assert_eq!(
        api(&edge, Method::POST, "shop/environments/prod/rollback", rollback).await.code(),
        Code::VersionCollected
    );
    let alias = api(&edge, Method::PUT, "shop/aliases/old", json!({ "version": pushed[1] })).await;
    assert_eq!(alias.code(), Code::VersionCollected);
    let elsewhere = json!({ "version": pushed[1] });
    assert_eq!(api(&edge, Method::POST, "other/environments/prod/switch", elsewhere).await.code(), Code::NotFound);
    // A rollback goes to a remaining version, and a second collection finds nothing.
    assert_eq!(api(&edge, Method::POST, "shop/environments/prod/rollback", Value::Null).await.status, 200);
    age(&edge);
    assert_eq!(collect(&edge, "").await.versions, []);
    // The next process agrees; pushed again, the version exists again.
    let edge = edge.restart().await;
    assert_eq!(switch(&edge, "prod", pushed[1]).await.code(), Code::VersionCollected);
    let again = edge.push("shop", &[("index.html", &page(2)), ("all.css", b"all")]).await;
    assert_eq!((again.version, again.files.new), (pushed[1], 1));
    assert_eq!(edge.get("shop.localhost", "/").await.body, page(2));
    let history: History = api(&edge, Method::GET, "shop/environments/prod/history", Value::Null).await.json();
    assert!(!history.collected.contains(&pushed[1]));
    edge.stop().await;
}

/// The version id is the same as before, so that an old signature would be valid.
#[tokio::test]
async fn a_withdrawn_path_stays_withdrawn_where_its_version_was_collected_and_is_pushed_again() {
    let edge = keeping(2).start().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"one"), ("salaries.pdf", b"secret")];
    let withdraw = async |path: &str| {
        assert_eq!(api(&edge, Method::POST, "shop/withdrawn", json!({ "path": path })).await.status, 200, "{path}");
    };
    let one = edge.push("shop", files).await.version;
    withdraw("/salaries.pdf").await;
    for text in [&b"two"[..], b"three", b"four"] {
        edge.push("shop", &[("index.html", text)]).await;
    }
    age(&edge);
    assert!(taken(&collect(&edge, "").await).contains(&one));
    // The next withdrawal drops entries that no longer hide a file.
    withdraw("/other.txt").await;
    assert_eq!(store(&edge, "shop", files).await.version, one);
    // The age counts from now, so that the next collection skips the version.
    assert!(!taken(&collect(&edge, "").await).contains(&one));
    assert_eq!(switch(&edge, "prod", one).await.status, 200);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    assert_eq!(edge.get("shop.localhost", "/salaries.pdf").await.status, 404);
    // Another version is unaffected.
    edge.push("shop", &[("index.html", b"five"), ("salaries.pdf", b"public")]).await;
    assert_eq!(edge.get("shop.localhost", "/salaries.pdf").await.text(), "public");
    edge.stop().await;
}

#[tokio::test]
async fn what_is_live_aliased_or_gone_back_to_stays_whatever_its_age() {
    let edge = keeping(1).start().await;
    let mut pushed = Vec::new();
    for text in [&b"one"[..], b"two", b"three", b"four", b"five", b"six"] {
        pushed.push(edge.push("shop", &[("index.html", text)]).await.version);
    }
    assert_eq!(switch(&edge, "staging", pushed[0]).await.status, 200);
    assert_eq!(switch(&edge, "staging", pushed[1]).await.status, 200);
    assert_eq!(api(&edge, Method::PUT, "shop/aliases/old", json!({ "version": pushed[2] })).await.status, 200);
    age(&edge);
    // The rollback target of staging is version one, and of prod version five; version four is unreferenced.
    assert_eq!(taken(&collect(&edge, "").await), [pushed[3]].into());
    assert_eq!(edge.get("staging--shop.localhost", "/").await.text(), "two");
    assert_eq!(edge.get("old--shop.localhost", "/").await.text(), "three");
    for (environment, text) in [("prod", "five"), ("staging", "one")] {
        let path = format!("shop/environments/{environment}/rollback");
        assert_eq!(api(&edge, Method::POST, &path, Value::Null).await.status, 200);
        let host = if environment == "prod" { "shop.localhost" } else { "staging--shop.localhost" };
        assert_eq!(edge.get(host, "/").await.text(), text);
    }
    assert_eq!(api(&edge, Method::DELETE, "shop/aliases/old", Value::Null).await.status, 204);
    // The rollback target of prod is now version three; versions two and six, recently live, are unreferenced.
    assert_eq!(taken(&collect(&edge, "").await), [pushed[1], pushed[5]].into());
    edge.stop().await;
}

#[tokio::test]
async fn law_10_what_was_live_within_the_grace_period_is_not_collected() {
    let retention = "[retention]\nkeep_versions = 1\nkeep_days = 0\ncollect_every_s = 0";
    let edge = edge().with_toml(retention).start().await;
    for (name, text) in [("app-4f2a91b1.js", "one"), ("app-4f2a91b2.js", "two"), ("app-4f2a91b3.js", "three")] {
        edge.push("shop", &[("index.html", text.as_bytes()), (name, text.as_bytes())]).await;
    }
    age(&edge);
    let report = collect(&edge, "").await;
    assert_eq!((report.versions, report.files), (Vec::new(), 0));
    assert_eq!(edge.get("shop.localhost", "/app-4f2a91b1.js").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn what_a_client_left_that_is_gone_is_collected() {
    let edge = keeping(0).with_limit("push_idle_ms_max", 1_000).start().await;
    edge.push("shop", &[("index.html", b"home")]).await;
    let files: Files<'_> = &[("index.html", b"home"), ("big.txt", b"left behind"), ("other.txt", b"never sent")];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let begun: DeployBegun =
        got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys").json(&begin)).await.json();
    let put = format!("/v1/apps/shop/blobs/{}?deploy={}", Digest::of(b"left behind"), begun.deploy);
    assert_eq!(got(edge.api(Method::PUT, &put).body("left behind")).await.status, 204);
    // A running push holds the uploaded files.
    age(&edge);
    assert_eq!(collect(&edge, "").await.files, 0);
    assert!(has_blob(&edge, b"left behind"));
    eventually("the push is forgotten", async || {
        age(&edge);
        collect(&edge, "").await;
        !has_blob(&edge, b"left behind")
    })
    .await;
    assert!(has_blob(&edge, b"home"));
    let finish = got(edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", begun.deploy))).await;
    assert_eq!(finish.code(), Code::NotFound);
    // The restarted push must upload every missing file.
    let again: DeployBegun =
        got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys").json(&begin)).await.json();
    let missing: BTreeSet<Digest> = again.missing.into_iter().collect();
    assert_eq!(missing, [Digest::of(b"left behind"), Digest::of(b"never sent")].into());
    edge.stop().await;
}

/// Also if the source version is removed meanwhile.
#[tokio::test]
async fn a_push_keeps_what_it_was_reported_to_be_there() {
    let edge = keeping(1).start().await;
    edge.push("shop", &[("index.html", b"one"), ("kept.txt", b"kept")]).await;
    let files: Files<'_> = &[("index.html", b"four"), ("kept.txt", b"kept")];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let begun: DeployBegun =
        got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys").json(&begin)).await.json();
    assert_eq!(begun.missing, [Digest::of(b"four")]);
    edge.push("shop", &[("index.html", b"two")]).await;
    edge.push("shop", &[("index.html", b"three")]).await;
    age(&edge);
    assert_eq!(collect(&edge, "").await.versions.len(), 1);
    assert!(has_blob(&edge, b"kept") && !has_blob(&edge, b"one"));
    let put = format!("/v1/apps/shop/blobs/{}?deploy={}", Digest::of(b"four"), begun.deploy);
    assert_eq!(got(edge.api(Method::PUT, &put).body("four")).await.status, 204);
    let finish = edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", begun.deploy));
    // An older push does not go live; the version is stored completely.
    assert_eq!(got(finish).await.code(), Code::Superseded);
    assert_eq!(edge.get(&format!("{}--shop.localhost", begun.version.short()), "/kept.txt").await.text(), "kept");
    edge.stop().await;
}

/// Files of another app are on the disk; an app whose copy was collected must upload the files again.
#[tokio::test]
async fn law_11_an_app_whose_file_was_collected_does_not_learn_that_another_has_it() {
    let edge = keeping(1).start().await;
    edge.push("other", &[("index.html", b"shared")]).await;
    for text in [&b"shared"[..], b"two", b"three"] {
        edge.push("shop", &[("index.html", text)]).await;
    }
    let missing = async || {
        let files: Files<'_> = &[("index.html", b"shared"), ("new.txt", b"three")];
        let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
        let begin = edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys").json(&begin);
        got(begin).await.json::<DeployBegun>().missing
    };
    assert_eq!(missing().await, [], "a version of it has both");
    age(&edge);
    assert_eq!(collect(&edge, "").await.versions.len(), 1);
    assert!(has_blob(&edge, b"shared"));
    assert_eq!(missing().await, [Digest::of(b"shared")]);
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_collects_by_itself() {
    let retention = "[retention]\nkeep_versions = 1\nkeep_days = 0\ncollect_every_s = 1";
    let edge = edge().with_limit("grace_ms_max", 0).with_toml(retention).start().await;
    for text in [&b"one"[..], b"two", b"three"] {
        edge.push("shop", &[("index.html", text)]).await;
    }
    eventually("the first version is collected", async || !has_blob(&edge, b"one")).await;
    assert!(has_blob(&edge, b"two") && has_blob(&edge, b"three"));
    // Removals are counted at the end of the collection.
    eventually("the metrics tell of it", async || {
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        let names = ["collections", "collected_versions", "collected_files", "collected_bytes"];
        names.iter().all(|name| metrics.lines().any(|line| line.starts_with(&format!("devanture_{name}_total"))))
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn a_fingerprinted_name_keeps_its_word_when_its_version_was_collected() {
    let edge = keeping(1).start().await;
    edge.push("shop", &[("app-4f2a91bc.js", b"one")]).await;
    edge.push("shop", &[("index.html", b"two")]).await;
    edge.push("shop", &[("index.html", b"three")]).await;
    age(&edge);
    assert_eq!(collect(&edge, "").await.versions.len(), 1);
    assert!(!has_blob(&edge, b"one"));
    let edge = edge.restart().await;
    let files: Files<'_> = &[("app-4f2a91bc.js", b"other")];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let refused: Box<Problem> = edge.try_push("shop", "prod", begin, files).await.unwrap_err();
    assert_eq!(refused.code, Code::FingerprintReused);
    edge.stop().await;
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_holds_every_blob_until_it_is_there_again() {
    let edge = keeping(0).start().await;
    let version = edge.push("shop", &[("index.html", b"home")]).await.version;
    let path = edge.data_dir().join(format!("manifests/{}/{version}.json", &version.to_string()[..2]));
    store(&edge, "shop", &[("a.txt", b"stored alone")]).await;
    std::fs::remove_file(&path).unwrap();
    age(&edge);
    let report = collect(&edge, "").await;
    assert_eq!((report.unreadable, report.files), (vec![version], 0));
    assert!(has_blob(&edge, b"home"));
    // A damaged file is quarantined, and old quarantined files are removed.
    edge.push("shop", &[("index.html", b"home")]).await;
    assert!(collect(&edge, "").await.unreadable.is_empty());
    std::fs::File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
    assert_eq!(collect(&edge, "").await.unreadable, [version]);
    assert_eq!(names(&edge, "quarantine").len(), 1);
    eventually("the quarantine is empty", async || {
        collect(&edge, "").await;
        names(&edge, "quarantine").is_empty()
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn only_who_runs_the_edge_collects() {
    let edge = keeping(1).with_app("shop", &[("index.html", b"home")]).start().await;
    for (token, code) in [
        (edge.token_for(Scope::Admin, Some("shop"), None).await, Code::Forbidden),
        (edge.token(Scope::Promote).await, Code::Forbidden),
    ] {
        assert_eq!(got(edge.ask(Method::POST, "/v1/gc", &token)).await.code(), code);
    }
    assert_eq!(got(edge.api(Method::GET, "/v1/gc")).await.code(), Code::MethodNotAllowed);
    assert_eq!(got(edge.api(Method::POST, "/v1/gc?dry_run=perhaps")).await.code(), Code::BadRequest);
    edge.stop().await;
}

#[tokio::test]
async fn a_limit_of_one_pass_leaves_the_rest_to_the_next() {
    let edge = keeping(1).with_limit("collect_versions_max", 2).with_limit("collect_files_max", 1).start().await;
    let mut pushed = Vec::new();
    for text in [&b"one"[..], b"two", b"three", b"four", b"five", b"six"] {
        pushed.push(edge.push("shop", &[("index.html", text)]).await.version);
    }
    age(&edge);
    let first = collect(&edge, "").await;
    assert_eq!((taken(&first), first.files, first.more), (pushed[..2].iter().copied().collect(), 1, true));
    for _ in 0..8 {
        collect(&edge, "").await;
    }
    let last = collect(&edge, "").await;
    assert_eq!((last.files, last.more), (0, false));
    assert_eq!(names(&edge, "blobs"), [&b"five"[..], b"six"].map(|text| Digest::of(text).to_string()).into());
    edge.stop().await;
}

#[tokio::test]
async fn a_push_that_mends_a_version_mends_it_wherever_it_is_live() {
    let edge = edge().start().await;
    let version = edge.push("shop", &[("index.html", b"home")]).await.version;
    assert_eq!(switch(&edge, "staging", version).await.status, 200);
    assert_eq!(api(&edge, Method::PUT, "shop/aliases/demo", json!({ "version": version })).await.status, 200);
    edge.push("other", &[("index.html", b"home")]).await;
    let path = edge.data_dir().join(format!("manifests/{}/{version}.json", &version.to_string()[..2]));
    std::fs::remove_file(&path).unwrap();
    let edge = edge.restart().await;
    let hosts = ["shop.localhost", "staging--shop.localhost", "demo--shop.localhost", "other.localhost"];
    for host in hosts {
        assert_eq!(edge.get(host, "/").await.status, 503, "{host}");
    }
    edge.push("shop", &[("index.html", b"home")]).await;
    for host in hosts {
        eventually("it is served again", async || edge.get(host, "/").await.body == b"home"[..]).await;
    }
    edge.stop().await;
}
