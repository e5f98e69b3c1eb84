//! Tests of the audit log: names, retention, access, and the check of the writing node.

use std::sync::Arc;

use devanture_config::api::Scope;
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use serde_json::json;

use super::{Action, Actor, Audit, AuditEvent, Record, was_gone};
use crate::ledger::Credential;
use devanture_store::catalog::{self, Catalog, Change, Check, Commit};
use devanture_store::records::{self, identities};

fn catalog_in(folder: &tempfile::TempDir) -> Arc<dyn Catalog> {
    catalog::open(&folder.path().join("catalog.redb")).unwrap()
}

/// Entry of a change in an app and environment.
fn entry(number: u64, at_ms: u64, (app, environment): (&str, Option<&str>)) -> Change {
    let entry = json!({
        "number": number, "at_ms": at_ms, "action": "switch", "who": "ada", "by": "token", "from": "local",
        "app": app, "environment": environment,
    });
    Change::Put(identities::audit_key(number), records::write(&entry).unwrap())
}

async fn write(catalog: &dyn Catalog, changes: Vec<Change>) {
    catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
}

/// Returns the numbers of stored entries.
async fn stored(catalog: &dyn Catalog) -> Vec<u64> {
    let entries = catalog.list(identities::AUDIT_PREFIX, None, false, 99).await.unwrap();
    entries.iter().map(|(key, _)| super::number_of(key).unwrap()).collect()
}

/// Commits a change with an entry.
async fn change(audit: &Audit, actor: &Actor, checks: Vec<Check>) -> Result<(), catalog::Error> {
    let changes = vec![Change::Put("x".to_owned(), b"1".as_slice().into())];
    audit.commit(actor, AuditEvent::of(Action::Switch), Commit { checks, changes }).await.map(drop)
}

fn token() -> Actor {
    Actor { credential: Credential::Token("t1".to_owned()), ..Actor::local() }
}

#[tokio::test]
async fn the_entry_of_an_app_is_found_behind_any_number_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog_in(&folder);
    let now_ms = devanture_base::clock::now_ms();
    let others = (2..=10_002).map(|number| entry(number, now_ms, ("other", None)));
    write(&*catalog, std::iter::once(entry(1, now_ms, ("shop", None))).chain(others).collect()).await;
    let audit = Audit::new(catalog, &Limits::default());
    let (actor, app) = (Actor::local(), "shop".parse().unwrap());
    let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = audit.page(&actor, Some(&app), 5, before.as_deref()).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.number));
        pages += 1;
        let Some(next) = page.next else { break };
        before = Some(next);
    }
    // A request examines at most 10,000 entries.
    assert_eq!((found, pages), (vec![1], 2));
}

#[tokio::test]
async fn an_admin_reads_what_happened_in_the_app_or_the_environment_that_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog_in(&folder);
    let now_ms = devanture_base::clock::now_ms();
    let entries = vec![
        entry(1, now_ms - 5_000, ("shop", Some("staging"))),
        entry(2, now_ms, ("shop", Some("staging"))),
        entry(3, now_ms, ("shop", Some("prod"))),
        entry(4, now_ms, ("shop", None)),
        entry(5, now_ms, ("other", Some("staging"))),
    ];
    // Earlier entries belong to a previous owner.
    let app = "shop".parse().unwrap();
    let made = json!({ "created_ms": now_ms - 1_000, "who": "ada" });
    write(&*catalog, entries).await;
    write(&*catalog, vec![Change::Put(records::app_key(&app), records::write(&made).unwrap())]).await;
    let audit = Audit::new(catalog, &Limits::default());
    let of_app = Actor { app: Some(app.clone()), ..token() };
    let of_staging = Actor { environment: Some("staging".parse().unwrap()), ..of_app.clone() };
    for (actor, expected) in [(&token(), vec![5, 4, 3, 2, 1]), (&of_app, vec![4, 3, 2]), (&of_staging, vec![2])] {
        let page = audit.page(actor, None, 9, None).await.unwrap();
        assert_eq!(page.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), expected, "{actor:?}");
        assert_eq!(page.next, None);
    }
    let other = "other".parse().unwrap();
    let pusher = Actor { scope: Scope::Push, ..of_app.clone() };
    assert_eq!(audit.page(&of_app, Some(&other), 9, None).await.unwrap_err().0.code, Code::NotFound);
    for app in [None, Some(&app)] {
        assert_eq!(audit.page(&pusher, app, 9, None).await.unwrap_err().0.code, Code::Forbidden);
    }
}

#[tokio::test]
async fn a_change_that_was_not_made_does_not_count_among_those_of_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { writes_per_minute_max: 1, ..Limits::default() };
    let audit = Audit::new(catalog_in(&folder), &limits);
    for _ in 0..3 {
        let missing = Check::At("y".to_owned(), 1);
        let refused = change(&audit, &token(), vec![missing]).await;
        assert!(matches!(refused, Err(catalog::Error::Conflict { .. })), "{refused:?}");
    }
    change(&audit, &token(), Vec::new()).await.unwrap();
    let refused = change(&audit, &token(), Vec::new()).await;
    assert!(matches!(refused, Err(catalog::Error::TooOften { wait_ms: 1.. })), "{refused:?}");
    // Local clients have no limit.
    change(&audit, &Actor::local(), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn what_is_too_old_goes_with_the_next_change_and_leaves_its_place_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog_in(&folder);
    let old = vec![entry(1, 1, ("shop", None)), entry(2, 1, ("shop", None))];
    write(&*catalog, old).await;
    let limits = Limits { audit_entries_max: 3, audit_days_max: 1, ..Limits::default() };
    let audit = Audit::new(Arc::clone(&catalog), &limits);
    for kept in [vec![3], vec![3, 4], vec![3, 4, 5], vec![4, 5, 6]] {
        change(&audit, &Actor::local(), Vec::new()).await.unwrap();
        assert_eq!(stored(&*catalog).await, kept);
    }
}

/// Like two nodes of a cluster.
#[tokio::test]
async fn two_that_write_one_log_give_no_number_twice_and_keep_no_more_than_one_would() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog_in(&folder);
    let limits = Limits { audit_entries_max: 3, ..Limits::default() };
    let audit = || Audit::new(Arc::clone(&catalog), &limits);
    let (one, two) = (audit(), audit());
    change(&one, &Actor::local(), Vec::new()).await.unwrap();
    for _ in 0..2 {
        change(&two, &Actor::local(), Vec::new()).await.unwrap();
    }
    assert_eq!(stored(&*catalog).await, [1, 2, 3]);
    change(&one, &Actor::local(), Vec::new()).await.unwrap();
    assert_eq!(stored(&*catalog).await, [2, 3, 4]);
}

#[test]
fn every_action_stands_in_the_documents() {
    let page = include_str!("../../../../../docs/operating.md");
    let missing = Action::ALL.iter().filter(|action| !page.contains(&format!("`{}`", action.as_str())));
    assert_eq!(missing.map(|action| action.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_node_was_gone_whose_record_is_not_there_or_was_written_again_by_the_same_process() {
    let record = |value: &str, revision| Record { value: value.as_bytes().into(), revision };
    let own = record("started at 1", 5);
    assert!(was_gone(&own, None));
    assert!(was_gone(&own, Some(&record("started at 1", 9))));
    assert!(!was_gone(&own, Some(&record("started at 2", 9))));
    assert!(!was_gone(&own, Some(&own)));
}
