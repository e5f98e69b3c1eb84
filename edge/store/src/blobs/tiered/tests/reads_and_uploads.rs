//! Bounded reads, and uploads that other nodes can read.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_uploaded_in_pieces_is_in_the_bucket_and_not_searched_for_variants() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let prefix = "uploaded";
    let first = Node::new(&bucket_at(&variables(gate.address, seaweed::OWNER), prefix));
    let second = Node::new(&bucket_at(&seaweed.variables(), prefix));
    for (number, length) in [0, 1_000, 300_000, 9 * 1_024 * 1_024].into_iter().enumerate() {
        let [unnamed, named] = [1, 2].map(|seed| sample(seed + 10 * number as u64, length));
        let mut upload = first.store.upload_unnamed().await.unwrap();
        upload.write(unnamed.clone()).await.unwrap();
        assert_eq!(upload.finish().await.unwrap(), (Digest::of(&unnamed), length as u64));
        let mut upload = first.store.upload(key_of(&named)).await.unwrap();
        upload.write(named.clone()).await.unwrap();
        assert_eq!(upload.finish().await.unwrap(), length as u64);
        // The blobs are new, and this node compresses them.
        gate.gets();
        for bytes in [&unnamed, &named] {
            assert!(first.store.lacks_variants(Digest::of(bytes)).await.unwrap());
        }
        assert_eq!(gate.gets(), 0, "{length}");
        for bytes in [&unnamed, &named] {
            assert!(second.store.get(key_of(bytes)).await.unwrap() == bytes, "{length}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_checked_no_faster_than_it_may_be_read() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let bytes = sample(1, 600_000);
    let key = Key::Blob(put(&*Node::new(&bucket).store, &bytes).await);
    let node = Node::new(&bucket);
    let store = Arc::clone(&node.store);
    // At a byte per second the check takes a week, …
    let slow = tokio::spawn(async move { store.check(key, 1).await });
    // … while other reads happen many times.
    for _ in 0..20 {
        assert_eq!(node.store.check(key, u64::MAX).await.unwrap(), 600_000);
    }
    assert!(!slow.is_finished());
    slow.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_is_longer_than_it_may_be_is_left_out() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let node = Node::new(&bucket(&seaweed.variables()));
    for seed in 0..3 {
        put(&*node.store, &sample(seed, 100)).await;
    }
    let listed = |max| node.store.remote().list("blobs", max, Lane::EDGE);
    assert_eq!(listed(3).await.unwrap().map(|entries| entries.len()), Some(3));
    assert_eq!(listed(2).await.unwrap(), None);
}
