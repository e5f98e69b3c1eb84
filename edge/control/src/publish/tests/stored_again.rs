//! Tests of pushes of a stored version: rewritten and restored records.

use std::collections::BTreeMap;
use std::sync::Arc;

use devanture_config::PlaceName;
use devanture_config::api::{BeginDeploy, Source};
use serde_json::json;

use super::collections::world::{content, digest, manifest, name, world};
use super::publisher;
use crate::ledger::Actor;
use crate::publish::Publisher;
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, DecodedFile, VersionRecord};

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_stored_version_is_written_again_where_it_would_be_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let app = name(0);
    let version = world.push(&app, &[1].into()).await.unwrap().version;
    let key = records::version_key(&app, &version);
    let stored = async || world.catalog.get(&key).await.unwrap().unwrap();
    let first = stored().await;
    world.push(&app, &[1].into()).await.unwrap();
    assert_eq!(stored().await.revision, first.revision, "nothing of it would be another");
    let record: VersionRecord = records::read(&key, &first).unwrap();
    // Stored by an edge that decodes differently, or makes other pages.
    let decoded = BTreeMap::from([("f1.txt".parse().unwrap(), DecodedFile { hash: digest(2), size: 1 })]);
    let integrity = vec![IntegrityPages::default()];
    for other in [
        VersionRecord { decoded: decoded.clone(), ..record.clone() },
        VersionRecord { integrity: integrity.clone(), ..record.clone() },
        VersionRecord { decoded, integrity, ..record.clone() },
    ] {
        let changes = vec![Change::Put(key.clone(), records::write(&other).unwrap())];
        world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        world.push(&app, &[1].into()).await.unwrap();
        assert_eq!(records::read::<VersionRecord>(&key, &stored().await).unwrap(), record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_brings_back_a_lost_manifest_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let app = name(0);
    let first = world.push(&app, &[1].into()).await.unwrap();
    assert!(!first.restored_manifest, "it was not there before");
    assert!(!world.push(&app, &[1].into()).await.unwrap().restored_manifest, "nothing was lost");
    let manifest = Key::Manifest(first.version);
    world.blobs.delete(manifest).await.unwrap();
    assert!(world.push(&app, &[1].into()).await.unwrap().restored_manifest);
    assert!(world.blobs.size(manifest).await.unwrap().is_some());
    assert!(!world.push(&app, &[1].into()).await.unwrap().restored_manifest);
}

async fn push_without_a_switch(publisher: &Arc<Publisher>) {
    let (app, actor, options) =
        (name(0), Actor::local(), serde_json::from_value(json!({ "no_switch": true })).unwrap());
    let begin = BeginDeploy { manifest: manifest(&[1].into()), source: Source::default(), options };
    let push = publisher.checked_whole(&app, begin);
    let begun = publisher.begin(&actor, &app, &PlaceName::prod(), push).await.unwrap();
    if begun.missing.contains(&digest(1)) {
        let mut receiving = publisher.receive(&actor, &app, &begun.deploy, digest(1)).await.unwrap();
        receiving.write(content(1).into()).await.unwrap();
        publisher.received(receiving).await.unwrap();
    }
    publisher.finish(publisher.take(&actor, &app, &begun.deploy).unwrap(), None).await.unwrap();
}

/// A version that failed to load is served as soon as its files are pushed again, before the next retry.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_could_not_be_loaded_is_looked_at_again_once_a_version_was_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, _catalog) = publisher(folder.path());
    let publisher = Arc::new(publisher);
    let live = &publisher.ledger.live;
    live.follow_nothing();
    push_without_a_switch(&publisher).await;
    assert!(!live.takes_look(), "it was not there before");
    push_without_a_switch(&publisher).await;
    assert!(live.takes_look());
}
