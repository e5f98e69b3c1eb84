//! Tests of blobs owned by an app: only own blobs are reported as present.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use devanture_config::api::{BeginDeploy, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, Manifest, PlaceName};
use futures_util::poll;

use super::collections::world::{World, content, digest, manifest, name, reopened, world, world_with};
use crate::ledger::Actor;
use crate::publish::owned::Owned;
use crate::retention::Uploads as _;
use crate::switch::Origin;
use devanture_base::clock::now_ms;
use devanture_base::fair::Lane;
use devanture_store::blobs::{Key, LONG_MANIFESTS_AT_ONCE};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records;
use devanture_store::records::follow::{Follow, FollowStep};
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::table::FollowedBy;

fn wanted(contents: &BTreeSet<u8>) -> HashMap<Digest, u64> {
    contents.iter().map(|number| (digest(*number), content(*number).len() as u64)).collect()
}

/// Returns the contents missing from an app.
async fn missing(owned: &Owned, app: &AppName, contents: &BTreeSet<u8>) -> BTreeSet<u8> {
    let missing = owned.missing(app, &wanted(contents)).await.unwrap();
    contents.iter().filter(|number| missing.contains(&digest(**number))).copied().collect()
}

/// Returns the contents in no stored version of an app.
async fn fresh(owned: &Owned, app: &AppName, contents: &BTreeSet<u8>) -> BTreeSet<u8> {
    let fresh = owned.fresh(app, &manifest(contents)).await.unwrap();
    contents.iter().filter(|number| fresh.contains(&digest(**number))).copied().collect()
}

async fn put(world: &World, change: Change) {
    world.catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
}

const NONE: BTreeSet<u8> = BTreeSet::new();

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_has_sent_is_missing_to_every_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2, 3]));
    world.begin(&shop, &[1].into()).await.unwrap();
    world.push(&shop, &[2].into()).await.unwrap();
    assert_eq!(missing(owned, &shop, &all).await, [3].into());
    assert_eq!(fresh(owned, &shop, &all).await, [1, 3].into(), "what no version holds was not compressed");
    assert_eq!((missing(owned, &blog, &all).await, fresh(owned, &blog, &all).await), (all.clone(), all.clone()));
    // Blobs set aside, or of another length, are sent again.
    world.blobs.delete(Key::Blob(digest(2))).await.unwrap();
    assert_eq!(missing(owned, &shop, &all).await, [2, 3].into());
    let of_other_length = owned.missing(&shop, &[(digest(1), 1)].into()).await.unwrap();
    assert_eq!(of_other_length, [digest(1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_those_of_what_was_sent_and_of_what_comes_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, each) = (name(0), content(1).len() as u64);
    world.push(&shop, &[1, 2].into()).await.unwrap();
    world.begin(&shop, &[2, 3].into()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(owned.bytes_with(&shop, &HashMap::new()).await.unwrap(), 3 * each);
        assert_eq!(owned.bytes_with(&shop, &wanted(&[3, 4].into())).await.unwrap(), 4 * each);
        assert_eq!(owned.bytes_with(&name(1), &wanted(&[3, 4].into())).await.unwrap(), 2 * each);
        // The second time, read from the journal.
        world.publisher.uploads.write_sent().await;
        owned.forget_all();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_versions_hold_counts_after_a_start_for_as_long_as_they_can_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2, 3]));
    let version = {
        let world = world(folder.path(), 9).await;
        world.push(&shop, &[1].into()).await.unwrap();
        world.push(&blog, &[2, 3].into()).await.unwrap();
        world.push(&shop, &[2].into()).await.unwrap().version
    };
    let world = reopened(folder.path()).await;
    let owned = &world.publisher.uploads.owned;
    assert_eq!((missing(owned, &shop, &all).await, fresh(owned, &shop, &all).await), ([3].into(), [3].into()));
    // Deleted versions, with and without their record.
    let key = records::version_key(&shop, &version);
    let record = records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap();
    put(&world, Change::Delete(key)).await;
    for (record, holds) in [(Some(record), true), (None, false)] {
        let gone = GoneVersion { at_ms: 1, collected: false, until_ms: 2, who: String::new(), stored_ms: 1, record };
        put(&world, Change::Put(gone::gone_key(&shop, &version), records::write(&gone).unwrap())).await;
        owned.forget_all();
        let expected: BTreeSet<u8> = if holds { [3].into() } else { [2, 3].into() };
        assert_eq!(missing(owned, &shop, &all).await, expected);
        assert_eq!(fresh(owned, &shop, &all).await, [2, 3].into());
    }
    // A version with an unreadable manifest owns nothing, and heals when sent again.
    world.blobs.delete(Key::Manifest(manifest(&[1].into()).id())).await.unwrap();
    owned.forget_all();
    assert_eq!(missing(owned, &shop, &all).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_stored_or_whose_app_is_no_longer_there_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2]));
    for app in [&shop, &blog] {
        world.push(app, &all).await.unwrap();
    }
    owned.forget(&[digest(1)]);
    for app in [&shop, &blog] {
        assert_eq!((missing(owned, app, &all).await, fresh(owned, app, &all).await), ([1].into(), [1].into()));
    }
    // Without its records, the app owns none of its blobs.
    put(&world, Change::Delete(records::version_key(&shop, &manifest(&all).id()))).await;
    assert_eq!(missing(owned, &shop, &all).await, [1].into());
    owned.forget_app(&shop);
    assert_eq!((missing(owned, &shop, &all).await, missing(owned, &blog, &all).await), (all.clone(), [1].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_lost_a_version_owns_what_its_others_hold_and_what_it_sent_since() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2, 3, 4]));
    let lost = world.push(&shop, &[1, 2].into()).await.unwrap().version;
    world.push(&shop, &[2].into()).await.unwrap();
    world.push(&blog, &all).await.unwrap();
    world.begin(&shop, &[3].into()).await.unwrap();
    let ended_ms = now_ms() + 1;
    put(&world, Change::Delete(records::version_key(&shop, &lost))).await;
    // The app has lost no version as far as known, and sent nothing before the given time.
    owned.refresh(&HashSet::new(), 1).await.unwrap();
    assert_eq!(missing(owned, &shop, &all).await, [4].into());
    owned.refresh(&[shop.clone()].into(), 1).await.unwrap();
    assert_eq!(missing(owned, &shop, &all).await, [4].into(), "all was sent since");
    assert_eq!(fresh(owned, &shop, &all).await, [3, 4].into(), "and stored since");
    owned.refresh(&[shop.clone()].into(), ended_ms).await.unwrap();
    assert_eq!(missing(owned, &shop, &all).await, [1, 3, 4].into());
    assert_eq!(fresh(owned, &shop, &all).await, [1, 3, 4].into());
    assert_eq!((missing(owned, &blog, &all).await, fresh(owned, &blog, &all).await), (NONE, NONE));
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_became_no_version_are_forgotten_where_they_are_old_although_nothing_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, all) = (name(0), BTreeSet::from([1, 2]));
    world.push(&shop, &[1].into()).await.unwrap();
    world.begin(&shop, &[2].into()).await.unwrap();
    let began_ms = now_ms() + 1;
    for lost in [HashSet::new(), [shop.clone()].into()] {
        owned.refresh(&lost, 1).await.unwrap();
        assert_eq!(missing(owned, &shop, &all).await, NONE);
    }
    owned.refresh(&HashSet::new(), began_ms).await.unwrap();
    assert_eq!((missing(owned, &shop, &all).await, fresh(owned, &shop, &all).await), ([2].into(), [2].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_sent_again_is_as_new_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, all) = (name(0), BTreeSet::from([1, 2]));
    world.begin(&shop, &all).await.unwrap();
    let first_ms = now_ms();
    while now_ms() == first_ms {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    owned.add(&shop, wanted(&[1].into()).into_iter()).await.unwrap();
    owned.refresh(&HashSet::new(), first_ms + 1).await.unwrap();
    assert_eq!(missing(owned, &shop, &all).await, [2].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_version_holds_that_can_be_restored_is_owned_as_long_as_it_can_be_and_compressed_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, all) = (name(0), BTreeSet::from([1, 2]));
    let lost = world.push(&shop, &all).await.unwrap().version;
    world.push(&shop, &[2].into()).await.unwrap();
    let ended_ms = now_ms() + 1;
    let (key, gone_key) = (records::version_key(&shop, &lost), gone::gone_key(&shop, &lost));
    let record = records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap();
    let (until_ms, record) = (u64::MAX, Some(record));
    let gone = GoneVersion { at_ms: 1, collected: true, until_ms, who: String::new(), stored_ms: 1, record };
    put(&world, Change::Delete(key)).await;
    put(&world, Change::Put(gone_key.clone(), records::write(&gone).unwrap())).await;
    let lost = HashSet::from([shop.clone()]);
    owned.refresh(&lost, ended_ms).await.unwrap();
    assert_eq!((missing(owned, &shop, &all).await, fresh(owned, &shop, &all).await), (NONE, [1].into()));
    // Old before, so that no other record leads to the removal.
    put(&world, Change::Delete(gone_key)).await;
    owned.refresh(&lost, ended_ms).await.unwrap();
    assert_eq!((missing(owned, &shop, &all).await, fresh(owned, &shop, &all).await), ([1].into(), [1].into()));
}

/// By then the name has a new owner, who must not learn of the former app's blobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_arrives_after_its_app_was_deleted_is_sent_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let (shop, actor) = (name(0), Actor::local());
    let deploy = world.begin(&shop, &[1].into()).await.unwrap();
    let mut receiving = world.publisher.receive(&actor, &shop, &deploy, digest(1)).await.unwrap();
    receiving.write(content(1).into()).await.unwrap();
    world.publisher.uploads.forget_former(&shop, u64::MAX).await;
    let late = world.publisher.received(receiving).await.map_err(|error| error.0.code);
    assert_eq!(late, Err(Code::NotFound));
    assert_eq!(missing(&world.publisher.uploads.owned, &shop, &[1].into()).await, [1].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collection_ends_is_under_way_and_known_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), 1, Limits { push_idle_ms_max: 1, ..Limits::default() }).await;
    let (shop, uploads) = (name(0), &world.publisher.uploads);
    let begin = async || {
        let push = BeginDeploy { manifest: manifest(&[1].into()), source: Source::default(), options: <_>::default() };
        let push = world.publisher.checked_whole(&shop, push);
        world.publisher.begin(&Actor::local(), &shop, &PlaceName::prod(), push).await.unwrap().deploy
    };
    let deploy = begin().await;
    uploads.end_of(&shop, Some(&"staging".parse().unwrap()));
    assert!(uploads.pushes.is_there(&shop, &deploy));
    uploads.end_of(&shop, Some(&PlaceName::prod()));
    assert!(!uploads.pushes.is_there(&shop, &deploy));
    let deploy = begin().await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(uploads.pushes.is_there(&shop, &deploy));
    uploads.end_idle();
    assert!(!uploads.pushes.is_there(&shop, &deploy));
    world.blobs.put(Key::Blob(digest(1)), content(1).into()).await.unwrap();
    uploads.owned.add(&shop, wanted(&[1].into()).into_iter()).await.unwrap();
    assert_eq!(missing(&uploads.owned, &shop, &[1].into()).await, NONE);
    uploads.forget_blobs(&[digest(1)]);
    assert_eq!(missing(&uploads.owned, &shop, &[1].into()).await, [1].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_fails_after_its_app_was_deleted_is_not_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let (shop, uploads) = (name(0), &world.publisher.uploads);
    let deploy = world.begin(&shop, &[1].into()).await.unwrap();
    let push = uploads.pushes.take(&shop, &deploy).unwrap();
    let _steps =
        uploads.deploys.open(&deploy, &shop, &push.environment, (None, Origin::default()), push.began.revision);
    uploads.put_back(&push);
    assert!(uploads.pushes.is_there(&shop, &deploy));
    uploads.pushes.take(&shop, &deploy).unwrap();
    uploads.forget_former(&shop, u64::MAX).await;
    uploads.put_back(&push);
    assert!(!uploads.pushes.is_there(&shop, &deploy), "the name is somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_11_long_manifests_of_an_app_that_has_not_pushed_are_read_in_turns() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, blog, nothing) = (name(0), name(1), HashMap::new());
    let file = |number: u16| {
        let entry = FileEntry { hash: Digest::of(&number.to_be_bytes()), size: 2, media_type: None };
        (format!("{number}.txt").parse().unwrap(), entry)
    };
    let long = Manifest::of_files((0..1_000).map(file).collect());
    world.blobs.put(Key::Manifest(long.id()), long.canonical().into()).await.unwrap();
    let version = world.push(&blog, &[1].into()).await.unwrap().version;
    let record = world.catalog.get(&records::version_key(&blog, &version)).await.unwrap().unwrap().value;
    put(&world, Change::Put(records::version_key(&shop, &long.id()), record)).await;
    owned.forget_all();
    let mut held = Vec::new();
    for _ in 0..LONG_MANIFESTS_AT_ONCE {
        held.push(owned.turns.take(&*world.blobs, Lane::of("greedy"), &[long.id()]).await.unwrap().unwrap());
    }
    let mut used = Box::pin(owned.bytes_with(&shop, &nothing));
    while owned.turns.waiting() == 0 {
        assert!(poll!(&mut used).is_pending());
        tokio::task::yield_now().await;
    }
    // A short manifest waits for no permit.
    assert_eq!(owned.bytes_with(&blog, &nothing).await.unwrap(), content(1).len() as u64);
    assert!(poll!(&mut used).is_pending());
    held.pop();
    assert_eq!(used.await.unwrap(), 2_000);
}

/// Reports to a node what was committed.
fn hear(owned: &Owned, follow: &mut Follow) {
    while let Poll::Ready(Some(FollowStep::Changes(commit))) = follow.next_now() {
        owned.note_commit(&commit.changes);
    }
}

/// A node's follower of commits from now on.
fn listen(world: &World) -> Follow {
    Follow::new(&*world.catalog, FollowedBy::Publish).begun()
}

/// Two nodes of one cluster, as far as this is about.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_stored_by_another_node_is_its_own_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let here = &world.publisher.uploads.owned;
    let there = Owned::new(Arc::clone(&world.blobs), Arc::clone(&world.catalog));
    let (mut heard_here, mut heard_there) = (listen(&world), listen(&world));
    let (shop, all, each) = (name(0), BTreeSet::from([1, 2, 3]), content(1).len() as u64);
    world.push(&shop, &[1].into()).await.unwrap();
    assert_eq!(missing(&there, &shop, &all).await, [2, 3].into());
    world.push(&shop, &[2].into()).await.unwrap();
    // A manifest already read is not read again: its blobs are known even without the file.
    world.blobs.delete(Key::Manifest(manifest(&[1].into()).id())).await.unwrap();
    hear(&there, &mut heard_there);
    assert_eq!(there.bytes_with(&shop, &HashMap::new()).await.unwrap(), 2 * each);
    assert_eq!((missing(&there, &shop, &all).await, fresh(&there, &shop, &all).await), ([3].into(), [3].into()));
    // Pushes of the node itself are added at their end; their announced commits cause no read.
    world.blobs.delete(Key::Manifest(manifest(&[2].into()).id())).await.unwrap();
    hear(here, &mut heard_here);
    assert_eq!((missing(here, &shop, &all).await, fresh(here, &shop, &all).await), ([3].into(), [3].into()));
}

/// Law 11: equal bytes of another app stay on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_what_an_app_lost_by_another_node_is_missing_to_it_on_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let there = Owned::new(Arc::clone(&world.blobs), Arc::clone(&world.catalog));
    let mut heard = listen(&world);
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2]));
    let lost = world.push(&shop, &[1].into()).await.unwrap().version;
    for (app, contents) in [(&shop, [2].into()), (&blog, all.clone())] {
        world.push(app, &contents).await.unwrap();
    }
    assert_eq!((missing(&there, &shop, &all).await, missing(&there, &blog, &all).await), (NONE, NONE));
    let actor = Actor::local();
    let retention = world.publisher.retention();
    retention.delete_version(&actor, &shop, &lost.to_string(), false).await.unwrap();
    hear(&there, &mut heard);
    assert_eq!(missing(&there, &shop, &all).await, NONE, "it can be restored");
    retention.purge_version(&actor, &shop, &lost.to_string(), false).await.unwrap();
    hear(&there, &mut heard);
    assert_eq!((missing(&there, &shop, &all).await, missing(&there, &blog, &all).await), ([1].into(), NONE));
    // Stored again, the blob is owned again, although the same commit deletes the tombstone.
    world.push(&shop, &[1].into()).await.unwrap();
    hear(&there, &mut heard);
    assert_eq!(missing(&there, &shop, &all).await, NONE);
}

/// Law 11: the next process reads the upload journal again.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_what_was_purged_is_missing_after_a_start_also_where_an_unfinished_push_had_sent_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2]));
    world.begin(&shop, &all).await.unwrap();
    world.publisher.uploads.write_sent().await;
    let purged = world.push(&shop, &[1].into()).await.unwrap().version;
    for (app, contents) in [(&shop, [3].into()), (&blog, all.clone())] {
        world.push(app, &contents).await.unwrap();
    }
    let retention = world.publisher.retention();
    retention.purge_version(&Actor::local(), &shop, &purged.to_string(), false).await.unwrap();
    owned.forget_all();
    assert!(missing(owned, &shop, &all).await.contains(&1));
    assert_eq!(missing(owned, &blog, &all).await, NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_follows_what_others_do_to_the_versions_of_apps() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let owned = &world.publisher.uploads.owned;
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2]));
    world.push(&shop, &[1].into()).await.unwrap();
    let version = world.push(&blog, &[2].into()).await.unwrap().version;
    let record = world.catalog.get(&records::version_key(&blog, &version)).await.unwrap().unwrap().value;
    let following = tokio::spawn(Arc::clone(&world.publisher).keep_forgetting());
    let key = records::version_key(&shop, &version);
    // Repeated until received, since the task may not have subscribed yet.
    for (change, expected) in [(Change::Put(key.clone(), record), NONE), (Change::Delete(key), [2].into())] {
        let mut is_heard = false;
        for _ in 0..1_000 {
            put(&world, change.clone()).await;
            is_heard = missing(owned, &shop, &all).await == expected;
            if is_heard {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(is_heard, "{change:?}");
    }
    following.abort();
}

/// A version of another node is read once, and a version of the same node never: reading again would bring back blobs
/// collected since.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_of_a_version_that_was_heard_of_stays_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let here = &world.publisher.uploads.owned;
    let there = Owned::new(Arc::clone(&world.blobs), Arc::clone(&world.catalog));
    let (mut heard_here, mut heard_there) = (listen(&world), listen(&world));
    let (shop, all) = (name(0), BTreeSet::from([1, 2, 3]));
    world.push(&shop, &[1].into()).await.unwrap();
    assert_eq!(missing(&there, &shop, &all).await, [2, 3].into());
    world.push(&shop, &[2].into()).await.unwrap();
    hear(here, &mut heard_here);
    hear(&there, &mut heard_there);
    for owned in [here, &there] {
        assert_eq!(missing(owned, &shop, &all).await, [3].into());
        owned.forget(&[digest(2)]);
        assert_eq!(missing(owned, &shop, &all).await, [2, 3].into());
        assert_eq!(fresh(owned, &shop, &all).await, [2, 3].into());
    }
}
