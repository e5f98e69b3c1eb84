//! Cases of many blobs that are put, looked up and checked at a time.

use std::collections::BTreeMap;

use bytes::Bytes;
use devanture_config::Digest;

use super::{Harness, is_corrupt, is_missing, put_blob, sample};
use crate::blobs::{Error, Key};

fn samples(seeds: std::ops::Range<u64>) -> BTreeMap<Digest, Bytes> {
    let sample = |seed| sample(seed, usize::try_from(seed % 7).unwrap() * 300);
    seeds.map(|seed| (Digest::of(&sample(seed)), sample(seed))).collect()
}

pub(in crate::blobs) async fn blobs_put_together_are_there_as_if_put_alone(harness: impl Harness) {
    let store = harness.store();
    let (first, all) = (samples(300..320), samples(300..600));
    store.put_all(BTreeMap::new()).await.unwrap();
    store.put_all(first.clone()).await.unwrap();
    // Some are stored already, and one is damaged.
    let (digest, bytes) = first.iter().find(|(_, bytes)| !bytes.is_empty()).unwrap();
    harness.damage(Key::Blob(*digest), &bytes[1..]).await;
    store.put_all(all.clone()).await.unwrap();
    assert!(harness.is_tidy().await);
    drop(store);
    let harness = harness.restart().await;
    let store = harness.store();
    let absent = Digest::of(b"absent");
    let asked = all.keys().copied().chain([absent]).collect();
    let expected: Vec<Option<u64>> = all.values().map(|bytes| Some(bytes.len() as u64)).chain([None]).collect();
    assert_eq!(store.sizes(asked).await.unwrap(), expected);
    for (digest, bytes) in all {
        assert_eq!(store.get(Key::Blob(digest)).await.unwrap(), bytes);
    }
}

pub(in crate::blobs) async fn law_4_of_blobs_put_together_none_is_stored_where_one_has_another_hash(
    harness: impl Harness,
) {
    let store = harness.store();
    let mut blobs = samples(610..620);
    let digest = *blobs.keys().last().unwrap();
    blobs.insert(digest, Bytes::from_static(b"other"));
    let refused = store.put_all(blobs).await;
    assert!(matches!(refused, Err(Error::Mismatch { expected, .. }) if expected == digest));
    assert!(harness.is_tidy().await);
    assert_eq!(store.list().await.unwrap(), []);
}

pub(in crate::blobs) async fn many_blobs_are_checked_and_damage_among_them_is_found(harness: impl Harness) {
    let store = harness.store();
    let together = samples(630..640);
    store.put_all(together.clone()).await.unwrap();
    let alone = put_blob(&*store, &sample(641, 1_000)).await;
    let all: Vec<Digest> = together.keys().copied().chain([alone]).collect();
    store.check_all(all.clone()).await.unwrap();
    let last = *together.iter().find(|(_, bytes)| !bytes.is_empty()).unwrap().0;
    harness.damage(Key::Blob(last), b"damaged").await;
    assert!(is_corrupt(&store.check_all(all.clone()).await, Key::Blob(last)));
    assert!(matches!(store.check_all(all).await, Err(Error::Missing(key)) if key == Key::Blob(last)));
}

pub(in crate::blobs) async fn many_blobs_are_read_in_their_order_each_as_if_alone(harness: impl Harness) {
    let store = harness.store();
    let all = samples(650..700);
    store.put_all(all.clone()).await.unwrap();
    let absent = Digest::of(b"absent");
    let (damaged, _) = all.iter().find(|(_, bytes)| !bytes.is_empty()).unwrap();
    harness.damage(Key::Blob(*damaged), b"damaged").await;
    let wanted: Vec<Digest> = all.keys().rev().copied().chain([absent]).collect();
    let read = store.get_all(wanted.clone()).await.unwrap();
    assert_eq!(read.len(), wanted.len());
    for (digest, read) in wanted.into_iter().zip(read) {
        let key = Key::Blob(digest);
        match all.get(&digest) {
            _ if digest == *damaged => assert!(is_corrupt(&read, key), "{read:?}"),
            Some(bytes) => assert_eq!(read.unwrap(), bytes),
            None => assert!(is_missing(&read, key), "{read:?}"),
        }
    }
    assert_eq!(store.get_all(Vec::new()).await.unwrap().len(), 0);
}
