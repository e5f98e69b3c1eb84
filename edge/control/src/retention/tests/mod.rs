//! Tests of changes between the reads and the commit of a deletion or restoration.

mod collecting;
mod sweeping;
mod world;

use std::sync::Arc;

use devanture_config::VersionId;
use devanture_config::api::UndeleteRequest;
use devanture_config::problem::Code;

use self::world::{World, pointer, put, stored_at};
use super::CollectOptions;
use crate::ledger::{Actor, Error};
use devanture_store::catalog::overtaken::key_of;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment, GoneVersion};
use devanture_store::records::{self, AliasRecord, LivePointer, VersionRecord};

fn code<T>(result: Result<T, Error>) -> Option<Code> {
    result.err().map(|error| error.0.code)
}

fn alias(version: VersionId) -> AliasRecord {
    AliasRecord {
        version,
        switched_ms: 1,
        begun: 0,
        who: "bob".to_owned(),
        environment: None,
        expires_ms: None,
        halves_begun: None,
    }
}

fn deleted_app(until_ms: u64) -> DeletedApp {
    DeletedApp { hostnames: Vec::new(), at_ms: 1, until_ms, who: "bob".to_owned() }
}

fn deleted_environment(version: VersionId) -> DeletedEnvironment {
    let pointer = pointer(version);
    DeletedEnvironment { hostnames: Vec::new(), at_ms: 1, until_ms: u64::MAX, who: "bob".to_owned(), pointer }
}

fn gone_version(stored_ms: Option<u64>) -> GoneVersion {
    let record = stored_ms.map(|stored_ms| serde_json::from_value(stored_at(stored_ms)).unwrap());
    GoneVersion { at_ms: 1, collected: false, until_ms: u64::MAX, who: "bob".to_owned(), stored_ms: 1, record }
}

fn wanted(environment: Option<&str>, version: Option<VersionId>) -> UndeleteRequest {
    let (environment, version) = (environment.map(|name| name.parse().unwrap()), version.map(|id| id.to_string()));
    UndeleteRequest { environment, version }
}

/// Returns the keys of an existing alias and deleted environment.
fn old_keys(world: &World) -> (String, String) {
    let alias = records::alias_key(&world.app, &"old".parse().unwrap());
    (alias, gone::deleted_environment_key(&world.app, &"old-env".parse().unwrap()))
}

/// Points both at a version.
async fn point_old_at(world: &World, version: VersionId) {
    let (old, deleted) = old_keys(world);
    world.put(old, &alias(version)).await;
    world.put(deleted, &deleted_environment(version)).await;
}

/// Returns the changes that make the named item point at a version.
async fn pointing_at(world: &World, what: &str, version: VersionId) -> Vec<Change> {
    let (old, deleted) = old_keys(world);
    match what {
        "a new alias" => {
            let key = records::alias_key(&world.app, &"new".parse().unwrap());
            vec![put(key, &alias(version)), world.same_app().await]
        }
        "an alias" => vec![put(old, &alias(version))],
        "a new environment" => {
            let key = records::live_key(&world.app, &"staging".parse().unwrap());
            vec![put(key, &pointer(version)), world.same_app().await]
        }
        "an environment" => vec![put(records::live_key(&world.app, &world.prod), &pointer(version))],
        "a deleted environment" => vec![put(deleted, &deleted_environment(version))],
        what => panic!("nothing is named {what}"),
    }
}

#[tokio::test]
async fn a_version_that_something_came_to_point_at_is_not_deleted() {
    for what in ["a new alias", "an alias", "a new environment", "an environment", "a deleted environment"] {
        let world = World::new().await;
        let [one, _, three] = world.versions;
        point_old_at(&world, three).await;
        let changes = pointing_at(&world, what, one).await;
        world.overtaken.before_commit_of("gone/", changes);
        let deletion = world.retention.delete_version(&Actor::local(), &world.app, &one.to_string(), false).await;
        world.overtaken.assert_overtaken();
        assert_eq!(code(deletion), Some(Code::VersionInUse), "{what}");
        assert!(world.has(&records::version_key(&world.app, &one)).await, "{what}");
    }
}

#[tokio::test]
async fn of_two_deletions_of_a_version_at_once_the_second_finds_nothing() {
    let world = World::new().await;
    let one = world.versions[0];
    let (key, gone_key) = (records::version_key(&world.app, &one), gone::gone_key(&world.app, &one));
    let first = vec![Change::Delete(key), put(gone_key.clone(), &gone_version(Some(1)))];
    world.overtaken.before_commit_of("gone/", first);
    let second = world.retention.delete_version(&Actor::local(), &world.app, &one.to_string(), false).await;
    world.overtaken.assert_overtaken();
    assert_eq!(code(second), Some(Code::NotFound));
    assert_eq!(world.record::<GoneVersion>(&gone_key).await.unwrap().who, "bob", "the first one's record stays");
}

#[tokio::test]
async fn of_two_deletions_of_an_app_or_an_environment_at_once_the_first_one_counts() {
    for environment in [None, Some("prod")] {
        let world = World::new().await;
        let one = world.versions[0];
        let live = records::live_key(&world.app, &world.prod);
        let (key, deletion) = match environment {
            None => (gone::deleted_app_key(&world.app), put(gone::deleted_app_key(&world.app), &deleted_app(u64::MAX))),
            Some(_) => {
                let key = gone::deleted_environment_key(&world.app, &world.prod);
                (key.clone(), put(key, &deleted_environment(one)))
            }
        };
        world.overtaken.before_commit_of(&key, vec![deletion]);
        let before = world.stored.get(&live).await.unwrap();
        let second = match environment {
            None => code(world.retention.delete_app(&Actor::local(), &world.app, false).await),
            Some(_) => code(world.retention.delete_environment(&Actor::local(), &world.app, &world.prod, false).await),
        };
        world.overtaken.assert_overtaken();
        assert_eq!(second, Some(Code::Deleted));
        let kept = world.record::<serde_json::Value>(&key).await.unwrap();
        assert_eq!(kept["who"], "bob", "{kept}");
        assert_eq!(world.stored.get(&live).await.unwrap(), before);
    }
}

#[tokio::test]
async fn a_deletion_of_an_app_tells_of_an_environment_that_came_meanwhile() {
    let world = World::new().await;
    let staging = records::live_key(&world.app, &"staging".parse().unwrap());
    let changes = vec![put(staging, &pointer(world.versions[0])), world.same_app().await];
    world.overtaken.before_commit_of(&gone::deleted_app_key(&world.app), changes);
    let report = world.retention.delete_app(&Actor::local(), &world.app, false).await.unwrap();
    world.overtaken.assert_overtaken();
    let environments: Vec<&str> = report.environments.iter().map(|name| name.as_str()).collect();
    assert_eq!(environments, ["prod", "staging"]);
}

#[tokio::test]
async fn an_environment_comes_back_with_what_went_live_just_before_it_was_deleted() {
    let world = World::new().await;
    let three = world.versions[2];
    let live = records::live_key(&world.app, &world.prod);
    world.overtaken.before_commit_of("deleted-environments/", vec![put(live.clone(), &pointer(three))]);
    world.retention.delete_environment(&Actor::local(), &world.app, &world.prod, false).await.unwrap();
    world.overtaken.assert_overtaken();
    world.retention.undelete(&Actor::local(), &world.app, &wanted(Some("prod"), None), false).await.unwrap();
    assert_eq!(world.record::<LivePointer>(&live).await.unwrap().version, three);
}

#[tokio::test]
async fn an_environment_of_an_app_that_was_deleted_meanwhile_stays_as_it_is() {
    let world = World::new().await;
    let live = records::live_key(&world.app, &world.prod);
    let deletion = put(gone::deleted_app_key(&world.app), &deleted_app(u64::MAX));
    world.overtaken.before_commit_of("deleted-environments/", vec![deletion]);
    let result = world.retention.delete_environment(&Actor::local(), &world.app, &world.prod, false).await;
    world.overtaken.assert_overtaken();
    assert_eq!(code(result), Some(Code::Deleted));
    assert!(world.has(&live).await, "it comes back with its app");
}

/// Two simultaneous changes choose the same entry number.
#[tokio::test]
async fn no_entry_of_a_history_is_written_over_by_a_deletion_or_its_undoing() {
    for is_undone in [false, true] {
        let world = World::new().await;
        let actor = Actor::local();
        if is_undone {
            world.retention.delete_environment(&actor, &world.app, &world.prod, false).await.unwrap();
        }
        let history = records::history_prefix(&world.app, &world.prod);
        let before = world.stored.list(&history, None, false, 9).await.unwrap().len();
        let stored = Arc::clone(&world.stored);
        world.overtaken.before(&history.clone(), move |commit| {
            let own = commit.changes.iter().find(|change| key_of(change).starts_with(&history)).cloned();
            let changes = own.into_iter().collect();
            Box::pin(async move {
                stored.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
            })
        });
        if is_undone {
            world.retention.undelete(&actor, &world.app, &wanted(Some("prod"), None), false).await.unwrap();
        } else {
            world.retention.delete_environment(&actor, &world.app, &world.prod, false).await.unwrap();
        }
        world.overtaken.assert_overtaken();
        let history = records::history_prefix(&world.app, &world.prod);
        assert_eq!(world.stored.list(&history, None, false, 9).await.unwrap().len(), before + 2);
    }
}

#[tokio::test]
async fn what_ended_meanwhile_is_not_restored() {
    for what in ["app", "environment", "version"] {
        let world = World::new().await;
        let one = world.versions[0];
        let (app, environment, version) = (
            gone::deleted_app_key(&world.app),
            gone::deleted_environment_key(&world.app, &world.prod),
            gone::gone_key(&world.app, &one),
        );
        let (live, stored) = (records::live_key(&world.app, &world.prod), records::version_key(&world.app, &one));
        let (request, ended) = match what {
            "app" => {
                world.put(app.clone(), &deleted_app(u64::MAX)).await;
                world.overtaken.before_commit_of(&app, vec![Change::Delete(app.clone())]);
                (wanted(None, None), Code::NotFound)
            }
            "environment" => {
                world
                    .commit(vec![put(environment.clone(), &deleted_environment(one)), Change::Delete(live.clone())])
                    .await;
                world.overtaken.before_commit_of(&environment, vec![Change::Delete(environment.clone())]);
                (wanted(Some("prod"), None), Code::NotFound)
            }
            _ => {
                world.commit(vec![put(version.clone(), &gone_version(Some(1))), Change::Delete(stored.clone())]).await;
                world.overtaken.before_commit_of(&version, vec![put(version.clone(), &gone_version(None))]);
                (wanted(None, Some(one)), Code::NotFound)
            }
        };
        let result = world.retention.undelete(&Actor::local(), &world.app, &request, false).await;
        world.overtaken.assert_overtaken();
        assert_eq!(code(result), Some(ended), "{what}");
        match what {
            "environment" => assert!(!world.has(&live).await),
            "version" => assert!(!world.has(&stored).await),
            _ => {}
        }
    }
}

#[tokio::test]
async fn nothing_is_restored_over_what_is_there_again_or_into_an_app_that_was_deleted() {
    for is_deleted in [false, true] {
        let world = World::new().await;
        let [one, _, three] = world.versions;
        let (environment, version) =
            (gone::deleted_environment_key(&world.app, &world.prod), gone::gone_key(&world.app, &one));
        let (live, stored) = (records::live_key(&world.app, &world.prod), records::version_key(&world.app, &one));
        let gone = vec![
            put(environment.clone(), &deleted_environment(three)),
            Change::Delete(live.clone()),
            put(version.clone(), &gone_version(Some(1))),
            Change::Delete(stored.clone()),
        ];
        world.commit(gone).await;
        let app_deleted = put(gone::deleted_app_key(&world.app), &deleted_app(u64::MAX));
        let expected = if is_deleted { Code::Deleted } else { Code::Conflict };

        let again = if is_deleted { app_deleted } else { put(live.clone(), &pointer(world.versions[1])) };
        world.overtaken.before_commit_of(&environment, vec![again]);
        let result = world.retention.undelete(&Actor::local(), &world.app, &wanted(Some("prod"), None), false).await;
        world.overtaken.assert_overtaken();
        assert_eq!(code(result), Some(expected));
        let is = world.record::<LivePointer>(&live).await.map(|pointer| pointer.version);
        assert_eq!(is, (!is_deleted).then_some(world.versions[1]));

        world.commit(vec![Change::Delete(gone::deleted_app_key(&world.app))]).await;
        let app_deleted = put(gone::deleted_app_key(&world.app), &deleted_app(u64::MAX));
        let again = if is_deleted { app_deleted } else { put(stored.clone(), &stored_at(7)) };
        world.overtaken.before_commit_of(&version, vec![again]);
        let result = world.retention.undelete(&Actor::local(), &world.app, &wanted(None, Some(one)), false).await;
        world.overtaken.assert_overtaken();
        assert_eq!(code(result), Some(expected));
        let is = world.record::<VersionRecord>(&stored).await.map(|record| record.stored_ms);
        assert_eq!(is, (!is_deleted).then_some(7));
    }
}

#[tokio::test]
async fn an_environment_comes_back_with_the_pause_that_holds_by_then() {
    let world = World::new().await;
    let paused = records::paused_key(&world.app, &world.prod);
    let environment = gone::deleted_environment_key(&world.app, &world.prod);
    world.retention.delete_environment(&Actor::local(), &world.app, &world.prod, false).await.unwrap();
    world.commit(vec![Change::Put(paused.clone(), b"old".as_slice().into())]).await;
    world.overtaken.before_commit_of(&environment, vec![Change::Put(paused.clone(), b"new".as_slice().into())]);
    world.retention.undelete(&Actor::local(), &world.app, &wanted(Some("prod"), None), false).await.unwrap();
    world.overtaken.assert_overtaken();
    assert_eq!(&*world.stored.get(&paused).await.unwrap().unwrap().value, b"new");
}

#[tokio::test]
async fn of_two_withdrawals_at_once_both_hold() {
    let world = World::new().await;
    let withdraw = |path: &str| serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
    let key = records::withdrawn_key(&world.app);
    world.retention.withdraw(&Actor::local(), &world.app, &withdraw("/first"), false).await.unwrap();
    let (retention, app) = (Arc::clone(&world.retention), world.app.clone());
    let second = withdraw("/second");
    world.overtaken.before(&key, move |_commit| {
        Box::pin(async move { drop(retention.withdraw(&Actor::local(), &app, &second, false).await.unwrap()) })
    });
    world.retention.withdraw(&Actor::local(), &world.app, &withdraw("/third"), false).await.unwrap();
    world.overtaken.assert_overtaken();
    let record = world.record::<serde_json::Value>(&key).await.unwrap();
    let paths: Vec<&str> = record["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, ["/first", "/second", "/third"]);
}

/// The purge finds its deletion record gone when writing the end.
#[tokio::test]
async fn what_is_restored_while_it_is_purged_stays() {
    for what in ["app", "environment", "version"] {
        let world = World::new().await;
        let actor = Actor::local();
        let one = world.versions[0];
        let (request, key, stays) = match what {
            "app" => {
                world.retention.delete_app(&actor, &world.app, false).await.unwrap();
                (wanted(None, None), gone::deleted_app_key(&world.app), records::app_key(&world.app))
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
        match what {
            "app" => drop(world.retention.purge_place(&actor, &world.app, None, false).await.unwrap()),
            "environment" => {
                drop(world.retention.purge_place(&actor, &world.app, Some(&world.prod), false).await.unwrap());
            }
            _ => drop(world.retention.purge_version(&actor, &world.app, &one.to_string(), false).await.unwrap()),
        }
        world.overtaken.assert_overtaken();
        assert!(world.has(&stays).await, "{what}");
        assert!(!world.has(&key).await, "{what}");
    }
}

/// Some of its records may be gone already.
#[tokio::test]
async fn nothing_is_restored_that_a_collection_has_begun_to_end() {
    for is_app in [true, false] {
        let world = World::new().await;
        let (live, entry) =
            (records::live_key(&world.app, &world.prod), records::history_key(&world.app, &world.prod, 1));
        world.put(entry, &serde_json::json!({})).await;
        let request = if is_app {
            world.put(gone::deleted_app_key(&world.app), &deleted_app(u64::MAX)).await;
            wanted(None, None)
        } else {
            let key = gone::deleted_environment_key(&world.app, &world.prod);
            world.commit(vec![put(key, &deleted_environment(world.versions[0])), Change::Delete(live)]).await;
            wanted(Some("prod"), None)
        };
        let (retention, app) = (Arc::clone(&world.retention), world.app.clone());
        let restored = Arc::new(parking_lot::Mutex::new(None));
        let seen = Arc::clone(&restored);
        world.overtaken.before("history/", move |_commit| {
            Box::pin(async move {
                *seen.lock() = Some(code(retention.undelete(&Actor::local(), &app, &request, false).await));
            })
        });
        let options = CollectOptions { purge: true, ..CollectOptions::default() };
        let report = world.retention.collect(options).await.unwrap();
        world.overtaken.assert_overtaken();
        assert_eq!(*restored.lock(), Some(Some(Code::NotFound)));
        assert_eq!((report.apps.len(), report.environments.len()), if is_app { (1, 0) } else { (0, 1) });
        assert_eq!(world.has(&records::app_key(&world.app)).await, !is_app);
    }
}
