//! Tests of collections over real stores: referenced files survive all concurrent and interleaved operations.

mod upload_journal;
pub(super) mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use devanture_config::api::UndeleteRequest;
use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::ledger::{Actor, Error};
use crate::retention::CollectOptions;
use devanture_base::clock::now_ms;
use devanture_base::durable::fault::{Fault, arm};
use devanture_store::blobs::Key;
use devanture_store::records;
use world::{age, content, manifest, name, reopened, world};

#[derive(Debug, Clone)]
enum Step {
    Push(u8, BTreeSet<u8>),
    Begin(u8, BTreeSet<u8>),
    FinishBegun,
    Switch(u8, usize),
    Delete(u8, usize),
    Undelete(u8),
    DeleteApp(u8),
    UndeleteApp(u8),
    Collect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let contents = || proptest::collection::btree_set(0_u8..8, 1..4);
    let app = || 0_u8..2;
    let step = prop_oneof![
        4 => (app(), contents()).prop_map(|(app, contents)| Step::Push(app, contents)),
        2 => (app(), contents()).prop_map(|(app, contents)| Step::Begin(app, contents)),
        2 => Just(Step::FinishBegun),
        1 => (app(), 0_usize..4).prop_map(|(app, index)| Step::Switch(app, index)),
        2 => (app(), 0_usize..4).prop_map(|(app, index)| Step::Delete(app, index)),
        2 => app().prop_map(Step::Undelete),
        1 => app().prop_map(Step::DeleteApp),
        2 => app().prop_map(Step::UndeleteApp),
        4 => Just(Step::Collect),
    ];
    proptest::collection::vec(step, 1..24)
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let actor = Actor::local();
    let mut begun: Vec<(AppName, String)> = Vec::new();
    for step in steps {
        match step {
            Step::Push(app, contents) => {
                // A deleted app refuses all pushes.
                let refused = world.push(&name(app), &contents).await.map(|_| ()).map_err(|error| error.0.code);
                assert!(matches!(refused, Ok(()) | Err(Code::Deleted)), "{refused:?}");
                world.put_deltas(&contents).await;
            }
            Step::Begin(app, contents) => {
                begun.extend(world.begin(&name(app), &contents).await.ok().map(|deploy| (name(app), deploy)));
            }
            Step::FinishBegun => {
                let Some((app, deploy)) = begun.pop() else { continue };
                let refused = world.finish(&app, &deploy).await.map(|_| ()).map_err(|error| error.0.code);
                // `NotFound` follows the deletion of the app during its push; `Superseded` depends on the order of
                // beginnings.
                let allowed = matches!(refused, Ok(()) | Err(Code::Deleted | Code::NotFound | Code::Superseded));
                assert!(allowed, "{refused:?}");
            }
            Step::Switch(app, index) => {
                let Some(version) = world.versions(&name(app)).await.get(index).copied() else { continue };
                let refused = world.switch(&name(app), version).await;
                let refused = refused.map(|_| ()).map_err(|error| error.0.code);
                assert!(matches!(refused, Ok(()) | Err(Code::Deleted)), "{refused:?}");
            }
            Step::Delete(app, index) => {
                let Some(version) = world.versions(&name(app)).await.get(index).copied() else { continue };
                world.publisher.retention.delete_version(&actor, &name(app), &version.to_string(), false).await.ok();
            }
            Step::Undelete(app) => {
                let things =
                    world.publisher.retention.deleted_things(&Actor::local(), &name(app)).await.unwrap_or_default();
                let Some(version) = things.iter().find_map(|thing| thing.version) else { continue };
                let wanted = UndeleteRequest { environment: None, version: Some(version.to_string()) };
                world.publisher.retention.undelete(&actor, &name(app), &wanted, false).await.ok();
            }
            Step::DeleteApp(app) => {
                world.publisher.retention.delete_app(&actor, &name(app), false).await.ok();
            }
            Step::UndeleteApp(app) => {
                world.publisher.retention.undelete(&actor, &name(app), &UndeleteRequest::default(), false).await.ok();
            }
            Step::Collect => {
                age(folder.path());
                let foreseen = world
                    .publisher
                    .retention
                    .collect(CollectOptions { dry_run: true, ..CollectOptions::default() })
                    .await
                    .unwrap();
                let done = world.publisher.retention.collect(CollectOptions::default()).await.unwrap();
                assert_eq!(
                    (foreseen.versions, foreseen.files, foreseen.bytes),
                    (done.versions, done.files, done.bytes)
                );
            }
        }
        world.all_are_whole().await;
    }
    // Without running pushes, exactly the referenced files remain.
    for (app, deploy) in begun {
        world.publisher.uploads.pushes.take(&app, &deploy).ok();
    }
    age(folder.path());
    // Forced: without any stored app, the files of abandoned pushes are unexplained.
    world.publisher.retention.collect(CollectOptions { force: true, ..CollectOptions::default() }).await.unwrap();
    let stored = world.stored_blobs().await;
    assert_eq!(world.all_are_whole().await, stored);
    for digest in (0_u8..8).map(|number| Digest::of(&content(number))) {
        let deltas = world.blobs.deltas(digest).await.unwrap();
        assert!(deltas.is_empty() || stored.contains(&digest), "{digest}");
    }
}

proptest! {
    // Each case pushes and collects up to 24 times and waits for the disk: a tenth of the usual number of cases
    // suffices.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 10, ..ProptestConfig::default() })]

    /// Pushes, begins, deletions and restorations in any order.
    #[test]
    fn a_collection_takes_what_nothing_refers_to_and_nothing_else(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

/// A blob reported as present stays present until the end of the push, despite repeated collections.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_and_switches_race_collections_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(world(folder.path(), 1).await);
    let (ended, collected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let collecting = {
        let (world, ended, collected) = (Arc::clone(&world), Arc::clone(&ended), Arc::clone(&collected));
        let folder = folder.path().to_owned();
        tokio::spawn(async move {
            while !ended.load(Ordering::Acquire) {
                age(&folder);
                let report = world.publisher.retention.collect(CollectOptions::default()).await.unwrap();
                collected.fetch_add(report.files, Ordering::AcqRel);
            }
        })
    };
    let pushing = (0..3_u8).map(|app| {
        let (world, collected) = (Arc::clone(&world), Arc::clone(&collected));
        tokio::spawn(async move {
            let name = name(app % 2);
            // On a busy machine the collections may not have run yet; more rounds give them time.
            let goes_on = |round: &u16| *round < 40 || collected.load(Ordering::Acquire) == 0;
            for round in (0..400).take_while(goes_on) {
                if round >= 40 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // Contents repeat after 60 rounds.
                let round = u8::try_from(round % 60).unwrap();
                let contents: BTreeSet<u8> = [round % 3, 3 + (round + app) % 5, 8 + (3 * (round % 4) + app) % 4].into();
                match world.push(&name, &contents).await {
                    Ok(report) => drop(report),
                    Err(Error(problem)) => assert_eq!(problem.code, Code::Superseded, "{problem:?}"),
                }
                let versions = world.versions(&name).await;
                let Some(version) = versions.get(usize::from(round) % versions.len().max(1)) else { continue };
                if let Err(Error(problem)) = world.switch(&name, *version).await {
                    // The version was collected before the lease, and the error says so.
                    assert!(matches!(problem.code, Code::VersionCollected | Code::Conflict), "{problem:?}");
                }
            }
        })
    });
    for pushing in pushing.collect::<Vec<_>>() {
        pushing.await.unwrap();
    }
    ended.store(true, Ordering::Release);
    collecting.await.unwrap();
    world.all_are_whole().await;
    assert!(collected.load(Ordering::Acquire) > 0, "nothing was ever collected");
}

/// Laws 2 and 3: the record is deleted durably before the first byte is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn law_3_a_death_at_any_step_of_a_collection_leaves_every_version_whole() {
    let mut steps = 0;
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let (app, other) = (name(0), name(1));
        {
            let world = world(folder.path(), 1).await;
            for contents in [[1, 2].into(), [3, 2].into(), [4, 5].into(), [4, 6].into()] {
                world.push(&app, &contents).await.unwrap();
            }
            world.push(&other, &[1].into()).await.unwrap();
        }
        let world_after = reopened(folder.path()).await;
        age(folder.path());
        let armed = arm(folder.path(), Fault::Death, nth);
        let died = world_after.publisher.retention.collect(CollectOptions::default()).await.is_err();
        let fired = armed.fired();
        drop(armed);
        drop(world_after);
        assert_eq!(died, fired, "{nth}");
        // The follower releases the stores asynchronously.
        let world = reopened(folder.path()).await;
        world.all_are_whole().await;
        age(folder.path());
        world.publisher.retention.collect(CollectOptions::default()).await.unwrap();
        assert_eq!(world.all_are_whole().await, world.stored_blobs().await, "{nth}");
        if !fired {
            break;
        }
        steps += 1;
    }
    assert!(steps > 3, "{steps}");
}

/// The caller may drop a switch at any moment; a leaked lease would keep the version from collection forever.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_whose_client_hangs_up_keeps_no_version_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let app = name(0);
    let one = world.push(&app, &[1].into()).await.unwrap().version;
    let two = world.push(&app, &[2].into()).await.unwrap().version;
    let switch = async |version: VersionId| world.switch(&app, version).await;
    let mut broken_off = 0;
    for round in 0..60_u64 {
        let time_max = Duration::from_micros(round * 100);
        broken_off += usize::from(tokio::time::timeout(time_max, switch(one)).await.is_err());
        switch(two).await.unwrap();
    }
    assert!(broken_off > 0);
    let (live, leases) = (&world.publisher.ledger.live, &world.publisher.ledger.leases);
    // Detached work may still be running in the last round.
    for _ in 0..3_000 {
        switch(two).await.unwrap();
        if !live.is_held(&app, &one) && !leases.closed().await.holds(Key::Manifest(one)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(live.is_held(&app, &two) && !live.is_held(&app, &one));
    let closed = leases.closed().await;
    assert!(!closed.holds(Key::Manifest(one)) && !closed.holds(Key::Manifest(two)));
}

/// Otherwise a collection could delete files of a push before the version's records name them, or a watched switch
/// would keep all younger files from collection.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_push_makes_is_held_by_its_age_until_its_version_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, contents) = (name(0), BTreeSet::from([1]));
    let commits = [records::version_key(&app, &manifest(&contents).id()), records::live_key(&app, &PlaceName::prod())];
    let held_since_s = Arc::new(Mutex::new(Vec::new()));
    for key in &commits {
        let (leases, held_since_s) = (Arc::clone(&world.publisher.ledger.leases), Arc::clone(&held_since_s));
        world.overtaken.before(key, move |_commit| {
            Box::pin(async move {
                let since_s = leases.closed().await.held_since_s();
                held_since_s.lock().push(since_s);
            })
        });
    }
    world.push(&app, &contents).await.unwrap();
    world.overtaken.assert_overtaken();
    let held_since_s = held_since_s.lock().clone();
    let [stored, switched] = held_since_s[..] else { panic!("{held_since_s:?}") };
    assert!(stored.is_some_and(|since_s| since_s <= now_ms() / 1_000), "{stored:?}");
    assert_eq!(switched, None);
}
