//! Tests of the checks of archives: all checks of a manifest push, as early as possible.

use devanture_config::PlaceName;
use devanture_config::api::{DeployReport, DeployState, Scope, Source};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use serde_json::{Value, json};

use super::collections::world::{World, age, content, digest, manifest, name, world, world_of, world_with};
use super::taking_in::{begin, tenant};
use crate::archive::archive_bytes_max;
use crate::ledger::{Actor, Error, Page};
use crate::retention::CollectOptions;
use devanture_base::clock::now_ms;
use devanture_store::blobs::{Bounds, FreeSpace, open_within};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::gone::{self, DeletedApp};
use devanture_store::records::{self, LivePointer};

pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Builds an archive of contents, named as in their manifest.
pub(super) fn archive(contents: &[u8]) -> Vec<u8> {
    let files: Vec<(String, Vec<u8>)> =
        contents.iter().map(|number| (format!("f{number}.txt"), content(*number))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    tar(&files)
}

/// Pushes an archive of unannounced length, in two pieces.
pub(super) async fn push(
    world: &World,
    actor: &Actor,
    environment: &str,
    archive: Vec<u8>,
    options: Value,
) -> Result<DeployReport, Code> {
    let (publisher, environment): (_, PlaceName) = (&world.publisher, environment.parse().unwrap());
    let pushed = async {
        let mut intake = publisher.begin_archive(actor, &name(0), &environment, (None, None)).await?;
        let (first, rest) = archive.split_at(archive.len() / 2);
        for piece in [first, rest] {
            intake.write(piece.to_vec().into()).await?;
        }
        let (received, options) = (intake.end().await?, serde_json::from_value(options).unwrap());
        publisher.finish_archive(received, Source::default(), options, None).await.unwrap()
    };
    pushed.await.map_err(|Error(problem)| problem.code)
}

/// Law 11: otherwise a token for one app could fill the shared disk with failing archives.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_archives_that_fail_take_no_more_room_than_the_app_may_store() {
    let folder = tempfile::tempdir().unwrap();
    let each = content(10).len() as u64;
    let limits = Limits { stored_bytes_per_app_max: 3 * each + 100, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let actor = Actor::local();
    // The second file is cut short, after the first was stored.
    let mut damaged = archive(&[10, 11]);
    damaged.truncate(damaged.len() - 1_500);
    assert!(push(&world, &actor, "prod", damaged, json!({})).await.is_err());
    let mut failures = Vec::new();
    for number in 20..25 {
        let with_bad_settings = tar(&[("a.txt", &content(number)), ("devanture.toml", b"[")]);
        failures.push(push(&world, &actor, "prod", with_bad_settings, json!({})).await.unwrap_err());
    }
    assert_eq!((failures[0] == Code::StorageFull, failures[4] == Code::StorageFull), (false, true), "{failures:?}");
    // Repeated attempts store nothing more.
    let left = world.stored_blobs().await;
    for number in 30..40 {
        let refused = push(&world, &actor, "prod", archive(&[number]), json!({})).await;
        assert_eq!(refused.unwrap_err(), Code::StorageFull, "{number}");
    }
    assert_eq!(world.stored_blobs().await, left);
    // A push by name is no archive, and collected files no longer count as left over.
    world.push(&name(0), &[60].into()).await.unwrap();
    age(folder.path());
    world.publisher.retention().collect(CollectOptions { purge: true, force: true, dry_run: false }).await.unwrap();
    push(&world, &actor, "prod", archive(&[61]), json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_the_push_of_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let actor = Actor::local();
    let report = push(&world, &actor, "prod", archive(&[1, 2]), json!({})).await.unwrap();
    assert_eq!((report.switched, report.version), (true, manifest(&[1, 2].into()).id()));
    // Files sent by the app count as sent even after a failed push.
    let rules = tar(&[("f3.txt", &content(3)), ("_redirects", b"/d javascript:alert(1)\n")]);
    assert_eq!(push(&world, &actor, "prod", rules, json!({})).await.err(), Some(Code::BadRules));
    let begun = begin(&world, &actor, &name(0), manifest(&[1, 3, 4].into())).await.unwrap();
    assert_eq!(begun.missing, [digest(4)]);
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_reaches_what_its_sender_may_reach() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    world.push(&name(0), &[9].into()).await.unwrap();
    let routed: &[u8] = b"[[routes]]\npath = \"/inside/*\"\nto = \"http://10.1.2.3:3000\"\n";
    let archive = || tar(&[("f9.txt", &content(9)), ("devanture.toml", routed)]);
    for scope in [Scope::Push, Scope::Admin] {
        let refused = push(&world, &tenant(scope, None), "prod", archive(), json!({})).await;
        assert_eq!(refused.err(), Some(Code::UpstreamForbidden), "{scope}");
    }
    assert_eq!(world.versions(&name(0)).await.len(), 1);
    push(&world, &Actor::local(), "prod", archive(), json!({})).await.unwrap();
}

/// Law 7.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_the_limits_of_its_app() {
    let each = content(1).len() as u64;
    for (limits, first, second, expected) in [
        (Limits { stored_bytes_per_app_max: 2 * each, ..Limits::default() }, &[1][..], &[2, 3][..], Code::StorageFull),
        (Limits { pushes_per_hour_per_app_max: 1, ..Limits::default() }, &[1], &[2], Code::TooManyPushes),
        (Limits { versions_max: 1, ..Limits::default() }, &[1], &[2], Code::TooMany),
        (Limits { bundle_files_max: 1, ..Limits::default() }, &[1], &[1, 2], Code::BundleTooLarge),
        (Limits { bundle_bytes_max: each, ..Limits::default() }, &[1], &[1, 2], Code::BundleTooLarge),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let world = world_with(folder.path(), 9, limits).await;
        push(&world, &Actor::local(), "prod", archive(first), json!({})).await.unwrap();
        let refused = push(&world, &Actor::local(), "prod", archive(second), json!({})).await;
        assert_eq!(refused.err(), Some(expected));
        assert_eq!(world.versions(&name(0)).await, [manifest(&first.iter().copied().collect()).id()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), 9, Limits { manifest_memory_bytes_max: 10, ..Limits::default() }).await;
    let refused = push(&world, &Actor::local(), "prod", archive(&[1]), json!({})).await;
    assert_eq!(refused.err(), Some(Code::Busy), "its manifest takes memory as any other");
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { environments_max: 1, bundle_files_max: 2, bundle_bytes_max: each, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    push(&world, &Actor::local(), "prod", archive(&[1]), json!({})).await.unwrap();
    let further = push(&world, &Actor::local(), "staging", archive(&[1]), json!({})).await;
    assert_eq!(further.err(), Some(Code::TooMany));
    let (actor, app, prod) = (Actor::local(), name(0), PlaceName::prod());
    let announced = world.publisher.begin_archive(&actor, &app, &prod, (Some(u64::MAX), None)).await;
    assert_eq!(announced.err().map(|Error(problem)| problem.code), Some(Code::BundleTooLarge));
    // An archive of unannounced length is stopped during the upload.
    let mut zip = world.publisher.begin_archive(&actor, &app, &prod, (None, None)).await.unwrap();
    zip.write([&b"PK\x03\x04"[..], &[0; 1_024]].concat().into()).await.unwrap();
    let stopped = zip.write(vec![0; 4 * 1_024 * 1_024].into()).await;
    assert_eq!(stopped.err().map(|Error(problem)| problem.code), Some(Code::BundleTooLarge));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_goes_to_an_app_and_an_environment_that_are_there_and_says_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    push(&world, &actor, "prod", archive(&[1]), json!({ "alias": "feature" })).await.unwrap();
    for (environment, options, expected) in [
        ("feature", json!({}), Code::AliasTaken),
        ("prod", json!({ "watch_s": 0 }), Code::BadRequest),
        ("prod", json!({ "with": "4f2a91" }), Code::BadRequest),
    ] {
        let refused = push(&world, &actor, environment, archive(&[2]), options.clone()).await;
        assert_eq!(refused.err(), Some(expected), "{environment} {options}");
    }
    let deleted = DeletedApp { at_ms: 1, until_ms: u64::MAX, who: "anna".to_owned(), hostnames: Vec::new() };
    let changes = vec![Change::Put(gone::deleted_app_key(&app), records::write(&deleted).unwrap())];
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let begun = world.publisher.begin_archive(&actor, &app, &PlaceName::prod(), (None, None)).await;
    assert_eq!(begun.err().map(|Error(problem)| problem.code), Some(Code::Deleted), "before anything is sent");
    assert_eq!(world.versions(&app).await, [manifest(&[1].into()).id()]);
}

/// Otherwise an archive would be superseded until the local clock catches up with the clock of the node that pushed
/// last.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_newer_than_what_is_live_also_where_another_node_whose_clock_is_ahead_pushed_that() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    push(&world, &actor, "prod", archive(&[1]), json!({})).await.unwrap();
    let key = records::live_key(&app, &PlaceName::prod());
    let pointer: LivePointer = records::read(&key, &world.catalog.get(&key).await.unwrap().unwrap()).unwrap();
    let ahead = LivePointer { begun: pointer.begun + 3_600_000_000, halves_begun: None, ..pointer };
    let changes = vec![Change::Put(key, records::write(&ahead).unwrap())];
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let report = push(&world, &actor, "prod", archive(&[2]), json!({})).await.unwrap();
    assert_eq!((report.switched, report.version), (true, manifest(&[2].into()).id()));
}

/// Otherwise a collection would delete files of an archive before its manifest names them.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_an_archive_is_held_from_its_beginning_until_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let held_since_s = async || world.publisher.ledger.leases.closed().await.held_since_s();
    let begun = world.publisher.begin_archive(&Actor::local(), &name(0), &PlaceName::prod(), (None, None)).await;
    assert!(held_since_s().await.is_some_and(|since_s| since_s <= now_ms() / 1_000));
    drop(begun);
    assert_eq!(held_since_s().await, None);
}

/// Law 7.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_refused_before_it_comes_where_it_is_too_long_or_the_disk_is_full() {
    let begin = async |world: &World, announced: u64| {
        let (app, prod) = (name(0), PlaceName::prod());
        let begun = world.publisher.begin_archive(&Actor::local(), &app, &prod, (Some(announced), None)).await;
        begun.map(drop).map_err(|Error(problem)| problem.code)
    };
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bundle_files_max: 2, bundle_bytes_max: 100, ..Limits::default() };
    let longest = archive_bytes_max(&limits);
    let world = world_with(folder.path(), 9, limits).await;
    assert_eq!(begin(&world, longest).await, Ok(()));
    assert_eq!(begin(&world, longest + 1).await, Err(Code::BundleTooLarge));

    let folder = tempfile::tempdir().unwrap();
    let free_space = FreeSpace::short(folder.path().to_owned());
    let blobs = open_within(folder.path().to_owned(), &Bounds { free_space, open_files_max: 9 }).unwrap();
    let full = world_of(folder.path(), 9, Limits::default(), blobs).await;
    assert_eq!(begin(&full, 1).await, Err(Code::DiskFull));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_fails_is_listed_as_failed_with_its_version_once_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let rules = &b"/d javascript:alert(1)\n"[..];
    for (settings, expected) in [(("devanture.toml", &b"["[..]), false), (("_redirects", rules), true)] {
        let refused = push(&world, &Actor::local(), "prod", tar(&[("a.txt", b"a"), settings]), json!({})).await;
        assert!(refused.is_err(), "{settings:?}");
        // The failed push creates no app, so no history records the failure.
        let page = Page { limit: 9, after: None, cursor: "before" };
        let list = world.publisher.deploys(&name(0), &PlaceName::prod(), &page).await.unwrap();
        let newest = list.deploys.iter().max_by_key(|entry| entry.deploy.clone()).unwrap();
        assert_eq!((newest.state, newest.version.is_some()), (DeployState::Failed, expected), "{list:?}");
    }
    assert!(world.publisher.deploys.running().is_empty());
}
