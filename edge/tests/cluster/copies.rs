//! Copy of a single edge's store to etcd and a bucket, and back, while visitors are served and pushes continue.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devanture_config::api::CopyReport;
use devanture_config::problem::Code;
use devanture_store::s3::Bucket;
use http::{Method, StatusCode};

use super::world::{APP, Visitors, World, comes, is_installed, push, served, site, try_push};
use crate::seaweed::{BUCKET, OWNER};
use crate::support::{ConfiguredEdge, RunningEdge, edge, got};
use crate::upkeep::copies::{Copied, config, copy};
use crate::upkeep::safekeeping::{answers_of_copy, live_in};

/// Runs a copy with the credentials of the bucket.
async fn copied(from: &Path, to: &Path, more: &[&str]) -> Copied {
    copy(from, to, more, &[("AWS_ACCESS_KEY_ID", OWNER.0), ("AWS_SECRET_ACCESS_KEY", OWNER.1)]).await
}

/// Node of an index, not started.
fn node(world: &World, index: usize) -> ConfiguredEdge {
    world.setup(index, &world.etcd.endpoints()).prepare()
}

/// Copies while pushes continue, then completes the copy. Returns the report of the completion.
async fn copied_while_pushed(edge: &RunningEdge, to: &Path) -> CopyReport {
    let stop = Arc::new(AtomicBool::new(false));
    let pushes = async {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            push(edge, number % 7).await;
        }
    };
    let copies = async {
        let first = copied(&config(edge), to, &[]).await;
        assert_eq!(first.code, 0, "{first:?}");
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(pushes, copies);
    // One more push is part of the last difference; later pushes are refused.
    let refused = async {
        loop {
            if let Err(code) = try_push(edge, 3).await {
                return code;
            }
        }
    };
    let from = config(edge);
    let (last, code) = tokio::join!(copied(&from, to, &["--finish"]), refused);
    assert_eq!(code, Code::Restarting.as_str());
    last.finished()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_moves_to_a_cluster_and_back_while_it_serves() {
    if !is_installed() {
        return;
    }
    let world = World::start(0, 1).await;
    let single = edge().in_a_process().start().await;
    live_in(&single).await;
    push(&single, 1).await;
    // Large enough for a multipart upload, and of an uncompressed type: compression takes long on a busy machine.
    let large: Vec<u8> = (0..2_500_000_u32).flat_map(u32::to_le_bytes).collect();
    single.push("large", &[("large.mp4", &large)]).await;
    let token = single.admin_token().to_owned();
    let visitors = Visitors::of(&[&single]);
    let (first, second) = (node(&world, 0), node(&world, 1));
    let report = copied_while_pushed(&single, &first.config()).await;
    assert!(report.warnings.len() == 1 && report.warnings[0].contains("data.key"), "{report:?}");
    // The CA key of the target stays.
    assert_eq!(report.kept_files, ["tls/ca.key", "tls/ca.pem"]);
    visitors.stop().await;
    let expected = answers_of_copy(&single).await;
    let live = single.live(APP).await.unwrap();
    single.stop().await;

    // The key file holds the secrets' keys of both the edge and the CA.
    std::fs::copy(first.base().join("data.key"), second.base().join("data.key")).unwrap();
    let nodes = [first.start(&token).await, second.start(&token).await];
    for node in &nodes {
        assert_eq!(answers_of_copy(node).await, expected);
        assert_eq!(served(node).await, Some(live.short()));
        let missing = got(node.visit(Method::GET, "shop.localhost", "/nothing-there")).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        let got = node.get("large.localhost", "/large.mp4").await;
        assert!(got.status == StatusCode::OK && got.body == large, "{}", got.status);
    }
    let other = edge().in_a_process().start().await;
    let refused = copied(&config(&other), &node(&world, 2).config(), &[]).await;
    assert!(refused.code == 1 && refused.said.contains("edge-"), "nodes run on it: {refused:?}");
    other.stop().await;

    // The other node began the pause that refuses a push by this node.
    let visitors = Visitors::of(&[&nodes[0], &nodes[1]]);
    let back = edge().prepare();
    copied_while_pushed(&nodes[0], &back.config()).await;
    comes("every node refuses changes", async || {
        try_push(&nodes[1], 5).await.is_err_and(|code| code == Code::Restarting.as_str())
    })
    .await;
    visitors.stop().await;
    let expected = answers_of_copy(&nodes[1]).await;
    let live = nodes[1].live(APP).await.unwrap();
    for node in nodes {
        node.stop().await;
    }
    let back = back.start(&token).await;
    assert_eq!(answers_of_copy(&back).await, expected);
    assert_eq!(served(&back).await, Some(live.short()));
    assert!(back.get("large.localhost", "/large.mp4").await.body == large);
    let files = site(9);
    back.push(APP, &super::world::borrowed(&files)).await;
    assert_eq!(back.get("shop.localhost", "/").await.body, files[0].1.as_slice());
    back.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_with_other_bytes_is_named_and_not_copied() {
    if !is_installed() {
        return;
    }
    let world = World::start(1, 1).await;
    push(&world.nodes[0], 1).await;
    let path = {
        let digest = devanture_config::Digest::of(&site(1)[1].1).to_string();
        format!("blobs/{}/{digest}", &digest[..2])
    };
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let address = format!("s3://{BUCKET}/sites").parse().unwrap();
    let bucket = Bucket::new(&address, &world.store.variables(), Arc::new(tls)).unwrap();
    bucket.write(&path, [bytes::Bytes::from_static(b"other bytes")]).await.unwrap();
    let back = edge().prepare();
    let damaged = copied(&config(&world.nodes[0]), &back.config(), &["--finish"]).await;
    let report = damaged.report.unwrap();
    assert!(damaged.code == 1 && !report.finished, "{report:?}");
    assert_eq!(report.damaged[0].files, ["about.html"]);
    let whole = copied(&config(&world.nodes[0]), &back.config(), &["--finish", "--allow-damaged"]).await;
    assert!(whole.code == 0 && whole.report.unwrap().finished);
}
