//! Evictions from the local disk, and files that are never evicted.

use std::time::{Duration, SystemTime};

use super::*;

/// Sets the time of the put of a local file.
fn age(node: &Node, key: Key, hours: u64) {
    let file = std::fs::File::options().write(true).open(node.path(key)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3_600)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eviction_takes_what_was_unused_for_longest_and_nothing_that_is_live() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let files: Vec<Bytes> = (0..5).map(|seed| sample(seed, 10_000)).collect();
    let variant = sample(10, 9_000);
    for bytes in &files {
        let blob = put(&*node.store, bytes).await;
        node.store.put_variants(blob, vec![(Form::Br, Quality::Best, variant.clone())]).await.unwrap();
    }
    let keys: Vec<Key> = files.iter().map(key_of).collect();
    // After a restart only the times of the files tell their use.
    let Node { data, store } = node;
    drop(store);
    let node = Node::with_data(data, &bucket);
    for (key, hours) in keys.iter().zip([50, 40, 30, 20, 10]) {
        age(&node, *key, hours);
    }
    let live = keys[0];
    let keeps = |key: Key| key == live;
    let now_s = || SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let total = node.store.evict(&keeps, u64::MAX, u64::MAX).await.unwrap().left_bytes;
    assert!(total > 5 * 19_000);
    // The second is read, and so the youngest.
    node.store.get(keys[1]).await.unwrap();
    let report = node.store.evict(&keeps, total - 20_000, u64::MAX).await.unwrap();
    assert_eq!(report.files, 2, "{report:?}");
    assert_eq!(keys.iter().map(|key| node.has(*key)).collect::<Vec<_>>(), [true, true, false, false, true]);
    // Recently used files stay, even without room for them.
    let report = node.store.evict(&keeps, 0, now_s() - 3_600).await.unwrap();
    assert_eq!(keys.iter().map(|key| node.has(*key)).collect::<Vec<_>>(), [true, true, false, false, false]);
    assert!(report.left_bytes > 0);
    node.store.evict(&keeps, 0, u64::MAX).await.unwrap();
    assert_eq!(keys.iter().map(|key| node.has(*key)).collect::<Vec<_>>(), [true, false, false, false, false]);
    assert!(!node.has(Key::Variant(Digest::of(&files[1]), Form::Br)));
    // The bucket keeps all: needed files return with their variants.
    for bytes in &files {
        let blob = Digest::of(bytes);
        assert_eq!(node.store.variants_all(vec![blob]).await.unwrap()[0].len(), 1);
        assert_eq!(node.store.get(Key::Blob(blob)).await.unwrap(), bytes);
        assert_eq!(node.store.get(Key::Variant(blob, Form::Br)).await.unwrap(), variant);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_blob_is_read_it_is_not_evicted_as_unused_and_what_was_evicted_is_looked_for_again() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let files: Vec<Bytes> = (0..6).map(|seed| sample(seed, 1_000)).collect();
    for bytes in &files {
        let blob = put(&*node.store, bytes).await;
        node.store.put_variants(blob, vec![(Form::Br, Quality::Quick, sample(9, 500))]).await.unwrap();
        age(&node, Key::Blob(blob), 50);
    }
    let blobs: Vec<Digest> = files.iter().map(|bytes| Digest::of(bytes)).collect();
    node.store.get(Key::Blob(blobs[0])).await.unwrap();
    node.store.open(Key::Blob(blobs[1])).await.unwrap();
    node.store.get_all(vec![blobs[2]]).await.unwrap();
    node.store.open_together(blobs[3], Vec::new()).await.unwrap();
    let now_s = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    node.store.evict(&|_| false, 0, now_s - 3_600).await.unwrap();
    let here: Vec<bool> = blobs.iter().map(|blob| node.has(Key::Blob(*blob))).collect();
    assert_eq!(here, [true, true, true, true, false, false]);
    assert_eq!(variants_of(&*node.store, blobs[5]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_drops_what_another_node_collected_and_keeps_what_the_bucket_lost() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let [collected, lost, stored] = [1, 2, 3].map(|seed| sample(seed, 1_000));
    for bytes in [&collected, &lost, &stored] {
        put(&*first.store, bytes).await;
    }
    for bytes in [&collected, &lost] {
        second.store.delete_put_before(key_of(bytes), u64::MAX, true).await.unwrap().unwrap();
    }
    let keeps = |key: Key| key == key_of(&lost);
    assert_eq!(first.store.drop_collected(&keeps, 0).await.unwrap().files, 0, "it may be on its way to the bucket");
    assert_eq!(first.store.drop_collected(&keeps, u64::MAX).await.unwrap().files, 1);
    let here = [&collected, &lost, &stored].map(|bytes| first.has(key_of(bytes)));
    assert_eq!(here, [false, true, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_fit_to_the_byte_or_were_put_at_the_limit_stay() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let (bytes, none, put_s) = (sample(1, 1_000), |_: Key| false, 1_700_000_000);
    let key = key_of(&bytes);
    let put_then = async || {
        put(&*node.store, &bytes).await;
        let file = std::fs::File::options().write(true).open(node.path(key)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(put_s)).unwrap();
    };
    put_then().await;
    assert_eq!(node.store.evict(&none, 0, put_s).await.unwrap().files, 0, "a push may rely on it");
    assert_eq!(node.store.evict(&none, 1_000, put_s + 1).await.unwrap().files, 0, "there is room for it");
    let report = node.store.evict(&none, 999, put_s + 1).await.unwrap();
    assert_eq!(report, EvictReport { files: 1, bytes: 1_000, left_bytes: 0 });
    // The same for files collected on a different node.
    put_then().await;
    bucket.remove(key.path()).await.unwrap();
    let report = node.store.drop_collected(&none, put_s).await.unwrap();
    assert_eq!(report, EvictReport { files: 0, bytes: 0, left_bytes: 1_000 });
    let report = node.store.drop_collected(&none, put_s + 1).await.unwrap();
    assert_eq!(report, EvictReport { files: 1, bytes: 1_000, left_bytes: 0 });
}
