//! Tests of stored versions: access to manifests, and records of versions stored twice.

use devanture_config::problem::Code;
use devanture_config::{AppName, VersionId};

use super::collections::world::{World, manifest, name, world};
use crate::ledger::{Actor, Error};
use devanture_store::catalog::Change;
use devanture_store::records::{self, VersionRecord, gone};

/// Reads the manifest of a version as a client of the app.
async fn opened(world: &World, app: &AppName, version: &VersionId) -> Result<Vec<u8>, Code> {
    let opened = world.publisher.open_manifest(app, version).await;
    let (file, bytes) = opened.map_err(|Error(problem)| problem.code)?;
    let read = file.read_in_turn(0, usize::try_from(bytes).unwrap()).await.unwrap();
    Ok(read.to_vec())
}

/// Law 11: all manifests share a store, and an id is no secret.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_a_manifest_is_given_to_the_apps_that_store_its_version_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, blog) = (name(0), name(1));
    let version = world.push(&shop, &[1].into()).await.unwrap().version;
    world.push(&shop, &[2].into()).await.unwrap();
    world.push(&blog, &[2].into()).await.unwrap();
    assert_eq!(opened(&world, &shop, &version).await, Ok(manifest(&[1].into()).canonical()));
    assert_eq!(opened(&world, &blog, &version).await, Err(Code::NotFound));
    // A deleted version is not readable, although its files stay while restorable.
    let retention = world.publisher.retention();
    retention.delete_version(&Actor::local(), &shop, &version.to_string(), false).await.unwrap();
    assert_eq!(opened(&world, &shop, &version).await, Err(Code::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_version_that_is_pushed_again_is_no_longer_listed_as_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let shop = name(0);
    let version = world.push(&shop, &[1].into()).await.unwrap().version;
    world.push(&shop, &[2].into()).await.unwrap();
    let retention = world.publisher.retention();
    retention.delete_version(&Actor::local(), &shop, &version.to_string(), false).await.unwrap();
    let deleted = async || world.catalog.get(&gone::gone_key(&shop, &version)).await.unwrap();
    assert!(deleted().await.is_some());
    world.push(&shop, &[1].into()).await.unwrap();
    assert_eq!(deleted().await, None);
}

/// Two concurrent pushes of the same files: the second finds the record of the first.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_version_stays_that_of_the_push_that_stored_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, blog) = (name(0), name(1));
    world.push(&shop, &[2].into()).await.unwrap();
    let version = world.push(&blog, &[1].into()).await.unwrap().version;
    let key = records::version_key(&blog, &version);
    let stored = world.catalog.get(&key).await.unwrap().unwrap();
    let first = VersionRecord { who: "ben".to_owned(), ..records::read(&key, &stored).unwrap() };
    let key = records::version_key(&shop, &version);
    world.overtaken.before_commit_of(&key, vec![Change::Put(key.clone(), records::write(&first).unwrap())]);
    world.push(&shop, &[1].into()).await.unwrap();
    world.overtaken.assert_overtaken();
    let record: VersionRecord = records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap();
    assert_eq!(record, first);
}
