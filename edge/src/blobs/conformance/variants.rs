//! Conformance tests of variants.

use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;
use tokio::task::JoinHandle;

use super::{Harness, is_corrupt, is_missing, put_blob, sample};
use crate::blobs::{Blobs, Form, Key, Quality, VariantInfo};

fn info(form: Form, quality: Quality, bytes: &[u8]) -> VariantInfo {
    VariantInfo { form, size: bytes.len() as u64, hash: Digest::of(bytes), quality }
}

pub(in crate::blobs) async fn variants_are_known_with_size_hash_and_quality(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(12, 1_000)).await;
    let made: Vec<_> = Form::ALL.into_iter().map(|form| (form, Quality::Quick, sample(form as u64, 300))).collect();
    store.put_variants(digest, made[..1].to_vec()).await.unwrap();
    assert_eq!(store.variants(digest).await.unwrap().len(), 1);
    store.put_variants(digest, made[1..].to_vec()).await.unwrap();
    drop(store);
    let harness = harness.restart().await;
    let store = harness.store();
    let expected: Vec<_> = made.iter().map(|(form, quality, bytes)| info(*form, *quality, bytes)).collect();
    assert_eq!(store.variants(digest).await.unwrap(), expected);
    for (form, _, bytes) in made {
        let key = Key::Variant(digest, form);
        assert_eq!(store.size(key).await.unwrap(), Some(300));
        assert_eq!(store.get(key).await.unwrap(), bytes);
        assert_eq!(store.open(key).await.unwrap().read_at(0, 300).unwrap(), bytes);
    }
    assert!(harness.is_tidy().await);
}

pub(in crate::blobs) async fn a_better_variant_replaces_and_a_worse_one_does_not(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(13, 1_000)).await;
    let key = Key::Variant(digest, Form::Zst);
    let order = [
        (Quality::Quick, 1, true),
        (Quality::Quick, 2, false),
        (Quality::Best, 3, true),
        (Quality::Quick, 4, false),
        (Quality::Given, 5, true),
        (Quality::Best, 6, false),
        (Quality::Given, 7, false),
    ];
    let mut current = Bytes::new();
    for (quality, seed, replaces) in order {
        let bytes = sample(seed, 100);
        store.put_variants(digest, vec![(Form::Zst, quality, bytes.clone())]).await.unwrap();
        if replaces {
            current = bytes;
            assert_eq!(store.variants(digest).await.unwrap(), [info(Form::Zst, quality, &current)]);
        }
        assert_eq!(store.get(key).await.unwrap(), current);
        assert_eq!(store.open(key).await.unwrap().read_at(0, 100).unwrap(), current);
    }
}

pub(in crate::blobs) async fn a_damaged_variant_is_forgotten_and_can_be_made_again(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(14, 1_000);
    let digest = put_blob(&*store, &bytes).await;
    let (br, gz) = (Key::Variant(digest, Form::Br), Key::Variant(digest, Form::Gz));
    let variant = sample(15, 200);
    let put = || {
        store.put_variants(
            digest,
            vec![(Form::Br, Quality::Best, variant.clone()), (Form::Gz, Quality::Best, variant.clone())],
        )
    };
    put().await.unwrap();
    harness.damage(br, &sample(16, 200)).await;
    assert!(is_corrupt(&store.get(br).await, br));
    assert!(is_missing(&store.get(br).await, br));
    assert_eq!(store.variants(digest).await.unwrap(), [info(Form::Gz, Quality::Best, &variant)]);
    assert_eq!(store.get(gz).await.unwrap(), variant);
    put().await.unwrap();
    assert_eq!(store.get(br).await.unwrap(), variant);
    // One of another length is not even promised.
    harness.damage(br, b"").await;
    assert_eq!(store.variants(digest).await.unwrap().len(), 1);
    assert!(is_missing(&store.open(br).await.map(drop), br));
    put().await.unwrap();
    assert_eq!(store.open(br).await.unwrap().read_at(0, 200).unwrap(), variant);
    assert_eq!(store.get(Key::Blob(digest)).await.unwrap(), bytes);
}

pub(in crate::blobs) async fn variants_of_a_blob_that_is_gone_are_refused(harness: impl Harness) {
    let store = harness.store();
    let digest = Digest::of(b"gone");
    let result = store.put_variants(digest, vec![(Form::Br, Quality::Quick, sample(1, 10))]).await;
    assert!(is_missing(&result, Key::Blob(digest)));
    assert_eq!(store.variants(digest).await.unwrap(), []);
}

pub(in crate::blobs) async fn a_deleted_blob_takes_its_variants_along(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(17, 1_000);
    let digest = put_blob(&*store, &bytes).await;
    store.put(Key::Manifest(digest), bytes.clone()).await.unwrap();
    store.put_variants(digest, vec![(Form::Br, Quality::Quick, sample(1, 10))]).await.unwrap();
    store.delete(Key::Blob(digest)).await.unwrap();
    store.delete(Key::Blob(digest)).await.unwrap();
    assert_eq!(store.size(Key::Blob(digest)).await.unwrap(), None);
    assert_eq!(store.variants(digest).await.unwrap(), []);
    assert!(is_missing(&store.open(Key::Variant(digest, Form::Br)).await.map(drop), Key::Variant(digest, Form::Br)));
    // The same bytes as a manifest are another matter.
    assert_eq!(store.get(Key::Manifest(digest)).await.unwrap(), bytes);
    put_blob(&*store, &bytes).await;
    assert_eq!(store.variants(digest).await.unwrap(), []);
}

pub(in crate::blobs) async fn a_deleted_variant_leaves_the_others(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(18, 1_000)).await;
    let variant = |form: Form, quality| (form, quality, sample(form as u64, 100));
    let all: Vec<_> = Form::ALL.into_iter().map(|form| variant(form, Quality::Best)).collect();
    store.put_variants(digest, all).await.unwrap();
    store.delete(Key::Variant(digest, Form::Gz)).await.unwrap();
    let left: Vec<_> = store.variants(digest).await.unwrap().into_iter().map(|info| info.form).collect();
    assert_eq!(left, [Form::Br, Form::Zst]);
    store.put_variants(digest, vec![variant(Form::Gz, Quality::Quick)]).await.unwrap();
    assert_eq!(store.variants(digest).await.unwrap().len(), 3);
}

/// Readers of what is `quick`, each until it is `best`; never corrupt, never missing, never a mixture. Both have 50,000
/// bytes.
pub(super) fn readers_until(store: &Arc<dyn Blobs>, key: Key, quick: &Bytes, best: &Bytes) -> Vec<JoinHandle<()>> {
    let reader = || {
        let (store, quick, best) = (Arc::clone(store), quick.clone(), best.clone());
        async move {
            loop {
                let got = store.get(key).await.unwrap();
                let opened = store.open(key).await.unwrap().read_at(0, 50_000).unwrap();
                assert!(got == quick || got == best);
                assert!(opened == best || (opened == quick && got == quick));
                if got == best {
                    break;
                }
            }
        }
    };
    (0..4).map(|_| tokio::spawn(reader())).collect()
}

pub(in crate::blobs) async fn variants_can_be_replaced_while_they_are_read(harness: impl Harness) {
    let store = harness.store();
    let (quick, best) = (sample(23, 50_000), sample(24, 50_000));
    for seed in 100..110 {
        let digest = put_blob(&*store, &sample(seed, 100)).await;
        let key = Key::Variant(digest, Form::Br);
        store.put_variants(digest, vec![(Form::Br, Quality::Quick, quick.clone())]).await.unwrap();
        let readers = readers_until(&store, key, &quick, &best);
        tokio::task::yield_now().await;
        store.put_variants(digest, vec![(Form::Br, Quality::Best, best.clone())]).await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    }
}
