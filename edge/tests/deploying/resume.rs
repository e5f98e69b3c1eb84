//! An interrupted push resumes at the same point, even after a restart of the edge.

use std::collections::BTreeSet;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::api::{BeginDeploy, DeployBegun};
use http::{Method, StatusCode};

use super::keep::{age, collect, keeping};
use crate::support::{Files, RunningEdge, edge, got, manifest};

const FILES: Files<'static> = &[("index.html", b"a page"), ("all.css", b"a style"), ("all.js", b"a script")];

async fn begin(edge: &RunningEdge, app: &str) -> DeployBegun {
    let begin = BeginDeploy { manifest: manifest(FILES), source: Default::default(), options: Default::default() };
    got(edge.api(Method::POST, &format!("/v1/apps/{app}/environments/prod/deploys")).json(&begin)).await.json()
}

async fn send(edge: &RunningEdge, app: &str, deploy: &str, bytes: &'static [u8]) {
    let path = format!("/v1/apps/{app}/blobs/{}?deploy={deploy}", Digest::of(bytes));
    let sent = got(edge.api(Method::PUT, &path).body(Bytes::from_static(bytes))).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT, "{}", sent.text());
}

fn missing(begun: &DeployBegun) -> BTreeSet<Digest> {
    begun.missing.iter().copied().collect()
}

fn digests(contents: &[&[u8]]) -> BTreeSet<Digest> {
    contents.iter().map(|bytes| Digest::of(bytes)).collect()
}

#[tokio::test]
async fn a_push_that_a_restart_interrupted_sends_only_what_had_not_come() {
    let edge = edge().start().await;
    let first = begin(&edge, "shop").await;
    assert_eq!(first.missing.len(), 3);
    send(&edge, "shop", &first.deploy, b"a page").await;
    send(&edge, "shop", &first.deploy, b"a style").await;
    let edge = edge.restart().await;
    let again = begin(&edge, "shop").await;
    assert_eq!(missing(&again), digests(&[b"a script"]));
    // Law 11: no other app learns of the upload.
    assert_eq!(begin(&edge, "other").await.missing.len(), 3);
    // The remaining upload and another restart: all files are present now.
    send(&edge, "shop", &again.deploy, b"a script").await;
    let edge = edge.restart().await;
    let last = begin(&edge, "shop").await;
    assert_eq!(missing(&last), BTreeSet::new());
    let finished = got(edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", last.deploy))).await;
    assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "a page");
    assert_eq!(begin(&edge, "other").await.missing.len(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn what_was_sent_is_held_for_the_push_that_goes_on_with_it() {
    let edge = keeping(1).start().await;
    let first = begin(&edge, "shop").await;
    for (_, bytes) in FILES {
        send(&edge, "shop", &first.deploy, bytes).await;
    }
    let edge = edge.restart().await;
    let again = begin(&edge, "shop").await;
    assert_eq!(missing(&again), BTreeSet::new());
    age(&edge);
    assert_eq!(collect(&edge, "").await.files, 0);
    let finished = got(edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", again.deploy))).await;
    assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
    edge.stop().await;
}

#[tokio::test]
async fn what_was_sent_and_collected_is_missing_again_also_where_another_app_has_it() {
    let edge = keeping(1).start().await;
    let first = begin(&edge, "shop").await;
    for (_, bytes) in FILES {
        send(&edge, "shop", &first.deploy, bytes).await;
    }
    let edge = edge.restart().await;
    age(&edge);
    assert_eq!(collect(&edge, "?dry_run=true").await.files, 3);
    assert_eq!(collect(&edge, "").await.files, 3);
    // Stored again by another app, which the first app must not learn.
    edge.push("other", FILES).await;
    assert_eq!(begin(&edge, "shop").await.missing.len(), 3);
    let edge = edge.restart().await;
    assert_eq!(begin(&edge, "shop").await.missing.len(), 3);
    edge.stop().await;
}
