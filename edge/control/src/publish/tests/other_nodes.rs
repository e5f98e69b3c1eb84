//! Tests of a node's service for other nodes, and of following their changes to apps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use futures_util::poll;
use serde_json::json;
use tokio::sync::{broadcast, oneshot};

use super::collections::world::{World, content, digest, name, world};
use crate::access::Credentials;
use crate::cluster::{
    GateRequest, InstanceService as _, InstancesAction, InstancesRequest, Placed, PrepareRequest, Service as _,
};
use crate::ledger::Actor;
use crate::publish::NodeService;
use crate::switch::Origin;
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Commit, Committed};
use devanture_store::records::{self, AppRecord};

/// The node's service for other nodes.
pub(super) fn service(world: &World) -> NodeService {
    let audit = world.publisher.ledger().audit().clone();
    let credentials = Credentials::new(Arc::clone(&world.catalog), audit, &Limits::default());
    NodeService::new(&world.publisher, Arc::new(credentials))
}

/// Returns the contents missing from an app.
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
    // A running push relies on the content.
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

/// Law 11: a lagging node sees the end of an app and the next app of its name as one change.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_an_app_are_forgotten_where_only_the_next_one_of_its_name_is_heard_of() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, pushes) = (name(0), &world.publisher.uploads.pushes);
    world.push(&shop, &[1].into()).await.unwrap();
    let deploy = world.begin(&shop, &[2].into()).await.unwrap();
    let following = tokio::spawn(Arc::clone(&world.publisher).keep_forgetting());
    // Repeated until received, since the task may not have subscribed yet.
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

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_collection_of_another_node_has_taken_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, all) = (name(0), BTreeSet::from([1, 2]));
    for number in &all {
        world.blobs.put(Key::Blob(digest(*number)), content(*number).into()).await.unwrap();
    }
    let sent = all.iter().map(|number| (digest(*number), content(*number).len() as u64));
    world.publisher.uploads.owned.add(&shop, sent).await.unwrap();
    let files = GateRequest { blobs: all.iter().map(|number| digest(*number)).collect(), manifests: Vec::new() };
    let (held, is_held) = oneshot::channel();
    let (gone, is_gone) = oneshot::channel();
    gone.send(vec![digest(1)]).unwrap();
    service(&world).close_gate(&files, held, is_gone).await;
    assert!(is_held.await.unwrap().files.blobs.is_empty());
    assert_eq!(missing(&world, &shop, &all).await, [1].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_not_heard_of_a_commit_does_nothing_that_relies_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, environment, service) = (name(0), PlaceName::prod(), service(&world));
    let version = world.push(&app, &[1].into()).await.unwrap().version;
    let heard = world.catalog.state().revision;
    for (revision, prepared, rescaled) in
        [(heard, None, Code::RunnerOff), (heard + 1, Some(Code::NotReady), Code::NotReady)]
    {
        let (app, environment) = (app.clone(), environment.clone());
        let request = InstancesRequest {
            app: app.clone(),
            environment: environment.clone(),
            revision,
            action: InstancesAction::Rescale,
        };
        assert_eq!(service.instances(&request).await.map_err(|problem| problem.code), Err(rescaled));
        let request = PrepareRequest { app, environment, version, settings: None, coming: None, revision };
        let refused = service.prepare(&request, &|_line| {}).await.err().map(|problem| problem.code);
        assert_eq!(refused, prepared);
    }
}

/// Law 11: any missed commit may have ended an app, and given its name to a new owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_commits_forgets_deploys_that_have_ended_and_reads_again_what_apps_have_sent() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, blog, all) = (name(0), name(1), BTreeSet::from([1, 2]));
    let uploads = &world.publisher.uploads;
    let ended = world.begin(&shop, &[1].into()).await.unwrap();
    world.finish(&shop, &ended).await.unwrap();
    let under_way = world.begin(&shop, &[1].into()).await.unwrap();
    let of = (None, Origin::default());
    let _runs = uploads.deploys.open(&under_way, &shop, &PlaceName::prod(), of, world.catalog.state().revision);
    let is_known = |deploy: &str| uploads.deploys.find(&shop, deploy).is_some();
    assert!(is_known(&ended) && is_known(&under_way));

    let commits = broadcast::Sender::new(1);
    world.overtaken.announce_by(&commits);
    let mut following = Box::pin(Arc::clone(&world.publisher).keep_forgetting());
    assert!(poll!(&mut following).is_pending(), "it listens");
    // Another node stores a version of the app meanwhile.
    let version = world.push(&blog, &[2].into()).await.unwrap().version;
    let record = world.catalog.get(&records::version_key(&blog, &version)).await.unwrap().unwrap().value;
    let changes = vec![Change::Put(records::version_key(&shop, &version), record)];
    let revision = world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    assert_eq!(missing(&world, &shop, &all).await, [2].into());
    for revision in [revision - 1, revision] {
        commits.send(Committed { revision, changes: Vec::new().into() }).unwrap();
    }
    for _ in 0..1_000 {
        assert!(poll!(&mut following).is_pending());
        if !is_known(&ended) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_known(&ended) && is_known(&under_way));
    assert_eq!(missing(&world, &shop, &all).await, BTreeSet::new());
}

/// Lets a node follow commits until the condition holds. Returns false after a time limit.
async fn follows(following: &mut (impl Future<Output = ()> + Unpin), is_so: impl Fn() -> bool) -> bool {
    for _ in 0..1_000 {
        assert!(poll!(&mut *following).is_pending());
        if is_so() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Law 11: a missed commit may have ended an app, and given its name to a new owner.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_a_node_that_missed_the_end_of_an_app_forgets_its_pushes_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, blog, docs) = (name(0), name(1), name(2));
    let pushes = &world.publisher.uploads.pushes;
    for app in [&shop, &blog] {
        world.push(app, &[1].into()).await.unwrap();
    }
    let former = world.begin(&shop, &[2].into()).await.unwrap();
    let of_another = world.begin(&blog, &[2].into()).await.unwrap();
    let heard = world.begin(&docs, &[2].into()).await.unwrap();

    let commits = broadcast::Sender::new(1);
    world.overtaken.announce_by(&commits);
    let mut following = Box::pin(Arc::clone(&world.publisher).keep_forgetting());
    assert!(poll!(&mut following).is_pending(), "it listens");
    // The node receives a commit after its first read of all apps.
    let (revision, changes) = (world.catalog.state().revision + 1, [Change::Delete(records::app_key(&docs))]);
    commits.send(Committed { revision, changes: changes.into() }).unwrap();
    assert!(follows(&mut following, || !pushes.is_there(&docs, &heard)).await);

    let made = records::write(&AppRecord { created_ms: 1, who: "ben".to_owned() }).unwrap();
    let changes = vec![Change::Put(records::app_key(&shop), made)];
    let revision = world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let of_the_next = world.begin(&shop, &[3].into()).await.unwrap();
    // The channel has no room for both, so one is missed.
    for revision in [revision, revision + 1] {
        commits.send(Committed { revision, changes: Vec::new().into() }).unwrap();
    }
    assert!(follows(&mut following, || !pushes.is_there(&shop, &former)).await);
    assert!(pushes.is_there(&shop, &of_the_next) && pushes.is_there(&blog, &of_another));
}
