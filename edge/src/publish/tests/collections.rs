//! Tests of collections over real stores: nothing that is referred to goes, whatever happens at the same time or in
//! between.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport, Source, SwitchReport, UndeleteRequest};
use devanture_config::edge_toml::{Retention, Watch};
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use proptest::prelude::*;

use crate::blobs::durable::fault::{Fault, arm};
use crate::blobs::{self, Blobs, DeltaForm, Key, NewDelta, Quality};
use crate::catalog::gone::{self, GoneVersion};
use crate::catalog::{self, Catalog, records, sent};
use crate::encode::{Background, delta};
use crate::environments::{self, Environments};
use crate::ledger::{Actor, Condition, Error, Ledger};
use crate::live::{Domains, Follower, Grace, Live, Loader};
use crate::proxy::address::Policy;
use crate::publish::tests::Nobody;
use crate::publish::{Parts, Publisher};
use crate::retention::CollectOptions;
use crate::telemetry::AccessLog;

/// A publisher over a folder, with what follows its catalog.
struct World {
    publisher: Arc<Publisher>,
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    _follower: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self._follower.abort();
    }
}

/// Keeps `keep_versions` and looks at no age; what is old enough to go is what [`age`] made old.
async fn world(folder: &Path, keep_versions: u64) -> World {
    let limits = Limits { grace_ms_max: 0, grace_versions_max: 0, ..Limits::default() };
    let blobs = blobs::open(folder.to_owned()).unwrap();
    let catalog = catalog::open(&folder.join("catalog.redb")).unwrap();
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
    let remade = tokio::sync::broadcast::Sender::new(1);
    let follower = Follower::start(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
    let ledger = Arc::new(Ledger::new(Arc::clone(&catalog), live, &limits));
    let plain = environments::Parts::plain(Arc::clone(&blobs), folder);
    let environments = Arc::new(Environments::new(Arc::clone(&ledger), plain));
    let publisher = Arc::new(Publisher::new(Parts {
        blobs: Arc::clone(&blobs),
        ledger: Arc::clone(&ledger),
        environments,
        loader,
        upstreams: Policy::default(),
        background: Background::off(),
        dictionaries: None,
        data_dir: folder.to_owned(),
        compress_threads: 1,
        retention: Retention {
            collect_every_s: 0,
            keep_days: 0,
            keep_versions,
            undelete_hours: 1,
            collected_hours: 24,
            scrub_days: 0,
        },
        smoke: Arc::new(Nobody),
        access_log: AccessLog::unread(),
        watch: Watch::default(),
        node: "node-1".to_owned(),
        nodes: None,
        cache: None,
    }));
    World { publisher, blobs, catalog, _follower: tokio::spawn(follower.run()) }
}

/// Makes every file of a store as old as can be.
fn age(folder: &Path) {
    for kind in ["blobs", "manifests"] {
        for shard in std::fs::read_dir(folder.join(kind)).unwrap() {
            for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
                // A collection may take it at this moment.
                let Ok(file) = std::fs::File::open(file.unwrap().path()) else { continue };
                file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
    }
}

/// The content of a number, long enough to be compressed.
fn content(number: u8) -> Vec<u8> {
    format!("{}\n", format!("content {number}, ").repeat(60)).into_bytes()
}

fn manifest(contents: &BTreeSet<u8>) -> Manifest {
    let file = |number: u8| {
        let bytes = content(number);
        FileEntry { hash: Digest::of(&bytes), size: bytes.len() as u64, media_type: None }
    };
    Manifest::of_files(contents.iter().map(|n| (format!("f{n}.txt").parse().unwrap(), file(*n))).collect())
}

fn name(app: u8) -> AppName {
    format!("app-{app}").parse().unwrap()
}

impl World {
    /// Makes a stored version live in `prod`.
    async fn switch(&self, app: &AppName, version: VersionId) -> Result<SwitchReport, Error> {
        let wanted = serde_json::from_value(serde_json::json!({"version": version})).unwrap();
        let (actor, prod, condition) = (Actor::local(), PlaceName::prod(), Condition::default());
        self.publisher.switcher.switch(&actor, (app, &prod), &wanted, (&condition, false), None).await?.await.unwrap()
    }

    async fn begin(&self, app: &AppName, contents: &BTreeSet<u8>) -> Result<String, Error> {
        let begin =
            BeginDeploy { manifest: manifest(contents), source: Source::default(), options: DeployOptions::default() };
        let actor = Actor::local();
        let push = self.publisher.checked_whole(app, begin);
        let begun = self.publisher.begin(&actor, app, &PlaceName::prod(), push).await?;
        for number in contents {
            let bytes = content(*number);
            let digest = Digest::of(&bytes);
            if begun.missing.contains(&digest) {
                let mut receiving = self.publisher.receive(&actor, app, &begun.deploy, digest).await?;
                receiving.write(bytes.into()).await?;
                self.publisher.received(receiving).await?;
            }
        }
        Ok(begun.deploy)
    }

    async fn finish(&self, app: &AppName, deploy: &str) -> Result<DeployReport, Error> {
        self.publisher.finish(self.publisher.take(&Actor::local(), app, deploy)?, None).await
    }

    async fn push(&self, app: &AppName, contents: &BTreeSet<u8>) -> Result<DeployReport, Error> {
        let deploy = self.begin(app, contents).await?;
        self.finish(app, &deploy).await
    }

    /// Puts deltas of what is stored of `contents`, each by the content before it, which may be gone or go.
    async fn put_deltas(&self, contents: &BTreeSet<u8>) {
        for number in contents {
            let dictionary = content(number.wrapping_sub(1));
            let delta = NewDelta {
                form: DeltaForm::Dcz,
                dictionary: Digest::of(&dictionary),
                sha256: delta::sha256(&dictionary),
                quality: Quality::Quick,
                bytes: vec![*number; 30].into(),
            };
            let put = self.blobs.put_deltas(Digest::of(&content(*number)), vec![delta]).await;
            assert!(matches!(put, Ok(()) | Err(blobs::Error::Missing(_))), "{put:?}");
        }
    }

    /// The versions of an app that are stored.
    async fn versions(&self, app: &AppName) -> Vec<VersionId> {
        let found = self.catalog.list(&records::versions_prefix(app), None, false, usize::MAX).await.unwrap();
        found.iter().map(|(key, _)| key.rsplit('/').next().unwrap().parse().unwrap()).collect()
    }

    /// Checks that every version that is stored, or can be restored, has all its bytes. Returns all of these.
    async fn all_are_whole(&self) -> BTreeSet<Digest> {
        let mut referred = BTreeSet::new();
        for prefix in ["versions/", gone::GONE_PREFIX] {
            for (key, record) in self.catalog.list(prefix, None, false, usize::MAX).await.unwrap() {
                if prefix == gone::GONE_PREFIX {
                    let gone: GoneVersion = records::read(&key, &record).unwrap();
                    if gone.record.is_none() {
                        continue;
                    }
                }
                let version: VersionId = key.rsplit('/').next().unwrap().parse().unwrap();
                let canonical = self.blobs.get(Key::Manifest(version)).await;
                let canonical = canonical.unwrap_or_else(|error| panic!("{key}: {error}"));
                for file in Manifest::parse(&canonical).unwrap().files.values() {
                    let found = self.blobs.get(Key::Blob(file.hash)).await;
                    found.unwrap_or_else(|error| panic!("{key}: {error}"));
                    referred.insert(file.hash);
                }
            }
        }
        referred
    }

    async fn stored_blobs(&self) -> BTreeSet<Digest> {
        let listed = self.blobs.list().await.unwrap();
        let blobs = listed.iter().filter_map(|(key, ..)| match key {
            Key::Blob(digest) => Some(*digest),
            Key::Manifest(_) | Key::Variant(..) | Key::Delta(..) => None,
        });
        blobs.collect()
    }
}

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
                // An app that is deleted takes nothing.
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
                // Not found is the push that an app's deletion ended; superseded is a matter of which was begun later.
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
    // With nothing under way, what is left is what is referred to, and no byte more.
    for (app, deploy) in begun {
        world.publisher.uploads.pushes.take(&app, &deploy).ok();
    }
    age(folder.path());
    // By force: where no app is stored, nothing explains the files of abandoned pushes.
    world.publisher.retention.collect(CollectOptions { force: true, ..CollectOptions::default() }).await.unwrap();
    let stored = world.stored_blobs().await;
    assert_eq!(world.all_are_whole().await, stored);
    for digest in (0_u8..8).map(|number| Digest::of(&content(number))) {
        let deltas = world.blobs.deltas(digest).await.unwrap();
        assert!(deltas.is_empty() || stored.contains(&digest), "{digest}");
    }
}

proptest! {
    // Each pushes and collects up to 24 times, and waits for the disk: a tenth of the usual number of cases is enough.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 10, ..ProptestConfig::default() })]

    /// Pushes, begins, deletions and restores in any order.
    #[test]
    fn a_collection_takes_what_nothing_refers_to_and_nothing_else(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

/// A blob that an answer promised is there at the end, however often it is collected meanwhile.
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
            // On a busy machine the collections may have had no turn yet: they get more of it from then on.
            let goes_on = |round: &u16| *round < 40 || collected.load(Ordering::Acquire) == 0;
            for round in (0..400).take_while(goes_on) {
                if round >= 40 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // The contents are the same again after so many.
                let round = u8::try_from(round % 60).unwrap();
                let contents: BTreeSet<u8> = [round % 3, 3 + (round + app) % 5, 8 + (3 * (round % 4) + app) % 4].into();
                match world.push(&name, &contents).await {
                    Ok(report) => drop(report),
                    Err(Error(problem)) => assert_eq!(problem.code, Code::Superseded, "{problem:?}"),
                }
                let versions = world.versions(&name).await;
                let Some(version) = versions.get(usize::from(round) % versions.len().max(1)) else { continue };
                if let Err(Error(problem)) = world.switch(&name, *version).await {
                    // It went before somebody could hold it, and says so.
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

/// Laws 2 and 3: the record is gone, durably, before the first byte is.
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
        // The follower drops the stores in its own time.
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

/// Opens the stores again once the lock of those before is free.
async fn reopened(folder: &Path) -> World {
    for _ in 0..500 {
        if catalog::open(&folder.join("catalog.redb")).is_ok() {
            return world(folder, 1).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the stores stay open");
}

/// The caller of a switch may be gone at any moment of it; a version kept at hand for it would never be collected.
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
    // What nobody waited for may still be under way in the last round.
    for _ in 0..100 {
        switch(two).await.unwrap();
        if !live.is_held(&app, &one) && !leases.closed().await.holds(Key::Manifest(one)) {
            break;
        }
    }
    assert!(live.is_held(&app, &two) && !live.is_held(&app, &one));
    let closed = leases.closed().await;
    assert!(!closed.holds(Key::Manifest(one)) && !closed.holds(Key::Manifest(two)));
}

/// The keys of what pushes have written down that they sent.
async fn sent(world: &World) -> Vec<String> {
    let found = world.catalog.list(sent::SENT_PREFIX, None, false, usize::MAX).await.unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

/// Of a push that is killed, nothing is lost but what came since it wrote something down.
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
    // A push with other files continues nothing, and takes nothing away.
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
    // What comes while the app is deleted is not written, so that its name tells the next one nothing.
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
