//! Damaged stored files are reported and repaired; a backup written while the edge served can be restored, with equal
//! responses.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use devanture_config::Digest;
use devanture_config::api::{BackupReport, BackupRequest, BeginDeploy, RepairRequest, Scope, Status, VerifyReport};
use devanture_config::edge_toml::EdgeFile;
use devanture_control::safekeeping::{FileProgress, Restored, VerifyOptions};
use devanture_edge::server::{self, LocalError, Safekeeping};
use devanture_store::s3::Variables;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Files, RunningEdge, edge, eventually, got, manifest};

pub(super) const PAGE: &[u8] = b"<h1>hi</h1>";
pub(crate) const PHOTO: &[u8] = b"a photo, as it were";
pub(crate) const SITE: Files<'static> =
    &[("index.html", PAGE), ("photo.png", PHOTO), ("app-4f2a91bc.js", b"let a = 1;")];

pub(crate) fn base(edge: &RunningEdge) -> PathBuf {
    edge.data_dir().parent().unwrap().to_owned()
}

pub(crate) fn blob(folder: &Path, bytes: &[u8]) -> PathBuf {
    let name = Digest::of(bytes).to_string();
    folder.join("blobs").join(&name[..2]).join(name)
}

/// All files of an app, or of every app.
fn all_of(app: Option<&str>) -> VerifyOptions {
    let app = app.map(|app| app.parse().unwrap());
    VerifyOptions { app, bytes_per_second_max: u64::MAX, read_bucket: false }
}

pub(super) async fn verify(edge: &RunningEdge, app: Option<&str>) -> VerifyReport {
    let stores = Safekeeping::open(edge.file(), &base(edge)).await.unwrap();
    stores.verify(&all_of(app)).await.unwrap()
}

pub(crate) async fn back_up(edge: &RunningEdge, to: &Path, keep: Option<u32>, with_key: bool) -> BackupReport {
    let request = BackupRequest { to: to.to_str().unwrap().to_owned(), keep, with_key, variables: Variables::new() };
    Safekeeping::open(edge.file(), &base(edge)).await.unwrap().back_up(&request).await.unwrap()
}

pub(super) fn request_to(to: &str) -> BackupRequest {
    BackupRequest { to: to.to_owned(), keep: None, with_key: false, variables: Variables::new() }
}

pub(super) async fn restore(
    file: &EdgeFile,
    base: &Path,
    from: &Path,
    name: Option<&str>,
) -> Result<Restored, LocalError> {
    server::restore(file, base, &from.into(), &Variables::new(), name, &|_| {}).await
}

pub(super) async fn push_to(edge: &RunningEdge, app: &str, environment: &str, files: Files<'_>) {
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    edge.try_push(app, environment, begin, files).await.unwrap();
}

/// Responses of an edge to visitors and to the owner, without the ports, which differ.
pub(super) async fn all_answers(edge: &RunningEdge) -> Vec<String> {
    answers(edge, true).await
}

/// Like [`all_answers`], without the revisions of records, which differ in another catalog.
pub(crate) async fn answers_of_copy(edge: &RunningEdge) -> Vec<String> {
    answers(edge, false).await
}

async fn answers(edge: &RunningEdge, with_revisions: bool) -> Vec<String> {
    // With the colon: the digits alone may be part of a version id.
    let (https, admin) = (format!(":{}", edge.https().port()), format!(":{}", edge.admin().port()));
    let port = |text: &str| text.replace(&https, ":PORT").replace(&admin, ":PORT");
    let mut answers = Vec::new();
    for host in
        ["shop.localhost", "staging--shop.localhost", "feature--shop.localhost", "blog.localhost", "www.example.org"]
    {
        for path in ["/", "/photo.png", "/app-4f2a91bc.js", "/app-5a3b92cd.js", "/missing"] {
            let got = edge.get(host, path).await;
            let fields = ["etag", "last-modified", "content-type", "cache-control", "devanture-version"];
            let fields = fields.map(|name| format!("{name}: {:?}", got.headers.get(name)));
            answers.push(format!("{host}{path} {} {fields:?} {:?}", got.status, got.text()));
        }
    }
    for path in [
        "/v1/apps",
        "/v1/apps/shop/aliases",
        "/v1/apps/shop/withdrawn",
        "/v1/apps/shop/environments/prod",
        "/v1/apps/shop/environments/prod/history",
        "/v1/apps/shop/environments/prod/hostnames",
        "/v1/apps/shop/environments/prod/settings",
        "/v1/apps/shop/environments/staging",
        "/v1/apps/shop/environments/staging/history",
        "/v1/apps/blog/deleted",
    ] {
        let got = got(edge.api(Method::GET, path)).await;
        // In the tag, the record's revision precedes the hash of the response, which depends on the port.
        let tag = got.headers.get("etag").map(|tag| tag.to_str().unwrap().split('-').next().unwrap().to_owned());
        let tag = tag.filter(|_| with_revisions);
        answers.push(port(&format!("{path} {} {tag:?} {}", got.status, got.text())));
    }
    answers
}

/// Edge with a history, aliases, hostnames, secrets, and deleted objects.
pub(super) async fn lived_in() -> RunningEdge {
    let edge = edge().start().await;
    live_in(&edge).await;
    edge
}

/// Adds history, aliases, hostnames, secrets, and deleted objects to an edge.
pub(crate) async fn live_in(edge: &RunningEdge) {
    edge.push("shop", &[("index.html", b"first"), ("app-5a3b92cd.js", b"let b = 1;")]).await;
    edge.push("shop", SITE).await;
    push_to(edge, "shop", "staging", &[("index.html", b"staging")]).await;
    edge.push("blog", &[("index.html", b"blog")]).await;
    let old = edge.push("blog", &[("index.html", b"blog two")]).await.previous.unwrap();
    let version = edge.live("shop").await.unwrap();
    let shop = "/v1/apps/shop";
    for (method, path, body) in [
        (Method::PUT, format!("{shop}/aliases/feature"), json!({ "version": version })),
        (Method::PUT, format!("{shop}/environments/prod/hostnames/www.example.org"), json!({})),
        (
            Method::PATCH,
            format!("{shop}/environments/prod/settings"),
            json!({ "set": { "KEY": { "value": "hush", "secret": true }, "LEVEL": { "value": "info", "public": true } } }),
        ),
        (Method::POST, format!("{shop}/withdrawn"), json!({ "path": "/missing" })),
        (Method::DELETE, format!("/v1/apps/blog/versions/{old}"), json!({})),
        (Method::POST, format!("{shop}/environments/staging/pause"), json!({ "message": "soon" })),
    ] {
        let request = edge.api(method.clone(), &path);
        let answer = got(if method == Method::DELETE { request } else { request.json(&body) }).await;
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn damage_is_named_with_the_versions_that_it_concerns_and_a_push_repairs_it() {
    let edge = edge().start().await;
    let version = edge.push("shop", SITE).await.version;
    edge.push("blog", &[("index.html", b"blog")]).await;
    let whole = verify(&edge, None).await;
    assert!(whole.is_whole() && whole.versions == 2 && whole.files >= 6, "{whole:?}");
    assert_eq!(verify(&edge, Some("blog")).await.versions, 1);

    std::fs::write(blob(&edge.data_dir(), PHOTO), b"A PHOTO, as it were").unwrap();
    std::fs::remove_file(blob(&edge.data_dir(), PAGE)).unwrap();
    assert!(verify(&edge, Some("blog")).await.is_whole());
    let report = verify(&edge, None).await;
    let [damaged] = &report.damaged[..] else { panic!("{report:?}") };
    assert_eq!((damaged.app.as_str(), damaged.version, damaged.count), ("shop", version, 2));
    assert_eq!((damaged.files.join(" ").as_str(), damaged.manifest), ("index.html photo.png", false));
    assert_eq!(damaged.live_in.iter().map(ToString::to_string).collect::<Vec<_>>(), ["prod"]);
    assert_eq!(report.quarantined, 1, "what is damaged is set aside");
    let status: Status = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json();
    assert_eq!(status.quarantined, Some(1));
    let of_app = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let status: Status = got(edge.ask(Method::GET, "/v1/apps/shop/environments/prod", &of_app)).await.json();
    assert_eq!(status.quarantined, None, "that is of the whole edge");
    // Without the edge the findings are the same.
    let (folder, file) = edge.stopped().await;
    let stores = Safekeeping::open(&file, folder.path()).await.unwrap();
    assert_eq!(stores.verify(&all_of(None)).await.unwrap().damaged, report.damaged);
    drop(stores);

    let edge = RunningEdge::over(folder, file).await;
    edge.push("shop", SITE).await;
    assert_eq!(verify(&edge, None).await.damaged, []);
    edge.stop().await;
}

#[tokio::test]
async fn a_version_without_its_manifest_is_named_and_so_are_damaged_variants() {
    let edge = edge().with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
    // Too large for the index, even compressed.
    let text: String = (0..4_000_u32).map(|number| format!("{:x} ", number.wrapping_mul(2_654_435_761))).collect();
    let version = edge.push("shop", &[("index.html", text.as_bytes())]).await.version;
    let variants = edge.data_dir().join("variants").join(&Digest::of(text.as_bytes()).to_string()[..2]);
    let variant = std::fs::read_dir(variants).unwrap().map(|entry| entry.unwrap().path());
    let variant = variant.into_iter().find(|path| path.extension().is_some_and(|end| end == "gz")).unwrap();
    let length = std::fs::metadata(&variant).unwrap().len();
    std::fs::write(&variant, vec![0; usize::try_from(length).unwrap()]).unwrap();
    let report = verify(&edge, None).await;
    // The derived file is created again, and no version lacks a file.
    assert_eq!((report.derived, report.damaged.len(), report.is_whole()), (1, 0, true), "{report:?}");
    eventually("the variant is made again", async || variant.exists()).await;
    assert!(verify(&edge, None).await.is_whole());

    let name = version.to_string();
    std::fs::remove_file(edge.data_dir().join("manifests").join(&name[..2]).join(format!("{name}.json"))).unwrap();
    let report = verify(&edge, None).await;
    assert!(report.damaged[0].manifest && report.damaged[0].version == version, "{report:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_backup_that_is_restored_answers_and_remembers_the_same() {
    let edge = lived_in().await;
    let expected = all_answers(&edge).await;
    let backups = tempfile::tempdir().unwrap();
    let folder = backups.path().join("edge");
    let first = back_up(&edge, &folder, None, false).await;
    assert!(first.damaged.is_empty() && first.copied_files == first.files && !first.with_key, "{first:?}");
    assert!(!folder.join("snapshots").join(&first.name).join("secrets.key").exists());
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains("devanture_last_success_timestamp_seconds{task=\"backup\"}"), "{metrics}");
    // Later changes are missing; the next backup copies only the difference.
    edge.push("later", &[("index.html", b"later"), ("photo.png", PHOTO)]).await;
    let second = back_up(&edge, &folder, None, true).await;
    assert_eq!(second.copied_files, 2, "a page and a manifest: {second:?}");
    assert!(second.with_key && second.name > first.name && second.revision > first.revision);
    let token = edge.token_for(Scope::Read, Some("shop"), None).await;
    let (_old, file) = edge.stopped().await;

    let fresh = tempfile::tempdir().unwrap();
    // The second backup has the keys, the first the records.
    let restored = restore(&file, fresh.path(), &folder, Some(&second.name)).await.unwrap();
    assert!(restored.keys && restored.damaged.is_empty(), "{restored:?}");
    std::fs::remove_dir_all(fresh.path().join("data")).unwrap();
    let restored = restore(&file, fresh.path(), &folder, Some(&first.name)).await.unwrap();
    assert_eq!((restored.name.as_str(), restored.keys), (first.name.as_str(), false), "the keys are there already");
    let again = restore(&file, fresh.path(), &folder, None).await;
    assert!(again.unwrap_err().to_string().contains("has a catalog already"));
    let edge = RunningEdge::over(fresh, file).await;
    assert_eq!(all_answers(&edge).await, expected);
    assert_eq!(edge.live("later").await, None);
    // A token created after the backup is unknown, and a push continues from the restored state.
    let answer = got(edge.ask(Method::GET, "/v1/apps", &token)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let status: Status = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json();
    assert!(status.lost_secrets.is_empty(), "the secrets open");
    edge.push("shop", &[("index.html", b"after"), ("photo.png", PHOTO)]).await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "after");
    assert!(verify(&edge, None).await.is_whole());
    edge.stop().await;
}

#[tokio::test]
async fn a_pipe_or_a_link_in_the_place_of_a_stored_file_is_neither_waited_for_nor_followed() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    let places = tempfile::tempdir().unwrap();
    let (folder, elsewhere) = (places.path().join("edge"), places.path().join("elsewhere"));
    std::fs::write(&elsewhere, PHOTO).unwrap();
    back_up(&edge, &folder, None, false).await;
    let (stopped, file) = edge.stopped().await;
    for is_link in [false, true] {
        let replace = |path: &Path| {
            std::fs::remove_file(path).unwrap();
            if is_link {
                std::os::unix::fs::symlink(&elsewhere, path).unwrap();
            } else {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
        };
        let put_back = |path: &Path| {
            std::fs::remove_file(path).ok();
            std::fs::write(path, PHOTO).unwrap();
        };
        let (in_backup, own) = (blob(&folder, PHOTO), blob(&stopped.path().join("data"), PHOTO));
        replace(&in_backup);
        let fresh = tempfile::tempdir().unwrap();
        match restore(&file, fresh.path(), &folder, None).await {
            Ok(restored) => assert!(!restored.damaged.is_empty(), "{is_link}"),
            Err(error) => assert!(error.to_string().contains("no regular file"), "{is_link}: {error}"),
        }
        assert!(!blob(&fresh.path().join("data"), PHOTO).exists(), "{is_link}");
        put_back(&in_backup);
        replace(&own);
        let to = places.path().join(format!("other-{is_link}"));
        let stores = Safekeeping::open(&file, stopped.path()).await.unwrap();
        if let Ok(report) = stores.back_up(&request_to(to.to_str().unwrap())).await {
            assert!(!report.damaged.is_empty(), "{is_link}: {report:?}");
        }
        assert!(!blob(&to, PHOTO).exists(), "{is_link}");
        put_back(&own);
    }
}

#[tokio::test]
async fn damaged_files_come_back_from_a_backup() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    let backups = tempfile::tempdir().unwrap();
    back_up(&edge, backups.path(), None, false).await;
    std::fs::write(blob(&edge.data_dir(), PHOTO), b"A PHOTO, as it were").unwrap();
    let from = Some(backups.path().to_str().unwrap().to_owned());
    let request = RepairRequest { app: None, read_bucket: false, from, variables: Variables::new() };
    // A token reaches no folder of the machine.
    let refused = got(edge.api(Method::POST, "/v1/repair").json(&request)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
    let report = stores.repair(&request).await.unwrap();
    assert_eq!((report.repaired, report.damaged.len()), (1, 0), "{report:?}");
    assert_eq!(std::fs::read(blob(&edge.data_dir(), PHOTO)).unwrap(), PHOTO);
    edge.stop().await;
}

#[tokio::test]
async fn a_file_that_the_backup_has_damaged_too_is_named_as_such() {
    // A dictionary created meanwhile would be one more file.
    let edge = edge().with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
    edge.push("shop", SITE).await;
    let backups = tempfile::tempdir().unwrap();
    back_up(&edge, backups.path(), None, false).await;
    for folder in [edge.data_dir().as_path(), backups.path()] {
        std::fs::write(blob(folder, PHOTO), b"A PHOTO, as it were").unwrap();
    }
    let from = Some(backups.path().to_str().unwrap().to_owned());
    let request = RepairRequest { app: None, read_bucket: false, from, variables: Variables::new() };
    let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
    let report = stores.repair(&request).await.unwrap();
    let path = blob(Path::new(""), PHOTO).to_str().unwrap().to_owned();
    assert_eq!((report.repaired, report.damaged.len(), report.damaged_in_backup), (0, 1, vec![path]));
    // Once the edge's file is intact again, so is the next backup's.
    edge.push("shop", SITE).await;
    assert_eq!(back_up(&edge, backups.path(), None, false).await.copied_files, 1);
    assert_eq!(std::fs::read(blob(backups.path(), PHOTO)).unwrap(), PHOTO);
    edge.stop().await;
}

#[tokio::test]
async fn what_was_copied_is_among_the_files_of_a_backup() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    // The manifest has no version, but is copied, and must count among the files of the backup, too.
    let name = Digest::of(b"{}").to_string();
    let manifest = Path::new("manifests").join(&name[..2]).join(format!("{name}.json"));
    let own = edge.data_dir().join(&manifest);
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, b"{}").unwrap();
    let backups = tempfile::tempdir().unwrap();
    let report = back_up(&edge, backups.path(), None, false).await;
    assert_eq!(report.copied_files, report.files, "{report:?}");
    assert!(backups.path().join(&manifest).exists());
    edge.stop().await;
}

#[tokio::test]
async fn only_so_many_backups_stay_and_what_they_have_stays_whole() {
    let edge = edge().start().await;
    let backups = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for text in [b"one", b"two", b"six"] {
        edge.push("shop", &[("index.html", text), ("photo.png", PHOTO)]).await;
        names.push(back_up(&edge, backups.path(), Some(2), false).await);
    }
    assert_eq!(names[2].removed, [names[0].name.clone()]);
    let left: Vec<_> =
        std::fs::read_dir(backups.path().join("snapshots")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // The history still refers to the first version, so that its file stays; unreferenced files are removed.
    assert!(blob(backups.path(), b"one").exists() && blob(backups.path(), PHOTO).exists());
    std::fs::write(blob(&edge.data_dir(), PHOTO), b"A PHOTO, as it were").unwrap();
    let damaged = back_up(&edge, backups.path(), Some(1), false).await;
    assert_eq!(damaged.damaged, [], "an earlier backup has the file");
    for to in [edge.data_dir(), edge.data_dir().join("backup"), base(&edge), PathBuf::from("backups")] {
        let request = request_to(to.to_str().unwrap());
        let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
        assert!(stores.back_up(&request).await.is_err(), "{}", to.display());
    }
    let over_network = got(edge.api(Method::POST, "/v1/backup").json(&json!({ "to": "/tmp/x" }))).await;
    assert_eq!(over_network.status, StatusCode::FORBIDDEN);
    edge.stop().await;
}

#[tokio::test]
async fn a_list_of_variants_that_cannot_be_read_is_damage_and_made_again() {
    let text = "body { color: red } ".repeat(400);
    let files: Files<'_> = &[("index.html", PAGE), ("app.css", text.as_bytes())];
    // A file created meanwhile would replace the file that this test writes.
    let edge = edge().with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
    push_to(&edge, "shop", "prod", files).await;
    let name = Digest::of(text.as_bytes()).to_string();
    let index = edge.data_dir().join("variants").join(&name[..2]).join(format!("{name}.index"));
    assert!(verify(&edge, None).await.is_whole());
    std::fs::write(&index, "no index").unwrap();
    let found = verify(&edge, None).await;
    assert_eq!((found.derived, found.damaged.len(), found.quarantined), (1, 0, 1));
    push_to(&edge, "shop", "staging", files).await;
    eventually("the list is there again", async || index.exists()).await;
    let again = verify(&edge, None).await;
    assert_eq!((again.derived, again.is_whole()), (0, true));
}

#[tokio::test]
async fn a_folder_that_cannot_hold_backups_is_named_with_the_reason() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let to = folder.path().join("file/backups");
    let request = request_to(to.to_str().unwrap());
    let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
    let refused = stores.back_up(&request).await.unwrap_err().to_string();
    assert!(refused.contains(&request.to) && refused.contains("(os error "), "{refused}");
}

#[tokio::test]
async fn a_restore_says_what_its_folder_lacks() {
    let edge = edge().start().await;
    let folder = tempfile::tempdir().unwrap();
    let refused = async |from: &Path| {
        let restored = restore(edge.file(), &base(&edge), from, None).await;
        restored.unwrap_err().to_string()
    };
    let missing = refused(&folder.path().join("nosuch")).await;
    assert!(missing.contains("There is no folder") && missing.contains("backup --to"), "{missing}");
    let empty = refused(folder.path()).await;
    assert!(empty.contains("holds no backup") && !empty.contains("`snapshots`"), "{empty}");
}

#[tokio::test]
async fn a_restore_of_many_files_reports_how_far_it_is_and_names_what_the_backup_lacks() {
    let edge = edge().with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
    let large: Vec<u8> = (0..800_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let texts: Vec<_> = (0..700).map(|number| (format!("{number}.txt"), format!("text {number}"))).collect();
    let mut files: Vec<(&str, &[u8])> = texts.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    files.extend([("large.bin", &large[..]), ("index.html", PAGE), ("empty.txt", b"")]);
    edge.push("shop", &files).await;
    let places = tempfile::tempdir().unwrap();
    let folder = places.path().join("edge");
    let backup = back_up(&edge, &folder, None, false).await;
    let (_old, file) = edge.stopped().await;
    let restore = async |base: &Path| {
        let seen: Mutex<Vec<FileProgress>> = Mutex::default();
        let report = |progress| seen.lock().unwrap().push(progress);
        let place = folder.as_path().into();
        let restored = server::restore(&file, base, &place, &Variables::new(), None, &report).await.unwrap();
        (restored, seen.into_inner().unwrap())
    };
    let fresh = tempfile::tempdir().unwrap();
    let (restored, seen) = restore(fresh.path()).await;
    assert_eq!((restored.damaged.len(), restored.files), (0, backup.files));
    assert!(seen.is_sorted_by_key(|progress| progress.files), "{seen:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.files, last.bytes), (restored.files, restored.bytes));
    assert_eq!((last.files_all, last.bytes_all), (last.files, last.bytes));
    let again = RunningEdge::over(fresh, file.clone()).await;
    assert_eq!(again.get("shop.localhost", "/699.txt").await.text(), "text 699");
    assert!(again.get("shop.localhost", "/large.bin").await.body == large);
    assert_eq!(again.get("shop.localhost", "/empty.txt").await.text(), "");
    again.stop().await;

    std::fs::write(blob(&folder, b"text 7"), "TEXT 7").unwrap();
    std::fs::write(blob(&folder, &large), &large[1..]).unwrap();
    std::fs::remove_file(blob(&folder, b"text 8")).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let (restored, _) = restore(fresh.path()).await;
    assert_eq!(restored.files, backup.files - 3);
    let [damaged] = &restored.damaged[..] else { panic!("{restored:?}") };
    assert_eq!((damaged.count, damaged.files.join(" ").as_str()), (3, "7.txt 8.txt large.bin"));
}
