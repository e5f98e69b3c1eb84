//! Tests of incoming blobs: sender, amount, completeness, and recorded rights.

use std::collections::BTreeSet;
use std::path::Path;

use devanture_config::api::{BeginDeploy, DeployBegun, DeployOptions, Scope, Source};
use devanture_config::blob_batch;
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use serde_json::json;

use super::collections::world::{World, content, digest, manifest, name, world, world_with};
use crate::ledger::{Actor, Credential, Error};
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::gone::{self, DeletedApp, GoneVersion};
use devanture_store::records::signing::{SignersRecord, signers_key};
use devanture_store::records::{self, LivePointer, Reach, VersionRecord};

/// Length of each content.
fn each() -> u64 {
    content(1).len() as u64
}

/// An actor with a token of one app.
pub(super) fn tenant(scope: Scope, environment: Option<&str>) -> Actor {
    Actor {
        name: "tenant".to_owned(),
        app: Some(name(0)),
        environment: environment.map(|environment| environment.parse().unwrap()),
        scope,
        credential: Credential::Token("one".to_owned()),
        ..Actor::local()
    }
}

pub(super) async fn begin(
    world: &World,
    actor: &Actor,
    app: &AppName,
    manifest: Manifest,
) -> Result<DeployBegun, Code> {
    begin_with(world, actor, app, manifest, DeployOptions::default()).await
}

async fn begin_with(
    world: &World,
    actor: &Actor,
    app: &AppName,
    manifest: Manifest,
    options: DeployOptions,
) -> Result<DeployBegun, Code> {
    let begin = BeginDeploy { manifest, source: Source::default(), options };
    let push = world.publisher.checked_whole(app, begin);
    world.publisher.begin(actor, app, &PlaceName::prod(), push).await.map_err(|Error(problem)| problem.code)
}

pub(super) async fn send(world: &World, actor: &Actor, app: &AppName, deploy: &str, number: u8) -> Result<(), Code> {
    let sent = async {
        let mut receiving = world.publisher.receive(actor, app, deploy, digest(number)).await?;
        receiving.write(content(number).into()).await?;
        world.publisher.received(receiving).await
    };
    sent.await.map_err(|Error(problem)| problem.code)
}

async fn finish(world: &World, actor: &Actor, app: &AppName, deploy: &str) -> Result<VersionId, Code> {
    let finished = async { world.publisher.finish(world.publisher.take(actor, app, deploy)?, None).await };
    finished.await.map(|report| report.version).map_err(|Error(problem)| problem.code)
}

async fn push(world: &World, actor: &Actor, contents: &BTreeSet<u8>) -> VersionId {
    let begun = begin(world, actor, &name(0), manifest(contents)).await.unwrap();
    for number in contents.iter().filter(|number| begun.missing.contains(&digest(**number))) {
        send(world, actor, &name(0), &begun.deploy, *number).await.unwrap();
    }
    finish(world, actor, &name(0), &begun.deploy).await.unwrap()
}

async fn record(world: &World, version: VersionId) -> VersionRecord {
    let key = records::version_key(&name(0), &version);
    records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap()
}

/// A request with blobs in transfer format.
fn batch(contents: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let blob = |number| {
        let bytes = content(number);
        let head = blob_batch::head(&Digest::of(&bytes), u32::try_from(bytes.len()).unwrap());
        [&head[..], &bytes].concat()
    };
    contents.into_iter().flat_map(blob).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_to_a_push_or_finishes_it_but_who_began_it_and_still_may() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, own) = (name(0), tenant(Scope::Push, None));
    world.push(&app, &[9].into()).await.unwrap();
    let deploy = begin(&world, &own, &app, manifest(&[1].into())).await.unwrap().deploy;
    let others = [
        ("of another token", Actor { credential: Credential::Token("two".to_owned()), ..own.clone() }),
        ("that may read by now", tenant(Scope::Read, None)),
        ("that is for another environment by now", tenant(Scope::Push, Some("staging"))),
        ("that is for another app by now", Actor { app: Some(name(1)), ..own.clone() }),
    ];
    for (who, other) in others {
        let refused = send(&world, &other, &app, &deploy, 1).await;
        assert!(matches!(refused, Err(Code::Forbidden | Code::NotFound)), "{who}: {refused:?}");
        let refused = world.publisher.batch(&other, &app, &deploy).map(|_| ()).map_err(|error| error.0.code);
        assert!(matches!(refused, Err(Code::Forbidden | Code::NotFound)), "{who}: {refused:?}");
        let refused = finish(&world, &other, &app, &deploy).await;
        assert!(matches!(refused, Err(Code::Forbidden | Code::NotFound)), "{who}: {refused:?}");
    }
    send(&world, &own, &app, &deploy, 1).await.unwrap();
    finish(&world, &own, &app, &deploy).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_holds_no_more_blobs_and_bytes_than_the_limits_say() {
    for (blobs_max, bytes_max) in [(2, 9 * each()), (9, 2 * each())] {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { blob_batch_blobs_max: blobs_max, blob_batch_bytes_max: bytes_max, ..Limits::default() };
        let world = world_with(folder.path(), 9, limits).await;
        let (app, actor, contents) = (name(0), Actor::local(), BTreeSet::from([1, 2, 3]));
        let deploy = begin(&world, &actor, &app, manifest(&contents)).await.unwrap().deploy;
        let open = || world.publisher.batch(&actor, &app, &deploy).unwrap();
        let refused = open().write(&batch([1, 2, 3])).map_err(|error| error.0.code);
        assert_eq!(refused, Err(Code::TooLarge), "{blobs_max} blobs, {bytes_max} bytes");
        let mut request = open();
        request.write(&batch([2, 1])).unwrap();
        request.end().unwrap();
        assert_eq!(request.store().await.unwrap(), [digest(2), digest(1)]);
        assert_eq!(open().store().await.unwrap(), []);
        let mut cut = open();
        let whole = batch([3]);
        cut.write(&whole[..whole.len() - 1]).unwrap();
        assert!(cut.end().is_err());
        assert_eq!(finish(&world, &actor, &app, &deploy).await, Err(Code::BlobMissing));
        send(&world, &actor, &app, &deploy, 3).await.unwrap();
        finish(&world, &actor, &app, &deploy).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_length_than_the_manifest_says_is_refused_however_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    for wrong in [each() - 1, each() + 1] {
        let mut manifest = manifest(&[1].into());
        manifest.files.values_mut().for_each(|file| file.size = wrong);
        let deploy = begin(&world, &actor, &app, manifest).await.unwrap().deploy;
        assert_eq!(send(&world, &actor, &app, &deploy, 1).await, Err(Code::BlobMismatch));
        let refused = world.publisher.batch(&actor, &app, &deploy).unwrap().write(&batch([1]));
        assert_eq!(refused.map_err(|error| error.0.code), Err(Code::BlobMismatch));
        assert_eq!(finish(&world, &actor, &app, &deploy).await, Err(Code::BlobMissing));
    }
    assert_eq!(world.versions(&app).await, []);
}

/// Otherwise knowing a hash would give access to another app's bytes.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_app_has_sent_is_sent_again_or_the_push_fails() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, other, actor) = (name(0), name(1), Actor::local());
    world.push(&other, &[1, 2].into()).await.unwrap();
    let begun = begin(&world, &actor, &app, manifest(&[1, 2].into())).await.unwrap();
    assert_eq!(begun.missing.len(), 2);
    for number in [1, 2] {
        assert_eq!(finish(&world, &actor, &app, &begun.deploy).await, Err(Code::BlobMissing));
        assert_eq!(world.versions(&app).await, []);
        send(&world, &actor, &app, &begun.deploy, number).await.unwrap();
    }
    finish(&world, &actor, &app, &begun.deploy).await.unwrap();
    assert_eq!(finish(&world, &actor, &app, &begun.deploy).await, Err(Code::NotFound), "it has ended");
}

fn rot(folder: &Path, number: u8) {
    let name = digest(number).to_string();
    let file = std::fs::OpenOptions::new().write(true).open(folder.join("blobs").join(&name[..2]).join(&name));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), b"rot", 0).unwrap();
}

/// Law 2.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_it_was_sent_or_no_longer_there_makes_no_version() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    world.push(&app, &[9].into()).await.unwrap();
    let deploy = world.begin(&app, &[1].into()).await.unwrap();
    rot(folder.path(), 1);
    assert_eq!(finish(&world, &actor, &app, &deploy).await, Err(Code::NotReady));
    // Blobs present at the beginning of the push and set aside since.
    let deploy = world.begin(&app, &[2, 9].into()).await.unwrap();
    world.blobs.delete(Key::Blob(digest(9))).await.unwrap();
    assert_eq!(finish(&world, &actor, &app, &deploy).await, Err(Code::BlobMissing));
    assert_eq!(world.versions(&app).await.len(), 1);
    // Sending again heals the version.
    for contents in [[1].into(), [2, 9].into()] {
        world.push(&app, &contents).await.unwrap();
    }
}

/// Law 2. No other step reads the image of a version that does not go live.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_neither_compressed_nor_made_live_is_read_back_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let image = |number: u8| {
        let file = FileEntry { hash: digest(number), size: each(), media_type: None };
        (format!("{number}.png").parse().unwrap(), file)
    };
    let begin_images = async |contents: &[u8]| {
        let (images, options) = (contents.iter().map(|number| image(*number)), json!({ "no_switch": true }));
        let options = serde_json::from_value(options).unwrap();
        begin_with(&world, &actor, &app, Manifest::of_files(images.collect()), options).await.unwrap()
    };
    let stored = begin_images(&[1]).await;
    send(&world, &actor, &app, &stored.deploy, 1).await.unwrap();
    finish(&world, &actor, &app, &stored.deploy).await.unwrap();
    let rotting = begin_images(&[1, 2]).await;
    assert_eq!(rotting.missing, [digest(2)]);
    send(&world, &actor, &app, &rotting.deploy, 2).await.unwrap();
    rot(folder.path(), 2);
    assert_eq!(finish(&world, &actor, &app, &rotting.deploy).await, Err(Code::NotReady));
    assert_eq!(world.versions(&app).await.len(), 1);
    let again = begin_images(&[1, 2]).await;
    assert_eq!(again.missing, [digest(2)], "what was found damaged is sent again");
    send(&world, &actor, &app, &again.deploy, 2).await.unwrap();
    finish(&world, &actor, &app, &again.deploy).await.unwrap();
    assert_eq!(world.versions(&app).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_keeps_the_best_rights_of_those_who_pushed_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    world.push(&name(0), &[9].into()).await.unwrap();
    let prod = PlaceName::prod();
    let expected = [
        (tenant(Scope::Push, None), (false, false, vec![], Reach::Public)),
        (tenant(Scope::Admin, Some("prod")), (false, false, vec![&prod], Reach::Public)),
        (tenant(Scope::Push, None), (false, false, vec![&prod], Reach::Public)),
        (tenant(Scope::Admin, None), (true, false, vec![&prod], Reach::Public)),
        (Actor::local(), (true, true, vec![&prod], Reach::Private)),
        (tenant(Scope::Push, None), (true, true, vec![&prod], Reach::Private)),
    ];
    for (actor, (trusted, edge_admin, trusted_in, reach)) in expected {
        let version = push(&world, &actor, &[1].into()).await;
        let found = record(&world, version).await;
        assert_eq!((found.trusted, found.edge_admin), (trusted, Some(edge_admin)), "{actor:?}");
        assert_eq!(found.reach, Some(reach), "{actor:?}");
        assert_eq!(found.trusted_in.iter().collect::<Vec<_>>(), trusted_in, "{actor:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_stored_or_goes_at_the_same_time_keeps_what_its_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), tenant(Scope::Push, None));
    let live = world.push(&app, &[9].into()).await.unwrap().version;
    let contents = BTreeSet::from([1]);
    let version = manifest(&contents).id();
    let (key, gone_key) = (records::version_key(&app, &version), gone::gone_key(&app, &version));
    // An admin's push of the same content won the race.
    let stored = VersionRecord { who: "admin".to_owned(), ..record(&world, live).await };
    assert!(stored.trusted);
    world.overtaken.before_commit_of(&key, vec![Change::Put(key.clone(), records::write(&stored).unwrap())]);
    assert_eq!(push(&world, &actor, &contents).await, version);
    world.overtaken.assert_overtaken();
    let found = record(&world, version).await;
    assert_eq!((found.trusted, found.who.as_str()), (true, "admin"));
    // Deleted while pushed again: the version is stored afterwards, and no longer deleted.
    let untrusted = VersionRecord { trusted: false, ..stored.clone() };
    let changes = vec![Change::Put(key.clone(), records::write(&untrusted).unwrap())];
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let (until_ms, record) = (u64::MAX, Some(stored));
    let deleted = GoneVersion { at_ms: 1, collected: false, until_ms, who: "anna".to_owned(), stored_ms: 1, record };
    let changes = vec![Change::Delete(key.clone()), Change::Put(gone_key.clone(), records::write(&deleted).unwrap())];
    world.overtaken.before_commit_of(&key, changes);
    push(&world, &Actor::local(), &contents).await;
    world.overtaken.assert_overtaken();
    assert!(world.catalog.get(&key).await.unwrap().is_some());
    assert!(world.catalog.get(&gone_key).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_begins_no_more_pushes_and_stores_no_more_bytes_than_its_limits_say() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { pushes_per_hour_per_app_max: 2, stored_bytes_per_app_max: 2 * each(), ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let (app, actor) = (name(0), Actor::local());
    let deploy = world.begin(&app, &[1].into()).await.unwrap();
    for contents in [[2, 3].into(), [1, 2, 3].into()] {
        // Blobs of running pushes count; blobs of refused pushes do not.
        assert_eq!(begin(&world, &actor, &app, manifest(&contents)).await.err(), Some(Code::StorageFull));
        assert_eq!(predict(&world, &app, &contents, json!({})).await, Err(Code::StorageFull));
    }
    predict(&world, &app, &[1, 2].into(), json!({})).await.unwrap();
    world.finish(&app, &deploy).await.unwrap();
    world.push(&app, &[1, 2].into()).await.unwrap();
    assert_eq!(begin(&world, &actor, &app, manifest(&[1].into())).await.err(), Some(Code::TooManyPushes));
    assert_eq!(predict(&world, &app, &[1].into(), json!({})).await, Err(Code::TooManyPushes));
    begin(&world, &actor, &name(1), manifest(&[1, 2].into())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_that_begin_at_once_one_gets_the_last_version_that_the_app_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), 9, Limits { versions_max: 1, ..Limits::default() }).await;
    let (app, actor) = (name(0), Actor::local());
    let (one, two) = (world.begin(&app, &[1].into()).await.unwrap(), world.begin(&app, &[2].into()).await.unwrap());
    let version = finish(&world, &actor, &app, &one).await.unwrap();
    assert_eq!(finish(&world, &actor, &app, &two).await, Err(Code::TooMany));
    assert_eq!(world.versions(&app).await, [version]);
    // A push doomed to be refused at its end is not sent at all.
    assert_eq!(begin(&world, &actor, &app, manifest(&[3].into())).await.err(), Some(Code::TooMany));
    // A stored version adds none.
    world.push(&app, &[1].into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_of_an_app_that_is_deleted_while_a_push_ends() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    world.push(&app, &[9].into()).await.unwrap();
    let before = world.versions(&app).await;
    let deploy = world.begin(&app, &[1].into()).await.unwrap();
    let deleted = DeletedApp { at_ms: 1, until_ms: u64::MAX, who: "anna".to_owned(), hostnames: Vec::new() };
    let change = Change::Put(gone::deleted_app_key(&app), records::write(&deleted).unwrap());
    world.overtaken.before_commit_of(&records::version_key(&app, &manifest(&[1].into()).id()), vec![change]);
    assert_eq!(finish(&world, &actor, &app, &deploy).await, Err(Code::Deleted));
    world.overtaken.assert_overtaken();
    assert_eq!(world.versions(&app).await, before);
}

/// Returns the refusal of a predicted push.
async fn predict(
    world: &World,
    app: &AppName,
    contents: &BTreeSet<u8>,
    options: serde_json::Value,
) -> Result<(), Code> {
    let options = serde_json::from_value(options).unwrap();
    let begin = BeginDeploy { manifest: manifest(contents), source: Source::default(), options };
    let push = world.publisher.checked_whole(app, begin);
    let under_way = world.publisher.uploads.pushes.len();
    let predicted = world.publisher.predict(&Actor::local(), app, &PlaceName::prod(), push).await;
    assert_eq!(world.publisher.uploads.pushes.len(), under_way, "none is begun");
    predicted.map(drop).map_err(|Error(problem)| problem.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_refuses_what_the_switch_of_the_push_would_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, new) = (name(0), BTreeSet::from([3]));
    let other = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    predict(&world, &app, &new, json!({ "if_live": live })).await.unwrap();
    assert_eq!(predict(&world, &app, &new, json!({ "if_live": other })).await, Err(Code::LiveMoved));
    predict(&world, &app, &new, json!({ "if_live": other, "no_switch": true })).await.unwrap();
    let (signers_key, lock_key) = (signers_key(&app, &PlaceName::prod()), records::lock_key(&app, &PlaceName::prod()));
    let signers = SignersRecord { signers: Vec::new(), signatures_min: 1, who: "anna".to_owned(), at_ms: 1 };
    let lock = records::LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
    let commit = async |changes| world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    commit(vec![Change::Put(signers_key.clone(), records::write(&signers).unwrap())]).await;
    assert_eq!(predict(&world, &app, &new, json!({})).await, Err(Code::NotSigned));
    commit(vec![Change::Put(lock_key.clone(), records::write(&lock).unwrap())]).await;
    predict(&world, &app, &new, json!({})).await.unwrap();
    commit(vec![Change::Delete(signers_key), Change::Delete(lock_key)]).await;
    let key = records::live_key(&app, &PlaceName::prod());
    let pointer: LivePointer = records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap();
    let mut pointer = serde_json::to_value(pointer).unwrap();
    pointer["canary"] = json!({ "version": other, "share": 5, "deploy": "1", "since_ms": 1, "who": "anna" });
    let pointer: LivePointer = serde_json::from_value(pointer).unwrap();
    commit(vec![Change::Put(key, records::write(&pointer).unwrap())]).await;
    assert_eq!(predict(&world, &app, &new, json!({})).await, Err(Code::CanaryRunning));
    predict(&world, &app, &new, json!({ "no_switch": true })).await.unwrap();
    predict(&world, &app, &new, json!({ "alias": "feature" })).await.unwrap();
    predict(&world, &app, &[2].into(), json!({})).await.unwrap();
}
