//! Concurrent fetches of one object: the first asks the bucket, and the others share its result, and take over if it is
//! cancelled.
//!
//! These tests have one thread, so that all other fetches wait before the bucket answers the first.

use futures_util::future::join_all;
use futures_util::poll;

use super::*;
use crate::blobs::tiered::claims::Ending;
use crate::blobs::tiered::look_up::CLAIMED;
use crate::blobs::tiered::lookups::Search;

/// Returns the results of concurrent fetches, which make one request.
async fn fetch_at_once(node: &Node, gate: &Gate, key: Key) -> Vec<Result<bool, Error>> {
    gate.gets();
    let fetched = join_all((0..8).map(|_| node.store.bring(key))).await;
    assert_eq!(gate.gets(), 1, "{key:?}");
    fetched
}

/// Returns two nodes of one bucket, the second of which reaches the bucket through the gate.
fn nodes(seaweed: &Seaweed, gate: &Gate) -> (Node, Node) {
    let gated = variables(gate.address, seaweed::OWNER);
    (Node::new(&bucket_at(&seaweed.variables(), "waiting")), Node::new(&bucket_at(&gated, "waiting")))
}

#[tokio::test]
async fn concurrent_fetches_share_one_request_for_an_object_that_is_there_or_absent() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let (origin, node) = nodes(&seaweed, &gate);
    // A small object, and an object written to the disk as it arrives.
    for bytes in [sample(1, 1_000), sample(2, 300_000)] {
        put(&*origin.store, &bytes).await;
        let fetched = fetch_at_once(&node, &gate, key_of(&bytes)).await;
        assert!(fetched.iter().all(|fetched| matches!(fetched, Ok(true))));
        assert!(node.has(key_of(&bytes)));
    }
    for key in [Key::Blob(Digest::of(b"absent")), Key::Manifest(Digest::of(b"absent"))] {
        let fetched = fetch_at_once(&node, &gate, key).await;
        assert!(fetched.iter().all(|fetched| matches!(fetched, Ok(false))));
    }
}

#[tokio::test]
async fn concurrent_fetches_share_one_request_for_an_object_of_other_bytes() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let bucket = bucket_at(&seaweed.variables(), "waiting");
    let node = Node::new(&bucket_at(&variables(gate.address, seaweed::OWNER), "waiting"));
    for bytes in [sample(1, 1_000), sample(2, 300_000)] {
        let key = key_of(&bytes);
        bucket.write(&key.path().unwrap(), [bytes.slice(1..)]).await.unwrap();
        let fetched = fetch_at_once(&node, &gate, key).await;
        assert!(fetched.iter().all(is_corrupt));
        assert!(!node.has(key));
        // Not for ever: the object may be whole the next time.
        bucket.write(&key.path().unwrap(), [bytes.clone()]).await.unwrap();
        assert_eq!(node.store.get(key).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn concurrent_fetches_share_one_request_that_the_bucket_refuses() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    // A refusal, unlike an unreachable bucket, is not remembered for other fetches.
    let node = Node::new(&bucket(&variables(gate.address, ("no-such-key-id", "no-such-key"))));
    let fetched = fetch_at_once(&node, &gate, Key::Blob(Digest::of(b"refused"))).await;
    assert!(fetched.iter().all(is_remote), "{fetched:?}");
}

#[tokio::test]
async fn a_waiting_fetch_of_variants_takes_over_where_the_first_is_cancelled() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let (origin, node) = nodes(&seaweed, &gate);
    let blob = put(&*origin.store, &sample(1, 1_000)).await;
    origin.store.put_variants(blob, vec![(Form::Br, Quality::Given, sample(2, 100))]).await.unwrap();
    node.store.bring(Key::Blob(blob)).await.unwrap();
    let claim = node.store.shared.claims.claim(Key::Variant(blob, CLAIMED)).ok().unwrap();
    let mut bringing = Box::pin(node.store.bring_variants(vec![blob], Search::Seldom));
    assert!(poll!(bringing.as_mut()).is_pending());
    drop(claim);
    assert_eq!(bringing.await.unwrap().objects, 1);
    assert!(!node.store.local.lacks_variants(blob).await.unwrap());
    // The result of an earlier fetch is not requested again.
    let claim = node.store.shared.claims.claim(Key::Variant(blob, CLAIMED)).ok().unwrap();
    let mut bringing = Box::pin(node.store.bring_variants(vec![blob], Search::Always));
    assert!(poll!(bringing.as_mut()).is_pending());
    claim.end(Ending::Here);
    gate.gets();
    assert_eq!(bringing.await.unwrap(), FetchReport::default());
    assert_eq!(gate.gets(), 0);
}
