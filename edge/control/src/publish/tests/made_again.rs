//! Tests of the publisher's control of background recompression, and of the publisher's metrics.

use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::edge_toml::Compress;
use tokio::sync::{broadcast, watch};

use super::collections::world::{World, name, world};
use super::publisher;
use crate::encode::{Background, BackgroundParts};
use devanture_base::telemetry::Gauges;

/// A world that recompresses live versions at the best level if `best`.
async fn compressing(folder: &std::path::Path, best: bool) -> (World, Background) {
    let mut world = world(folder, 9).await;
    let background = Background::start(BackgroundParts {
        blobs: Arc::clone(&world.blobs),
        catalog: Arc::clone(&world.catalog),
        threads: 1,
        remade: broadcast::Sender::new(8),
        best,
        file_bytes_max: 1_000_000,
        memory_is_short: watch::channel(false).1,
        dictionaries: None,
    });
    let publisher = Arc::get_mut(&mut world.publisher).unwrap();
    Arc::get_mut(&mut publisher.switcher).unwrap().background = background.clone();
    (world, background)
}

/// Single-threaded, so that the pass removes nothing from its queue between two checks.
#[tokio::test]
async fn what_is_live_is_made_again_for_all_apps_or_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let (world, background) = compressing(folder.path(), false).await;
    for (app, contents) in [(0, [1]), (1, [2]), (1, [3])] {
        world.push(&name(app), &contents.into()).await.unwrap();
    }
    let queued = |app: Option<&AppName>| {
        let before = background.queued();
        world.publisher.make_derived_again(app);
        background.queued() - before
    };
    assert_eq!([queued(None), queued(Some(&name(0))), queued(Some(&name(2)))], [2, 1, 0]);
}

#[tokio::test]
async fn whatever_could_not_be_loaded_is_looked_at_again_when_it_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, _catalog) = publisher(folder.path());
    let live = &publisher.ledger.live;
    assert!(!live.takes_look());
    publisher.make_derived_again(Some(&name(0)));
    assert!(live.takes_look());
}

#[tokio::test]
async fn live_versions_are_compressed_again_whenever_the_best_level_is_turned_on() {
    let folder = tempfile::tempdir().unwrap();
    let (world, _background) = compressing(folder.path(), false).await;
    let turned_on =
        |background| world.publisher.set_compress(&Compress { background, ..Compress::default() }).is_some();
    assert_eq!([turned_on(true), turned_on(true), turned_on(false), turned_on(true)], [true, false, false, true]);
}

#[tokio::test]
async fn pushes_under_way_and_what_is_live_and_loaded_are_in_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    world.push(&name(0), &[1].into()).await.unwrap();
    world.begin(&name(0), &[2].into()).await.unwrap();
    let mut gauges = Gauges::default();
    world.publisher.add_metrics(&mut gauges);
    let text = gauges.render();
    let (_, manifests_max) = world.publisher.uploads.manifest_memory.bytes();
    for line in [
        "devanture_apps 1",
        "devanture_queue_length{queue=\"compression\"} 0",
        "devanture_queue_length{queue=\"loads\"} 0",
        "devanture_queue_length{queue=\"uploads\"} 1",
        format!("devanture_memory_bytes_max{{part=\"manifests\"}} {manifests_max}").as_str(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("devanture_memory_bytes{part=\"loaded\"}"), "{text}");
}
