//! Damaged or missing stored files: only the paths of those files answer 503.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use devanture_config::api::{BeginDeploy, DeployOptions, RepairRequest, Status};
use devanture_config::problem::Code;
use devanture_config::{Digest, Manifest};
use devanture_edge::server::Safekeeping;
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::s3::Variables;
use http::Method;
use serde_json::json;

use crate::support::{RunningEdge, edge, eventually, got, manifest, try_got};
use crate::upkeep::safekeeping::{back_up, base, verify};
use crate::upkeep::switch;

const HOST: &str = "shop.localhost";
const PAGE: &[u8] = b"<p>home";
/// Incompressible photo, and so without encoded variants.
const PHOTO: &[u8] = b"\x89PNG\r\n\x1a\n a photo";

fn blob(edge: &RunningEdge, bytes: &[u8]) -> PathBuf {
    let name = Digest::of(bytes).to_string();
    edge.data_dir().join("blobs").join(&name[..2]).join(&name)
}

async fn status(edge: &RunningEdge) -> Status {
    status_of(edge, "shop").await
}

async fn status_of(edge: &RunningEdge, app: &str) -> Status {
    got(edge.api(Method::GET, &format!("/v1/apps/{app}/environments/prod"))).await.json()
}

async fn readiness(edge: &RunningEdge) -> String {
    let ready = got(edge.api(Method::GET, "/health/ready")).await;
    assert_eq!(ready.status, 200);
    ready.text()
}

async fn codes<const N: usize>(edge: &RunningEdge, paths: [&str; N]) -> [u16; N] {
    let mut codes = [0; N];
    for (code, path) in codes.iter_mut().zip(paths) {
        *code = edge.get(HOST, path).await.status.as_u16();
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_file_costs_its_own_path_alone_until_it_is_back() {
    let edge = edge().in_a_process().start().await;
    let files: [(&str, &[u8]); 3] = [("index.html", PAGE), ("photo.png", PHOTO), ("other.png", b"other")];
    let version = edge.push("shop", &files).await.version;
    std::fs::remove_file(blob(&edge, PHOTO)).unwrap();
    std::fs::write(blob(&edge, b"other"), b"OTHER").unwrap();
    let edge = edge.restart().await;
    assert_eq!(codes(&edge, ["/", "/photo.png", "/other.png"]).await, [200, 503, 503]);
    let expected = format!("damaged: version {} of shop in prod lacks 2 of its files", version.short());
    assert!(readiness(&edge).await.contains(&expected), "{}", readiness(&edge).await);
    let damaged = status(&edge).await.damaged.unwrap();
    assert_eq!((damaged.version, damaged.count), (Some(version), 2));
    assert_eq!(damaged.files, ["other.png", "photo.png"]);
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains(r#"devanture_damaged_files{app="shop",environment="prod"} 2"#), "{metrics}");

    // One file is restored by hand, the other by a push of the same files.
    std::fs::write(blob(&edge, PHOTO), PHOTO).unwrap();
    eventually("the photo is served", async || codes(&edge, ["/photo.png"]).await == [200]).await;
    assert_eq!(status(&edge).await.damaged.unwrap().files, ["other.png"]);
    edge.push("shop", &files).await;
    eventually("the other one is served", async || codes(&edge, ["/other.png"]).await == [200]).await;
    assert_eq!((readiness(&edge).await.as_str(), status(&edge).await.damaged), ("ready\n", None));
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(!metrics.contains("devanture_damaged_files{"), "{metrics}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_restored_from_its_encodings() {
    let edge = edge().start().await;
    let script = "const greeting = 'hello';\n".repeat(200);
    edge.push("shop", &[("index.html", PAGE), ("app.js", script.as_bytes())]).await;
    std::fs::write(blob(&edge, script.as_bytes()), "damaged").unwrap();
    let edge = edge.restart().await;
    assert_eq!(edge.get(HOST, "/app.js").await.text(), script);
    assert_eq!(std::fs::read_to_string(blob(&edge, script.as_bytes())).unwrap(), script);
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}

/// A changed length is noticed by the next read; changed bytes are noticed at the next check of the page cache.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_while_it_is_served_costs_its_own_path_alone() {
    let edge =
        edge().with_limit("memory_bytes_max", 0).with_toml("[compress]\nbackground = false\ndictionaries = false");
    let edge = edge.start().await;
    let video: Vec<u8> = (0..200_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let script = "const greeting = 'hello';\n".repeat(9_000);
    let files: [(&str, &[u8]); 3] = [("index.html", PAGE), ("a.mp4", &video), ("app.js", script.as_bytes())];
    edge.push("shop", &files).await;
    assert_eq!(edge.get(HOST, "/a.mp4").await.body, video);
    for bytes in [&video, script.as_bytes()] {
        let file = std::fs::OpenOptions::new().write(true).open(blob(&edge, bytes)).unwrap();
        file.set_len(100_000).unwrap();
    }
    // A response ends before the missing bytes, until the version is loaded without the file.
    assert!(try_got(edge.visit(Method::GET, HOST, "/a.mp4")).await.is_err());
    eventually("its path answers 503", async || readiness(&edge).await.contains("lacks 1 of its files")).await;
    assert_eq!(codes(&edge, ["/", "/a.mp4", "/app.js"]).await, [200, 503, 200]);
    assert_eq!(edge.get(HOST, "/app.js").await.text(), script, "restored from an encoding");
    edge.push("shop", &files).await;
    eventually("it is served again", async || codes(&edge, ["/a.mp4"]).await == [200]).await;
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}

/// A loaded file is served unchanged; a restart would answer 503.
#[tokio::test(flavor = "multi_thread")]
async fn damage_of_what_is_in_memory_is_seen_once_a_check_has_found_it() {
    let edge = edge().in_a_process().with_app("blog", &[("index.html", b"<p>blog")]).start().await;
    let files: [(&str, &[u8]); 3] = [("index.html", PAGE), ("photo.png", PHOTO), ("other.png", b"other")];
    let version = edge.push("shop", &files).await.version;
    std::fs::remove_file(blob(&edge, PHOTO)).unwrap();
    std::fs::write(blob(&edge, b"other"), b"OTHER").unwrap();
    assert_eq!(readiness(&edge).await, "ready\n");
    assert_eq!(verify(&edge, None).await.damaged.len(), 1);
    let expected =
        format!("damaged: version {} of shop in prod serves 2 of its files from memory alone", version.short());
    eventually("readiness has it", async || readiness(&edge).await.contains(&expected)).await;
    let damaged = status(&edge).await.damaged.unwrap();
    assert_eq!((damaged.version, damaged.count, damaged.in_memory), (Some(version), 2, true));
    assert_eq!(damaged.files, ["other.png", "photo.png"]);
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains(r#"devanture_damaged_files{app="shop",environment="prod"} 2"#), "{metrics}");
    assert!(!metrics.contains("devanture_unloaded_versions{") && !metrics.contains(r#"files{app="blog""#), "{metrics}");
    assert_eq!(codes(&edge, ["/", "/photo.png", "/other.png"]).await, [200, 200, 200]);

    // One file is restored by hand, the other by a push of the same files.
    std::fs::write(blob(&edge, PHOTO), PHOTO).unwrap();
    eventually("one is whole", async || status(&edge).await.damaged.is_some_and(|d| d.files == ["other.png"])).await;
    edge.push("shop", &files).await;
    eventually("all is whole", async || readiness(&edge).await == "ready\n").await;
    assert_eq!(status(&edge).await.damaged, None);

    // Without the manifest, no file of the version could be loaded.
    let name = version.to_string();
    let manifest = edge.data_dir().join("manifests").join(&name[..2]).join(format!("{name}.json"));
    std::fs::write(&manifest, b"{}").unwrap();
    verify(&edge, None).await;
    let expected = "is served from memory, and cannot be loaded again";
    eventually("readiness has it", async || readiness(&edge).await.contains(expected)).await;
    let damaged = status(&edge).await.damaged.unwrap();
    assert!(damaged.in_memory && damaged.error.is_some(), "{damaged:?}");
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains(r#"devanture_damaged_files{app="shop",environment="prod"} 1"#), "{metrics}");
    assert!(!metrics.contains("devanture_unloaded_versions{"), "{metrics}");
    assert_eq!(codes(&edge, ["/", "/photo.png", "/other.png"]).await, [200, 200, 200]);
    edge.push("shop", &files).await;
    eventually("it is whole", async || readiness(&edge).await == "ready\n").await;
    edge.stop().await;
}

/// Damage that a check finds in uncached files ends the serving of the files, and a file is restored from an encoding
/// with the same content.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_check_finds_of_files_on_the_disk_costs_their_own_paths_alone() {
    let edge =
        edge().with_limit("memory_bytes_max", 0).with_toml("[compress]\nbackground = false\ndictionaries = false");
    let edge = edge.start().await;
    let script = "const greeting = 'hello';\n".repeat(200);
    let files: [(&str, &[u8]); 3] = [("index.html", PAGE), ("photo.png", PHOTO), ("app.js", script.as_bytes())];
    edge.push("shop", &files).await;
    for bytes in [PHOTO, script.as_bytes()] {
        std::fs::write(blob(&edge, bytes), vec![b'x'; bytes.len()]).unwrap();
    }
    assert_eq!(verify(&edge, None).await.damaged[0].count, 2);
    eventually("one is not served", async || readiness(&edge).await.contains("lacks 1 of its files")).await;
    assert_eq!(codes(&edge, ["/", "/photo.png", "/app.js"]).await, [200, 503, 200]);
    assert_eq!(edge.get(HOST, "/app.js").await.text(), script);
    edge.push("shop", &files).await;
    eventually("it is served again", async || codes(&edge, ["/photo.png"]).await == [200]).await;
    eventually("all is whole", async || readiness(&edge).await == "ready\n").await;
    edge.stop().await;
}

/// Health reported "damaged" for a moment after a repair, and "ready" after a check that had found damage.
#[tokio::test(flavor = "multi_thread")]
async fn health_knows_what_a_check_or_a_repair_has_found_when_that_answers() {
    for memory_bytes_max in [0, 100_000_000] {
        let edge = edge().with_limit("memory_bytes_max", memory_bytes_max);
        let edge = edge.with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
        edge.push("shop", &[("index.html", PAGE), ("photo.png", PHOTO)]).await;
        let backups = tempfile::tempdir().unwrap();
        back_up(&edge, backups.path(), None, false).await;
        let from = Some(backups.path().to_str().unwrap().to_owned());
        let request = RepairRequest { app: None, read_bucket: false, from, variables: Variables::new() };
        for round in 0..6 {
            match round % 2 {
                0 => std::fs::remove_file(blob(&edge, PHOTO)).unwrap(),
                _ => std::fs::write(blob(&edge, PHOTO), vec![b'x'; PHOTO.len()]).unwrap(),
            }
            assert_eq!(verify(&edge, None).await.damaged.len(), 1);
            let ready = readiness(&edge).await;
            assert!(ready.contains("damaged: version"), "{memory_bytes_max}: {ready}");
            let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
            assert_eq!(stores.repair(&request).await.unwrap().repaired, 1);
            assert_eq!(readiness(&edge).await, "ready\n", "{memory_bytes_max}");
            assert_eq!(codes(&edge, ["/", "/photo.png"]).await, [200, 200]);
        }
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_loaded_is_reported_and_tried_again() {
    let edge = edge().in_a_process().start().await;
    let version = edge.push("shop", &[("index.html", PAGE)]).await.version;
    let name = version.to_string();
    let manifest = edge.data_dir().join("manifests").join(&name[..2]).join(format!("{name}.json"));
    let aside = edge.data_dir().join("aside");
    std::fs::rename(&manifest, &aside).unwrap();
    let edge = edge.restart().await;
    assert_eq!(codes(&edge, ["/"]).await, [503]);
    let expected = format!("damaged: version {} of shop in prod cannot be loaded", version.short());
    assert!(readiness(&edge).await.contains(&expected), "{}", readiness(&edge).await);
    assert!(status(&edge).await.damaged.unwrap().error.is_some());
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains(r#"devanture_unloaded_versions{app="shop",environment="prod"} 1"#), "{metrics}");
    std::fs::rename(&aside, &manifest).unwrap();
    eventually("it is served", async || codes(&edge, ["/"]).await == [200]).await;
    assert_eq!((readiness(&edge).await.as_str(), status(&edge).await.damaged), ("ready\n", None));
    edge.stop().await;
}

/// The rules may require a password, so that the version is not served without the rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_a_damaged_rule_file_is_not_served_and_the_file_is_named() {
    let edge = edge().in_a_process().start().await;
    for (app, name, rules) in [
        ("guarded", "_headers", &b"/secret.html\n  Basic-Auth: ada:password\n"[..]),
        ("moved", "_redirects", b"/secret.html /login 302!\n"),
    ] {
        let files: [(&str, &[u8]); 3] = [("index.html", PAGE), ("secret.html", b"secret"), (name, rules)];
        let version = edge.push(app, &files).await.version;
        std::fs::write(blob(&edge, rules), b"damaged").unwrap();
        assert_eq!(status_of(&edge, app).await.damaged, None, "{version} is in memory");
    }
    let edge = edge.restart().await;
    for (app, name) in [("guarded", "_headers"), ("moved", "_redirects")] {
        let host = format!("{app}.localhost");
        for path in ["/", "/secret.html"] {
            assert_eq!(edge.get(&host, path).await.status, 503, "{app} {path}");
        }
        let damaged = status_of(&edge, app).await.damaged.unwrap();
        assert_eq!((damaged.count, damaged.files), (1, vec![name.to_owned()]));
        assert!(damaged.error.unwrap().contains(&format!("its rule file `{name}` is damaged")), "{app}");
        let ready = readiness(&edge).await;
        assert!(ready.contains(&format!("cannot be loaded: its rule file {name} is damaged or missing")), "{ready}");
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        for metric in ["damaged_files", "unloaded_versions"] {
            let line = format!("devanture_{metric}{{app=\"{app}\",environment=\"prod\"}} 1");
            assert!(metrics.contains(&line), "{metrics}");
        }
    }
    // The same push repairs the file, including the rules.
    let rules: &[u8] = b"/secret.html /login 302!\n";
    edge.push("moved", &[("index.html", PAGE), ("secret.html", b"secret"), ("_redirects", rules)]).await;
    assert_eq!(edge.get("moved.localhost", "/").await.status, 200);
    assert_eq!(edge.get("moved.localhost", "/secret.html").await.status, 302);
    edge.push("guarded", &[("index.html", b"<p>new")]).await;
    assert_eq!(edge.get("guarded.localhost", "/").await.text(), "<p>new");
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}

/// A pipe without a writer would block a reader forever.
#[tokio::test(flavor = "multi_thread")]
async fn neither_a_switch_nor_the_look_at_damaged_files_waits_for_a_pipe() {
    let edge = edge().start().await;
    edge.push("shop", &[("index.html", PAGE), ("photo.png", PHOTO)]).await;
    let photo = blob(&edge, PHOTO);
    std::fs::remove_file(&photo).unwrap();
    let edge = edge.restart().await;
    assert_eq!(codes(&edge, ["/photo.png"]).await, [503]);
    assert!(std::process::Command::new("mkfifo").arg(&photo).status().unwrap().success());
    edge.push("blog", &[("index.html", b"<p>blog")]).await;
    assert_eq!(edge.get("blog.localhost", "/").await.text(), "<p>blog");
    assert_eq!(codes(&edge, ["/photo.png"]).await, [503]);
    // A blocked task would prevent the stop.
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_version_is_not_switched_to() {
    let edge = edge().start().await;
    let files: [(&str, &[u8]); 2] = [("index.html", PAGE), ("photo.png", PHOTO)];
    let damaged = edge.push("shop", &files).await.version;
    let live = edge.push("shop", &[("index.html", b"<p>new")]).await.version;
    std::fs::remove_file(blob(&edge, PHOTO)).unwrap();
    let edge = edge.restart().await;
    assert!(!switch(&edge, "prod", &damaged.to_string()).await.status.is_success());
    assert_eq!(edge.live("shop").await, Some(live));
    std::fs::write(blob(&edge, PHOTO), PHOTO).unwrap();
    assert!(switch(&edge, "prod", &damaged.to_string()).await.status.is_success());
    assert_eq!(codes(&edge, ["/photo.png"]).await, [200]);
    edge.stop().await;
}

/// Changes records of the catalog while no edge runs.
async fn with_records(edge: RunningEdge, changes: impl AsyncFnOnce(&dyn Catalog) -> Vec<Change>) -> RunningEdge {
    let (folder, file) = edge.stopped().await;
    {
        let catalog = catalog::open(&folder.path().join("data/catalog.redb")).unwrap();
        let changes = changes(&*catalog).await;
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }
    RunningEdge::over(folder, file).await
}

async fn every_key(catalog: &dyn Catalog, prefix: &str) -> Vec<String> {
    catalog.list(prefix, None, false, 1_000).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_costs_one_environment_and_is_reported() {
    let edge = edge().start().await;
    for app in ["shop", "flipped", "blog"] {
        edge.push(app, &[("index.html", PAGE)]).await;
        edge.push(app, &[("index.html", PAGE), ("a.txt", b"a")]).await;
    }
    let flipped = "0".repeat(64);
    let edge = Box::pin(with_records(edge, async |catalog| {
        let garbage: Arc<[u8]> = (*b"\xff{").into();
        // The blog's live version is intact; no version of the shop is.
        let mut keys = every_key(catalog, "history/").await;
        keys.extend(["live/shop/prod", "live/blog/preview", "settings/blog/prod/0000000000000001"].map(str::to_owned));
        let mut changes: Vec<_> = keys.into_iter().map(|key| Change::Put(key, Arc::clone(&garbage))).collect();
        let live = catalog.get("live/flipped/prod").await.unwrap().unwrap();
        let mut live: serde_json::Value = serde_json::from_slice(&live.value).unwrap();
        live["version"] = flipped.clone().into();
        changes.push(Change::Put("live/flipped/prod".to_owned(), serde_json::to_vec(&live).unwrap().into()));
        changes
    }))
    .await;
    assert_eq!(edge.get("blog.localhost", "/").await.status, 200);
    assert_eq!(edge.get("shop.localhost", "/").await.status, 503);
    assert_eq!(edge.get("flipped.localhost", "/").await.status, 503);
    let ready = readiness(&edge).await;
    assert!(ready.contains("damaged: what is live of shop in prod cannot be loaded"), "{ready}");
    assert!(ready.contains("damaged: version 000000000000 of flipped in prod cannot be loaded"), "{ready}");
    assert!(!ready.contains("blog in prod"), "{ready}");
    edge.push("blog", &[("index.html", b"<p>new")]).await;
    assert_eq!(edge.get("blog.localhost", "/").await.text(), "<p>new");
    edge.push("flipped", &[("index.html", b"<p>new")]).await;
    eventually("it is live", async || edge.get("flipped.localhost", "/").await.text() == "<p>new").await;
    // Of this app nothing is known, neither by the pointer nor by the history.
    assert_eq!(status_of(&edge, "shop").await.version, None);
    let report = edge.push("shop", &[("index.html", b"<p>new")]).await;
    assert_eq!((report.switched, report.previous), (true, None));
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "<p>new");
    assert!(!readiness(&edge).await.contains("shop"), "{}", readiness(&edge).await);
    let collected = got(edge.api(Method::POST, "/v1/gc")).await;
    assert_eq!(collected.status, 200);
    edge.stop().await;
}

/// A release with stricter parsing must not take down a live version.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_release_took_is_served_without_what_todays_checks_refuse_of_it() {
    let edge = edge().with_app("shop", &[("index.html", PAGE)]).start().await;
    let [old] = &stored_versions(&edge)[..] else { panic!("one version is stored") };
    let data = edge.data_dir();
    let path = |id: &str| data.join("manifests").join(&id[..2]).join(format!("{id}.json"));
    let mut stored: serde_json::Value = serde_json::from_slice(&std::fs::read(path(old)).unwrap()).unwrap();
    let ca = "-----BEGIN CERTIFICATE-----\nMAUC\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    stored["base"] = json!({
        "upstreams": { "keyed": { "to": ["https://127.0.0.1:1"], "ca": format!("{ca}{key}") } },
        "routes": [
            { "path": "/keyed/*", "to": "keyed" },
            { "path": "/named/*", "to": "http://a..b" },
            { "path": "/nowhere/*", "to": "nowhere" },
        ],
    });
    let stored = Manifest::read(stored.to_string().as_bytes()).unwrap();
    assert!(stored.check().is_err(), "a push is refused");
    let (old, new) = (old.clone(), stored.id().to_string());
    std::fs::create_dir_all(path(&new).parent().unwrap()).unwrap();
    std::fs::write(path(&new), stored.canonical()).unwrap();
    let edge = Box::pin(with_records(edge, async |catalog| {
        let mut changes = Vec::new();
        for (key, record) in catalog.list("", None, false, usize::MAX).await.unwrap() {
            let text = String::from_utf8_lossy(&record.value).into_owned();
            if key.contains(&old) || text.contains(&old) {
                changes.push(Change::Put(key.replace(&old, &new), text.replace(&old, &new).into_bytes().into()));
            }
        }
        changes
    }))
    .await;
    assert_eq!(edge.get(HOST, "/").await.body, PAGE);
    for path in ["/keyed/a", "/named/a", "/nowhere/a"] {
        let status = edge.get(HOST, path).await.status;
        assert!(matches!(status.as_u16(), 502 | 503), "{path}: {status}");
    }
    let status = status(&edge).await;
    assert_eq!((status.version.map(|version| version.to_string()), status.damaged), (Some(new), None));
    let mistake = status.mistake.unwrap();
    assert!(mistake.contains("the upstream `keyed`: `ca`"), "{mistake}");
    let ready = readiness(&edge).await;
    assert!(ready.contains("mistake: version ") && ready.contains(&mistake), "{ready}");
    let files: &[(&str, &[u8])] = &[("index.html", PAGE), ("a.txt", b"a")];
    // The push removes the invalid routes.
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}

/// Version ids of an edge with one app.
fn stored_versions(edge: &RunningEdge) -> Vec<String> {
    let mut ids = Vec::new();
    for shard in std::fs::read_dir(edge.data_dir().join("manifests")).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            ids.push(file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    ids
}

/// The history replaces a damaged pointer, and the next switch writes the pointer again.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_pointer_that_cannot_be_read_is_written_again_by_what_goes_live_next() {
    let edge = edge().start().await;
    let apps = ["pushed", "same", "switched", "back", "deleted"];
    let (mut before, mut live) = (BTreeMap::new(), BTreeMap::new());
    for app in apps {
        before.insert(app, edge.push(app, &[("index.html", b"<p>before")]).await.version);
        live.insert(app, edge.push(app, &[("index.html", PAGE)]).await.version);
    }
    let garbage: Arc<[u8]> = (*b"\xff{").into();
    let keys = apps.map(|app| Change::Put(format!("live/{app}/prod"), Arc::clone(&garbage)));
    let edge = Box::pin(with_records(edge, async |_| keys.into())).await;
    for app in apps {
        assert_eq!(edge.get(&format!("{app}.localhost"), "/").await.status, 503, "{app}");
        assert_eq!(status_of(&edge, app).await.version, Some(live[app]), "as the history says");
    }
    let text = async |app: &str| edge.get(&format!("{app}.localhost"), "/").await.text();
    let report = edge.push("pushed", &[("index.html", b"<p>new")]).await;
    assert_eq!((report.previous, text("pushed").await.as_str()), (Some(live["pushed"]), "<p>new"));
    edge.push("same", &[("index.html", PAGE)]).await;
    assert_eq!(text("same").await.as_bytes(), PAGE);
    let path = |app: &str, verb: &str| format!("/v1/apps/{app}/environments/prod/{verb}");
    let switched = edge.api(Method::POST, &path("switched", "switch")).json(&json!({"version": live["switched"]}));
    assert_eq!(got(switched).await.status, 200);
    assert_eq!(text("switched").await.as_bytes(), PAGE);
    assert_eq!(got(edge.api(Method::POST, &path("back", "rollback")).json(&json!({}))).await.status, 200);
    assert_eq!(
        (status_of(&edge, "back").await.version, text("back").await.as_str()),
        (Some(before["back"]), "<p>before")
    );
    // A version outside the live state can be deleted, and so can the environment.
    let deleted = edge.api(Method::DELETE, &format!("/v1/apps/deleted/versions/{}", before["deleted"]));
    assert_eq!(got(deleted).await.status, 200);
    let deleted = edge.api(Method::DELETE, &format!("/v1/apps/deleted/versions/{}", live["deleted"]));
    assert_eq!(got(deleted).await.code(), Code::VersionInUse);
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/deleted/environments/prod")).await.status, 200);
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}
