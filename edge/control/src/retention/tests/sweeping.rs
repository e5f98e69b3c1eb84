//! Tests of files deleted by collections and purges, also with references added during the sweep.

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::{Digest, Manifest, Sha256, VersionId};
use serde_json::{Value, json};

use super::world::{World, pointer, put, stored_at};
use super::{deleted_app, gone_version, wanted};
use crate::ledger::Actor;
use crate::retention::CollectOptions;
use devanture_store::blobs::Key;
use devanture_store::catalog::Change;
use devanture_store::records::console::{CONSOLE_KEY, ConsoleRecord};
use devanture_store::records::gone;
use devanture_store::records::sent::sent_key;
use devanture_store::records::{self, PagesDictionary};

const PURGE: CollectOptions = CollectOptions { dry_run: false, force: true, purge: true };

/// Stores the first of many texts whose hash has the prefix.
async fn blob(world: &World, begins: &str) -> Digest {
    let texts = (0..).map(|number: u32| format!("{begins} {number}"));
    let text = texts.into_iter().find(|text| Digest::of(text.as_bytes()).to_string().starts_with(begins)).unwrap();
    let digest = Digest::of(text.as_bytes());
    world.retention.blobs.put(Key::Blob(digest), Bytes::from(text)).await.unwrap();
    digest
}

/// Stores the manifest of one file, the first of many whose id has the prefix.
async fn manifest(world: &World, begins: &str, file: Digest) -> VersionId {
    let manifests = (0..).map(|number: u32| {
        let file = FileEntry { hash: file, size: 5, media_type: None };
        Manifest::of_files([(format!("f{number}").parse().unwrap(), file)].into())
    });
    let manifest = manifests.into_iter().find(|manifest| manifest.id().to_string().starts_with(begins)).unwrap();
    world.retention.blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
    manifest.id()
}

fn console(version: VersionId) -> ConsoleRecord {
    let (package, who) = (Digest::of(b"package"), "ada".to_owned());
    ConsoleRecord { package, version: Some(version), files: 1, bytes: 5, at_ms: 1, who }
}

async fn has(world: &World, key: Key) -> bool {
    world.retention.blobs.get(key).await.is_ok()
}

/// Files are deleted in order of their hashes, so commits after the first deletion concern later files.
#[tokio::test]
async fn what_comes_to_be_referred_to_while_files_are_taken_stays() {
    for what in
        ["nothing", "a version", "a version that was live", "a restorable version", "the console", "a dictionary"]
    {
        let world = World::new().await;
        let first = blob(&world, "00").await;
        let file = blob(&world, "fe").await;
        let version = manifest(&world, "ff", file).await;
        let stored = put(records::version_key(&world.app, &version), &stored_at(2));
        let changes = match what {
            "nothing" => Vec::new(),
            "a version" => vec![stored],
            "a version that was live" => {
                // The manifest stays for its names; the file does not.
                let deploy = json!({
                    "id": "9", "kind": "push", "environment": "prod", "version": version, "who": "ada",
                    "at_ms": devanture_base::clock::now_ms(), "source": {}, "steps": [], "outcome": "live", "settings": 0,
                });
                let key = records::history_key(&world.app, &world.prod, 9);
                world.put(key.clone(), &json!({ "deploy": deploy, "position": key })).await;
                vec![stored]
            }
            "a restorable version" => vec![put(gone::gone_key(&world.app, &version), &gone_version(Some(2)))],
            "the console" => {
                vec![put(CONSOLE_KEY.to_owned(), &console(version))]
            }
            _ => {
                let pages = PagesDictionary { blob: file, sha256: Sha256::from([7; 32]), size: 5 };
                vec![put(records::dictionaries_key(&world.app, &world.versions[0]), &json!({ "pages": pages }))]
            }
        };
        world.once_blobs_went(changes);
        world.retention.collect(PURGE).await.unwrap();
        world.assert_blobs_went();
        assert!(!has(&world, Key::Blob(first)).await, "{what}");
        assert_eq!(has(&world, Key::Blob(file)).await, what != "nothing", "{what}");
        let holds_manifest = !["nothing", "a dictionary"].contains(&what);
        assert_eq!(has(&world, Key::Manifest(version)).await, holds_manifest, "{what}");
    }
}

/// Record of a version with a page outside its manifest.
fn with_page(page: Digest) -> Value {
    let pages = json!([{ "made": 2, "tables": [""], "pages": { "index.html": { "hash": page, "size": 5 } } }]);
    let mut record = stored_at(2);
    record["integrity"] = pages;
    record
}

#[tokio::test]
async fn a_page_of_a_version_that_comes_while_files_are_taken_stays() {
    for is_gone in [false, true] {
        let world = World::new().await;
        let (first, page, file) = (blob(&world, "00").await, blob(&world, "fe").await, blob(&world, "fd").await);
        let version = manifest(&world, "ff", file).await;
        let change = match is_gone {
            false => put(records::version_key(&world.app, &version), &with_page(page)),
            true => {
                let gone = json!({ "at_ms": 1, "until_ms": u64::MAX, "who": "ada", "record": with_page(page) });
                put(gone::gone_key(&world.app, &version), &gone)
            }
        };
        world.once_blobs_went(vec![change]);
        world.retention.collect(PURGE).await.unwrap();
        world.assert_blobs_went();
        assert!(!has(&world, Key::Blob(first)).await, "{is_gone}");
        assert!(has(&world, Key::Blob(page)).await && has(&world, Key::Blob(file)).await, "{is_gone}");
    }
}

#[tokio::test]
async fn a_purge_takes_what_the_edge_made_of_a_version_and_no_other_has() {
    for what in ["a version", "a version that was deleted", "an app"] {
        let world = World::new().await;
        let actor = Actor::local();
        let [own, shared, dictionary, file] =
            [blob(&world, "0").await, blob(&world, "1").await, blob(&world, "2").await, blob(&world, "3").await];
        let version = manifest(&world, "4", file).await;
        let mut record = with_page(own);
        record["decoded"] = json!({ "a.js": { "hash": shared, "size": 5 } });
        let pages = PagesDictionary { blob: dictionary, sha256: Sha256::from([7; 32]), size: 5 };
        let other = records::version_key(&"other".parse().unwrap(), &world.versions[0]);
        world
            .commit(vec![
                put(records::version_key(&world.app, &version), &record),
                put(records::dictionaries_key(&world.app, &version), &json!({ "pages": pages })),
                put(other, &with_page(shared)),
            ])
            .await;
        let typed = version.to_string();
        match what {
            "an app" => drop(world.retention.purge_place(&actor, &world.app, None, false).await.unwrap()),
            "a version" => drop(world.retention.purge_version(&actor, &world.app, &typed, false).await.unwrap()),
            _ => {
                world.retention.delete_version(&actor, &world.app, &typed, false).await.unwrap();
                world.retention.purge_version(&actor, &world.app, &typed, false).await.unwrap();
            }
        }
        assert!(!has(&world, Key::Blob(own)).await && !has(&world, Key::Blob(file)).await, "{what}");
        assert!(has(&world, Key::Blob(shared)).await, "{what}");
        // The dictionary of an already deleted version is unnamed, and is left to a collection.
        assert_eq!(has(&world, Key::Blob(dictionary)).await, what == "a version that was deleted", "{what}");
    }
}

#[tokio::test]
async fn a_purge_leaves_what_another_app_has_sent_for_a_version_that_is_still_to_come() {
    let world = World::new().await;
    let (own, shared) = (blob(&world, "0").await, blob(&world, "1").await);
    let other = "other".parse().unwrap();
    for (number, file) in [own, shared].into_iter().enumerate() {
        let version = manifest(&world, &format!("{number}"), file).await;
        world.put(records::version_key(&world.app, &version), &stored_at(2)).await;
    }
    let now_ms = devanture_base::clock::now_ms();
    let sent = |blob| json!({ "at_ms": now_ms, "blobs": [blob] });
    world.put(sent_key(&other, "1", 1), &sent(shared)).await;
    world.put(sent_key(&world.app, "1", 1), &sent(own)).await;
    world.retention.purge_place(&Actor::local(), &world.app, None, false).await.unwrap();
    assert!(!world.has(&records::app_key(&world.app)).await);
    assert_eq!([has(&world, Key::Blob(own)).await, has(&world, Key::Blob(shared)).await], [false, true]);
}

#[tokio::test]
async fn a_dry_run_of_a_purge_leaves_what_was_deleted_already_as_it_is() {
    for is_app in [true, false] {
        let world = World::new().await;
        let actor = Actor::local();
        let environment = (!is_app).then_some(&world.prod);
        match environment {
            None => drop(world.retention.delete_app(&actor, &world.app, false).await.unwrap()),
            Some(prod) => drop(world.retention.delete_environment(&actor, &world.app, prod, false).await.unwrap()),
        }
        let before = world.records().await;
        let report = world.retention.purge_place(&actor, &world.app, environment, true).await.unwrap();
        assert!(report.dry_run && report.purged.is_none(), "{report:?}");
        assert_eq!(world.records().await, before);
        let request = wanted(environment.map(|name| name.as_str()), None);
        world.retention.undelete(&actor, &world.app, &request, false).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_record_of_one_app_costs_no_other_its_collection() {
    let policy = devanture_config::edge_toml::Retention { keep_versions: 1, keep_days: 0, ..Default::default() };
    let limits = devanture_config::limits::Limits { grace_ms_max: 0, ..Default::default() };
    let world = World::with(policy, limits).await;
    let other = "other".parse().unwrap();
    let [one, two, _] = world.versions;
    let damaged = records::version_key(&other, &one);
    let made = put(records::app_key(&other), &json!({ "created_ms": 1, "who": "ada" }));
    let live = put(records::live_key(&other, &world.prod), &pointer(two));
    world.commit(vec![made, live, Change::Put(damaged.clone(), b"{".as_slice().into())]).await;
    let report = world.retention.collect(CollectOptions::default()).await.unwrap();
    assert_eq!(report.versions.len(), 2, "{report:?}");
    assert!(world.has(&damaged).await);
    // A deleted app still ends; an app with an unreadable deletion stays.
    world.put(gone::deleted_app_key(&other), &deleted_app(1)).await;
    world.put(gone::deleted_app_key(&world.app), &json!({ "at_ms": 1 })).await;
    let report = world.retention.collect(CollectOptions::default()).await.unwrap();
    assert_eq!(report.apps, std::slice::from_ref(&other));
    assert!(!world.has(&damaged).await && !world.has(&records::app_key(&other)).await);
    assert!(world.has(&records::app_key(&world.app)).await);
}
