//! Tests of histories and live logs, where concurrent entries must not be overwritten, and of actions recorded
//! beforehand.

use std::sync::Arc;

use async_trait::async_trait;
use devanture_config::api::{Deploy, DeployKind, Outcome};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};
use serde_json::json;
use tokio::sync::broadcast::Receiver;

use super::{Action, Actor, AuditEvent, Ledger, Moves, PAGE_MAX, Page};
use devanture_serve::live::{Domains, Grace, Live};
use devanture_store::catalog::overtaken::{Overtaken, key_of};
use devanture_store::catalog::{self, Catalog, CatalogState, Change, Commit, Committed, Record, Revision};
use devanture_store::records::gone;
use devanture_store::records::history::pushed;
use devanture_store::records::signing::live_log_prefix;
use devanture_store::records::{self, LivePointer};

struct World {
    _folder: tempfile::TempDir,
    app: AppName,
    prod: PlaceName,
    catalog: Arc<Overtaken>,
    ledger: Ledger,
}

fn world(limits: &Limits) -> World {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Overtaken::new(catalog::open(&folder.path().join("catalog.redb")).unwrap());
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let ledger = Ledger::new(Arc::<Overtaken>::clone(&catalog), live, limits);
    World { _folder: folder, app: "shop".parse().unwrap(), prod: PlaceName::prod(), catalog, ledger }
}

fn deploy(id: &str) -> Deploy {
    Deploy { id: id.to_owned(), outcome: Outcome::Failed, ..pushed(VersionId::of(b"")).into() }
}

fn page() -> Page {
    Page { limit: PAGE_MAX, after: None, cursor: "after" }
}

#[tokio::test]
async fn the_end_of_a_push_is_not_written_over_another_entry_or_below_an_app_that_was_deleted() {
    let world = world(&Limits::default());
    let history = records::history_prefix(&world.app, &world.prod);
    let (stored, prefix) = (Arc::clone(&world.catalog.stored), history.clone());
    world.catalog.before(&history, move |commit| {
        let own = commit.changes.iter().find(|change| key_of(change).starts_with(&prefix));
        let first = Change::Put(key_of(own.unwrap()).to_owned(), b"first".as_slice().into());
        Box::pin(async move {
            stored.commit(Commit { checks: Vec::new(), changes: vec![first] }).await.unwrap();
        })
    });
    world.ledger.append_history(&world.app, deploy("1")).await.unwrap_err();
    world.catalog.assert_overtaken();
    let entries = || world.catalog.list(&history, None, false, 9);
    let values: Vec<_> = entries().await.unwrap().into_iter().map(|(_, record)| record.value).collect();
    assert_eq!(values.iter().map(|value| &**value).collect::<Vec<_>>(), [b"first"]);
    let deleted = json!({ "at_ms": 1, "until_ms": u64::MAX, "who": "bob" });
    let deleted = Change::Put(gone::deleted_app_key(&world.app), records::write(&deleted).unwrap());
    world.catalog.before_commit_of(&history, vec![deleted]);
    world.ledger.append_history(&world.app, deploy("2")).await.unwrap_err();
    world.catalog.assert_overtaken();
    assert_eq!(entries().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_live_log_has_each_number_once_and_no_more_entries_than_are_kept() {
    let world = world(&Limits { live_log_entries_max: 2, ..Limits::default() });
    let pointer = LivePointer {
        version: VersionId::of(b""),
        settings: 0,
        switched_ms: 0,
        deploy: String::new(),
        begun: 0,
        position: String::new(),
        halves_begun: None,
        canary: None,
        pins: None,
    };
    let actor = Actor::local();
    let logged = async || {
        let moves = Moves { actor: &actor, kind: DeployKind::Switch, at_ms: 1, deploy: "1", signed_by: Vec::new() };
        let mut commit = Commit::default();
        world.ledger.log_live(&mut commit, (&world.app, &world.prod), &pointer, moves).await.unwrap();
        commit
    };
    // Of two concurrent writers the second fails.
    let (first, second) = (logged().await, logged().await);
    world.catalog.commit(first).await.unwrap();
    assert!(matches!(world.catalog.commit(second).await, Err(catalog::Error::Conflict { .. })));
    for expected in [vec![1, 2], vec![2, 3], vec![3, 4]] {
        world.catalog.commit(logged().await).await.unwrap();
        let entries = world.catalog.list(&live_log_prefix(&world.app, &world.prod), None, false, 9).await.unwrap();
        let numbers = entries.iter().map(|(key, _)| key.rsplit('/').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(numbers.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn an_app_that_is_not_there_has_no_history_and_no_live_log() {
    let world = world(&Limits::default());
    let history = world.ledger.history(&world.app, &world.prod, &page()).await.map(drop);
    let log = world.ledger.live_log(&world.app, &world.prod, &page()).await.map(drop);
    let earlier = world.ledger.earlier(&world.app, &world.prod, None).await.map(drop);
    for result in [history, log, earlier] {
        assert_eq!(result.unwrap_err().0.code, Code::NotFound);
    }
}

#[tokio::test]
async fn a_history_says_how_many_of_its_entries_cannot_be_read() {
    let world = world(&Limits::default());
    let made = records::write(&json!({ "created_ms": 1, "who": "ada" })).unwrap();
    let damaged = records::history_key(&world.app, &world.prod, 1);
    let changes = vec![Change::Put(records::app_key(&world.app), made), Change::Put(damaged, b"{".as_slice().into())];
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    world.ledger.append_history(&world.app, deploy("2")).await.unwrap();
    let history = world.ledger.history(&world.app, &world.prod, &page()).await.unwrap();
    assert_eq!((history.deploys.len(), history.unreadable), (1, 1));
}

/// Catalog in which another commit always wins the race.
struct Outrun(Arc<dyn Catalog>);

#[async_trait]
impl Catalog for Outrun {
    async fn get(&self, key: &str) -> Result<Option<Record>, catalog::Error> {
        self.0.get(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, catalog::Error> {
        self.0.list(prefix, after, newest_first, limit).await
    }

    async fn commit(&self, _commit: Commit) -> Result<Revision, catalog::Error> {
        Err(catalog::Error::Conflict { key: "deleted/shop".to_owned() })
    }

    fn watch(&self) -> Receiver<Committed> {
        self.0.watch()
    }

    fn state(&self) -> CatalogState {
        self.0.state()
    }
}

#[tokio::test]
async fn what_was_not_recorded_is_refused() {
    let World { _folder, app, prod, catalog, ledger } = world(&Limits::default());
    let event = AuditEvent::of(Action::Run).place(&app, &prod).what("true");
    let outrun = Ledger::new(Arc::new(Outrun(catalog)), ledger.live.clone(), &Limits::default());
    assert_eq!(outrun.record(&Actor::local(), event).await.unwrap_err().0.code, Code::Conflict);
}
