//! Calls answered by the disk of a node, some of them with objects that are brought there first.

use super::*;
use crate::blobs::DeltaForm;
use crate::blobs::conformance::delta;

#[tokio::test]
async fn suspected_and_damaged_files_of_a_node_are_reported() {
    let node = Node::new(&nowhere());
    let bytes = sample(1, 200_000);
    let key = key_of(&bytes);
    node.store.local.put(key, bytes).await.unwrap();
    assert_eq!(node.store.take_suspects(), HashSet::new());
    node.store.suspect(key);
    assert_eq!(node.store.take_suspects(), HashSet::from([key]));
    assert_eq!(node.store.take_suspects(), HashSet::new());
    let file = node.store.open(key).await.unwrap();
    assert_eq!(node.store.damages(), 0);
    overwrite(&node.path(key), &sample(2, 200_000));
    assert!(file.read_at(0, 100).is_err());
    assert_eq!(node.store.damages(), 1);
}

#[tokio::test]
async fn lists_of_variants_that_cannot_be_read_are_set_aside_and_counted() {
    let node = Node::new(&nowhere());
    let bytes = sample(1, 1_000);
    let (blob, key) = (Digest::of(&bytes), key_of(&bytes));
    node.store.local.put(key, bytes).await.unwrap();
    node.store.local.put_variants(blob, vec![(Form::Br, Quality::Quick, sample(2, 100))]).await.unwrap();
    assert_eq!(node.store.check_lists(blob).await.unwrap(), 0);
    let index = node.path(Key::Variant(blob, Form::Br)).with_extension("index");
    overwrite(&index, b"\xff\n");
    assert_eq!(node.store.check_lists(blob).await.unwrap(), 1);
    assert!(!index.exists());
    assert_eq!(node.store.check_lists(blob).await.unwrap(), 0);
    assert_eq!(node.store.quarantined().await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_store_is_shared() {
    let data = tempfile::tempdir().unwrap();
    let bounds = Bounds { free_space: FreeSpace::short(data.path().to_owned()), open_files_max: OPEN_FILES_MAX };
    let full = open_tiered(data.path().to_owned(), &bounds, nowhere()).unwrap();
    assert!(matches!(full.check_free_space(), Err(Error::Short { .. })));
    let node = Node::new(&nowhere());
    node.store.check_free_space().unwrap();
    // A collection does not free space on one disk by removing objects of all nodes.
    assert!(node.store.is_shared());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_of_an_evicted_blob_bring_it_back() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let node = Node::new(&bucket(&seaweed.variables()));
    let bytes = sample(1, 1_000);
    let (blob, key) = (put(&*node.store, &bytes).await, key_of(&bytes));
    node.store.evict(&|_| false, 0, u64::MAX).await.unwrap();
    assert!(!node.has(key));
    let made = vec![delta(DeltaForm::Dcb, 1, Quality::Quick, &sample(2, 50))];
    node.store.put_deltas(blob, made.clone()).await.unwrap();
    assert!(node.has(key));
    assert_eq!(node.store.deltas(blob).await.unwrap().len(), 1);
    assert!(is_missing(&node.store.put_deltas(Digest::of(b"absent"), made).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_of_another_node_are_found_by_every_call() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let origin = Node::new(&bucket);
    let blob = put(&*origin.store, &sample(1, 1_000)).await;
    origin.store.put_variants(blob, vec![(Form::Br, Quality::Quick, sample(2, 100))]).await.unwrap();
    assert!(!Node::new(&bucket).store.lacks_variants(blob).await.unwrap());
    assert_eq!(Node::new(&bucket).store.lacking_variants(vec![blob]).await.unwrap(), []);
    assert_eq!(Node::new(&bucket).store.size(Key::Variant(blob, Form::Br)).await.unwrap(), Some(100));
    let node = Node::new(&bucket);
    node.store.get(Key::Blob(blob)).await.unwrap();
    assert_eq!(node.store.variants(blob).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_put_at_once_are_all_in_the_shared_object() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    for seed in 0..10 {
        let blob = put(&*node.store, &sample(seed, 1_000)).await;
        let puts = [Form::Br, Form::Gz, Form::Zst].map(|form| {
            let variant = vec![(form, Quality::Quick, sample(seed + 100, 20_000))];
            node.store.put_variants(blob, variant)
        });
        for written in futures_util::future::join_all(puts).await {
            written.unwrap();
        }
        assert_eq!(variants_of(&*Node::new(&bucket).store, blob).await.len(), 3);
    }
}
