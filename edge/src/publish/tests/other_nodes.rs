//! Tests of what a node does for the others of its cluster, and of how it follows what they do to apps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::limits::Limits;
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde_json::json;
use tokio::sync::oneshot;

use super::collections::world::{World, content, digest, name, world};
use crate::access::Credentials;
use crate::blobs::Key;
use crate::catalog::{Change, Commit};
use crate::cluster::{GateRequest, Placed, Service as _};
use crate::ledger::Actor;
use crate::publish::NodeService;
use crate::records::{self, AppRecord};

/// What the node does for others.
fn service(world: &World) -> NodeService {
    let audit = world.publisher.ledger().audit().clone();
    let credentials = Credentials::new(Arc::clone(&world.catalog), audit, &Limits::default());
    NodeService::new(&world.publisher, Arc::new(credentials))
}

/// The contents that an app has to send.
async fn missing(world: &World, app: &AppName, contents: &BTreeSet<u8>) -> BTreeSet<u8> {
    let wanted: HashMap<Digest, u64> =
        contents.iter().map(|number| (digest(*number), content(*number).len() as u64)).collect();
    let missing = world.publisher.uploads.owned.missing(app, &wanted).await.unwrap();
    contents.iter().filter(|number| missing.contains(&digest(**number))).copied().collect()
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collection_that_breaks_off_may_have_taken_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, all) = (name(0), BTreeSet::from([1, 2]));
    world.blobs.put(Key::Blob(digest(1)), content(1).into()).await.unwrap();
    let sent = [(digest(1), content(1).len() as u64)];
    world.publisher.uploads.owned.add(&shop, sent.into_iter()).await.unwrap();
    // A push under way relies on this one.
    world.begin(&shop, &[2].into()).await.unwrap();
    assert_eq!(missing(&world, &shop, &all).await, BTreeSet::new());
    let files = GateRequest { blobs: vec![digest(1), digest(2)], manifests: Vec::new() };
    let (held, is_held) = oneshot::channel();
    let (gone, is_gone) = oneshot::channel();
    drop(gone);
    service(&world).close_gate(&files, held, is_gone).await;
    assert_eq!(is_held.await.unwrap().files.blobs, [digest(2)]);
    assert_eq!(missing(&world, &shop, &all).await, [1].into());
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
