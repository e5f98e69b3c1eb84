//! Tests of the bounds of dictionary work, and of its progress despite missing files.

use super::*;
use devanture_store::blobs::NewDelta;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::HistoryEntry;
use devanture_store::records::history::pushed;

#[tokio::test]
async fn no_more_time_is_taken_behind_a_switch_than_the_limit_says() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { delta_ms_max: 0, delta_background_ms_max: 0, ..Limits::default() };
    let hasty = world(folder.path(), Compress::default(), limits).await;
    let first = hasty.push(&shop(), &[("app-3f2a91bc.js", script(1, 1))]).await;
    assert!(!hasty.dictionaries.after_switch(&shop(), &PlaceName::prod(), first.version, &hasty.pool).await.unwrap());
    assert!(hasty.record(&shop(), &first.version).await.is_none_or(|record| record.files.is_empty()));

    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { delta_background_ms_max: 0, ..patient() };
    let world = world(folder.path(), Compress::default(), limits).await;
    world.push(&shop(), &[("app-3f2a91bc.js", script(1, 1))]).await;
    let second = world.push(&shop(), &[("app-77c01d2e.js", script(1, 2))]).await;
    assert_eq!(world.dictionaries.improve(&shop(), second.version, &world.pool).await.unwrap(), 0);
    assert_eq!(world.deltas(&script(1, 2), &script(1, 1)).await, QUICK);
}

#[tokio::test]
async fn a_file_that_is_gone_leaves_the_others_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let files = |release| [1, 2, 3].map(|seed| (["a.js", "b.js", "c.js"][seed - 1], script(seed as u64, release)));
    world.push(&shop(), &files(1)).await;
    let second = world.push(&shop(), &files(2)).await;
    let mut names: Vec<String> = files(2).iter().map(|(_, bytes)| Digest::of(bytes).to_string()).collect();
    names.sort();
    // The first in order.
    std::fs::remove_file(folder.path().join("blobs").join(&names[0][..2]).join(&names[0])).unwrap();
    assert_eq!(world.dictionaries.improve(&shop(), second.version, &world.pool).await.unwrap(), 4);
}

#[tokio::test]
async fn what_another_app_has_made_of_a_shared_file_refuses_nobody_a_delta() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Compress { dictionary_versions: 1, ..Compress::default() };
    let world = world(folder.path(), settings, patient()).await;
    let (one, three) = (script(1, 1), script(1, 3));
    for (name, release) in [("app-3f2a91bc.js", 1), ("app-77c01d2e.js", 2)] {
        world.push(&shop(), &[(name, script(1, release))]).await;
    }
    let third = world.push(&shop(), &[("app-1d2e77c0.js", three.clone())]).await;
    let foreign = |number: u8| NewDelta {
        form: DeltaForm::Dcz,
        dictionary: Digest::of(&[number]),
        sha256: delta::sha256(&[number]),
        quality: Quality::Quick,
        bytes: vec![number].into(),
    };
    world.blobs.put_deltas(Digest::of(&three), (0..14).map(foreign).collect()).await.unwrap();
    assert!(world.blobs.deltas(Digest::of(&three)).await.unwrap().len() > 12);
    let (blob, sha256) = (Digest::of(&three), delta::sha256(&one));
    let miss = miss_of(third.version, blob, sha256);
    assert!(world.dictionaries.fulfil_one(&miss, &world.pool, &mut |_| true).await.unwrap());
    assert_eq!(world.deltas(&three, &one).await, QUICK);
}

fn went_live(version: VersionId) -> HistoryEntry {
    HistoryEntry { deploy: pushed(version), position: String::new() }
}

#[tokio::test]
async fn every_dictionary_of_an_environment_is_found_however_many_versions_were_live() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let file = |number: u8| (Digest::of(&[number]), delta::sha256(&[number]));
    let put = |number: u8| {
        let record = DictionariesRecord { files: [file(number)].into(), ..DictionariesRecord::default() };
        Change::Put(records::dictionaries_key(&shop(), &Digest::of(&[number, 1])), records::write(&record).unwrap())
    };
    let mut changes: Vec<Change> = (0..100).map(put).collect();
    let prod = PlaceName::prod();
    changes.extend((0..100).map(|number: u8| {
        let key = records::history_key(&shop(), &prod, number.into());
        Change::Put(key, records::write(&went_live(Digest::of(&[number, 1]))).unwrap())
    }));
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let found = world.dictionaries.by_sha256(&shop(), Some(&prod), &Digest::of(b"")).await.unwrap();
    assert_eq!(found.len(), 100);
    assert!((0..100).map(file).all(|(blob, sha256)| found.get(&sha256) == Some(&blob)));
}

#[tokio::test]
async fn a_push_of_what_is_live_leaves_deltas_to_the_pass_behind_the_switch() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(1, 2));
    let push_two = async || world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await.version;
    world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    let second = push_two().await;
    let record = world.record(&shop(), &second).await;
    for form in DeltaForm::ALL {
        world.blobs.delete(Key::Delta(Digest::of(&two), Digest::of(&one), form)).await.unwrap();
    }
    assert_eq!(push_two().await, second);
    assert_eq!((world.deltas(&two, &one).await, world.record(&shop(), &second).await), (Vec::new(), record));
    // Deltas for a replaced live version are made before the switch.
    world.rollback().await;
    assert_eq!(push_two().await, second);
    assert_eq!(world.deltas(&two, &one).await, QUICK);
}
