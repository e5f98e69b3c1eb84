//! Tests of publishing without a network.

mod admission;
mod announced;
mod archives;
mod brought;
mod canary_steps;
mod collections;
mod console;
mod dictionaries;
mod diffs;
mod ending;
mod foreseen;
mod halves;
mod intake;
mod listed;
mod loaded_again;
mod logs;
mod made_again;
mod nodes_of_app;
mod other_nodes;
mod overtaken;
mod owned;
mod prepare_seconds;
mod reported;
mod stored_again;
mod stored_versions;
mod taking_in;
mod unsent;
mod usage;

use std::path::Path;
use std::sync::Arc;

use devanture_config::api::{BeginDeploy, LockRequest, PauseRequest, Source};
use devanture_config::edge_toml::Retention;
use devanture_config::manifest::FileEntry;
use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};

use super::{CheckedPush, Parts, Publisher};
use crate::encode::Background;
use crate::environments::{self, Environments};
use crate::ledger::{Actor, Condition, Ledger};
use crate::switch::{CanaryMove, Intent, Move, Passes, PendingAnswer, Preconditions, Running, Smoke};
use devanture_base::telemetry::AccessLog;
use devanture_config::edge_toml::Watch;
use devanture_config::limits::Limits;
use devanture_serve::handler::{SmokeQuestion, Unanswered};
use devanture_serve::live::{Domains, Grace, Live, Loader};
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{self, Key};
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment};
use devanture_store::records::history::pushed;
use devanture_store::records::{self, AliasRecord, AppRecord, HistoryEntry, LivePointer, StoredDeploy};

/// A smoke checker that is never used.
pub(super) struct Nobody;

impl Smoke for Nobody {
    fn ask(&self, _question: SmokeQuestion) -> PendingAnswer {
        Box::pin(async { Err(Unanswered("nobody is there".to_owned())) })
    }
}

pub(super) fn publisher(folder: &Path) -> (Publisher, Arc<dyn Catalog>) {
    let limits = Limits::default();
    let blobs = blobs::open(folder.to_owned()).unwrap();
    let catalog = catalog::open(&folder.join("catalog.redb")).unwrap();
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let ledger = Arc::new(Ledger::new(Arc::clone(&catalog), live, &limits));
    let plain = environments::Parts::plain(Arc::clone(&blobs), folder);
    let environments = Arc::new(Environments::new(Arc::clone(&ledger), plain));
    let publisher = Publisher::new(Parts {
        blobs: Arc::clone(&blobs),
        ledger: Arc::clone(&ledger),
        environments,
        loader: Loader::new(blobs, Arc::clone(&catalog), &limits),
        upstreams: Policy::default(),
        background: Background::off(),
        dictionaries: None,
        data_dir: folder.to_owned(),
        compress_threads: 1,
        retention: Retention::default(),
        smoke: Arc::new(Nobody),
        access_log: AccessLog::unread(),
        watch: Watch::default(),
        node: "node-1".to_owned(),
        nodes: None,
        cache: None,
    });
    (publisher, catalog)
}

/// Otherwise every push would be superseded until the clock has caught up.
#[tokio::test]
async fn a_push_is_newer_than_what_is_live_also_where_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, catalog) = publisher(folder.path());
    let app: AppName = "shop".parse().unwrap();
    let begun = publisher.new_deploy().0 + 3_600_000_000;
    let pointer = LivePointer {
        version: VersionId::of(b""),
        settings: 0,
        switched_ms: 0,
        deploy: String::new(),
        begun,
        position: String::new(),
        halves_begun: None,
        canary: None,
        pins: None,
    };
    let put = Change::Put(records::live_key(&app, &PlaceName::prod()), records::write(&pointer).unwrap());
    catalog.commit(Commit { checks: Vec::new(), changes: vec![put] }).await.unwrap();
    publisher.ledger.continue_clock().await.unwrap();
    assert!(publisher.new_deploy().0 > begun);
}

#[tokio::test]
async fn aliases_that_have_ended_are_removed_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, catalog) = publisher(folder.path());
    let app: AppName = "shop".parse().unwrap();
    let live = devanture_serve::live::Follower::start(
        publisher.ledger.live.clone(),
        publisher.switcher.loader.clone(),
        crate::encode::remade_channel().subscribe(),
    );
    tokio::spawn(live.await.unwrap().run());
    let now_ms = devanture_base::clock::now_ms();
    let mut changes = Vec::new();
    for (name, expires_ms) in [("ended", Some(now_ms - 1)), ("lasts", None), ("goes-on", Some(now_ms + 3_600_000))] {
        let record = AliasRecord {
            version: VersionId::of(b""),
            switched_ms: 0,
            begun: 0,
            who: String::new(),
            environment: None,
            expires_ms,
            halves_begun: None,
        };
        let key = records::alias_key(&app, &name.parse().unwrap());
        changes.push(Change::Put(key, records::write(&record).unwrap()));
    }
    catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    assert_eq!(publisher.environments.aliases.sweep_aliases().await.unwrap(), 1);
    assert_eq!(publisher.environments.aliases.sweep_aliases().await.unwrap(), 0);
    let left = catalog.list(&records::alias_prefix(&app), None, false, 9).await.unwrap();
    let left: Vec<&str> = left.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(left, ["alias/shop/goes-on", "alias/shop/lasts"]);
}

/// Returns a version with one file of a fingerprinted name.
async fn named(publisher: &Publisher, text: &str) -> VersionId {
    let file = FileEntry { hash: Digest::of(text.as_bytes()), size: 0, media_type: None };
    let manifest = Manifest::of_files([("app-4f2a91bc.js".parse().unwrap(), file)].into());
    publisher.blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
    manifest.id()
}

/// Of two concurrent pushes, each may have been checked before the other went live.
#[tokio::test]
async fn fingerprinted_names_are_looked_at_again_where_something_else_went_live_since() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, catalog) = publisher(folder.path());
    let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
    let (one, two) = (named(&publisher, "one").await, named(&publisher, "two").await);
    let (actor, source) = (Actor::local(), Source::default());
    let intent = Intent {
        app: &app,
        environment: &prod,
        version: two,
        movement: Move::Push,
        deploy: "2",
        begun: 2,
        actor: &actor,
        source: &source,
        log: &[],
        expected: Preconditions { version: None, condition: &Condition::default(), undone: None },
        passes: Passes::default(),
        settings: None,
        half: None,
        brought: (None, None),
        reason: None,
        canary: CanaryMove::None,
    };
    // Without a live version there is nothing to find.
    publisher.switcher.check_fingerprints(&intent).await.unwrap();
    let claims = publisher.switcher.claims(&intent).await.unwrap();

    let position = records::history_key(&app, &prod, 1);
    let pointer = LivePointer {
        version: one,
        settings: 0,
        switched_ms: 0,
        deploy: "1".to_owned(),
        begun: 1,
        position: position.clone(),
        halves_begun: None,
        canary: None,
        pins: None,
    };
    let deploy = StoredDeploy {
        who: actor.name.clone(),
        at_ms: devanture_base::clock::now_ms(),
        source: source.clone().into(),
        ..pushed(one)
    };
    let entry = HistoryEntry { deploy, position: position.clone() };
    let live = records::live_key(&app, &prod);
    let changes = vec![
        Change::Put(position, records::write(&entry).unwrap()),
        Change::Put(live.clone(), records::write(&pointer).unwrap()),
    ];
    let revision = catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();

    let running = Running { wanted: &mut None, held: &mut None, elsewhere: &mut None };
    let error = publisher.switcher.swap(&intent, &claims, running, Vec::new(), None).await.map(|_| ()).unwrap_err();
    assert_eq!(error.0.code, Code::FingerprintReused);
    assert_eq!(catalog.get(&live).await.unwrap().unwrap().revision, revision);
}

/// The app may be deleted between the check and the commit; no record must be written below a deleted app.
#[tokio::test]
async fn nothing_is_written_below_an_app_or_an_environment_that_was_deleted_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, catalog) = publisher(folder.path());
    let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
    let version = named(&publisher, "one").await;
    let pointer = LivePointer {
        version,
        settings: 0,
        switched_ms: 0,
        deploy: String::new(),
        begun: 1,
        position: String::new(),
        halves_begun: None,
        canary: None,
        pins: None,
    };
    let put = |key: String, value| Change::Put(key, value);
    let made = AppRecord { created_ms: 1, who: String::new() };
    let stored = serde_json::json!({
        "stored_ms": 1, "who": "", "trusted": true, "source": {}, "files": 1, "bytes": 0
    });
    let live = vec![
        put(records::app_key(&app), records::write(&made).unwrap()),
        put(records::live_key(&app, &prod), records::write(&pointer).unwrap()),
        put(records::version_key(&app, &version), serde_json::to_vec(&stored).unwrap().into()),
    ];
    catalog.commit(Commit { checks: Vec::new(), changes: live }).await.unwrap();
    let app_deleted = DeletedApp { at_ms: 1, until_ms: u64::MAX, who: "anna".to_owned(), hostnames: Vec::new() };
    let app_deleted = (gone::deleted_app_key(&app), records::write(&app_deleted).unwrap());
    let hostnames = Vec::new();
    let place_deleted = DeletedEnvironment { at_ms: 1, until_ms: u64::MAX, who: "anna".to_owned(), pointer, hostnames };
    let place_deleted = (gone::deleted_environment_key(&app, &prod), records::write(&place_deleted).unwrap());
    for (is_app, (key, record)) in [(true, app_deleted), (false, place_deleted)] {
        catalog.commit(Commit { checks: Vec::new(), changes: vec![put(key.clone(), record)] }).await.unwrap();
        let before = catalog.list("", None, false, 99).await.unwrap();
        let (actor, condition, settings) = (
            Actor::local(),
            Condition::default(),
            serde_json::from_value(serde_json::json!({ "set": { "A": { "value": "1" } } })).unwrap(),
        );
        let alias = "feature".parse().unwrap();
        let wanted = serde_json::from_value(serde_json::json!({ "version": version })).unwrap();
        let withdrawal = serde_json::from_value(serde_json::json!({ "path": "/a" })).unwrap();
        let mut results = vec![
            (
                "lock",
                publisher
                    .environments
                    .places
                    .lock(&actor, &app, &prod, LockRequest::default(), &condition, false)
                    .await
                    .map(drop),
            ),
            (
                "pause",
                publisher
                    .environments
                    .pauses
                    .pause(&actor, &app, &prod, PauseRequest::default(), false)
                    .await
                    .map(drop),
            ),
            (
                "settings",
                publisher
                    .environments
                    .settings
                    .change_settings(&actor, (&app, &prod), &settings, (None, false), std::future::ready(Ok(())))
                    .await
                    .map(drop),
            ),
        ];
        if is_app {
            results.push((
                "alias",
                publisher.environments.aliases.set_alias(&actor, &app, &alias, &wanted, &condition).await.map(drop),
            ));
            results.push(("withdraw", publisher.retention.withdraw(&actor, &app, &withdrawal, false).await.map(drop)));
        }
        for (what, result) in results {
            assert_eq!(result.map_err(|error| error.0.code), Err(Code::Deleted), "{what}");
        }
        assert_eq!(catalog.list("", None, false, 99).await.unwrap(), before);
        catalog.commit(Commit { checks: Vec::new(), changes: vec![Change::Delete(key)] }).await.unwrap();
    }
}

impl Publisher {
    /// Checks a push of an existing manifest.
    pub(super) fn checked_whole(&self, app: &AppName, begin: BeginDeploy) -> CheckedPush {
        self.checked(begin, self.uploads.manifest_memory.hold(app, &PlaceName::prod())).unwrap()
    }
}
