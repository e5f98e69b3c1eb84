//! Fetches of many small objects: they reach the disk in batches, and count as present only then.

use std::pin::Pin;

use futures_util::poll;

use super::*;
use crate::blobs::tiered::look_up::CLAIMED;
use crate::blobs::tiered::lookups::Search;

/// Polls `work` until a condition holds, which must happen before `work` is ready.
async fn poll_until<F: Future>(mut work: Pin<&mut F>, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(poll!(work.as_mut()).is_pending(), "it ended before");
        tokio::task::yield_now().await;
    }
}

/// A node with an empty disk, and blobs in the bucket with a variant each.
struct Fetching {
    gate: Gate,
    node: Node,
    blobs: Vec<Digest>,
}

impl Fetching {
    async fn start(seaweed: &Seaweed, count: u64, blob_length: usize, variant_length: usize) -> Self {
        let (gate, prefix) = (Gate::open(seaweed.address), format!("fetching-{count}-{blob_length}"));
        let origin = Node::new(&bucket_at(&seaweed.variables(), &prefix));
        let files: Vec<Bytes> = (0..count).map(|seed| sample(seed, blob_length)).collect();
        origin.store.put_all(files.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect()).await.unwrap();
        let blobs: Vec<Digest> = files.iter().map(|bytes| Digest::of(bytes)).collect();
        let variant = |seed| vec![(Form::Br, Quality::Quick, sample(seed, variant_length))];
        let variants = blobs.iter().zip(10_000..).map(|(blob, seed)| (*blob, variant(seed)));
        origin.store.put_variants_all(variants.collect()).await.unwrap();
        let node = Node::new(&bucket_at(&variables(gate.address, seaweed::OWNER), &prefix));
        Self { gate, node, blobs }
    }

    /// Returns true if the disk has variants of a blob.
    fn has_variants(&self, blob: Digest) -> bool {
        let name = blob.to_string();
        self.node.data.path().join("variants").join(&name[..2]).join(format!("{name}.index")).exists()
    }

    /// Returns true if the variants of a blob are being fetched, so that other callers wait.
    fn are_claimed(&self, blob: Digest) -> bool {
        self.node.store.shared.claims.claim(Key::Variant(blob, CLAIMED)).is_err()
    }

    /// Returns true if fetched variants await their put: no further requests are made at once.
    fn has_a_batch(&self) -> bool {
        self.blobs.iter().filter(|blob| self.are_claimed(**blob)).count() > REQUESTS_AT_ONCE
    }

    /// Returns the number of blobs with known variants.
    async fn known(&self) -> usize {
        let found = self.node.store.variants_all(self.blobs.clone()).await.unwrap();
        found.iter().filter(|variants| variants.len() == 1).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_blobs_reach_the_disk_before_the_whole_version_is_in_memory() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    // Many, and many bytes.
    for (count, length) in [(250, 300), (100, 100_000)] {
        let fetching = Fetching::start(&seaweed, count, length, 50).await;
        let Fetching { gate, node, blobs } = &fetching;
        // The last blob arrives only after the first is on the disk.
        gate.hold_gets_after(blobs.len() - 1);
        let mut bringing = Box::pin(node.store.bring_all(blobs));
        poll_until(bringing.as_mut(), || blobs.iter().any(|blob| node.has(Key::Blob(*blob)))).await;
        gate.release_gets();
        let brought = bringing.await.unwrap();
        assert_eq!((brought.absent.len(), brought.failed.len()), (0, 0));
        assert_eq!(brought.report, FetchReport { objects: count, bytes: count * length as u64 });
        assert!(blobs.iter().all(|blob| node.has(Key::Blob(*blob))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_reach_the_disk_before_the_whole_version_is_in_memory_and_are_known_only_then() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    for (count, length) in [(250, 100), (100, 100_000)] {
        let fetching = Fetching::start(&seaweed, count, 300, length).await;
        let Fetching { gate, node, blobs } = &fetching;
        node.store.bring_all(blobs).await.unwrap();
        // The last variants arrive only after others are on the disk.
        gate.hold_gets_after(blobs.len() - 1);
        let mut bringing = Box::pin(node.store.bring_variants(blobs.clone(), Search::Seldom));
        poll_until(bringing.as_mut(), || fetching.has_a_batch()).await;
        // Until the first fetch has put the variants on the disk, a second fetch waits.
        let due = node.store.shared.lookups.due(blobs);
        assert!(blobs.iter().all(|blob| fetching.has_variants(*blob) || due.contains(blob)));
        let is_free = |blob: &Digest| fetching.has_variants(*blob) && !fetching.are_claimed(*blob);
        poll_until(bringing.as_mut(), || blobs.iter().any(is_free)).await;
        gate.release_gets();
        assert_eq!(bringing.await.unwrap().objects, count);
        assert_eq!(node.store.shared.lookups.due(blobs), []);
        assert_eq!(fetching.known().await, blobs.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_of_a_cancelled_fetch_are_fetched_by_the_next_one() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let fetching = Fetching::start(&seaweed, 100, 300, 100).await;
    let Fetching { node, blobs, .. } = &fetching;
    node.store.bring_all(blobs).await.unwrap();
    let mut bringing = Box::pin(node.store.bring_variants(blobs.clone(), Search::Seldom));
    poll_until(bringing.as_mut(), || fetching.has_a_batch()).await;
    drop(bringing);
    assert!(blobs.iter().all(|blob| !fetching.are_claimed(*blob)));
    assert_eq!(fetching.known().await, blobs.len());
}
