//! Tests of collected and kept items, also with concurrent changes just before a commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::api::CollectReport;
use devanture_config::edge_toml::Retention as Policy;
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_config::{PlaceName, VersionId};
use serde_json::json;

use super::world::{World, pointer, put, stored_at};
use super::{alias, code, deleted_app, deleted_environment, gone_version, point_old_at, pointing_at, wanted};
use crate::ledger::Actor;
use crate::retention::CollectOptions;
use devanture_store::catalog::{COMMIT_CHANGES_MAX, Change};
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::history::pushed;
use devanture_store::records::identities;
use devanture_store::records::sent::sent_prefix;
use devanture_store::records::{
    self, HistoryEntry, LivePointer, StoredDeploy, StoredOutcome, WithdrawnEntry, WithdrawnRecord,
};

/// A world that keeps the newest version by number only, without waits.
async fn keeping_one() -> World {
    let policy = Policy { keep_versions: 1, keep_days: 0, ..Policy::default() };
    World::with(policy, Limits { grace_ms_max: 0, ..Limits::default() }).await
}

async fn collect(world: &World) -> CollectReport {
    world.retention.collect(CollectOptions::default()).await.unwrap()
}

fn taken(report: &CollectReport) -> BTreeSet<VersionId> {
    report.versions.iter().map(|one| one.version).collect()
}

/// Entry of an event in `prod`.
fn entry(world: &World, number: u64, version: VersionId, outcome: StoredOutcome) -> (String, HistoryEntry) {
    let position = records::history_key(&world.app, &world.prod, number);
    let deploy = StoredDeploy { id: format!("{number:x}"), at_ms: number, outcome, ..pushed(version) };
    (position.clone(), HistoryEntry { deploy, position })
}

#[tokio::test]
async fn what_is_live_pointed_at_or_gone_back_to_is_not_collected() {
    let canary = |version| {
        serde_json::from_value(json!({ "version": version, "share": 5, "deploy": "1", "since_ms": 1, "who": "ada" }))
    };
    for what in ["nothing", "an alias", "a canary", "a rollback", "a deleted environment"] {
        let world = keeping_one().await;
        let [one, two, three] = world.versions;
        let live = records::live_key(&world.app, &world.prod);
        match what {
            "an alias" => world.put(records::alias_key(&world.app, &"feature".parse().unwrap()), &alias(one)).await,
            "a canary" => {
                world.put(live, &LivePointer { canary: Some(canary(one).unwrap()), ..pointer(two) }).await;
            }
            "a rollback" => {
                let (before, last) =
                    (entry(&world, 1, one, StoredOutcome::Live), entry(&world, 2, two, StoredOutcome::Live));
                let live_now = LivePointer { position: last.0.clone(), ..pointer(two) };
                world.commit(vec![put(before.0, &before.1), put(last.0, &last.1), put(live, &live_now)]).await;
            }
            "a deleted environment" => {
                let key = gone::deleted_environment_key(&world.app, &"old".parse().unwrap());
                world.put(key, &deleted_environment(one)).await;
            }
            _ => {}
        }
        let expected = if what == "nothing" { [one, three].into() } else { [three].into() };
        assert_eq!(taken(&collect(&world).await), expected, "{what}");
        for version in world.versions {
            let key = records::version_key(&world.app, &version);
            assert_eq!(world.has(&key).await, !expected.contains(&version), "{what}");
        }
    }
}

#[tokio::test]
async fn a_version_that_something_came_to_hold_is_not_collected() {
    for what in [
        "a new alias",
        "an alias",
        "a new environment",
        "an environment",
        "a deleted environment",
        "a push",
        "a deletion",
    ] {
        let world = keeping_one().await;
        let [one, _, three] = world.versions;
        point_old_at(&world, three).await;
        let changes = match what {
            "a push" => vec![put(records::version_key(&world.app, &one), &stored_at(u64::MAX / 2))],
            "a deletion" => vec![put(gone::deleted_app_key(&world.app), &deleted_app(u64::MAX))],
            _ => pointing_at(&world, what, one).await,
        };
        world.overtaken.before_commit_of("gone/", changes);
        collect(&world).await;
        world.overtaken.assert_overtaken();
        assert!(world.has(&records::version_key(&world.app, &one)).await, "{what}");
    }
}

/// An etcd catalog accepts [`COMMIT_CHANGES_MAX`] changes per commit; the test catalog refuses more, too.
#[tokio::test]
async fn any_number_of_versions_is_retired_at_once() {
    let world = keeping_one().await;
    let ids = (0..u32::try_from(COMMIT_CHANGES_MAX + 4).unwrap()).map(|number| VersionId::of(&number.to_be_bytes()));
    for id in ids {
        world.put(records::version_key(&world.app, &id), &stored_at(2)).await;
    }
    let report = collect(&world).await;
    assert_eq!(report.versions.len(), COMMIT_CHANGES_MAX + 6, "{report:?}");
    assert!(!report.more);
}

#[tokio::test]
async fn a_version_that_work_under_way_relies_on_is_collected_once_that_has_ended() {
    let world = keeping_one().await;
    let [one, _, three] = world.versions;
    let lease = world.retention.ledger.leases.version(one).await;
    let dry_run = CollectOptions { dry_run: true, ..CollectOptions::default() };
    assert_eq!(taken(&world.retention.collect(dry_run).await.unwrap()), [three].into());
    assert_eq!(taken(&collect(&world).await), [three].into());
    drop(lease);
    assert_eq!(taken(&collect(&world).await), [one].into());
}

#[tokio::test]
async fn a_dry_run_of_a_collection_foresees_it_and_changes_nothing() {
    let limits = Limits { grace_ms_max: 0, history_entries_max: 1, ..Limits::default() };
    let world = World::with(Policy { keep_versions: 1, keep_days: 0, ..Policy::default() }, limits).await;
    let [one, two, three] = world.versions;
    let other = "other".parse().unwrap();
    let ended_version = GoneVersion { until_ms: 1, ..gone_version(Some(1)) };
    let mut ended_environment = deleted_environment(two);
    ended_environment.until_ms = 1;
    let staging = "staging".parse().unwrap();
    let mut changes = vec![
        // An app, an environment and a version past their time, …
        put(records::app_key(&other), &json!({ "created_ms": 1, "who": "ada" })),
        put(records::version_key(&other, &one), &stored_at(1)),
        put(gone::deleted_app_key(&other), &deleted_app(1)),
        put(gone::deleted_environment_key(&world.app, &staging), &ended_environment),
        put(records::history_key(&world.app, &staging, 1), &json!({})),
        Change::Delete(records::version_key(&world.app, &three)),
        put(gone::gone_key(&world.app, &three), &ended_version),
        // … an old upload journal, and more entries than a history keeps.
        put(format!("{}x", sent_prefix(&world.app)), &json!({ "at_ms": 1, "blobs": [] })),
    ];
    changes.extend((2..=5).map(|number| {
        let (key, entry) = entry(&world, number, two, StoredOutcome::Failed);
        put(key, &entry)
    }));
    world.commit(changes).await;
    // A file of the present second goes in the next collection.
    world.age();
    let before = world.records().await;
    let dry_run = CollectOptions { dry_run: true, force: true, ..CollectOptions::default() };
    let foreseen = world.retention.collect(dry_run).await.unwrap();
    assert_eq!(world.records().await, before);
    let force = CollectOptions { force: true, ..CollectOptions::default() };
    let done = world.retention.collect(force).await.unwrap();
    let counts = |report: &CollectReport| (report.apps.len(), report.environments.len(), report.files, report.bytes);
    assert_eq!(counts(&foreseen), counts(&done));
    assert_eq!((done.apps.len(), done.environments.len(), done.files, taken(&foreseen)), (1, 1, 2, taken(&done)));
    assert_eq!(taken(&done), [one, three].into());
    let left: Vec<String> = world.records().await.into_iter().map(|(key, _)| key).collect();
    let left = left.iter().filter(|key| !key.starts_with("gone/") && !key.starts_with("tasks/"));
    let kept = [
        records::app_key(&world.app),
        records::history_key(&world.app, &world.prod, 5),
        records::live_key(&world.app, &world.prod),
        records::version_key(&world.app, &two),
    ];
    assert_eq!(left.collect::<Vec<_>>(), kept.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn of_a_history_the_newest_entries_stay_and_what_is_live() {
    let limits = Limits { history_entries_max: 2, ..Limits::default() };
    let world = World::with(Policy::default(), limits).await;
    let two = world.versions[1];
    let mut changes = Vec::new();
    // Switches and other entries are counted separately, and the live version's switch always stays.
    for number in 1..=9 {
        let outcome = if number <= 4 { StoredOutcome::Live } else { StoredOutcome::Failed };
        let (key, entry) = entry(&world, number, two, outcome);
        changes.push(put(key, &entry));
    }
    world.commit(changes).await;
    collect(&world).await;
    let history = records::history_prefix(&world.app, &world.prod);
    let left = world.stored.list(&history, None, false, 99).await.unwrap();
    let left: Vec<u64> = left.iter().map(|(key, _)| key.rsplit('/').next().unwrap().parse().unwrap()).collect();
    assert_eq!(left, [1, 3, 4, 8, 9]);
}

#[tokio::test]
async fn of_versions_that_are_gone_for_good_the_newest_stay_known() {
    let limits = Limits { history_entries_max: 2, ..Limits::default() };
    let world = World::with(Policy::default(), limits).await;
    let id = |number: u64| VersionId::of(&number.to_be_bytes());
    let mut changes = Vec::new();
    for number in 1..=5 {
        let record = GoneVersion { at_ms: number, ..gone_version((number == 1).then_some(1)) };
        changes.push(put(gone::gone_key(&world.app, &id(number)), &record));
    }
    world.commit(changes).await;
    collect(&world).await;
    let mut left = Vec::new();
    for number in 1..=5 {
        if world.has(&gone::gone_key(&world.app, &id(number))).await {
            left.push(number);
        }
    }
    // The oldest is still restorable.
    assert_eq!(left, [1, 4, 5]);
}

/// Pushes and deletions of other versions must not undo a withdrawal.
#[tokio::test]
async fn of_versions_that_are_gone_those_that_a_path_was_withdrawn_of_are_forgotten_last() {
    let limits = Limits { history_entries_max: 2, ..Limits::default() };
    let world = World::with(Policy::default(), limits).await;
    let id = |number: u64| VersionId::of(&number.to_be_bytes());
    let entry = WithdrawnEntry { at_ms: 1, who: "ada".to_owned() };
    let withdrawn = WithdrawnRecord { paths: [("/a".to_owned(), entry)].into() };
    let mut changes = vec![put(records::withdrawn_key(&world.app), &withdrawn)];
    for number in 1..=5 {
        let stored_ms = if number == 1 { 1 } else { 2 };
        let record = GoneVersion { at_ms: number, stored_ms, ..gone_version(None) };
        changes.push(put(gone::gone_key(&world.app, &id(number)), &record));
    }
    world.commit(changes).await;
    collect(&world).await;
    let mut left = Vec::new();
    for number in 1..=5 {
        if world.has(&gone::gone_key(&world.app, &id(number))).await {
            left.push(number);
        }
    }
    assert_eq!(left, [1, 5]);
}

#[tokio::test]
async fn a_collection_that_may_take_no_more_versions_leaves_those_whose_time_is_over_to_the_next() {
    let limits = Limits { collect_versions_max: 1, ..Limits::default() };
    let world = World::with(Policy { keep_versions: 0, keep_days: 0, ..Policy::default() }, limits).await;
    let [one, _, three] = world.versions;
    for version in [one, three] {
        let ended = GoneVersion { until_ms: 1, ..gone_version(Some(1)) };
        let gone = put(gone::gone_key(&world.app, &version), &ended);
        world.commit(vec![Change::Delete(records::version_key(&world.app, &version)), gone]).await;
    }
    let (first, second, third) = (collect(&world).await, collect(&world).await, collect(&world).await);
    assert_eq!([first.versions.len(), second.versions.len(), third.versions.len()], [1, 1, 0]);
    assert_eq!([first.more, second.more, third.more], [true, false, false]);
    assert_eq!(taken(&first).union(&taken(&second)).count(), 2);
}

/// Restorable items end in a purging collection.
#[tokio::test]
async fn what_was_restored_just_before_a_collection_would_end_it_stays() {
    for what in ["app", "environment", "version"] {
        let world = World::new().await;
        let actor = Actor::local();
        let one = world.versions[0];
        let (request, key, stays) = match what {
            "app" => {
                world.retention.delete_app(&actor, &world.app, false).await.unwrap();
                (wanted(None, None), gone::deleted_app_key(&world.app), records::version_key(&world.app, &one))
            }
            "environment" => {
                world.retention.delete_environment(&actor, &world.app, &world.prod, false).await.unwrap();
                let key = gone::deleted_environment_key(&world.app, &world.prod);
                (wanted(Some("prod"), None), key, records::live_key(&world.app, &world.prod))
            }
            _ => {
                world.retention.delete_version(&actor, &world.app, &one.to_string(), false).await.unwrap();
                let key = gone::gone_key(&world.app, &one);
                (wanted(None, Some(one)), key, records::version_key(&world.app, &one))
            }
        };
        let (retention, app) = (Arc::clone(&world.retention), world.app.clone());
        world.overtaken.before(&key, move |_commit| {
            Box::pin(async move { drop(retention.undelete(&Actor::local(), &app, &request, false).await.unwrap()) })
        });
        let options = CollectOptions { purge: true, ..CollectOptions::default() };
        let report = world.retention.collect(options).await.unwrap();
        world.overtaken.assert_overtaken();
        assert!(world.has(&stays).await && !world.has(&key).await, "{what}");
        assert_eq!((report.apps.len(), report.environments.len(), report.versions.len()), (0, 0, 0), "{what}");
    }
}

/// A login created during the end of its account would be orphaned.
#[tokio::test]
async fn what_came_to_hang_on_an_account_or_a_token_of_an_app_goes_with_it() {
    let account = json!({
        "id": "a1", "password": "", "stamp": "", "app": "shop", "environment": null, "scope": "push",
        "created_ms": 1, "password_ms": 1, "made_by": "local",
    });
    let token = json!({ "name": "ci", "scope": "push", "app": "shop", "secret": "", "created_ms": 1 });
    for (key, record, hanging) in
        [("accounts/ada", account, identities::login_key("a1.1")), ("tokens/t1", token, identities::used_key("t1"))]
    {
        let world = World::new().await;
        world.retention.delete_app(&Actor::local(), &world.app, false).await.unwrap();
        world.put(key.to_owned(), &record).await;
        let changes = vec![put(key.to_owned(), &record), put(hanging.clone(), &json!({}))];
        world.overtaken.before_commit_of(key, changes);
        let options = CollectOptions { purge: true, ..CollectOptions::default() };
        world.retention.collect(options).await.unwrap();
        world.overtaken.assert_overtaken();
        assert!(!world.has(key).await && !world.has(&hanging).await, "{key}");
    }
}

/// An etcd catalog accepts [`COMMIT_CHANGES_MAX`] changes per commit; the test catalog refuses more, too.
#[tokio::test]
async fn an_environment_that_nothing_is_live_in_is_deleted_while_it_ends_and_its_name_is_free_then() {
    let world = World::new().await;
    let staging: PlaceName = "staging".parse().unwrap();
    let key = gone::deleted_environment_key(&world.app, &staging);
    for number in 0..=COMMIT_CHANGES_MAX {
        world.put(format!("history/shop/staging/{number:04}"), &json!({})).await;
    }
    world.put("uids/shop/staging".to_owned(), &json!({ "number": 7 })).await;
    let (stored, deleted) = (Arc::clone(&world.stored), key.clone());
    // No operation may begin whose records would be lost.
    world.overtaken.before("uids/shop/staging", move |_commit| {
        Box::pin(async move { assert!(stored.get(&deleted).await.unwrap().is_some()) })
    });
    let delete = async || world.retention.delete_environment(&Actor::local(), &world.app, &staging, false).await;
    delete().await.unwrap();
    world.overtaken.assert_overtaken();
    let left = world.records().await.into_iter().map(|(key, _)| key);
    assert_eq!(left.filter(|key| key.contains("/staging")).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(code(delete().await), Some(Code::NothingLive));
}
