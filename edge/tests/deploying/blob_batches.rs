//! Many small blobs in one request: stored blobs, refused blobs, and the state after an error.

use std::collections::BTreeSet;

use devanture_config::api::{BeginDeploy, BlobBatchLimits, BlobsStored, DeployBegun, Scope};
use devanture_config::problem::Code;
use devanture_config::{Digest, blob_batch};
use http::{Method, StatusCode};

use crate::support::{Files, Got, RunningEdge, edge, got, manifest};

const FILES: Files<'static> = &[("index.html", b"a page"), ("all.css", b"a style"), ("all.js", b"a script")];

async fn begin(edge: &RunningEdge, app: &str) -> DeployBegun {
    let begin = BeginDeploy { manifest: manifest(FILES), source: Default::default(), options: Default::default() };
    got(edge.api(Method::POST, &format!("/v1/apps/{app}/environments/prod/deploys")).json(&begin)).await.json()
}

/// Request body with blobs under the given names.
fn body(blobs: &[(Digest, &[u8])]) -> Vec<u8> {
    let one = |(digest, bytes): &(Digest, &[u8])| {
        [&blob_batch::head(digest, u32::try_from(bytes.len()).unwrap())[..], bytes].concat()
    };
    blobs.iter().flat_map(one).collect()
}

fn named(contents: &[&'static [u8]]) -> Vec<(Digest, &'static [u8])> {
    contents.iter().map(|bytes| (Digest::of(bytes), *bytes)).collect()
}

async fn send(edge: &RunningEdge, token: &str, app: &str, deploy: &str, body: Vec<u8>) -> Got {
    let path = format!("/v1/apps/{app}/blobs?deploy={deploy}");
    got(edge.ask(Method::POST, &path, token).header("content-type", blob_batch::MEDIA_TYPE).body(body)).await
}

fn missing(begun: &DeployBegun) -> BTreeSet<Digest> {
    begun.missing.iter().copied().collect()
}

#[tokio::test]
async fn blobs_of_one_request_go_live_and_may_be_sent_again() {
    let edge = edge().start().await;
    let begun = begin(&edge, "shop").await;
    let limits = edge.file().limits.clone();
    let announced = BlobBatchLimits { blobs_max: limits.blob_batch_blobs_max, bytes_max: limits.blob_batch_bytes_max };
    assert_eq!(begun.batch, Some(announced));
    let blobs = named(&[b"a script", b"a page", b"a style", b"a page"]);
    for _ in 0..2 {
        let sent = send(&edge, edge.admin_token(), "shop", &begun.deploy, body(&blobs)).await;
        assert_eq!(sent.status, StatusCode::OK, "{}", sent.text());
        let stored: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
        assert_eq!(sent.json::<BlobsStored>(), BlobsStored { stored });
    }
    // Law 11: no other app learns of the blob, and another app gets the same response.
    let other = begin(&edge, "other").await;
    assert_eq!(other.missing.len(), 3);
    let sent = send(&edge, edge.admin_token(), "other", &other.deploy, body(&blobs)).await;
    assert_eq!(sent.json::<BlobsStored>().stored.len(), 4);
    let finished = got(edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", begun.deploy))).await;
    assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
    let report: serde_json::Value = finished.json();
    assert_eq!((&report["files"]["new"], &report["bytes"]["sent"]), (&3.into(), &21.into()), "{report}");
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "a page");
    edge.stop().await;
}

#[tokio::test]
async fn a_mistake_names_its_blob_and_what_came_before_it_stays() {
    let edge = edge().start().await;
    let (page, style, script) = (Digest::of(b"a page"), Digest::of(b"a style"), Digest::of(b"a script"));
    let unknown = Digest::of(b"unknown");
    for (app, wrong, code) in [
        ("hash", (style, &b"a stile"[..]), Code::BlobMismatch),
        ("longer", (style, b"a style!"), Code::BlobMismatch),
        ("shorter", (style, b"a styl"), Code::BlobMismatch),
        ("unnamed", (unknown, b"unknown"), Code::BadRequest),
    ] {
        let begun = begin(&edge, app).await;
        let blobs = [(page, &b"a page"[..]), wrong, (script, b"a script")];
        let refused = send(&edge, edge.admin_token(), app, &begun.deploy, body(&blobs)).await;
        assert_eq!(refused.code(), code, "{app}");
        assert!(refused.text().contains(&wrong.0.to_string()), "{app}: {}", refused.text());
        assert_eq!(missing(&begin(&edge, app).await), [style, script].into(), "{app}");
    }
    // Truncated bodies, also within a name.
    let begun = begin(&edge, "cut").await;
    let blobs = body(&named(&[b"a page", b"a style"]));
    for length in [blobs.len() - 1, 43] {
        let refused = send(&edge, edge.admin_token(), "cut", &begun.deploy, blobs[..length].to_vec()).await;
        assert_eq!(refused.code(), Code::BadRequest, "{length}");
        assert_eq!(missing(&begin(&edge, "cut").await), [style, script].into(), "{length}");
    }
    let none = send(&edge, edge.admin_token(), "cut", &begun.deploy, Vec::new()).await;
    assert_eq!(none.json::<BlobsStored>().stored, []);
    edge.stop().await;
}

#[tokio::test]
async fn law_7_a_request_holds_no_more_than_the_limits_say() {
    let edge = edge().with_limit("blob_batch_blobs_max", 2).with_limit("blob_batch_bytes_max", 65_536).start().await;
    let begun = begin(&edge, "shop").await;
    let blobs = named(&[b"a page", b"a style", b"a script"]);
    let refused = send(&edge, edge.admin_token(), "shop", &begun.deploy, body(&blobs)).await;
    assert_eq!(refused.code(), Code::TooLarge);
    assert_eq!(missing(&begin(&edge, "shop").await), [Digest::of(b"a script")].into());
    // A length beyond the limit is refused before the bytes arrive.
    let announced = blob_batch::head(&Digest::of(b"a script"), 65_537).to_vec();
    assert_eq!(send(&edge, edge.admin_token(), "shop", &begun.deploy, announced).await.code(), Code::TooLarge);
    let path = format!("/v1/apps/shop/blobs?deploy={}", begun.deploy);
    let untyped = got(edge.api(Method::POST, &path).body(body(&blobs[..1]))).await;
    assert_eq!(untyped.code(), Code::UnsupportedType);
    edge.stop().await;
}

#[tokio::test]
async fn blobs_are_taken_by_the_rights_of_the_push_alone() {
    let edge = edge().start().await;
    let begun = begin(&edge, "shop").await;
    let blobs = || body(&named(&[b"a page"]));
    let others = edge.token_for(Scope::Admin, Some("other"), None).await;
    assert_eq!(send(&edge, &others, "shop", &begun.deploy, blobs()).await.code(), Code::NotFound);
    assert_eq!(send(&edge, &others, "other", &begun.deploy, blobs()).await.code(), Code::NotFound);
    let reader = edge.token_for(Scope::Read, Some("shop"), None).await;
    assert_eq!(send(&edge, &reader, "shop", &begun.deploy, blobs()).await.code(), Code::Forbidden);
    let pusher = edge.token_for(Scope::Push, Some("shop"), None).await;
    assert_eq!(send(&edge, &pusher, "shop", &begun.deploy, blobs()).await.code(), Code::Forbidden, "not its push");
    assert_eq!(begin(&edge, "shop").await.missing.len(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn the_bytes_of_blobs_that_come_together_are_counted_for_their_app_once() {
    let edge = edge().in_a_process().start().await;
    let counted = async |app: &str| {
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        let series = format!("devanture_push_bytes_total{{app=\"{app}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    let begun = begin(&edge, "shop").await;
    assert_eq!(counted("shop").await, None);
    for (contents, bytes) in [
        (&[&b"a page"[..], b"a style", b"a page"][..], "13"),
        (&[&b"a style"[..], b"a script"], "21"),
        (&[&b"a script"[..]], "21"),
    ] {
        let sent = send(&edge, edge.admin_token(), "shop", &begun.deploy, body(&named(contents))).await;
        assert_eq!(sent.status, StatusCode::OK, "{}", sent.text());
        assert_eq!(counted("shop").await.as_deref(), Some(bytes));
    }
    assert_eq!(counted("other").await, None);
    edge.stop().await;
}
