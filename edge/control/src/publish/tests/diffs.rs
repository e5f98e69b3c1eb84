//! Tests of the numbers in a comparison of stored versions.

use devanture_config::PlaceName;
use devanture_config::api::Scope;
use devanture_config::problem::Code;
use serde_json::json;

use super::collections::world::{World, manifest, name, world};
use super::taking_in::{begin, send, tenant};
use crate::ledger::{Actor, Condition, Error, Page};
use crate::publish::DiffRequest;

/// Files of a large version are looked up in groups.
#[tokio::test(flavor = "multi_thread")]
async fn each_file_of_a_large_version_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let before = world.push(&app, &[1, 2].into()).await.unwrap().version;
    let mut large = manifest(&[1].into());
    let file = large.files.values().next().unwrap().clone();
    large.files.extend((0..600).map(|number| (format!("text-{number}.txt").parse().unwrap(), file.clone())));
    let begun = begin(&world, &actor, &app, large).await.unwrap();
    if !begun.missing.is_empty() {
        send(&world, &actor, &app, &begun.deploy, 1).await.unwrap();
    }
    let now = world.finish(&app, &begun.deploy).await.unwrap().version;
    let wanted = DiffRequest {
        from: before.to_string(),
        to: now.to_string(),
        environment: PlaceName::prod(),
        page: Page { limit: 9, after: None, cursor: "after" },
    };
    let visitors = world.publisher.diff(&actor, &app, &wanted).await.unwrap().visitors;
    let counted = [visitors.first_visit, visitors.load, visitors.revalidate, visitors.keep].map(|amount| amount.files);
    assert_eq!(counted, [601, 600, 1, 0]);
}

/// Returns the outcome of a comparison by an actor, for a request about `staging`.
async fn compares(world: &World, actor: &Actor, from: &str, to: &str) -> Result<(), Code> {
    let wanted = DiffRequest {
        from: from.to_owned(),
        to: to.to_owned(),
        environment: "staging".parse().unwrap(),
        page: Page { limit: 9, after: None, cursor: "after" },
    };
    let compared = world.publisher.diff(actor, &name(0), &wanted).await;
    compared.map(drop).map_err(|Error(problem)| problem.code)
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_reads_one_environment_compares_what_is_and_was_live_in_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, staging): (_, PlaceName) = (name(0), "staging".parse().unwrap());
    let staged = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let wanted = serde_json::from_value(json!({ "version": staged })).unwrap();
    let (actor, condition) = (Actor::local(), Condition::default());
    let switching =
        world.publisher.switcher.switch(&actor, (&app, &staging), &wanted, (&condition, false), None).await.unwrap();
    switching.await.unwrap().unwrap();
    let (staged, live) = (staged.to_string(), live.to_string());
    let (reads, promotes) = (tenant(Scope::Read, Some("staging")), tenant(Scope::Promote, Some("staging")));
    for (from, to, may_read) in [
        ("live", "staging", true),
        ("live", &*staged, true),
        ("live", "prod", false),
        ("prod", "live", false),
        ("live", &*live, false),
        (&*live, "live", false),
    ] {
        let expected = if may_read { Ok(()) } else { Err(Code::Forbidden) };
        assert_eq!(compares(&world, &reads, from, to).await, expected, "{from} {to}");
    }
    // A token with `promote` sees every version it could make live.
    assert_eq!(compares(&world, &promotes, "live", "prod").await, Ok(()));
}
