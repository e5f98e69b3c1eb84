//! A node without access to its bucket: files missing on the disk do not count as absent, and no put is acknowledged.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_lacks_may_be_in_a_bucket_that_cannot_be_reached_and_is_not_called_missing() {
    let node = Node::new(&nowhere());
    let absent = Digest::of(b"absent");
    for key in [Key::Blob(absent), Key::Manifest(absent), Key::Variant(absent, Form::Br)] {
        assert!(is_remote(&node.store.get(key).await), "{key:?}");
        assert!(is_remote(&node.store.open(key).await.map(drop)), "{key:?}");
    }
    for key in [Key::Blob(absent), Key::Manifest(absent)] {
        assert!(is_remote(&node.store.size(key).await), "{key:?}");
        assert!(is_remote(&node.store.check(key, u64::MAX).await), "{key:?}");
    }
    // A push that takes the blob for missing has it sent again.
    assert!(is_remote(&node.store.check_all(vec![absent]).await));
    assert!(is_remote(&node.store.get_all(vec![absent]).await.unwrap().remove(0)));
    assert!(is_remote(&node.store.put_variants(absent, Vec::new()).await));
    // Derived files of a blob can be made again.
    let variant = Key::Variant(absent, Form::Br);
    assert!(is_missing(&node.store.check(variant, u64::MAX).await));
    assert_eq!(node.store.size(variant).await.unwrap(), None);
    let delta = Key::Delta(absent, absent, crate::blobs::DeltaForm::Dcb);
    assert!(is_missing(&node.store.get(delta).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_came_to_the_disk_alone_is_not_acknowledged() {
    let node = Node::new(&nowhere());
    // The larger one is written in parts.
    for length in [1_000, 9 * 1_024 * 1_024] {
        let bytes = sample(1, length);
        let mut upload = node.store.upload_unnamed().await.unwrap();
        upload.write(bytes.clone()).await.unwrap();
        assert!(is_remote(&upload.finish().await), "{length}");
        let mut upload = node.store.upload(key_of(&bytes)).await.unwrap();
        upload.write(bytes.clone()).await.unwrap();
        assert!(is_remote(&upload.finish().await), "{length}");
        assert!(node.store.get(key_of(&bytes)).await.unwrap() == bytes, "the disk serves it");
        node.store.check_all(vec![Digest::of(&bytes)]).await.unwrap();
    }
}
