//! Tests of the usage shown to an app, and of the limits checked at a push.

use std::collections::BTreeMap;

use devanture_config::api::{BeginDeploy, LimitUsage, Source};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use super::collections::world::{World, content, manifest, name, world, world_with};
use crate::ledger::{Actor, Error};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::{self, AliasRecord};

/// Use, limit, and true for the app's own limit.
type Used = (Option<u64>, Option<u64>, bool);

/// Returns the app's use of each limit by name.
async fn usage(world: &World, app: &AppName) -> BTreeMap<String, Used> {
    let usage = world.publisher.usage(app).await.unwrap();
    assert_eq!(usage.app, *app);
    usage.limits.into_iter().map(|LimitUsage { name, used, max, own }| (name, (used, max, own))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_sees_what_it_uses_of_each_limit_and_which_are_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut limits = Limits {
        aliases_max: 0,
        requests_per_app_max: 5,
        sent_bytes_per_second_per_app_max: 1_000,
        versions_max: 7,
        ..Limits::default()
    };
    let (shop, blog) = (name(0), name(1));
    limits.apps.set(shop.clone(), vec![("aliases_max", 3), ("pushes_per_hour_per_app_max", 9)]);
    let world = world_with(folder.path(), 9, limits.clone()).await;
    let version = world.push(&shop, &[1, 2].into()).await.unwrap().version;
    world.push(&shop, &[1].into()).await.unwrap();
    world.push(&blog, &[1].into()).await.unwrap();
    let alias = AliasRecord {
        version,
        switched_ms: 0,
        begun: 0,
        who: String::new(),
        environment: None,
        expires_ms: None,
        halves_begun: None,
    };
    let key = records::alias_key(&shop, &"feature".parse().unwrap());
    let changes = vec![Change::Put(key, records::write(&alias).unwrap())];
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let (one, two) = (content(1).len() as u64, content(2).len() as u64);
    let expected = |aliases: Used, pushes: Used, stored, versions, files| -> BTreeMap<String, Used> {
        [
            ("aliases_max", aliases),
            ("bundle_files_max", (Some(files), Some(limits.bundle_files_max), false)),
            ("environments_max", (Some(1), Some(limits.environments_max), false)),
            ("hostnames_per_app_max", (Some(0), Some(limits.hostnames_per_app_max), false)),
            ("pushes_per_hour_per_app_max", pushes),
            ("requests_per_app_max", (Some(0), Some(5), false)),
            ("sent_bytes_per_second_per_app_max", (Some(0), Some(1_000), false)),
            ("stored_bytes_per_app_max", (Some(stored), None, false)),
            ("versions_max", (Some(versions), Some(7), false)),
        ]
        .map(|(name, usage)| (name.to_owned(), usage))
        .into()
    };
    let of_shop = expected((Some(1), Some(3), true), (Some(2), Some(9), true), one + two, 2, 2);
    assert_eq!(usage(&world, &shop).await, of_shop);
    // Zero aliases is a limit; pushes without a limit are still counted.
    let of_blog = expected((Some(0), Some(0), false), (Some(1), None, false), one, 1, 1);
    assert_eq!(usage(&world, &blog).await, of_blog);
    let unknown = world.publisher.usage(&name(2)).await.map(drop);
    assert_eq!(unknown.map_err(|Error(problem)| problem.code), Err(Code::NotFound));
}

/// The changed limits were in force, while the usage showed the initial limits.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_visitors_are_in_force_and_shown_as_soon_as_they_are_changed() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let shop = name(0);
    world.push(&shop, &[1].into()).await.unwrap();
    let shown = async || {
        let usage = usage(&world, &shop).await;
        ["requests_per_app_max", "sent_bytes_per_second_per_app_max"].map(|name| usage[name])
    };
    assert_eq!(shown().await, [(None, None, false); 2], "what has no limit is not measured");
    let mut limits = Limits { requests_per_app_max: 5, sent_bytes_per_second_per_app_max: 1_000, ..Limits::default() };
    world.publisher.set_limits(&limits);
    assert_eq!(shown().await, [(Some(0), Some(5), false), (Some(0), Some(1_000), false)]);
    limits.apps.set(shop.clone(), vec![("requests_per_app_max", 2)]);
    limits.sent_bytes_per_second_per_app_max = 0;
    world.publisher.set_limits(&limits);
    assert_eq!(shown().await, [(Some(0), Some(2), true), (None, None, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_beyond_those_of_an_hour_is_refused_with_the_limit_and_when_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { pushes_per_hour_per_app_max: 2, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let begin = async |app: &AppName| -> Result<(), Box<Problem>> {
        let push = BeginDeploy { manifest: manifest(&[1].into()), source: Source::default(), options: <_>::default() };
        let push = world.publisher.checked_whole(app, push);
        let begun = world.publisher.begin(&Actor::local(), app, &PlaceName::prod(), push).await;
        begun.map(drop).map_err(|Error(problem)| problem)
    };
    let shop = name(0);
    for _ in 0..2 {
        begin(&shop).await.unwrap();
    }
    let refused = begin(&shop).await.unwrap_err();
    assert_eq!(refused.code, Code::TooManyPushes);
    assert_eq!(refused.detail, "The app app-0 has begun 2 pushes within an hour; 2 are allowed.");
    begin(&name(1)).await.unwrap();
}
