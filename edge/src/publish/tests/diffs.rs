//! Tests of what a comparison of stored versions counts.

use devanture_config::PlaceName;

use super::collections::world::{manifest, name, world};
use super::taking_in::{begin, send};
use crate::ledger::{Actor, Page};
use crate::publish::DiffRequest;

/// The files of a large version are looked up group by group.
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
