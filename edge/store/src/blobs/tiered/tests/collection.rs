//! Listings of the bucket, and collections of blobs with their variants.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_of_many_objects_is_listed_by_parts_and_each_object_once() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let node = Node::new(&bucket(&seaweed.variables()));
    for seed in 0..3 {
        put(&*node.store, &sample(seed, 100)).await;
    }
    for seed in 10..15 {
        let bytes = sample(seed, 200);
        node.store.put(Key::Manifest(Digest::of(&bytes)), bytes).await.unwrap();
    }
    let mut whole = node.store.list().await.unwrap();
    whole.sort_unstable();
    assert_eq!(whole.len(), 8);
    // Neither kind is listed in one go; only the blobs are; both are.
    for at_once_max in [2, 4, 5] {
        let mut listed = node.store.list_all_within(at_once_max).await.unwrap();
        listed.sort_unstable();
        assert_eq!(listed, whole, "{at_once_max} at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_keeps_new_variants_in_the_bucket_and_removes_those_without_a_blob_from_the_disk() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let bytes = sample(1, 1_000);
    let (blob, key) = (put(&*node.store, &bytes).await, key_of(&bytes));
    let variants = vec![(Form::Br, Quality::Best, sample(2, 50_000)), (Form::Gz, Quality::Given, sample(3, 80))];
    node.store.put_variants(blob, variants).await.unwrap();
    // As seen by a node with an earlier listing of the blobs.
    bucket.remove(key.path()).await.unwrap();
    let before = objects(&bucket).await;
    assert_eq!(before.len(), 2);
    let [first, ..] = *blob.as_bytes();
    assert_eq!(node.store.list_part(first).await.unwrap(), []);
    assert_eq!(objects(&bucket).await, before);
    // On the disk, no blob is on its way.
    let variant = Key::Variant(blob, Form::Br);
    assert!(node.has(variant));
    std::fs::remove_file(node.path(key)).unwrap();
    node.store.list_part(first).await.unwrap();
    assert!(!node.has(variant));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collected_blob_that_another_node_puts_again_has_its_variants() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let (bytes, variant) = (sample(1, 1_000), vec![(Form::Br, Quality::Quick, sample(2, 70))]);
    let blob = put(&*first.store, &bytes).await;
    first.store.put_variants(blob, variant.clone()).await.unwrap();
    assert!(first.store.delete_put_before(key_of(&bytes), u64::MAX, true).await.unwrap().is_some());
    assert_eq!(objects(&bucket).await, Vec::<String>::new());
    put(&*second.store, &bytes).await;
    second.store.put_variants(blob, variant).await.unwrap();
    assert_eq!(variants_of(&*first.store, blob).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_only_this_disk_has_is_collected_by_the_time_of_the_disk() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let key = key_of(&sample(1, 1_000));
    put(&*node.store, &sample(1, 1_000)).await;
    // As after a put that the bucket refused.
    bucket.remove(key.path()).await.unwrap();
    assert_eq!(node.store.delete_put_before(key, 1_000_000_000, true).await.unwrap(), None);
    assert!(node.has(key), "it was put since");
    assert_eq!(node.store.delete_put_before(key, u64::MAX, true).await.unwrap(), None, "nothing that is stored");
    assert!(!node.has(key));
}
