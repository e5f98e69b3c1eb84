//! Verification of a backup in place, without an edge: missing files are reported with the affected apps.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::SystemTime;

use devanture_config::Digest;
use devanture_edge::server;
use devanture_store::s3::{Bucket, Variables};
use serde_json::Value;
use tokio::process::Command;

use super::safekeeping::{PAGE, PHOTO, SITE, back_up, blob, lived_in, push_to, restore};
use crate::seaweed::{BUCKET, READER, Seaweed, is_installed, variables};
use crate::support::edge;

/// Runs `devanture-edge verify` in a folder without an edge or a configuration.
async fn verify(variables: &Variables, arguments: &[&str]) -> (Option<i32>, String, String) {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.current_dir(elsewhere.path()).env_remove("DEVANTURE_EDGE_CONFIG").arg("verify").args(arguments);
    // The temporary copy of the records is removed again.
    let temporary = elsewhere.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    command.env("TMPDIR", &temporary).envs(variables.iter().map(|(name, value)| (name, value.expose())));
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Like [`verify`], for a folder.
async fn verify_folder(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["--from", folder.to_str().unwrap()], more].concat();
    verify(&Variables::new(), &arguments).await
}

/// Every file and folder below `folder`, with the properties that a write would change.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (SystemTime, Option<Vec<u8>>)> {
    let (mut folders, mut found) = (vec![folder.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let bytes = metadata.is_file().then(|| std::fs::read(&path).unwrap());
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (metadata.modified().unwrap(), bytes));
        }
    }
    found
}

fn path_of(bytes: &[u8]) -> String {
    let name = Digest::of(bytes).to_string();
    format!("blobs/{}/{name}", &name[..2])
}

#[tokio::test]
async fn a_whole_backup_is_whole_without_any_edge_and_nothing_is_written() {
    let edge = lived_in().await;
    let places = tempfile::tempdir().unwrap();
    let folder = places.path().join("edge");
    let first = back_up(&edge, &folder, None, true).await;
    edge.push("later", &[("index.html", b"later")]).await;
    let second = back_up(&edge, &folder, None, false).await;
    edge.stop().await;
    let before = tree(&folder);
    let (code, text, notes) = verify_folder(&folder, &[]).await;
    assert_eq!((code, notes.as_str()), (Some(0), ""), "{text}");
    assert!(text.contains(&format!("checked the backup {}: ", second.name)), "{text}");
    assert!(text.ends_with("all files of all versions are whole\n"), "{text}");
    let (code, text, _) = verify_folder(&folder, &["--at", &first.name, "--json"]).await;
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &state["name"], &state["count"]), (Some(0), &Value::from(first.name), &Value::from(0)));
    assert_eq!(state["versions"], Value::from(first.versions));
    assert!(tree(&folder) == before, "a check writes nothing");
    // Store folders missing from a copy by other means are not created.
    for name in ["tmp", "variants", "deltas", "quarantine"] {
        std::fs::remove_dir_all(folder.join(name)).unwrap();
    }
    assert_eq!(verify_folder(&folder, &[]).await.0, Some(0));
    assert!(!folder.join("quarantine").exists());
}

#[tokio::test]
async fn what_a_backup_lacks_is_named_with_its_apps_and_the_next_backup_has_it_again() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    push_to(&edge, "blog", "prod", &[("index.html", b"blog")]).await;
    let places = tempfile::tempdir().unwrap();
    let folder = places.path().join("edge");
    back_up(&edge, &folder, None, false).await;
    std::fs::write(blob(&folder, PHOTO), b"A PHOTO, as it were").unwrap();
    std::fs::remove_file(blob(&folder, PAGE)).unwrap();
    let before = tree(&folder);
    let (code, text, notes) = verify_folder(&folder, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(" of shop, live in prod: 2 files damaged or missing: index.html, photo.png"), "{text}");
    for bytes in [PHOTO, PAGE] {
        assert!(text.contains(&format!("damaged or missing: {}\n", path_of(bytes))), "{text}");
    }
    assert!(!text.contains("blog") && !text.contains("are whole"), "{text}");
    assert!(notes.contains("the next `devanture-edge backup` copies it again"), "{notes}");
    let (code, text, _) = verify_folder(&folder, &["--json"]).await;
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &state["count"], &state["damaged"][0]["app"]), (Some(1), &2.into(), &"shop".into()), "{state}");
    assert_eq!(verify_folder(&folder, &["--app", "blog"]).await.0, Some(0));
    let misspelled = verify_folder(&folder, &["--app", "blgo"]).await;
    assert!(misspelled.0 == Some(1) && misspelled.2.contains("There is no app blgo"), "{misspelled:?}");
    assert!(tree(&folder) == before, "what is damaged is not moved");
    // As advised by the hint.
    std::fs::remove_file(blob(&folder, PHOTO)).unwrap();
    back_up(&edge, &folder, None, false).await;
    assert_eq!(verify_folder(&folder, &[]).await.0, Some(0));
    edge.stop().await;
}

#[tokio::test]
async fn damage_of_manifests_records_and_certificates_is_found_too() {
    let edge = edge().start().await;
    let version = edge.push("shop", SITE).await.version.to_string();
    let places = tempfile::tempdir().unwrap();
    let folder = places.path().join("edge");
    let name = back_up(&edge, &folder, None, false).await.name;
    edge.stop().await;
    let manifest = format!("manifests/{}/{version}.json", &version[..2]);
    let certificate =
        std::fs::read_dir(folder.join("snapshots").join(&name).join("tls")).unwrap().next().unwrap().unwrap();
    let certificate = format!("snapshots/{name}/tls/{}", certificate.file_name().to_str().unwrap());
    let records = format!("snapshots/{name}/catalog.redb");
    for (path, what) in [
        (&manifest, "its manifest is damaged or missing"),
        (&certificate, "checked the backup"),
        (&records, "0 versions"),
    ] {
        let bytes = std::fs::read(folder.join(path)).unwrap();
        let mut damaged = bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(folder.join(path), damaged).unwrap();
        let (code, text, notes) = verify_folder(&folder, &[]).await;
        assert_eq!(code, Some(1), "{path}: {text}");
        let is_own = path.starts_with("snapshots/");
        assert_eq!(notes.contains("`devanture-edge backup` writes a new one"), is_own, "{path}: {notes}");
        assert_eq!(notes.contains("copies it again"), !is_own, "{path}: {notes}");
        assert!(text.contains(what) && text.contains(&format!("damaged or missing: {path}\n")), "{path}: {text}");
        std::fs::write(folder.join(path), bytes).unwrap();
        assert_eq!(verify_folder(&folder, &[]).await.0, Some(0), "{path}");
    }
}

/// Before, an older backup silently replaced the unreadable one, and every later backup failed.
#[tokio::test]
async fn a_backup_that_cannot_be_read_is_named_and_the_next_one_is_written_beside_it() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    let places = tempfile::tempdir().unwrap();
    let folder = places.path().join("edge");
    let first = back_up(&edge, &folder, None, false).await.name;
    let second = back_up(&edge, &folder, None, false).await.name;
    let description = folder.join("snapshots").join(&second).join("snapshot.json");
    let whole = std::fs::read_to_string(&description).unwrap();
    let newer = whole.replace("\"format\": 1,", "\"format\": 9,");
    for (text, why) in [
        (whole.replacen('{', "z", 1), "cannot be read, as its snapshot.json is damaged"),
        (whole[..whole.len() / 2].to_owned(), "cannot be read, as its snapshot.json is damaged"),
        (String::new(), "cannot be read, as its snapshot.json is damaged"),
        (newer, "has the layout 9, and this program knows 1"),
    ] {
        std::fs::write(&description, &text).unwrap();
        let (code, _, notes) = verify_folder(&folder, &[]).await;
        let named = |text: &str| text.contains(&format!("The backup {second} {why}"));
        assert!(code == Some(1) && named(&notes) && notes.contains(&format!("--at {first}")), "{notes}");
        assert_eq!(verify_folder(&folder, &["--at", &first]).await.0, Some(0));
        let fresh = tempfile::tempdir().unwrap();
        let refused = restore(edge.file(), fresh.path(), &folder, None).await.unwrap_err().to_string();
        assert!(named(&refused), "{refused}");
        assert_eq!(restore(edge.file(), fresh.path(), &folder, Some(&first)).await.unwrap().name, first);
        let third = back_up(&edge, &folder, None, false).await;
        assert_eq!(third.unreadable, [second.as_str()]);
        assert_eq!(std::fs::read_to_string(&description).unwrap(), text, "it stays as it is");
        assert_eq!(verify_folder(&folder, &[]).await.0, Some(0), "the newest one is whole");
        std::fs::remove_dir_all(folder.join("snapshots").join(third.name)).unwrap();
    }
    // A missing alternative is reported.
    std::fs::remove_dir_all(folder.join("snapshots").join(&first)).unwrap();
    let (code, _, notes) = verify_folder(&folder, &[]).await;
    assert!(code == Some(1) && notes.contains(&second) && notes.contains("no other one there can be read"), "{notes}");
    edge.stop().await;
}

/// The references of an unreadable backup are unknown, and would be removed as unreferenced files.
#[tokio::test]
async fn no_backup_is_removed_beside_one_that_cannot_be_read_until_enough_newer_ones_are_there() {
    let edge = edge().start().await;
    edge.push("shop", SITE).await;
    for file in ["snapshot.json", "catalog.redb"] {
        let places = tempfile::tempdir().unwrap();
        let folder = places.path().join("edge");
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(back_up(&edge, &folder, None, false).await.name);
        }
        let damaged = folder.join("snapshots").join(&names[2]).join(file);
        let bytes = std::fs::read(&damaged).unwrap();
        std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
        let fourth = back_up(&edge, &folder, Some(2), false).await;
        assert_eq!((fourth.removed.len(), &fourth.unreadable[..]), (0, &names[2..]), "{file}");
        let fifth = back_up(&edge, &folder, Some(2), false).await;
        assert_eq!((fifth.removed, fifth.unreadable.len()), (names, 0), "{file}");
        for name in [fourth.name, fifth.name] {
            assert_eq!(verify_folder(&folder, &["--at", &name]).await.0, Some(0), "{file}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_place_without_a_backup_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, notes) = verify_folder(folder.path(), &[]).await;
    assert!(code == Some(1) && notes.contains("holds no backup"), "{notes}");
    let (code, _, notes) = verify_folder(&folder.path().join("none"), &[]).await;
    assert!(code == Some(1) && notes.contains("There is no folder"), "{notes}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_a_bucket_is_read_with_credentials_that_may_only_read() {
    if !is_installed() {
        return;
    }
    let (store, edge) = (Seaweed::start(), edge().start().await);
    edge.push("shop", SITE).await;
    let place = format!("s3://{BUCKET}/edges/one");
    let mut request = super::safekeeping::request_to(&place);
    request.variables = store.variables();
    let stores = server::Safekeeping::open(edge.file(), &super::safekeeping::base(&edge)).await.unwrap();
    stores.back_up(&request).await.unwrap();
    edge.stop().await;
    let reader = variables(store.address, READER);
    let (code, text, notes) = verify(&reader, &["--from", &place]).await;
    assert_eq!(code, Some(0), "{text}{notes}");
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let bucket = Bucket::new(&place.parse().unwrap(), &store.variables(), Arc::new(tls)).unwrap();
    bucket.write(&path_of(PHOTO), [bytes::Bytes::from_static(b"A PHOTO, as it were")]).await.unwrap();
    let (code, text, _) = verify(&reader, &["--from", &place]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(" of shop, live in prod: 1 file damaged or missing: photo.png"), "{text}");
    assert!(text.contains(&format!("damaged or missing: {}\n", path_of(PHOTO))), "{text}");
}
