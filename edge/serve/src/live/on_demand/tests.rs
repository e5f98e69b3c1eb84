//! Previews: loading at the first request, sharing, queues and eviction.

use futures_util::future::join_all;
use serde_json::json;

use super::super::test_world::{World, alias, version};
use super::*;
use crate::version::{self as versions, OverMemory};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("branch-{number}")).collect()
}

/// Returns true if both serve one content.
fn share(one: &Current, other: &Current) -> bool {
    std::ptr::eq(&raw const *one.version.files, &raw const *other.version.files)
}

#[tokio::test]
async fn aliases_are_loaded_when_they_are_requested_and_all_of_a_version_share_its_content() {
    let world = World::new(&Limits { previews_loaded_max: 100, ..Limits::default() }).await;
    let id = world.store("shop", "hi", 1_000, json!({})).await;
    let names = names(60);
    world.alias("shop", &names.iter().map(String::as_str).collect::<Vec<_>>(), id).await;
    assert_eq!(world.bytes("shop"), 0, "nothing is loaded before it is requested");
    assert!(world.live.is_held(&"shop".parse().unwrap(), &id), "an alias holds what is not loaded");
    let first = world.loader.preview(&world.live, &alias("shop", "branch-0")).await.unwrap();
    let one = world.bytes("shop");
    assert!(one > 100_000, "{one}");
    for name in &names {
        let current = world.loader.preview(&world.live, &alias("shop", name)).await.unwrap();
        assert!(share(&first, &current) && *current.version.place == **name, "{name}");
    }
    let itself = world.loader.preview(&world.live, &version("shop", id)).await.unwrap();
    assert!(share(&first, &itself));
    // Own memory of each: the counters.
    assert!(world.bytes("shop") < one + 61 * 10_000, "{} of {one}", world.bytes("shop"));
}

#[tokio::test]
async fn environments_share_a_content_where_the_manifest_says_the_same_for_them() {
    let world = World::new(&Limits::default()).await;
    let tables = json!({
        "one": {"not_found": "none"}, "two": {"not_found": "none"}, "other": {"not_found": "404-page"}, "plain": {},
    });
    let id = world.store("shop", "hi", 10, tables).await;
    for environment in ["prod", "staging", "one", "two", "other", "plain"] {
        world.point("shop", environment, id).await;
    }
    let of = |environment| world.current("shop", environment).unwrap();
    for (one, other, expected) in [
        ("prod", "staging", true),
        ("prod", "plain", true),
        ("one", "two", true),
        ("prod", "one", false),
        ("one", "other", false),
        ("prod", "other", false),
    ] {
        assert_eq!(share(&of(one), &of(other)), expected, "{one} {other}");
        assert_ne!(of(one).version.serial, of(other).version.serial);
    }
    let preview = world.loader.preview(&world.live, &version("shop", id)).await.unwrap();
    assert!(!share(&preview, &of("prod")), "a preview is left out by search engines");
}

#[tokio::test]
async fn two_apps_share_no_content() {
    let world = World::new(&Limits::default()).await;
    for app in ["shop", "blog"] {
        let id = world.store(app, "hi", 10, json!({})).await;
        world.point(app, "prod", id).await;
    }
    assert!(!share(&world.current("shop", "prod").unwrap(), &world.current("blog", "prod").unwrap()));
    assert!(world.bytes("shop") > 0 && world.bytes("shop") == world.bytes("blog"));
}

#[tokio::test]
async fn what_is_outdated_is_loaded_again_once_for_all_places() {
    let world = World::new(&Limits::default()).await;
    let id = world.store("shop", "hi", 10, json!({})).await;
    world.point("shop", "prod", id).await;
    world.point("shop", "staging", id).await;
    let before = world.current("shop", "prod").unwrap();
    world.loader.outdate(&id);
    let again = world.loader.load_again(Arc::clone(&before.version), true).await.unwrap();
    let staging = world.current("shop", "staging").unwrap();
    let other = world.loader.load_again(Arc::clone(&staging.version), true).await.unwrap();
    assert!(!std::ptr::eq(&raw const *before.version.files, &raw const *again.files));
    assert!(std::ptr::eq(&raw const *again.files, &raw const *other.files));
}

#[tokio::test]
async fn requests_that_come_together_wait_for_one_load() {
    let world = World::new(&Limits::default()).await;
    let id = world.store("shop", "hi", 10, json!({})).await;
    world.alias("shop", &["branch"], id).await;
    let (live, wanted) = (&world.live, alias("shop", "branch"));
    let all = join_all((0..50).map(|_| world.loader.preview(live, &wanted))).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|current| Arc::ptr_eq(current.as_ref().unwrap(), first)));
}

#[tokio::test]
async fn no_more_requests_and_no_more_previews_of_an_app_wait_than_may() {
    let limits = Limits { preview_requests_waiting_max: 3, previews_loaded_max: 2, ..Limits::default() };
    let world = World::new(&limits).await;
    let mut wanted = Vec::new();
    for text in ["one", "two", "three"] {
        wanted.push(version("shop", world.store("shop", text, 0, json!({})).await));
    }
    let other = version("blog", world.store("blog", "hi", 0, json!({})).await);
    let (live, loader) = (&world.live, &world.loader);
    let turns = loader.queues().turns.acquire_many(u32::try_from(LOADS_AT_ONCE).unwrap()).await.unwrap();
    let is_busy = |outcome: &Outcome| matches!(outcome.as_ref().map_err(|e| &**e), Err(LoadError::Busy { .. }));
    let mut waiting = Vec::new();
    for (number, is_taken) in [(0, true), (1, true), (2, false), (1, true), (0, false)] {
        let request = loader.preview(live, &wanted[number]);
        let mut request = Box::pin(request);
        let polled = futures_util::poll!(&mut request);
        match polled {
            std::task::Poll::Pending => waiting.push(request),
            std::task::Poll::Ready(ref outcome) => assert!(is_busy(outcome), "{number}"),
        }
        assert_eq!(polled.is_pending(), is_taken, "{number}");
    }
    // Another app has a queue of its own.
    let mut others = Box::pin(loader.preview(live, &other));
    assert!(futures_util::poll!(&mut others).is_pending());
    // A cancelled request makes room for another.
    drop(waiting.remove(0));
    let mut late = Box::pin(loader.preview(live, &wanted[0]));
    assert!(futures_util::poll!(&mut late).is_pending());
    drop(turns);
    assert!(others.await.is_ok() && late.await.is_ok());
    for request in waiting {
        assert!(request.await.is_ok());
    }
}

#[tokio::test]
async fn of_more_previews_than_are_kept_those_that_nobody_requests_go_first() {
    let world = World::new(&Limits { previews_loaded_max: 3, ..Limits::default() }).await;
    let id = world.store("shop", "hi", 0, json!({})).await;
    world.alias("shop", &["one", "two", "three", "four"], id).await;
    for name in ["one", "two", "three"] {
        world.loader.preview(&world.live, &alias("shop", name)).await.unwrap().note_use();
    }
    world.live.evict_idle_previews(2);
    world.current("shop", "one").unwrap().note_use();
    world.current("shop", "three").unwrap().note_use();
    world.loader.preview(&world.live, &alias("shop", "four")).await.unwrap();
    let is_loaded = |name| world.current("shop", name).is_some();
    assert_eq!(["one", "two", "three", "four"].map(is_loaded), [true, false, true, true]);
}

#[tokio::test]
async fn a_preview_that_nobody_requests_is_dropped_and_loaded_again_for_the_next_request() {
    let world = World::new(&Limits::default()).await;
    let id = world.store("shop", "hi", 10, json!({})).await;
    world.alias("shop", &["branch"], id).await;
    for wanted in [alias("shop", "branch"), version("shop", id)] {
        drop(world.loader.preview(&world.live, &wanted).await.unwrap());
        // A preview used between two looks stays.
        for _ in 0..3 {
            world.live.loaded_preview(&wanted).unwrap().note_use();
            world.live.evict_idle_previews(2);
            world.live.evict_idle_previews(2);
            assert!(world.live.loaded_preview(&wanted).is_some());
        }
        world.live.evict_idle_previews(2);
        assert!(world.live.loaded_preview(&wanted).is_none());
        assert_eq!(world.bytes("shop"), 0, "{wanted}");
        assert!(world.loader.preview(&world.live, &wanted).await.is_ok());
        world.live.evict_one_preview(&"shop".parse().unwrap());
    }
    // A live version is never evicted.
    world.point("shop", "prod", id).await;
    (0..5).for_each(|_| world.live.evict_idle_previews(1));
    assert!(world.current("shop", "prod").is_some());
}

#[tokio::test]
async fn an_alias_shows_what_it_points_at_and_nothing_that_was_loaded_for_it_before() {
    let world = World::new(&Limits::default()).await;
    let (one, two) = (world.store("shop", "1", 0, json!({})).await, world.store("shop", "2", 0, json!({})).await);
    world.alias("shop", &["branch"], one).await;
    let wanted = alias("shop", "branch");
    let before = world.loader.preview(&world.live, &wanted).await.unwrap();
    assert_eq!(before.version.id, one);
    let place = world.live.place(&"shop".parse().unwrap(), &"branch".parse().unwrap()).unwrap();
    let pointed = place.aliased().unwrap();
    world.alias("shop", &["branch"], one).await;
    assert!(world.current("shop", "branch").is_some(), "nothing was moved");
    world.alias("shop", &["branch"], two).await;
    assert!(world.current("shop", "branch").is_none());
    assert!(!place.show_alias(&pointed, &before) && world.current("shop", "branch").is_none());
    assert_eq!(world.loader.preview(&world.live, &wanted).await.unwrap().version.id, two);
    let gone = world.loader.preview(&world.live, &alias("shop", "none")).await;
    assert!(matches!(gone.as_ref().map_err(|error| &**error), Err(LoadError::NoAlias { .. })));
}

#[tokio::test]
async fn an_app_beyond_its_memory_loses_previews_then_replaced_versions_and_no_other_app_loses_any() {
    let world = World::new(&Limits::default()).await;
    let size = {
        let id = world.store("shop", "size", 4_000, json!({})).await;
        world.point("shop", "prod", id).await;
        world.bytes("shop")
    };
    // Memory for three and a half previews of equal size.
    let limits = Limits { app_memory_bytes_max: size * 7 / 2, ..Limits::default() };
    let world = World::new(&limits).await;
    let mut ids = Vec::new();
    for text in ["v-01", "v-02", "v-03", "v-04", "v-05"] {
        ids.push(world.store("shop", text, 4_000, json!({})).await);
    }
    let other = world.store("blog", "blog", 4_000, json!({})).await;
    world.point("blog", "prod", other).await;
    let preview = async |id| world.loader.preview(&world.live, &version("shop", id)).await;
    drop(world.loader.preview(&world.live, &version("blog", other)).await.unwrap());
    let blog = world.bytes("blog");

    world.point("shop", "prod", ids[0]).await;
    world.point("shop", "prod", ids[1]).await;
    let place = world.live.place(&"shop".parse().unwrap(), &"prod".parse().unwrap()).unwrap();
    drop(preview(ids[2]).await.unwrap());
    // A further preview displaces the first preview, not the earlier version.
    drop(preview(ids[3]).await.unwrap());
    assert!(world.live.loaded_preview(&version("shop", ids[2])).is_none());
    assert!(place.loaded(&ids[0]).is_some());
    // A version that goes live displaces the preview, and then the oldest earlier version.
    world.point("shop", "prod", ids[2]).await;
    assert!(world.live.loaded_preview(&version("shop", ids[3])).is_none() && place.loaded(&ids[0]).is_some());
    world.point("shop", "prod", ids[4]).await;
    assert_eq!(place.current().unwrap().version.id, ids[4]);
    assert!(place.loaded(&ids[0]).is_none() && place.loaded(&ids[2]).is_some());
    assert!(world.bytes("shop") <= limits.app_memory_bytes_max);
    // Live versions of environments always stay.
    world.point("shop", "two", ids[0]).await;
    world.point("shop", "three", ids[1]).await;
    world.point("shop", "four", ids[2]).await;
    assert_eq!(
        ["prod", "two", "three", "four"].map(|name| world.current("shop", name).is_some()),
        [true, true, true, false]
    );
    let refused = preview(ids[3]).await;
    let is_over =
        |error: &LoadError| matches!(error, LoadError::Version(versions::Error::OverMemory(OverMemory { .. })));
    assert!(refused.is_err_and(|error| is_over(&error)));
    assert_eq!(world.bytes("blog"), blog);
    assert!(world.live.loaded_preview(&version("blog", other)).is_some());
}
