//! Renewal of node certificates and replacement of the CA, while the nodes run and accept pushes.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::fs;
use std::path::{Path, PathBuf};

use devanture_control::cluster::{self, Identity};
use devanture_edge::server;
use http::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::TcpStream;

use super::world::{Visitors, World, comes, is_installed, nodes, push};
use crate::support::{RunningEdge, got};

/// Folder of a node's certificate.
fn folder(node: &RunningEdge) -> PathBuf {
    node.data_dir().join("cluster")
}

/// Certificate in a folder.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join("node.pem")).unwrap()
}

/// Certificate that the named node presents on a new connection from `by`.
async fn shown(by: &RunningEdge, name: &str) -> Option<CertificateDer<'static>> {
    let address = nodes(by).await.into_iter().find(|node| node.name == name)?.advertise?;
    let identity = Identity::read(&folder(by), &by.file().node).unwrap();
    let tcp = TcpStream::connect(address).await.ok()?;
    let name = name.to_owned().try_into().unwrap();
    let tls = tokio_rustls::TlsConnector::from(identity.client_config()).connect(name, tcp).await.ok()?;
    Some(tls.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
}

/// Waits until a node presents the certificate of its folder to the previous node.
async fn shows_its_own(world: &World, index: usize) {
    let (node, other) = (&world.nodes[index], &world.nodes[(index + 2) % 3]);
    let expected = certificate(&folder(node));
    comes("its new certificate is shown", async || {
        shown(other, &node.file().node).await.is_some_and(|shown| shown == expected)
    })
    .await;
}

/// Number of reloads on a node.
fn taken_up(node: &RunningEdge) -> usize {
    let log = fs::read_to_string(node.data_dir().with_file_name("edge.log")).unwrap();
    log.matches("the certificate of this node was read again").count()
}

/// Pushes by each node; all nodes prepare each push.
async fn pushed_by_all(world: &World, number: usize) {
    for (index, node) in world.nodes.iter().enumerate() {
        let report = push(node, 3 * number + index).await;
        world.agrees_on(report.version).await;
    }
}

fn join(ca: &Path, node: &RunningEdge) {
    cluster::join(ca, &folder(node), &node.file().node, [127, 0, 0, 1].into()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_taken_up_without_a_restart() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    pushed_by_all(&world, 0).await;
    let visitors = Visitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let before = nodes(&world.nodes[0]).await;
    // One node gets a signal, and the other nodes detect the change.
    for (index, node) in world.nodes.iter().enumerate() {
        let old = certificate(&folder(node));
        join(&world.ca(), node);
        assert_ne!(certificate(&folder(node)), old);
        if index == 0 {
            node.process().reload();
        }
        shows_its_own(&world, index).await;
        pushed_by_all(&world, index + 1).await;
    }
    for (now, before) in nodes(&world.nodes[0]).await.iter().zip(before) {
        assert_eq!((now.started_ms, &now.detail), (before.started_ms, &None));
        assert!(now.certificate_ends_s >= before.certificate_ends_s);
    }
    let metrics = got(world.nodes[0].api(Method::GET, "/metrics")).await.text();
    let series = "devanture_certificate_expiry_timestamp_seconds{name=\"edge-1\",source=\"cluster\"}";
    assert!(metrics.contains(series), "{metrics}");
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_used_leaves_the_earlier_one_and_is_named() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    let node = &world.nodes[1];
    let (own, other) = (folder(node), tempfile::tempdir().unwrap());
    let good = certificate(&own);
    let files = ["ca.pem", "node.pem", "node.key"];
    let saved = files.map(|name| fs::read(own.join(name)).unwrap());
    server::cluster_init(&other.path().join("ca")).unwrap();
    cluster::join(&other.path().join("ca"), other.path(), "edge-2", [127, 0, 0, 1].into()).unwrap();
    // Certificate for another key, certificate of another CA, half a file, empty file.
    for (name, bytes) in [
        ("node.key", fs::read(other.path().join("node.key")).ok()),
        ("node.pem", fs::read(other.path().join("node.pem")).ok()),
        ("ca.pem", fs::read(other.path().join("ca.pem")).ok()),
        ("node.pem", Some(saved[1][..100].to_vec())),
        ("node.pem", None),
    ] {
        match bytes {
            Some(bytes) => fs::write(own.join(name), bytes).unwrap(),
            None => fs::remove_file(own.join(name)).unwrap(),
        }
        comes("the fault is named", async || {
            let listed = nodes(&world.nodes[0]).await;
            listed[1].detail.as_ref().is_some_and(|detail| detail.contains("the earlier one is"))
        })
        .await;
        assert_eq!(shown(&world.nodes[0], "edge-2").await.as_ref(), Some(&good), "{name}");
        pushed_by_all(&world, 1).await;
        for (name, bytes) in files.iter().zip(&saved) {
            fs::write(own.join(name), bytes).unwrap();
        }
        comes("the fault is gone", async || nodes(&world.nodes[0]).await[1].detail.is_none()).await;
    }
    let log = fs::read_to_string(node.data_dir().with_file_name("edge.log")).unwrap();
    assert!(log.contains("the earlier one stays until it can"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_takes_the_place_of_another_without_a_restart_or_a_lost_request() {
    if !is_installed() {
        return;
    }
    let world = World::start(3, 1).await;
    let (all, new) = (world.nodes.iter().collect::<Vec<_>>(), tempfile::tempdir().unwrap());
    pushed_by_all(&world, 0).await;
    let visitors = Visitors::of(&all);
    cluster::init(new.path()).unwrap();
    let of_new = fs::read(new.path().join("ca.pem")).unwrap();
    let both = [of_new.clone(), fs::read(world.ca().join("ca.pem")).unwrap()].concat();
    fs::write(new.path().join("ca.pem"), &both).unwrap();
    // Nodes trust both CAs before the first certificate of the new CA, and drop the old CA after its last certificate.
    for (step, bundle) in [Some(&both), None, Some(&of_new)].into_iter().enumerate() {
        for (index, node) in all.iter().enumerate() {
            let before = taken_up(node);
            match bundle {
                Some(bundle) => fs::write(folder(node).join("ca.pem"), bundle).unwrap(),
                None => join(new.path(), node),
            }
            comes("the files are taken up", async || taken_up(node) > before).await;
            if bundle.is_none() {
                shows_its_own(&world, index).await;
            }
            pushed_by_all(&world, 3 * step + index + 1).await;
        }
    }
    for node in nodes(all[0]).await {
        assert_eq!(node.detail, None, "{}", node.name);
    }
    visitors.stop().await;
}
