//! Tests of checks before any change: dry runs of switches, typed ids, disk space, canary restrictions.

use std::sync::Arc;

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::problem::Code;
use devanture_config::site_toml::SiteFile;
use devanture_config::{AppName, Manifest, PlaceName, VersionId};
use serde_json::{Value, json};

use super::collections::world::{World, content, digest, manifest, name, world, world_of, world_with};
use super::taking_in::begin;
use crate::ledger::{Actor, Condition, Error};
use devanture_store::blobs::{Bounds, FreeSpace, Key, open_within};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::{self, AppRecord, LivePointer, VersionRecord};

async fn put(world: &World, changes: Vec<Change>) {
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
}

async fn pointer(world: &World, app: &AppName) -> LivePointer {
    let key = records::live_key(app, &PlaceName::prod());
    records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap()
}

/// Returns the outcome of a dry run: if the live version would change, and the replaced version.
async fn dry_run(world: &World, environment: &str, version: VersionId) -> Result<(bool, Option<VersionId>), Code> {
    let (app, environment) = (name(0), environment.parse().unwrap());
    let (actor, condition) = (Actor::local(), Condition::default());
    let wanted = serde_json::from_value(json!({ "version": version })).unwrap();
    let switcher = &world.publisher.switcher;
    let switching = switcher.switch(&actor, (&app, &environment), &wanted, (&condition, true), None).await;
    let report = async { switching?.await.unwrap() }.await;
    report.map(|report| (report.switched, report.previous)).map_err(|Error(problem)| problem.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_switch_says_what_it_would_do_and_is_refused_as_the_switch_is() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), 9, Limits { environments_max: 1, ..Limits::default() }).await;
    let (app, prod) = (name(0), PlaceName::prod());
    let before = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let stored = world.catalog.list("", None, false, 999).await.unwrap();
    assert_eq!(dry_run(&world, "prod", before).await, Ok((true, Some(live))));
    assert_eq!(dry_run(&world, "prod", live).await, Ok((false, Some(live))));
    assert_eq!(dry_run(&world, "staging", before).await, Err(Code::TooMany));
    assert_eq!(world.catalog.list("", None, false, 999).await.unwrap(), stored);
    let lock = records::LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
    put(&world, vec![Change::Put(records::lock_key(&app, &prod), records::write(&lock).unwrap())]).await;
    assert_eq!(dry_run(&world, "prod", before).await, Err(Code::Locked));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_for_a_switch_is_looked_at_before_anything_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod, actor, condition) = (name(0), PlaceName::prod(), Actor::local(), Condition::default());
    let before = world.push(&app, &[1].into()).await.unwrap().version;
    world.push(&app, &[2].into()).await.unwrap();
    let (switcher, place) = (&world.publisher.switcher, (&app, &prod));
    let stored = world.catalog.list("", None, false, 999).await.unwrap();
    let with = |one: Value, other: Value| {
        let mut all = one;
        all.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        all
    };
    let code = |refused: Option<Error>| refused.map(|Error(problem)| problem.code);
    for wrong in [json!({ "if_live": "zzz" }), json!({ "reason": "one\ntwo" }), json!({ "watch_s": 0 })] {
        let wanted = serde_json::from_value(with(json!({ "version": before }), wrong.clone())).unwrap();
        let begun = switcher.switch(&actor, place, &wanted, (&condition, false), None).await;
        assert_eq!(code(begun.err()), Some(Code::BadRequest), "switch {wrong}");
        let wanted = serde_json::from_value(wrong.clone()).unwrap();
        let begun = switcher.rollback(&actor, place, &wanted, (&condition, false), None).await;
        assert_eq!(code(begun.err()), Some(Code::BadRequest), "rollback {wrong}");
        let wanted = serde_json::from_value(with(json!({ "from": "prod" }), wrong.clone())).unwrap();
        let begun = switcher.promote(&actor, place, &wanted, (&condition, false), None).await;
        assert_eq!(code(begun.err()), Some(Code::BadRequest), "promote {wrong}");
    }
    for wrong in [json!({ "if_live": "zzz" }), json!({ "reason": "one\ntwo" })] {
        let wanted = serde_json::from_value(with(json!({ "version": before, "share": 5 }), wrong.clone())).unwrap();
        let begun = switcher.set_canary(&actor, place, wanted).await;
        assert_eq!(code(begun.err()), Some(Code::BadRequest), "canary {wrong}");
    }
    let end = serde_json::from_value(json!({ "reason": "one\ntwo" })).unwrap();
    assert_eq!(code(switcher.abort_canary(&actor, place, &end).await.err()), Some(Code::BadRequest));
    assert_eq!(code(switcher.finish_canary(&actor, place, None, &end, None).await.err()), Some(Code::BadRequest));
    assert_eq!(world.catalog.list("", None, false, 999).await.unwrap(), stored);
}

/// An automatic step may be late: the canary was ended, or moved by hand.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_canary_that_is_meant_and_has_the_share_that_is_meant_gets_another_share() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod, actor) = (name(0), PlaceName::prod(), Actor::local());
    let version = world.push(&app, &[1].into()).await.unwrap().version;
    world.push(&app, &[2].into()).await.unwrap();
    let (switcher, place) = (&world.publisher.switcher, (&app, &prod));
    let begins = serde_json::from_value(json!({ "version": version, "share": 5 })).unwrap();
    switcher.set_canary(&actor, place, begins).await.unwrap();
    let before = pointer(&world, &app).await;
    let canary = before.canary.clone().unwrap();
    let more: devanture_config::api::CanaryRequest = serde_json::from_value(json!({ "share": 50 })).unwrap();
    let (share, other) = (more.share.unwrap(), serde_json::from_value(json!(6)).unwrap());
    for expected in [("of-another", canary.share), (&*canary.deploy, other)] {
        let moved = switcher.change_canary(&actor, place, Some(expected), share, &more).await;
        assert_eq!(moved.map_err(|Error(problem)| problem.code), Err(Code::NoCanary), "{expected:?}");
        assert_eq!(pointer(&world, &app).await, before);
    }
    let expected = Some((&*canary.deploy, canary.share));
    switcher.change_canary(&actor, place, expected, share, &more).await.unwrap();
    assert_eq!(pointer(&world, &app).await.canary.unwrap().share, share);
}

/// A canary would double the work of a process without traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_a_process_without_traffic_is_no_canary_unless_it_is_the_live_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod, actor) = (name(0), PlaceName::prod(), Actor::local());
    let live = world.push(&app, &[1, 2].into()).await.unwrap().version;
    let record = world.catalog.get(&records::version_key(&app, &live)).await.unwrap().unwrap().value;
    let stored = async |toml: &str, page: u8| {
        let site = SiteFile::parse("devanture.toml", toml).unwrap();
        let file = ServerFile { hash: digest(1), run: true, size: content(1).len() as u64 };
        let mut manifest = manifest(&[page].into());
        (manifest.base, manifest.env) = (site.base, site.env);
        let files = [("run".parse().unwrap(), file)].into();
        manifest.server = Some(ServerFolder { files, ..ServerFolder::default() });
        world.blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
        put(&world, vec![Change::Put(records::version_key(&app, &manifest.id()), record.clone())]).await;
        manifest.id()
    };
    let begins = async |version: VersionId| {
        let request = serde_json::from_value(json!({ "version": version, "share": 5 })).unwrap();
        let begun = world.publisher.switcher.set_canary(&actor, (&app, &prod), request).await;
        begun.map(drop).map_err(|Error(problem)| problem.code)
    };
    let web = "[server]\ncommand = [\"./run\"]\n";
    let with_worker = |command: &str| format!("{web}[server.processes.mailer]\ncommand = [\"./{command}\"]\n");
    let (alone, worker) = (stored(web, 1).await, stored(&with_worker("run"), 1).await);
    assert_eq!(begins(worker).await, Err(Code::BadRequest));
    // The edge runs no backends; only an admissible canary gets as far as the refusal.
    assert_eq!(begins(alone).await, Err(Code::RunnerOff));
    let before = pointer(&world, &app).await;
    let of_worker = LivePointer { version: worker, ..before };
    put(&world, vec![Change::Put(records::live_key(&app, &prod), records::write(&of_worker).unwrap())]).await;
    let (other_pages, other_worker) = (stored(&with_worker("run"), 2).await, stored(&with_worker("other"), 1).await);
    assert_eq!(begins(other_pages).await, Err(Code::RunnerOff));
    assert_eq!(begins(other_worker).await, Err(Code::BadRequest));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_only_what_is_stored_and_whole_is_pushed_again() {
    let folder = tempfile::tempdir().unwrap();
    let free_space = FreeSpace::short(folder.path().to_owned());
    let blobs = open_within(folder.path().to_owned(), &Bounds { free_space, open_files_max: 9 }).unwrap();
    let world = world_of(folder.path(), 9, Limits::default(), Arc::clone(&blobs)).await;
    let (app, actor) = (name(0), Actor::local());
    let made = AppRecord { created_ms: 1, who: String::new() };
    put(&world, vec![Change::Put(records::app_key(&app), records::write(&made).unwrap())]).await;
    for number in [1, 2] {
        let manifest: Manifest = manifest(&[number].into());
        blobs.put(Key::Blob(digest(number)), content(number).into()).await.unwrap();
        blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
        let record: VersionRecord = serde_json::from_value(json!({
            "stored_ms": 1, "who": "", "trusted": true, "source": {}, "files": 1, "bytes": 0
        }))
        .unwrap();
        let key = records::version_key(&app, &manifest.id());
        put(&world, vec![Change::Put(key, records::write(&record).unwrap())]).await;
    }
    let begins = async |contents: &[u8]| {
        let contents = contents.iter().copied().collect();
        begin(&world, &actor, &app, manifest(&contents)).await.map(|begun| begun.missing.len())
    };
    assert_eq!(begins(&[1]).await, Ok(0));
    assert_eq!(begins(&[3]).await, Err(Code::DiskFull));
    assert_eq!(begins(&[1, 2]).await, Err(Code::DiskFull), "its record would be new");
    blobs.delete(Key::Blob(digest(2))).await.unwrap();
    assert_eq!(begins(&[2]).await, Err(Code::DiskFull), "one of its files would be");
}

/// Otherwise a dry run would report the version live before another node's switch, and compare `if_live` with that
/// version.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_and_its_prediction_know_what_another_node_made_live() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod, actor) = (name(0), PlaceName::prod(), Actor::local());
    let versions = [
        world.push(&app, &[1].into()).await.unwrap().version,
        world.push(&app, &[2].into()).await.unwrap().version,
        world.push(&app, &[3].into()).await.unwrap().version,
    ];
    let before = pointer(&world, &app).await;
    for (is_dry_run, version) in [(true, versions[0]), (false, versions[1])] {
        let moved = LivePointer { version, ..before.clone() };
        let change = Change::Put(records::live_key(&app, &prod), records::write(&moved).unwrap());
        world.overtaken.before_refresh(vec![change]);
        let (manifest, source, options) = (manifest(&[4].into()), Source::default(), DeployOptions::default());
        let push = world.publisher.checked_whole(&app, BeginDeploy { manifest, source, options });
        let live = match is_dry_run {
            true => world.publisher.predict(&actor, &app, &prod, push).await.unwrap().live,
            false => world.publisher.begin(&actor, &app, &prod, push).await.unwrap().live,
        };
        assert_eq!(live, Some(version), "dry run: {is_dry_run}");
    }
}
