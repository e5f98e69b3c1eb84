//! Loads after a start, by request or by the pass, and the effect of a switch in between.

use serde_json::json;

use super::*;
use crate::live::test_world::World;

async fn world() -> World {
    World::new(&devanture_config::limits::Limits::default()).await
}

fn environment(app: &str) -> LoadTarget {
    LoadTarget::Environment(app.parse().unwrap(), PlaceName::prod())
}

fn earlier(app: &str) -> LoadTarget {
    LoadTarget::Earlier(app.parse().unwrap(), PlaceName::prod())
}

#[tokio::test]
async fn a_start_knows_what_is_live_and_loads_what_is_requested_alone() {
    let world = world().await;
    for app in ["shop", "blog"] {
        let id = world.store(app, app, 0, json!({})).await;
        world.point(app, "prod", id).await;
    }
    let world = world.started_again().await;
    assert!(world.live.serves("shop.localhost") && world.current("shop", "prod").is_none());
    assert_eq!(world.live.progress(), Progress { environments: 2, waiting: 2, unloaded: 0 });
    assert!(world.live.damaged().is_empty(), "nothing failed");

    // Simultaneous requests share one load.
    let target = environment("shop");
    let both =
        tokio::join!(world.loader.load_target(&world.live, &target), world.loader.load_target(&world.live, &target));
    assert_eq!(both, (true, true));
    let current = world.current("shop", "prod").unwrap();
    assert_eq!(world.live.progress(), Progress { environments: 2, waiting: 1, unloaded: 0 });
    assert!(world.current("blog", "prod").is_none());

    world.loader.clone().load_all(world.live.clone(), HashMap::new()).await;
    world.live.loaded().await;
    assert_eq!(world.live.progress(), Progress { environments: 2, waiting: 0, unloaded: 0 });
    assert!(world.current("blog", "prod").is_some());
    assert!(Arc::ptr_eq(&world.current("shop", "prod").unwrap(), &current), "it is not loaded twice");
}

#[tokio::test]
async fn a_switch_during_the_first_load_stays_and_what_it_replaced_is_kept_for_its_assets() {
    let world = world().await;
    let one = world.store("shop", "one", 0, json!({})).await;
    let two = world.store("shop", "two", 0, json!({})).await;
    world.switch("shop", "prod", one, None).await;
    let world = world.started_again().await;
    let place = world.place("shop", "prod");
    let load = place.first_load.load_full().unwrap();
    world.loader.load_target(&world.live, &earlier("shop")).await;
    let version = world.loader.load(Load::already_live(&place.app, &one, &place.name)).await.unwrap();
    world.switch("shop", "prod", two, Some(one)).await;
    assert_eq!(world.current("shop", "prod").unwrap().version.id, two);

    let late = Current::new(version, 0, world.live.withdrawn(&place.app), CurrentSettings::default());
    assert!(!place.show_first(&load, late), "the pointer was moved since");
    assert_eq!(world.current("shop", "prod").unwrap().version.id, two);
    world.loader.load_target(&world.live, &earlier("shop")).await;
    assert!(world.live.is_held(&place.app, &one));
    assert!(place.loaded(&one).is_some() && !place.is_loading_earlier());
}

#[tokio::test]
async fn law_3_a_switch_that_fails_during_the_first_load_leaves_the_version_before() {
    let world = world().await;
    let one = world.store("shop", "one", 0, json!({})).await;
    world.point("shop", "prod", one).await;
    let world = world.started_again().await;
    let missing = VersionId::of(b"missing");
    world.point("shop", "prod", missing).await;
    world.loader.load_target(&world.live, &environment("shop")).await;
    assert_eq!(world.current("shop", "prod").unwrap().version.id, one);
    assert_eq!(world.live.damaged()[0].version, Some(missing), "it is tried again");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_reported_and_holds_nobody_up() {
    let world = world().await;
    let missing = VersionId::of(b"missing");
    world.point("shop", "prod", missing).await;
    let world = world.started_again().await;
    assert!(world.loader.load_target(&world.live, &environment("shop")).await);
    let place = world.place("shop", "prod");
    assert!(!place.is_loading() && place.current().is_none());
    assert_eq!(world.live.damaged()[0].version, Some(missing));
}

#[tokio::test]
async fn a_load_that_ends_with_its_runtime_ends_the_wait_for_it() {
    let load = FirstLoad::new(());
    assert!(load.begin() && !load.begin());
    drop(EndsLoad(Arc::clone(&load)));
    load.wait().await;
}

/// Regression: the assets came back only with the next change.
#[test]
fn what_changes_while_earlier_versions_are_loaded_has_them_loaded_once_more() {
    let rare = RareLoad::default();
    rare.begin_again();
    let first = rare.load().unwrap();
    rare.begin_again();
    assert!(Arc::ptr_eq(&rare.load().unwrap(), &first), "it has passed over nothing yet");
    assert!(first.begin());
    for _ in 0..3 {
        rare.begin_again();
    }
    let second = rare.end(&first).unwrap();
    assert!(rare.is_there() && !second.begin(), "it is begun by whom it is given to");
    // However often requested.
    assert!(rare.end(&second).is_none() && !rare.is_there());
}

#[tokio::test]
async fn law_10_a_start_keeps_what_was_replaced_and_nothing_that_was_deleted() {
    let world = world().await;
    let mut before = None;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        let id = world.store("shop", text, 0, json!({})).await;
        world.switch("shop", "prod", id, before.replace(id)).await;
        ids.push(id);
    }
    let world = world.started_again().await;
    let place = world.place("shop", "prod");
    world.forget("shop", ids[0]).await;
    world.loader.clone().load_all(world.live.clone(), HashMap::new()).await;
    assert_eq!(world.current("shop", "prod").unwrap().version.id, ids[2]);
    assert!(place.loaded(&ids[1]).is_some() && place.loaded(&ids[0]).is_none());
    assert!(!world.live.is_held(&place.app, &ids[0]));
}

#[tokio::test]
async fn what_was_requested_most_is_loaded_first_then_prod() {
    let world = world().await;
    let id = world.store("shop", "one", 0, json!({})).await;
    for name in ["early", "prod", "late"] {
        world.point("shop", name, id).await;
    }
    let world = world.started_again().await;
    let requests = HashMap::from([(("shop".parse().unwrap(), "late".parse().unwrap()), 7)]);
    let turns = in_turn(&world.live, &requests);
    assert_eq!(turns.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(), ["late", "prod", "early"]);
}

#[tokio::test]
async fn what_is_live_is_loaded_before_what_was_replaced() {
    let world = world().await;
    let mut before = None;
    for text in ["one", "two"] {
        let id = world.store("shop", text, 0, json!({})).await;
        world.switch("shop", "prod", id, before.replace(id)).await;
    }
    let world = world.started_again().await;
    // A slow load of earlier versions.
    let earlier = world.place("shop", "prod").earlier_load.load().unwrap();
    assert!(earlier.begin());
    let loading = tokio::spawn(world.loader.clone().load_all(world.live.clone(), HashMap::new()));
    world.live.loaded_live().await;
    assert_eq!(world.live.progress(), Progress { environments: 1, waiting: 0, unloaded: 0 });
    assert!(world.current("shop", "prod").is_some());
    let is_all = timeout(Duration::from_millis(20), world.live.loaded()).await.is_ok();
    assert!(!is_all && !loading.is_finished(), "it waits for what was replaced");
    earlier.end();
    loading.await.unwrap();
    timeout(WAIT_MAX, world.live.loaded()).await.unwrap();
}
