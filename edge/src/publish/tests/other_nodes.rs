//! Tests of what a node does for the others of its cluster, and of how it follows what they do to apps.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::limits::Limits;
use devanture_config::{PlaceName, VersionId};
use serde_json::json;

use super::collections::world::{World, name, world};
use crate::access::Credentials;
use crate::catalog::{Change, Commit};
use crate::cluster::{Placed, Service as _};
use crate::ledger::Actor;
use crate::publish::NodeService;
use crate::records::{self, AppRecord};

/// What the node does for others.
fn service(world: &World) -> NodeService {
    let audit = world.publisher.ledger().audit().clone();
    let credentials = Credentials::new(Arc::clone(&world.catalog), audit, &Limits::default());
    NodeService::new(&world.publisher, Arc::new(credentials))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_another_node_began_is_reported_as_live() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, environment) = (name(0), PlaceName::prod());
    let canary = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let begins = serde_json::from_value(json!({ "version": canary, "share": 5 })).unwrap();
    world.publisher.switcher.set_canary(&Actor::local(), (&app, &environment), begins).await.unwrap();
    let (service, revision) = (service(&world), world.catalog.state().revision);
    for (version, is_live) in [(canary, true), (live, true), (VersionId::of(b"another"), false)] {
        let placed = Placed { app: &app, environment: &environment, version };
        assert_eq!(service.follow(placed, revision).await, is_live, "{version}");
    }
}

/// Law 11. A node that was behind hears of the end of an app and of the next one of its name as one change.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_an_app_are_forgotten_where_only_the_next_one_of_its_name_is_heard_of() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, pushes) = (name(0), &world.publisher.uploads.pushes);
    world.push(&shop, &[1].into()).await.unwrap();
    let deploy = world.begin(&shop, &[2].into()).await.unwrap();
    let following = tokio::spawn(Arc::clone(&world.publisher).keep_forgetting());
    // Again until it is heard, since the task may not have begun to listen.
    for created_ms in 1..1_000 {
        let made = records::write(&AppRecord { created_ms, who: "ben".to_owned() }).unwrap();
        let change = Change::Put(records::app_key(&shop), made);
        world.catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
        if !pushes.is_there(&shop, &deploy) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!pushes.is_there(&shop, &deploy));
    following.abort();
}
