//! Previews start instances on demand, without the secrets of an environment.

use devanture_config::limits::Limits;
use serde_json::json;

use crate::runner::world::{World, eventually, is_root, limits, plain_but, run};

#[test]
fn a_preview_starts_at_its_first_request_and_ends_when_nobody_asks() {
    run(async {
        let world = World::start(Limits { preview_idle_ms_max: 1_500, ..limits() }).await;
        world.set("prod", 0, "SECRET", "of prod");
        world.set("preview", 0, "SECRET", "of previews");
        let version = world.version("1", "one", &plain_but(json!({ "instances": 1 }))).await;
        let previews = || world.runner.instances(&world.app, "preview");
        assert!(previews().is_empty());
        let (status, text) = world.ask("/env", Some(&version.id)).await;
        assert_eq!(status, 200, "{text}");
        let env: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&env["SECRET"], &env["DEVANTURE_ENVIRONMENT"]), (&json!("of previews"), &json!("preview")));
        assert_eq!(previews().len(), 1);
        // Previews cannot read the data of the environment's instances, since the user differs.
        world.switch(&version).await;
        assert_ne!(world.json("/env").await["HOME"], env["HOME"]);
        if is_root() {
            let (_, text) = world.ask("/", Some(&version.id)).await;
            let preview: serde_json::Value = serde_json::from_str(&text).unwrap();
            let (own, preview) = (world.json("/").await["uid"].as_u64().unwrap(), preview["uid"].as_u64().unwrap());
            assert_eq!(preview, own + 1);
        }
        eventually("it ended", || previews().is_empty()).await;
        // And again.
        assert_eq!(world.ask("/", Some(&version.id)).await.0, 200);
        world.end().await;
    });
}

#[test]
fn no_more_previews_run_than_may() {
    run(async {
        let world = World::start(Limits { previews_running_max: 1, ..limits() }).await;
        let declared = plain_but(json!({ "instances": 1 }));
        let (one, two) = (world.version("1", "one", &declared).await, world.version("1", "two", &declared).await);
        for version in [&one, &two, &one] {
            assert_eq!(world.ask("/", Some(&version.id)).await.0, 200);
            eventually("the other one has ended", || {
                let all = world.runner.instances(&world.app, "preview");
                all.len() == 1 && all[0].version == version.id
            })
            .await;
        }
        world.end().await;
    });
}

#[test]
fn where_no_previews_may_run_they_are_refused_at_once() {
    run(async {
        let world = World::start(Limits { previews_running_max: 0, ..limits() }).await;
        let version = world.version("1", "one", &plain_but(json!({}))).await;
        assert_eq!(world.ask("/", Some(&version.id)).await.0, 503);
        world.end().await;
    });
}
