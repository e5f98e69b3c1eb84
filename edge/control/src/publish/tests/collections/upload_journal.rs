//! Tests of the upload journal: a killed push resends as little as possible.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::{AppName, Digest, PlaceName};

use super::world::{World, content, manifest, name, reopened, world};
use crate::ledger::Actor;
use crate::retention::{self, CollectOptions};
use devanture_store::catalog;
use devanture_store::records::sent::SentRecord;
use devanture_store::records::{self, gone, sent};

/// Returns the keys of journal records.
async fn sent(world: &World) -> Vec<String> {
    let found = world.catalog.list(sent::SENT_PREFIX, None, false, usize::MAX).await.unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

/// A killed push loses only blobs received since the last write.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_push_sent_outlives_a_kill_and_ends_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (app, contents): (_, BTreeSet<u8>) = (name(0), (0..70).collect());
    let deploy = {
        let world = world(folder.path(), 1).await;
        world.begin(&app, &contents).await.unwrap()
    };
    let world = reopened(folder.path()).await;
    let written = sent(&world).await;
    assert!(written.len() == 1 && written[0].starts_with(&format!("sent/{app}/{deploy}/")), "{written:?}");
    let begin = async |app: &AppName| {
        let manifest = manifest(&contents);
        let begin = BeginDeploy { manifest, source: Source::default(), options: DeployOptions::default() };
        let push = world.publisher.checked_whole(app, begin);
        world.publisher.begin(&Actor::local(), app, &PlaceName::prod(), push).await.unwrap().missing.len()
    };
    assert_eq!((begin(&app).await, begin(&name(1)).await), (6, 70));
    // A push with other files continues no journal, and removes none.
    world.push(&app, &[1, 200].into()).await.unwrap();
    assert_eq!(sent(&world).await, written);
    world.push(&app, &contents).await.unwrap();
    world.publisher.uploads.write_sent().await;
    assert_eq!(sent(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_what_a_push_sent_is_written_down_soon_and_ends_with_the_app() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let keeping = tokio::spawn(Arc::clone(&world.publisher.uploads).keep_writing_sent());
    world.begin(&name(0), &[1, 2].into()).await.unwrap();
    let mut looks = 0;
    while sent(&world).await.is_empty() {
        looks += 1;
        assert!(looks < 1_000, "it is never written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    keeping.abort();
    // Blobs received after the app's deletion are not recorded, so that a new app of the same name learns nothing.
    world.begin(&name(0), &[3].into()).await.unwrap();
    let deleted = gone::DeletedApp { at_ms: 1, until_ms: 1, who: String::new(), hostnames: Vec::new() };
    let changes = vec![catalog::Change::Put(gone::deleted_app_key(&name(0)), records::write(&deleted).unwrap())];
    world.catalog.commit(catalog::Commit { checks: Vec::new(), changes }).await.unwrap();
    world.publisher.uploads.write_sent().await;
    assert_eq!(sent(&world).await.len(), 1);
    world.publisher.retention.collect(CollectOptions::default()).await.unwrap();
    world.publisher.uploads.write_sent().await;
    assert_eq!(sent(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_together_is_written_at_once_by_number_or_bytes_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let app = name(0);
    let deploy = world.begin(&app, &[1].into()).await.unwrap();
    let uploads = &world.publisher.uploads;
    uploads.write_sent().await;
    let first = sent(&world).await;
    assert_eq!(first.len(), 1);
    uploads.write_sent().await;
    assert_eq!(sent(&world).await, first, "what is written is not written again");
    let push = uploads.pushes.find(&app, &deploy).unwrap();
    let digest = |number: u8| Digest::of(&[number]);
    // The time is the earliest of the batch, whatever the order: no blob may pass for newer than it is.
    for (number, at_ms) in [(0, 5), (1, 3), (2, 7)] {
        uploads.note_sent(&push, &[(digest(number), 1)], at_ms).await;
    }
    for number in 3..63 {
        uploads.note_sent(&push, &[(digest(number), 1)], 9).await;
    }
    assert_eq!(sent(&world).await, first);
    uploads.note_sent(&push, &[(digest(63), 1)], 9).await;
    let second = sent(&world).await;
    assert_eq!(second.len(), 2);
    let record: SentRecord = records::read(&second[1], &world.catalog.get(&second[1]).await.unwrap().unwrap()).unwrap();
    assert_eq!((record.at_ms, record.blobs.len()), (3, 64));
    uploads.note_sent(&push, &[(digest(64), 16 * 1_024 * 1_024 - 1)], 9).await;
    assert_eq!(sent(&world).await.len(), 2);
    uploads.note_sent(&push, &[(digest(65), 1)], 9).await;
    assert_eq!(sent(&world).await.len(), 3);
    // Counted from zero.
    uploads.note_sent(&push, &[(digest(66), 1)], 9).await;
    assert_eq!(sent(&world).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_before_it_is_written_down_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let (app, other) = (name(0), name(1));
    let deploy = world.begin(&app, &[1, 2].into()).await.unwrap();
    world.begin(&other, &[1].into()).await.unwrap();
    let uploads = &world.publisher.uploads;
    // A collection deleted the files.
    retention::Uploads::forget_blobs(&**uploads, &[Digest::of(&content(1))]);
    uploads.write_sent().await;
    let written = sent(&world).await;
    assert!(written.len() == 1 && written[0].starts_with(&format!("sent/{app}/")), "{written:?}");
    let record: SentRecord =
        records::read(&written[0], &world.catalog.get(&written[0]).await.unwrap().unwrap()).unwrap();
    assert_eq!(record.blobs, [Digest::of(&content(2))]);
    // The app was deleted, and its name has a new owner.
    world.begin(&app, &[3].into()).await.unwrap();
    uploads.forget_former(&app, u64::MAX).await;
    assert!(uploads.pushes.find(&app, &deploy).is_err());
    uploads.write_sent().await;
    assert_eq!(sent(&world).await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_rest_is_written_down_is_written_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let app = name(0);
    let deploy = world.begin(&app, &[1].into()).await.unwrap();
    let uploads = &world.publisher.uploads;
    let push = uploads.pushes.find(&app, &deploy).unwrap();
    let (receiving, late) = (Arc::clone(uploads), Digest::of(b"late"));
    world.overtaken.before(sent::SENT_PREFIX, move |_commit| {
        Box::pin(async move { receiving.note_sent(&push, &[(late, 4)], 9).await })
    });
    uploads.write_sent().await;
    world.overtaken.assert_overtaken();
    assert_eq!(sent(&world).await.len(), 1, "only what there was when it began");
    uploads.write_sent().await;
    let mut written = Vec::new();
    for key in sent(&world).await {
        let record: SentRecord = records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap();
        written.push(record.blobs);
    }
    assert_eq!(written, [vec![Digest::of(&content(1))], vec![late]]);
}
