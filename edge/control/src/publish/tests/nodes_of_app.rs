//! Tests of the nodes of a cluster as shown to an app.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{BeginDeploy, NodeState, NodeStatus, Scope, Source};
use devanture_config::{AppName, PlaceName};

use super::collections::world::{World, manifest, name, world};
use crate::cluster::{self, Identity, Nodes};
use crate::ledger::{Actor, Member, Members};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records;
use devanture_store::records::nodes::node_key;

/// An unreachable node.
fn member(node: &str) -> Member {
    let advertise = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (home, release) = (String::new(), String::new());
    Member { node: node.to_owned(), advertise, home, release, started_ms: 0, listens: None }
}

/// A world as the only node of its cluster.
async fn clustered(folder: &Path) -> World {
    let mut world = world(folder, 9).await;
    let (ca, own) = (folder.join("ca"), folder.join("own"));
    cluster::init(&ca).unwrap();
    cluster::join(&ca, &own, "node-1", Ipv4Addr::LOCALHOST.into()).unwrap();
    let identity = Identity::read(&own, "node-1").unwrap();
    let members = Members::new(Arc::clone(&world.catalog), member("node-1"), Duration::from_secs(9));
    let publisher = Arc::get_mut(&mut world.publisher).unwrap();
    Arc::get_mut(&mut publisher.switcher).unwrap().nodes = Some(Nodes::new(identity, Arc::new(members)));
    world
}

async fn push(world: &World, app: &AppName, environment: &PlaceName) {
    let begin = BeginDeploy { manifest: manifest(&[1].into()), source: Source::default(), options: <_>::default() };
    let push = world.publisher.checked_whole(app, begin);
    let begun = world.publisher.begin(&Actor::local(), app, environment, push).await.unwrap();
    world.finish(app, &begun.deploy).await.unwrap();
}

/// Returns the nodes visible to an actor, the other node first.
async fn seen(world: &World, actor: &Actor, app: &AppName) -> [NodeStatus; 2] {
    world.publisher.nodes_of_app(actor, app).await.unwrap().try_into().unwrap()
}

/// Law 11: the token must not see the rest of the cluster, or other environments of the app.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_a_token_sees_the_versions_of_its_environment_and_no_machines_of_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let world = clustered(folder.path()).await;
    let (shop, staging): (_, PlaceName) = (name(0), "staging".parse().unwrap());
    world.push(&shop, &[1].into()).await.unwrap();
    push(&world, &shop, &staging).await;
    world.push(&name(1), &[1].into()).await.unwrap();
    // Added after the pushes, which would wait for the node.
    let changes = vec![Change::Put(node_key("edge-2"), records::write(&member("edge-2")).unwrap())];
    world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();

    let [other, own] = seen(&world, &Actor::local(), &shop).await;
    assert_eq!((other.name.as_str(), other.state), ("edge-2", NodeState::Unreachable));
    assert!(other.advertise.is_some() && other.detail.is_some(), "{other:?}");
    assert_eq!((own.name.as_str(), own.state), ("node-1", NodeState::Ready));
    assert!(own.advertise.is_some() && own.certificate_ends_s.is_some(), "{own:?}");
    let of_app = Actor { app: Some(shop.clone()), scope: Scope::Read, ..Actor::local() };
    let of_environment = Actor { environment: Some(staging), ..of_app.clone() };
    for (actor, expected) in [
        (Actor::local(), BTreeSet::from(["prod", "staging"])),
        (of_app, BTreeSet::from(["prod", "staging"])),
        (of_environment, BTreeSet::from(["staging"])),
    ] {
        let is_local = actor.app.is_none();
        let [other, own] = seen(&world, &actor, &shop).await;
        assert!(own.versions.iter().all(|version| version.app == shop), "{own:?}");
        let environments: BTreeSet<&str> = own.versions.iter().map(|version| version.environment.as_str()).collect();
        assert_eq!(environments, expected);
        for node in [other, own] {
            let shown = [node.advertise.is_some(), node.certificate_ends_s.is_some(), node.detail.is_some()];
            assert!(is_local || shown == [false; 3], "{node:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_alone_lists_no_nodes_to_apps_and_itself_to_its_operator() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    world.push(&name(0), &[1].into()).await.unwrap();
    assert!(!world.publisher.is_in_cluster());
    assert_eq!(world.publisher.nodes_of_app(&Actor::local(), &name(0)).await.unwrap(), []);
    let nodes = world.publisher.nodes().await.unwrap().nodes;
    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["node-1"]);
}
