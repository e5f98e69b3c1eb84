//! Tests of switches overtaken before their commit: the first commit holds, and is not overwritten.

use std::sync::{Arc, OnceLock};

use devanture_config::api::Source;
use devanture_config::problem::Code;
use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use serde_json::json;

use super::collections::world::{World, manifest, name, world};
use super::taking_in::{begin, send};
use crate::ledger::{Actor, Condition, Error};
use crate::switch::{CanaryMove, Intent, Move, Passes, Preconditions, Running, Undone};
use devanture_base::clock::now_ms;
use devanture_store::catalog::overtaken::key_of;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment};
use devanture_store::records::history::pushed;
use devanture_store::records::signing::{SignersRecord, signers_key};
use devanture_store::records::{
    self, AliasRecord, HistoryEntry, LivePointer, LockRecord, StoredDeploy, StoredOutcome, StoredStepState,
};

/// A live version, an earlier version, and a version never live.
struct Stored {
    _folder: tempfile::TempDir,
    world: World,
    app: AppName,
    prod: PlaceName,
    before: VersionId,
    live: VersionId,
    other: VersionId,
}

async fn stored() -> Stored {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let app = name(0);
    let other = world.push(&app, &[3].into()).await.unwrap().version;
    let before = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    Stored { _folder: folder, world, app, prod: PlaceName::prod(), before, live, other }
}

impl Stored {
    fn live_key(&self) -> String {
        records::live_key(&self.app, &self.prod)
    }

    async fn pointer(&self) -> LivePointer {
        let key = self.live_key();
        records::read(&key, &self.world.catalog.get(&key).await.unwrap().unwrap()).unwrap()
    }

    /// Injects the changes just before the live pointer is moved.
    fn before_the_switch(&self, changes: Vec<Change>) {
        self.world.overtaken.before_commit_of(&self.live_key(), changes);
    }

    async fn switch(&self, version: VersionId, more: serde_json::Value) -> Result<bool, Code> {
        let mut wanted = json!({ "version": version });
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let wanted = serde_json::from_value(wanted).unwrap();
        let (actor, condition) = (Actor::local(), Condition::default());
        let switcher = &self.world.publisher.switcher;
        let switching = switcher.switch(&actor, (&self.app, &self.prod), &wanted, (&condition, false), None).await;
        let report = async { switching?.await.unwrap() }.await;
        self.world.overtaken.assert_overtaken();
        report.map(|report| report.switched).map_err(|Error(problem)| problem.code)
    }
}

fn put(key: String, record: &impl serde::Serialize) -> Change {
    Change::Put(key, records::write(record).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_came_first_stops_a_switch_and_a_push_is_stored_alone() {
    let stored = stored().await;
    let lock = LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
    let key = records::lock_key(&stored.app, &stored.prod);
    stored.before_the_switch(vec![put(key.clone(), &lock)]);
    assert_eq!(stored.switch(stored.before, json!({})).await, Err(Code::Locked));
    assert_eq!(stored.pointer().await.version, stored.live);
    let unlocked = Commit { checks: Vec::new(), changes: vec![Change::Delete(key.clone())] };
    stored.world.catalog.commit(unlocked).await.unwrap();
    stored.before_the_switch(vec![put(key, &lock)]);
    let report = stored.world.push(&stored.app, &[4].into()).await.unwrap();
    stored.world.overtaken.assert_overtaken();
    assert_eq!((report.switched, report.locked), (false, Some(lock.into())));
    assert_eq!(stored.pointer().await.version, stored.live);
    assert_eq!(stored.world.versions(&stored.app).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_live_first_stays_live_where_another_version_was_expected() {
    let stored = stored().await;
    let pointer = stored.pointer().await;
    let newer = LivePointer { version: stored.other, deploy: "of-another".to_owned(), ..pointer.clone() };
    stored.before_the_switch(vec![put(stored.live_key(), &newer)]);
    let expecting = json!({ "if_live": stored.live.to_string() });
    assert_eq!(stored.switch(stored.before, expecting).await, Err(Code::LiveMoved));
    assert_eq!(stored.pointer().await, newer);
    // Without an expectation, the version is replaced, and reported.
    stored.before_the_switch(vec![put(stored.live_key(), &pointer)]);
    assert_eq!(stored.switch(stored.before, json!({})).await, Ok(true));
    let history = records::history_prefix(&stored.app, &stored.prod);
    let (key, record) = stored.world.catalog.list(&history, None, true, 1).await.unwrap().remove(0);
    let entry: HistoryEntry = records::read(&key, &record).unwrap();
    assert_eq!((entry.deploy.version, entry.deploy.previous), (stored.before, Some(stored.live)));
    let switches = entry.deploy.steps.iter().filter(|step| step.name == "switch");
    assert_eq!(switches.map(|step| step.state).collect::<Vec<_>>(), [StoredStepState::Done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_began_first_goes_on() {
    let stored = stored().await;
    let mut pointer = serde_json::to_value(stored.pointer().await).unwrap();
    pointer["canary"] =
        json!({ "version": stored.other, "share": 5, "deploy": "of-the-canary", "since_ms": 1, "who": "anna" });
    let pointer: LivePointer = serde_json::from_value(pointer).unwrap();
    stored.before_the_switch(vec![put(stored.live_key(), &pointer)]);
    assert_eq!(stored.switch(stored.before, json!({})).await, Err(Code::CanaryRunning));
    assert_eq!(stored.pointer().await, pointer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_began_later_and_went_live_first_is_not_replaced_unless_by_force() {
    let stored = stored().await;
    let pointer = stored.pointer().await;
    let deploy = stored.world.begin(&stored.app, &[4].into()).await.unwrap();
    let newer =
        LivePointer { version: stored.other, begun: pointer.begun + 3_600_000_000, halves_begun: None, ..pointer };
    stored.before_the_switch(vec![put(stored.live_key(), &newer)]);
    let refused = stored.world.finish(&stored.app, &deploy).await.map(|_| ()).map_err(|error| error.0.code);
    stored.world.overtaken.assert_overtaken();
    assert_eq!(refused, Err(Code::Superseded));
    assert_eq!(stored.pointer().await, newer);
    let history = records::history_prefix(&stored.app, &stored.prod);
    let (key, record) = stored.world.catalog.list(&history, None, true, 1).await.unwrap().remove(0);
    let entry: HistoryEntry = records::read(&key, &record).unwrap();
    assert_eq!((entry.deploy.id, entry.deploy.outcome), (deploy, StoredOutcome::Superseded));
    // A switch is no push; its version is chosen explicitly.
    assert_eq!(stored.switch(stored.before, json!({})).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_finds_nothing_to_change_is_still_newer_than_those_that_began_before() {
    let stored = stored().await;
    let deploy = stored.world.begin(&stored.app, &[4].into()).await.unwrap();
    let report = stored.world.push(&stored.app, &[2].into()).await.unwrap();
    assert_eq!((report.switched, report.version), (false, stored.live));
    let refused = stored.world.finish(&stored.app, &deploy).await.map(|_| ()).map_err(|error| error.0.code);
    assert_eq!(refused, Err(Code::Superseded));
    assert_eq!(stored.pointer().await.version, stored.live);
    // An earlier push that finds nothing to change writes nothing.
    let pointer = stored.pointer().await;
    let old = stored.world.begin(&stored.app, &[2].into()).await.unwrap();
    stored.world.push(&stored.app, &[2].into()).await.unwrap();
    let newest = stored.pointer().await;
    assert!(newest.begun > pointer.begun);
    stored.world.finish(&stored.app, &old).await.unwrap();
    assert_eq!(stored.pointer().await, newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_or_took_the_name_first_is_not_switched_in() {
    for what in ["the app", "the environment", "the version", "an alias"] {
        let stored = stored().await;
        let pointer = stored.pointer().await;
        let (app, prod) = (&stored.app, &stored.prod);
        let (change, expected) = match what {
            "the app" => {
                let deleted = DeletedApp { at_ms: 1, until_ms: u64::MAX, who: String::new(), hostnames: Vec::new() };
                (put(gone::deleted_app_key(app), &deleted), Code::Deleted)
            }
            "the environment" => {
                let hostnames = Vec::new();
                let (at_ms, until_ms, who, pointer) = (1, u64::MAX, String::new(), pointer.clone());
                let deleted = DeletedEnvironment { at_ms, until_ms, who, pointer, hostnames };
                (put(gone::deleted_environment_key(app, prod), &deleted), Code::Deleted)
            }
            "the version" => (Change::Delete(records::version_key(app, &stored.before)), Code::NotFound),
            _ => {
                let alias = AliasRecord {
                    version: stored.other,
                    switched_ms: 0,
                    begun: 0,
                    who: String::new(),
                    environment: None,
                    expires_ms: None,
                    halves_begun: None,
                };
                (put(records::alias_key(app, prod), &alias), Code::AliasTaken)
            }
        };
        stored.before_the_switch(vec![change]);
        assert_eq!(stored.switch(stored.before, json!({})).await, Err(expected), "{what}");
        assert_eq!(stored.pointer().await, pointer, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_the_history_is_never_written_over() {
    let stored = stored().await;
    let deploy = StoredDeploy { id: "of-another".to_owned(), ..pushed(stored.other) };
    let entry = HistoryEntry { deploy, position: String::new() };
    let (catalog, taken) = (Arc::clone(&stored.world.overtaken.stored), Arc::new(OnceLock::new()));
    let set = Arc::clone(&taken);
    // Another commit takes the number chosen by the switch.
    stored.world.overtaken.before(&stored.live_key(), move |commit| {
        let key = commit.changes.iter().map(key_of).find(|key| key.starts_with("history/")).unwrap().to_owned();
        set.set(key.clone()).unwrap();
        let commit = Commit { checks: Vec::new(), changes: vec![put(key, &entry)] };
        Box::pin(async move {
            catalog.commit(commit).await.unwrap();
        })
    });
    assert_eq!(stored.switch(stored.before, json!({})).await, Ok(true));
    let key = taken.get().unwrap();
    let kept: HistoryEntry = records::read(key, &stored.world.catalog.get(key).await.unwrap().unwrap()).unwrap();
    assert_eq!(kept.deploy.id, "of-another");
    assert_eq!(stored.pointer().await.version, stored.before);
}

/// A watch or trial undoes only the deploy it saw fail, no later deploy.
#[tokio::test(flavor = "multi_thread")]
async fn the_edge_goes_back_from_the_deploy_that_it_watched_alone() {
    let stored = stored().await;
    let pointer = stored.pointer().await;
    let (actor, source, condition) = (Actor::local(), Source::default(), Condition::default());
    let switcher = &stored.world.publisher.switcher;
    for (deploy, expected) in [("of-another", Err(Code::LiveMoved)), (pointer.deploy.as_str(), Ok(true))] {
        let undone = Some(Undone { deploy, why: "it failed" });
        let intent = Intent {
            app: &stored.app,
            environment: &stored.prod,
            version: stored.before,
            movement: Move::Rollback { position: None },
            deploy: "going-back",
            begun: 1,
            actor: &actor,
            source: &source,
            log: &[],
            expected: Preconditions { version: None, condition: &condition, undone },
            passes: Passes::default(),
            settings: None,
            half: None,
            brought: (None, None),
            reason: None,
            canary: CanaryMove::None,
        };
        let claims = switcher.claims(&intent).await.unwrap();
        let running = Running { wanted: &mut None, held: &mut None, elsewhere: &mut None };
        let swapped = switcher.swap(&intent, &claims, running, Vec::new(), None).await;
        let switched = swapped.map(|(moved, _)| moved.switched).map_err(|Error(problem)| problem.code);
        assert_eq!(switched, expected);
    }
}

/// Number of attempts of a change.
const ATTEMPTS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_or_push_that_others_always_outrun_gives_up_and_changes_nothing() {
    let stored = stored().await;
    let pointer = stored.pointer().await;
    let history = records::history_prefix(&stored.app, &stored.prod);
    let entries = async || stored.world.catalog.list(&history, None, false, 99).await.unwrap().len();
    let before = entries().await;
    let outrun = || (0..ATTEMPTS).for_each(|_| stored.before_the_switch(vec![put(stored.live_key(), &pointer)]));
    outrun();
    assert_eq!(stored.switch(stored.before, json!({})).await, Err(Code::Conflict));
    assert_eq!((stored.pointer().await, entries().await), (pointer.clone(), before));
    // A push that finds nothing to change writes the pointer as well.
    let deploy = stored.world.begin(&stored.app, &[2].into()).await.unwrap();
    outrun();
    let refused = stored.world.finish(&stored.app, &deploy).await.map(|_| ()).map_err(|error| error.0.code);
    stored.world.overtaken.assert_overtaken();
    assert_eq!(refused, Err(Code::Conflict));
    assert_eq!(stored.pointer().await, pointer);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_environment_wants_signed_since_the_check_is_not_switched_in_unsigned() {
    let stored = stored().await;
    let pointer = stored.pointer().await;
    let signers = SignersRecord { signers: Vec::new(), signatures_min: 1, who: "anna".to_owned(), at_ms: 1 };
    stored.before_the_switch(vec![put(signers_key(&stored.app, &stored.prod), &signers)]);
    assert_eq!(stored.switch(stored.before, json!({})).await, Err(Code::NotSigned));
    assert_eq!(stored.pointer().await, pointer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_what_was_live_a_moment_ago_takes_over_from_what_is_live_now() {
    let stored = stored().await;
    let deploy = stored.world.begin(&stored.app, &[2].into()).await.unwrap();
    let other = LivePointer { version: stored.other, deploy: "of-another".to_owned(), ..stored.pointer().await };
    stored.before_the_switch(vec![put(stored.live_key(), &other)]);
    let report = stored.world.finish(&stored.app, &deploy).await.unwrap();
    stored.world.overtaken.assert_overtaken();
    assert_eq!((report.switched, report.previous), (true, Some(stored.other)), "and its entry says so");
    assert_eq!(stored.pointer().await.version, stored.live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_what_is_live_takes_its_hostnames_again_unless_the_environment_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod, actor) = (name(0), PlaceName::prod(), Actor::local());
    let host: HostPattern = "shop.example.net".parse().unwrap();
    let (hostname, lock_key, live) =
        (records::hostname_key(&host), records::lock_key(&app, &prod), records::live_key(&app, &prod));
    let push = async || {
        let mut manifest = manifest(&[1].into());
        manifest.base.hostnames = Some(vec![host.clone()]);
        let begun = begin(&world, &actor, &app, manifest).await.unwrap();
        if !begun.missing.is_empty() {
            send(&world, &actor, &app, &begun.deploy, 1).await.unwrap();
        }
        let report = world.finish(&app, &begun.deploy).await.unwrap();
        world.overtaken.assert_overtaken();
        let is_taken = world.catalog.get(&hostname).await.unwrap().is_some();
        assert_eq!(is_taken, !report.hostnames.is_empty());
        (report.switched, report.hostnames)
    };
    let change = async |change: Change| {
        let lost = Change::Delete(hostname.clone());
        world.catalog.commit(Commit { checks: Vec::new(), changes: vec![lost, change] }).await.unwrap();
    };
    let lock = LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
    assert_eq!(push().await, (true, vec![host.clone()]));
    change(put(lock_key.clone(), &lock)).await;
    assert_eq!(push().await, (false, Vec::new()));
    change(Change::Delete(lock_key.clone())).await;
    assert_eq!(push().await, (false, vec![host.clone()]));
    // Locked after the push's check.
    change(Change::Delete(lock_key.clone())).await;
    world.overtaken.before_commit_of(&live, vec![put(lock_key, &lock)]);
    assert_eq!(push().await, (false, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_begins_and_grows_only_where_the_environment_allows_it_at_its_commit() {
    let stored = stored().await;
    let (app, prod, actor) = (&stored.app, &stored.prod, Actor::local());
    let version_key = records::version_key(app, &stored.before);
    let record = stored.world.catalog.get(&version_key).await.unwrap().unwrap();
    let lock = LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
    let signers = SignersRecord { signers: Vec::new(), signatures_min: 1, who: "anna".to_owned(), at_ms: 1 };
    let (lock_key, signers_key) = (records::lock_key(app, prod), signers_key(app, prod));
    let set = async |request: serde_json::Value| {
        let request = serde_json::from_value(request).unwrap();
        let set = stored.world.publisher.switcher.set_canary(&actor, (app, prod), request).await;
        stored.world.overtaken.assert_overtaken();
        set.map(drop).map_err(|Error(problem)| problem.code)
    };
    let begins = json!({ "version": stored.before, "share": 5 });
    // The version of a running canary must not be deleted.
    for (request, count) in [(begins, 3), (json!({ "share": 50 }), 2)] {
        let pointer = stored.pointer().await;
        let overtaking = [
            (put(lock_key.clone(), &lock), Change::Delete(lock_key.clone()), Code::Locked),
            (put(signers_key.clone(), &signers), Change::Delete(signers_key.clone()), Code::NotSigned),
            (
                Change::Delete(version_key.clone()),
                Change::Put(version_key.clone(), record.value.clone()),
                Code::NotFound,
            ),
        ];
        for (change, undone, expected) in overtaking.into_iter().take(count) {
            stored.before_the_switch(vec![change]);
            assert_eq!(set(request.clone()).await, Err(expected), "{request}");
            assert_eq!(stored.pointer().await, pointer, "{request}");
            stored.world.catalog.commit(Commit { checks: Vec::new(), changes: vec![undone] }).await.unwrap();
        }
        set(request).await.unwrap();
    }
    // Reducing the share of visitors is always allowed.
    stored.before_the_switch(vec![put(signers_key, &signers)]);
    set(json!({ "share": 1 })).await.unwrap();
    let canary = stored.pointer().await.canary.unwrap();
    assert_eq!((canary.version, canary.share.percent()), (stored.before, 1));
}

/// A deletion checks the pointers found, and the app's record in place of absent pointers.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_not_deleted_past_the_first_switch_of_an_environment() {
    let stored = stored().await;
    let (key, staging): (_, PlaceName) = (records::app_key(&stored.app), "staging".parse().unwrap());
    let revision = async || stored.world.catalog.get(&key).await.unwrap().unwrap().revision;
    let (actor, condition) = (Actor::local(), Condition::default());
    for (place, version, is_first) in
        [(&stored.prod, stored.before, false), (&staging, stored.before, true), (&staging, stored.live, false)]
    {
        let before = revision().await;
        let wanted = serde_json::from_value(json!({ "version": version })).unwrap();
        let switcher = &stored.world.publisher.switcher;
        let switching = switcher.switch(&actor, (&stored.app, place), &wanted, (&condition, false), None).await;
        assert!(switching.unwrap().await.unwrap().unwrap().switched);
        assert_eq!(revision().await != before, is_first, "{place}");
    }
}

/// `Last-Modified` as sent to browsers must never decrease.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_no_earlier_than_the_one_before_also_where_the_clock_was_set_back() {
    let stored = stored().await;
    let pointer = stored.pointer().await;
    let later = now_ms() + 3_600_000;
    let ahead = LivePointer { switched_ms: later, ..pointer };
    let changes = vec![put(stored.live_key(), &ahead)];
    stored.world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    assert_eq!(stored.switch(stored.before, json!({})).await, Ok(true));
    assert!(stored.pointer().await.switched_ms >= later);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_canary_does_writes_over_nothing_that_went_live_first() {
    let stored = stored().await;
    let (place, actor) = ((&stored.app, &stored.prod), Actor::local());
    let switcher = &stored.world.publisher.switcher;
    // Makes the version live for all visitors outside the canary, just before the commit.
    let overtake = async |version: VersionId| {
        let other = LivePointer { version, deploy: "of-another".to_owned(), ..stored.pointer().await };
        stored.before_the_switch(vec![put(stored.live_key(), &other)]);
    };
    let found = async || {
        stored.world.overtaken.assert_overtaken();
        let pointer = stored.pointer().await;
        (pointer.version, pointer.canary.map(|canary| (canary.version, canary.share.percent())))
    };
    overtake(stored.other).await;
    let begins = serde_json::from_value(json!({ "version": stored.before, "share": 5 })).unwrap();
    switcher.set_canary(&actor, place, begins).await.unwrap();
    assert_eq!(found().await, (stored.other, Some((stored.before, 5))));
    overtake(stored.live).await;
    let grows = serde_json::from_value(json!({ "share": 50 })).unwrap();
    switcher.set_canary(&actor, place, grows).await.unwrap();
    assert_eq!(found().await, (stored.live, Some((stored.before, 50))));
    overtake(stored.other).await;
    let ends = serde_json::from_value(json!({})).unwrap();
    switcher.abort_canary(&actor, place, &ends).await.unwrap();
    assert_eq!(found().await, (stored.other, None));
    let history = records::history_prefix(&stored.app, &stored.prod);
    let newest = stored.world.catalog.list(&history, None, true, 3).await.unwrap();
    let newest = newest.iter().map(|(key, record)| records::read::<HistoryEntry>(key, record).unwrap().deploy.version);
    assert_eq!(newest.collect::<Vec<_>>(), [stored.before; 3], "each is in the history");
}

/// A canary once went live although it had been aborted, as a failing canary is.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_was_aborted_while_it_is_finished_does_not_go_live() {
    let stored = stored().await;
    let (place, actor) = ((&stored.app, &stored.prod), Actor::local());
    let switcher = &stored.world.publisher.switcher;
    let begins = serde_json::from_value(json!({ "version": stored.before, "share": 50 })).unwrap();
    switcher.set_canary(&actor, place, begins).await.unwrap();
    let running = stored.pointer().await;
    let finish = async || {
        let ends = serde_json::from_value(json!({})).unwrap();
        let finishing = switcher.finish_canary(&actor, place, None, &ends, None).await.unwrap();
        let report = finishing.await.unwrap();
        stored.world.overtaken.assert_overtaken();
        report.map(|report| report.switched).map_err(|Error(problem)| problem.code)
    };
    let aborted = LivePointer { canary: None, ..running.clone() };
    let mut followed = running.clone();
    "of-another".clone_into(&mut followed.canary.as_mut().unwrap().deploy);
    for now in [aborted, followed] {
        stored.before_the_switch(vec![put(stored.live_key(), &now)]);
        assert_eq!(finish().await, Err(Code::NoCanary));
        assert_eq!(stored.pointer().await, now);
        let changes = vec![put(stored.live_key(), &running)];
        stored.world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }
    // Another node was first.
    let finished = LivePointer { version: stored.before, canary: None, ..running };
    stored.before_the_switch(vec![put(stored.live_key(), &finished)]);
    assert_eq!(finish().await, Ok(false));
    assert_eq!(stored.pointer().await, finished);
}
