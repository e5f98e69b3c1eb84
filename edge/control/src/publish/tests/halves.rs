//! Tests of pushes of one half: choice of the other half, and changes of the other half meanwhile.
//!
//! The tests push the front of apps without a backend: joining needs no instances.

use std::collections::BTreeSet;

use devanture_config::api::{BeginDeploy, Deploy, DeployBegun, DeployReport, DeployState, Scope, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::{FILES_MEMORY_FACTOR, ServerFile, ServerFolder};
use devanture_config::problem::Code;
use devanture_config::site_toml::SiteFile;
use devanture_config::{AppName, Manifest, PlaceName, VersionId};
use serde_json::{Value, json};

use super::collections::world::{World, content, digest, manifest, name, world, world_with};
use super::taking_in::tenant;
use crate::ledger::{Actor, Error};
use crate::publish::joined::JOINS_MAX;
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::{self, HistoryEntry, LivePointer, VersionRecord};

/// Begins a push of a front with one content.
async fn begin_front(
    world: &World,
    actor: &Actor,
    environment: &str,
    front: Manifest,
    options: Value,
) -> Result<DeployBegun, Code> {
    let mut all = json!({ "only": "front" });
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let options = serde_json::from_value(all).unwrap();
    let push =
        world.publisher.checked_whole(&name(0), BeginDeploy { manifest: front, source: Source::default(), options });
    let begun = world.publisher.begin(actor, &name(0), &environment.parse().unwrap(), push).await;
    begun.map_err(|Error(problem)| problem.code)
}

/// Sends the missing content, and finishes.
async fn finish_front(world: &World, actor: &Actor, begun: &DeployBegun, number: u8) -> Result<DeployReport, Code> {
    let finished = async {
        if begun.missing.contains(&digest(number)) {
            let mut receiving = world.publisher.receive(actor, &name(0), &begun.deploy, digest(number)).await?;
            receiving.write(content(number).into()).await?;
            world.publisher.received(receiving).await?;
        }
        world.publisher.finish(world.publisher.take(actor, &name(0), &begun.deploy)?, None).await
    };
    finished.await.map_err(|Error(problem)| problem.code)
}

fn front(number: u8) -> Manifest {
    manifest(&[number].into())
}

async fn pointer(world: &World, app: &AppName) -> LivePointer {
    let key = records::live_key(app, &PlaceName::prod());
    records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_is_joined_with_what_is_live_or_with_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let older = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let begun = begin_front(&world, &actor, "prod", front(3), json!({})).await.unwrap();
    assert_eq!((begun.with, begun.version), (Some(live), front(3).id()));
    let report = finish_front(&world, &actor, &begun, 3).await.unwrap();
    assert_eq!((report.with, report.switched, report.version), (Some(live), true, front(3).id()));
    assert!(report.steps.iter().any(|step| step.name == "join"), "{:?}", report.steps);
    let begun = begin_front(&world, &actor, "prod", front(4), json!({ "with": older })).await.unwrap();
    assert_eq!(begun.with, Some(older));
    let of_another_app = world.push(&name(1), &[9].into()).await.unwrap().version;
    let refused = begin_front(&world, &actor, "prod", front(4), json!({ "with": of_another_app })).await;
    assert_eq!(refused.err(), Some(Code::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_takes_its_other_half_from_its_alias_and_at_first_from_prod_if_it_may_read_that() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let live = world.push(&app, &[1].into()).await.unwrap().version;
    let of_app = tenant(Scope::Push, None);
    let of_previews = tenant(Scope::Push, Some("preview"));
    let alias = json!({ "alias": "feature" });
    for (who, environment, options, expected) in [
        (&of_app, "preview", &alias, Some(live)),
        (&of_previews, "preview", &alias, None),
        // Any other environment has its own version, or none.
        (&of_app, "staging", &json!({}), None),
    ] {
        let begun = begin_front(&world, who, environment, front(2), options.clone()).await.unwrap();
        assert_eq!(begun.with, expected, "{} to {environment}", who.name);
    }
    let begun = begin_front(&world, &actor, "preview", front(2), alias.clone()).await.unwrap();
    let first = finish_front(&world, &actor, &begun, 2).await.unwrap();
    assert_eq!((first.with, first.switched), (Some(live), false));
    let begun = begin_front(&world, &actor, "preview", front(3), alias).await.unwrap();
    assert_eq!(begun.with, Some(first.version));
    assert_eq!(pointer(&world, &app).await.version, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_is_joined_again_with_what_went_live_since_unless_it_names_its_other_half() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let older = world.push(&app, &[1].into()).await.unwrap().version;
    // Begun first, and finished between the beginning and the end of the others.
    let whole = world.begin(&app, &[2].into()).await.unwrap();
    let following = begin_front(&world, &actor, "prod", front(3), json!({})).await.unwrap();
    let naming = begin_front(&world, &actor, "prod", front(4), json!({ "with": older })).await.unwrap();
    assert_eq!((following.with, naming.with), (Some(older), Some(older)));
    let live = world.finish(&app, &whole).await.unwrap().version;
    let report = finish_front(&world, &actor, &following, 3).await.unwrap();
    assert_eq!((report.with, report.switched), (Some(live), true));
    let report = finish_front(&world, &actor, &naming, 4).await.unwrap();
    assert_eq!((report.with, report.switched), (Some(older), true));
}

/// A version gone live meanwhile may contain files that affect the checks.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_joined_again_is_checked_as_at_its_beginning() {
    for (options, expected) in [(json!({}), Err(Code::Warnings)), (json!({ "allow_warnings": true }), Ok(true))] {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), 9).await;
        let (app, actor) = (name(0), Actor::local());
        world.push(&app, &[1].into()).await.unwrap();
        let mut routed = serde_json::to_value(front(2)).unwrap();
        routed["base"] = json!({ "routes": [{ "path": "/inside/*", "to": "http://10.1.2.3:3000" }] });
        let routed: Manifest = serde_json::from_value(routed).unwrap();
        let first = begin_front(&world, &actor, "prod", routed, json!({})).await.unwrap();
        let following = begin_front(&world, &actor, "prod", front(3), options).await.unwrap();
        let live = finish_front(&world, &actor, &first, 2).await.unwrap().version;
        let report = finish_front(&world, &actor, &following, 3).await;
        assert_eq!(report.map(|report| report.switched), expected, "it has no routes");
        assert_eq!(pointer(&world, &app).await.version == live, expected.is_err());
    }
}

/// Finishes a push while other versions go live `times` times before its switch.
async fn finish_overtaken(times: u32, options: Value) -> (Result<(Option<VersionId>, bool), Code>, [VersionId; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let older = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let before = pointer(&world, &app).await;
    let mut options = options;
    if options.get("if_live").is_some() {
        options["if_live"] = json!(live);
    }
    let begun = begin_front(&world, &actor, "prod", front(3), options).await.unwrap();
    let key = records::live_key(&app, &PlaceName::prod());
    for time in 0..times {
        let version = if time % 2 == 0 { older } else { live };
        let other = LivePointer { version, ..before.clone() };
        let change = Change::Put(key.clone(), records::write(&other).unwrap());
        world.overtaken.before_commit_of(&key, vec![change]);
    }
    let report = finish_front(&world, &actor, &begun, 3).await;
    world.overtaken.assert_overtaken();
    if report.is_err() {
        assert_ne!(pointer(&world, &app).await.version, front(3).id());
    }
    (report.map(|report| (report.with, report.switched)), [older, live])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_overtaken_is_joined_again_a_bounded_number_of_times() {
    let (report, [older, _]) = finish_overtaken(1, json!({})).await;
    assert_eq!(report, Ok((Some(older), true)));
    let (report, [older, live]) = finish_overtaken(JOINS_MAX - 1, json!({})).await;
    assert_eq!(report, Ok((Some(if JOINS_MAX.is_multiple_of(2) { older } else { live }), true)));
    assert_eq!(finish_overtaken(JOINS_MAX, json!({})).await.0, Err(Code::LiveMoved));
    assert_eq!(finish_overtaken(1, json!({ "if_live": null })).await.0, Err(Code::LiveMoved), "it expects one version");
}

/// Law 11: trust given by an admin of one environment must not reach another environment through a half. A version from
/// the time when an admin of the app could allow private addresses is live, and is joined with nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_takes_no_private_addresses_that_no_admin_of_every_app_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, admin) = (name(0), Actor::local());
    world.push(&app, &[9].into()).await.unwrap();
    let mut routed = serde_json::to_value(front(1)).unwrap();
    routed["base"] = json!({ "routes": [{ "path": "/inside/*", "to": "http://10.1.2.3:3000" }] });
    let routed: Manifest = serde_json::from_value(routed).unwrap();
    let push = world.publisher.checked_whole(
        &app,
        BeginDeploy {
            manifest: routed,
            source: Source::default(),
            options: serde_json::from_value(json!({})).unwrap(),
        },
    );
    let begun = world.publisher.begin(&admin, &app, &"staging".parse().unwrap(), push).await.unwrap();
    let inside = finish_front(&world, &admin, &begun, 1).await.unwrap().version;
    let vouched = record(&world, inside).await;
    let before = VersionRecord { edge_admin: Some(false), reach: None, ..vouched.clone() };
    let of_staging = ["staging".parse().unwrap()].into();
    let (refused, tenant) = (Some(Code::UpstreamForbidden), tenant(Scope::Push, None));
    for (stored, environment, expected) in [
        (&vouched, "prod", None),
        (&before, "prod", refused),
        (&VersionRecord { trusted: false, trusted_in: of_staging, ..before.clone() }, "staging", refused),
    ] {
        let key = records::version_key(&app, &inside);
        let changes = vec![Change::Put(key, records::write(stored).unwrap())];
        world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let options = json!({ "with": inside, "allow_warnings": true });
        let begun = begin_front(&world, &tenant, environment, front(2), options).await;
        assert_eq!(begun.err(), expected, "{environment}");
    }
}

/// Law 7.
#[tokio::test(flavor = "multi_thread")]
async fn both_halves_together_have_no_longer_manifest_than_a_push_may_have() {
    let both = manifest(&BTreeSet::from([1, 2, 3]));
    for (bytes_max, expected) in [(both.text_bytes(), None), (both.text_bytes() - 1, Some(Code::TooLarge))] {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { manifest_bytes_max: bytes_max, ..Limits::default() };
        let world = world_with(folder.path(), 9, limits).await;
        let begun = begin_front(&world, &Actor::local(), "prod", both.clone(), json!({})).await;
        assert_eq!(begun.err(), expected, "{bytes_max} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_counts_as_a_push_of_its_app_and_holds_memory_for_one_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { pushes_per_hour_per_app_max: 2, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let (app, actor) = (name(0), Actor::local());
    world.push(&app, &[1].into()).await.unwrap();
    let held = || world.publisher.uploads.manifest_memory.bytes().0;
    let before = held();
    begin_front(&world, &actor, "prod", front(2), json!({})).await.unwrap();
    assert_eq!(held() - before, front(2).text_bytes() * FILES_MEMORY_FACTOR, "the other half was read and let go");
    let refused = begin_front(&world, &actor, "prod", front(3), json!({})).await;
    assert_eq!(refused.err(), Some(Code::TooManyPushes));
    assert_eq!(held() - before, front(2).text_bytes() * FILES_MEMORY_FACTOR);
}

/// A front without files, for pushes of the backend half of apps without a front.
fn nothing() -> Manifest {
    manifest(&BTreeSet::new())
}

async fn withdraw(world: &World, path: &str) -> u64 {
    let request = serde_json::from_value(json!({ "path": path })).unwrap();
    world.publisher.retention().withdraw(&Actor::local(), &name(0), &request, false).await.unwrap().at_ms
}

async fn record(world: &World, version: VersionId) -> VersionRecord {
    let key = records::version_key(&name(0), &version);
    records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_half_that_was_overtaken_says_why_it_was_joined_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let older = world.push(&app, &[1].into()).await.unwrap().version;
    world.push(&app, &[2].into()).await.unwrap();
    let other = LivePointer { version: older, ..pointer(&world, &app).await };
    let begun = begin_front(&world, &actor, "prod", front(3), json!({})).await.unwrap();
    let key = records::live_key(&app, &PlaceName::prod());
    world.overtaken.before_commit_of(&key, vec![Change::Put(key.clone(), records::write(&other).unwrap())]);
    finish_front(&world, &actor, &begun, 3).await.unwrap();
    world.overtaken.assert_overtaken();
    let prefix = records::history_prefix(&app, &PlaceName::prod());
    let (key, entry) = world.catalog.list(&prefix, None, true, 1).await.unwrap().remove(0);
    let deploy = records::read::<HistoryEntry>(&key, &entry).unwrap().deploy;
    assert_eq!(deploy.log.iter().filter(|line| line.starts_with("joined again: ")).count(), 1, "{:?}", deploy.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_joined_again_is_reported_with_the_version_that_it_is_then() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let live = world.push(&app, &[1].into()).await.unwrap().version;
    let options = json!({ "only": "backend", "if_live": live });
    let begun = begin_front(&world, &actor, "prod", nothing(), options).await.unwrap();
    assert_eq!(begun.version, live, "the pages are those of the live version");
    let newer = world.push(&app, &[2].into()).await.unwrap().version;
    let refused = world.finish(&app, &begun.deploy).await.map(drop).map_err(|Error(problem)| problem.code);
    assert_eq!(refused, Err(Code::LiveMoved));
    let status = world.publisher.deploy_status(&app, &begun.deploy).await.unwrap();
    assert_eq!((status.state, status.version), (DeployState::Failed, Some(newer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_sent_again_by_those_who_push_its_half() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    world.push(&app, &[1].into()).await.unwrap();
    let hint = async |deploy: &str| {
        let Err(Error(problem)) = world.finish(&app, deploy).await else { panic!("it was finished") };
        assert_eq!(problem.code, Code::BlobMissing);
        problem.hint.unwrap()
    };
    let front = begin_front(&world, &actor, "prod", front(2), json!({})).await.unwrap();
    let mut receiving = world.publisher.receive(&actor, &app, &front.deploy, digest(2)).await.unwrap();
    receiving.write(content(2).into()).await.unwrap();
    world.publisher.received(receiving).await.unwrap();
    world.blobs.delete(Key::Blob(digest(2))).await.unwrap();
    assert_eq!(hint(&front.deploy).await, "push again: it is then uploaded");
    let backend = begin_front(&world, &actor, "prod", nothing(), json!({ "only": "backend" })).await.unwrap();
    world.blobs.delete(Key::Blob(digest(1))).await.unwrap();
    assert_eq!(hint(&backend.deploy).await, "push both halves, or the other half again: it is then uploaded");
}

/// Withdrawn paths belong to pages: a new front serves its own, and a new backend restores none of the old front.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_path_answers_again_with_a_new_front_and_not_with_a_new_backend() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    world.push(&app, &[1].into()).await.unwrap();
    let withdrawn_ms = withdraw(&world, "/f1.txt").await;
    let begun = begin_front(&world, &actor, "prod", manifest(&[1, 2].into()), json!({})).await.unwrap();
    let report = finish_front(&world, &actor, &begun, 2).await.unwrap();
    assert_eq!(report.withdrawn, Vec::<String>::new());
    assert!(record(&world, report.version).await.stored_ms > withdrawn_ms);
    // Two versions with a backend, removed by the push, and with pages unique to each.
    for (path, contents, withdrawn) in [("/f9.txt", [2, 3], vec![]), ("/f4.txt", [2, 4], vec!["/f4.txt".to_owned()])] {
        world.blobs.put(Key::Blob(digest(contents[1])), content(contents[1]).into()).await.unwrap();
        let file = ServerFile { hash: digest(1), run: true, size: content(1).len() as u64 };
        let site = SiteFile::parse("devanture.toml", "[server]\ncommand = [\"./run\"]\n").unwrap();
        let files = [("run".parse().unwrap(), file)].into();
        let server = Some(ServerFolder { files, ..ServerFolder::default() });
        let both = Manifest { base: site.base, server, ..manifest(&contents.into()) };
        world.blobs.put(Key::Manifest(both.id()), both.canonical().into()).await.unwrap();
        let stored = VersionRecord { stored_ms: 5, ..record(&world, report.version).await };
        let change = Change::Put(records::version_key(&app, &both.id()), records::write(&stored).unwrap());
        world.catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
        withdraw(&world, path).await;
        let options = json!({ "only": "backend", "with": both.id() });
        let begun = begin_front(&world, &actor, "prod", nothing(), options).await.unwrap();
        let joined = world.finish(&app, &begun.deploy).await.unwrap();
        assert_eq!(joined.version, manifest(&contents.into()).id());
        assert_eq!(joined.withdrawn, withdrawn, "{path}");
        let stored_ms = record(&world, joined.version).await.stored_ms;
        assert_eq!(stored_ms == 5, !withdrawn.is_empty(), "{path}: {stored_ms}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_says_first_what_it_is_joined_with_in_its_report_and_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let live = world.push(&app, &[1].into()).await.unwrap().version;
    let prefix = records::history_prefix(&app, &PlaceName::prod());
    for (number, options) in [(2, json!({ "with": live })), (3, json!({ "with": live, "no_switch": true }))] {
        let begun = begin_front(&world, &actor, "prod", front(number), options).await.unwrap();
        let report = finish_front(&world, &actor, &begun, number).await.unwrap();
        let (key, entry) = world.catalog.list(&prefix, None, true, 1).await.unwrap().remove(0);
        let deploy = Deploy::from(records::read::<HistoryEntry>(&key, &entry).unwrap().deploy);
        let expected = format!("front of this push, backend of {}", live.short());
        for steps in [&report.steps, &deploy.steps] {
            assert_eq!((&*steps[0].name, &steps[0].detail), ("join", &expected), "{steps:?}");
        }
    }
    world.push(&app, &[4].into()).await.unwrap();
    let (key, entry) = world.catalog.list(&prefix, None, true, 1).await.unwrap().remove(0);
    let whole = records::read::<HistoryEntry>(&key, &entry).unwrap().deploy;
    assert!(!whole.steps.is_empty() && whole.steps.iter().all(|step| step.name != "join"), "{:?}", whole.steps);
}
