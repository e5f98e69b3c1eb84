//! Conformance tests of variants.

use std::collections::BTreeMap;
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
    // A store may handle small and large variants differently.
    let made: Vec<_> = Form::ALL
        .into_iter()
        .zip([300, 20_000, 8_000])
        .map(|(form, length)| (form, Quality::Quick, sample(form as u64, length)))
        .collect();
    store.put_variants(digest, made[..1].to_vec()).await.unwrap();
    assert_eq!(store.variants(digest).await.unwrap().len(), 1);
    store.put_variants(digest, made[1..].to_vec()).await.unwrap();
    drop(store);
    let harness = harness.restart().await;
    let store = harness.store();
    let expected: Vec<_> = made.iter().map(|(form, quality, bytes)| info(*form, *quality, bytes)).collect();
    assert_eq!(store.variants(digest).await.unwrap(), expected);
    let sent = made.clone();
    for (form, _, bytes) in made {
        let key = Key::Variant(digest, form);
        assert_eq!(store.size(key).await.unwrap(), Some(bytes.len() as u64));
        assert_eq!(store.get(key).await.unwrap(), bytes);
        let open = store.open(key).await.unwrap();
        assert_eq!(open.read_at(0, 30_000).unwrap(), bytes);
        assert_eq!(open.read_at(290, 100).unwrap(), bytes[290..bytes.len().min(390)]);
        if let Some(cached) = open.read_cached(10, 100).unwrap() {
            assert_eq!(cached, bytes[10..110]);
        }
        assert_eq!(store.check(key, u64::MAX).await.unwrap(), bytes.len() as u64);
    }
    let all = store.variants_all(vec![Digest::of(b"none"), digest]).await.unwrap();
    assert_eq!(all[0], []);
    assert_eq!(all[1].iter().map(|variant| variant.info).collect::<Vec<_>>(), expected);
    for (variant, (_, _, bytes)) in all[1].iter().zip(&sent) {
        assert!(variant.bytes.as_ref().is_none_or(|found| found == bytes));
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
        // Small and large ones alternate.
        let bytes = sample(seed, if seed % 3 == 1 { 10_000 } else { 100 });
        store.put_variants(digest, vec![(Form::Zst, quality, bytes.clone())]).await.unwrap();
        if replaces {
            current = bytes;
            assert_eq!(store.variants(digest).await.unwrap(), [info(Form::Zst, quality, &current)]);
        }
        assert_eq!(store.get(key).await.unwrap(), current);
        assert_eq!(store.open(key).await.unwrap().read_at(0, 10_000).unwrap(), current);
    }
}

pub(in crate::blobs) async fn a_damaged_variant_is_forgotten_and_can_be_made_again(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(14, 1_000);
    let digest = put_blob(&*store, &bytes).await;
    let (br, gz) = (Key::Variant(digest, Form::Br), Key::Variant(digest, Form::Gz));
    let variant = sample(15, 20_000);
    let put = || {
        store.put_variants(
            digest,
            vec![(Form::Br, Quality::Best, variant.clone()), (Form::Gz, Quality::Best, variant.clone())],
        )
    };
    put().await.unwrap();
    harness.damage(br, &sample(16, 20_000)).await;
    assert!(is_corrupt(&store.get(br).await, br));
    assert!(is_missing(&store.get(br).await, br));
    assert_eq!(store.variants(digest).await.unwrap(), [info(Form::Gz, Quality::Best, &variant)]);
    assert_eq!(store.get(gz).await.unwrap(), variant);
    put().await.unwrap();
    assert_eq!(store.get(br).await.unwrap(), variant);
    // A file of a wrong length does not even count as listed.
    harness.damage(br, b"").await;
    assert_eq!(store.variants(digest).await.unwrap().len(), 1);
    assert!(is_missing(&store.open(br).await.map(drop), br));
    put().await.unwrap();
    assert_eq!(store.open(br).await.unwrap().read_at(0, 20_000).unwrap(), variant);
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
    // The same bytes as a manifest are unaffected.
    assert_eq!(store.get(Key::Manifest(digest)).await.unwrap(), bytes);
    put_blob(&*store, &bytes).await;
    assert_eq!(store.variants(digest).await.unwrap(), []);
}

pub(in crate::blobs) async fn a_deleted_variant_leaves_the_others(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(18, 1_000)).await;
    for length in [100, 10_000] {
        let variant = |form: Form, quality| (form, quality, sample(form as u64, length));
        let all: Vec<_> = Form::ALL.into_iter().map(|form| variant(form, Quality::Best)).collect();
        store.put_variants(digest, all).await.unwrap();
        store.delete(Key::Variant(digest, Form::Gz)).await.unwrap();
        let left: Vec<_> = store.variants(digest).await.unwrap().into_iter().map(|info| info.form).collect();
        assert_eq!(left, [Form::Br, Form::Zst]);
        store.put_variants(digest, vec![variant(Form::Gz, Quality::Quick)]).await.unwrap();
        assert_eq!(store.variants(digest).await.unwrap().len(), 3);
        for form in Form::ALL {
            assert_eq!(store.get(Key::Variant(digest, form)).await.unwrap(), sample(form as u64, length));
            store.delete(Key::Variant(digest, form)).await.unwrap();
        }
        assert_eq!(store.variants(digest).await.unwrap(), []);
        assert!(store.lacks_variants(digest).await.unwrap(), "they were worth keeping");
    }
}

pub(in crate::blobs) async fn variants_of_many_blobs_are_there_as_if_put_for_each(harness: impl Harness) {
    let store = harness.store();
    let mut expected = BTreeMap::new();
    for seed in 700..760 {
        let digest = put_blob(&*store, &sample(seed, 100)).await;
        let length = usize::try_from(seed).unwrap() * 13;
        let variants: Vec<_> = Form::ALL
            .into_iter()
            .zip([10, length, length + 5])
            .map(|(form, length)| (form, Quality::Quick, sample(seed + form as u64, length)))
            .take(usize::try_from(seed % 4).unwrap())
            .collect();
        expected.insert(digest, variants);
    }
    let mut put = expected.clone();
    put.insert(Digest::of(b"gone"), vec![(Form::Br, Quality::Quick, sample(1, 10))]);
    store.put_variants_all(put.clone()).await.unwrap();
    store.put_variants_all(put).await.unwrap();
    assert!(harness.is_tidy().await);
    assert_eq!(store.variants(Digest::of(b"gone")).await.unwrap(), []);
    let stored = store.variants_all(expected.keys().copied().collect()).await.unwrap();
    let untried = put_blob(&*store, &sample(761, 100)).await;
    let blobs = expected.keys().copied().chain([untried]).collect();
    assert_eq!(store.lacking_variants(blobs).await.unwrap(), [untried]);
    for ((digest, variants), stored) in expected.into_iter().zip(stored) {
        let infos: Vec<_> = variants.iter().map(|(form, quality, bytes)| info(*form, *quality, bytes)).collect();
        assert_eq!(stored.iter().map(|variant| variant.info).collect::<Vec<_>>(), infos);
        for (form, _, bytes) in variants {
            assert_eq!(store.get(Key::Variant(digest, form)).await.unwrap(), bytes);
        }
        assert!(!store.lacks_variants(digest).await.unwrap());
    }
}

pub(in crate::blobs) async fn first_variants_of_an_app_are_kept_beside_those_that_are_there(harness: impl Harness) {
    let store = harness.store();
    // Small and large variants, partly in separate files.
    for (seed, length) in [(770, 100), (771, 20_000), (772, 8_000)] {
        let digest = put_blob(&*store, &sample(seed, 1_000)).await;
        let quick = |form: Form| (form, Quality::Quick, sample(seed + form as u64, length));
        let best = |form: Form| (form, Quality::Best, sample(seed + 50 + form as u64, length - 10));
        let infos = |variants: &[(Form, Quality, Bytes)]| -> Vec<VariantInfo> {
            variants.iter().map(|(form, quality, bytes)| info(*form, *quality, bytes)).collect()
        };
        // The first app.
        let first = [quick(Form::Br), quick(Form::Gz)];
        store.put_first_variants([(digest, first.to_vec())].into()).await.unwrap();
        assert_eq!(store.stored_variants(digest).await.unwrap(), infos(&first));
        store.put_variants(digest, vec![best(Form::Br)]).await.unwrap();
        // The second app, with an encoder that makes the same variants.
        let second = [quick(Form::Br), quick(Form::Gz), quick(Form::Zst)];
        for _ in 0..2 {
            store.put_first_variants([(digest, second.to_vec())].into()).await.unwrap();
        }
        let others = [best(Form::Br), quick(Form::Gz), quick(Form::Zst)];
        assert_eq!(store.variants(digest).await.unwrap(), infos(&others));
        store.put_variants(digest, vec![best(Form::Gz), best(Form::Zst)]).await.unwrap();
        let kept = |form: Form| (form.kept_quick(), Quality::Quick, sample(seed + form as u64, length));
        let others = [best(Form::Br), best(Form::Gz), best(Form::Zst)];
        let all = [others.to_vec(), vec![kept(Form::Br), kept(Form::Gz), kept(Form::Zst)]].concat();
        assert_eq!(store.variants(digest).await.unwrap(), infos(&others));
        assert_eq!(store.stored_variants(digest).await.unwrap(), infos(&all));
        let found = store.variants_all(vec![digest]).await.unwrap().remove(0);
        assert_eq!(found.iter().map(|variant| variant.info).collect::<Vec<_>>(), infos(&all));
        for (form, _, bytes) in &all {
            let key = Key::Variant(digest, *form);
            assert_eq!(
                (store.get(key).await.unwrap(), store.size(key).await.unwrap()),
                (bytes.clone(), Some(bytes.len() as u64))
            );
            assert_eq!(store.open(key).await.unwrap().read_at(0, length).unwrap(), bytes);
        }
        assert!(!store.lacks_variants(digest).await.unwrap());
        store.delete(Key::Variant(digest, Form::Br)).await.unwrap();
        store.delete(Key::Variant(digest, Form::GzQuick)).await.unwrap();
        assert_eq!(store.stored_variants(digest).await.unwrap().len(), 4);
        store.delete(Key::Blob(digest)).await.unwrap();
        assert_eq!(store.stored_variants(digest).await.unwrap(), []);
    }
    assert!(harness.is_tidy().await);
}

/// Readers of the `quick` bytes, each until the first `best` bytes; never corrupt, never missing, never a mixture. Both
/// have 50,000 bytes.
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
