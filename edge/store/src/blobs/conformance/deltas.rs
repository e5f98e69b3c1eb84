//! Conformance tests of deltas.

use bytes::Bytes;
use devanture_config::{Digest, Sha256};

use super::variants::readers_until;
use super::{Harness, blob, is_corrupt, is_missing, put_blob, sample};
use crate::blobs::{DELTA_DICTIONARIES_MAX, DeltaForm, DeltaInfo, Error, Form, Key, NewDelta, Quality};
use devanture_base::durable;

/// Returns the dictionary of that number: deltas do not require a stored dictionary.
fn dictionary(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

pub(in crate::blobs) fn delta(form: DeltaForm, number: usize, quality: Quality, bytes: &Bytes) -> NewDelta {
    let sha256 = Sha256::from([u8::try_from(number).unwrap(); 32]);
    NewDelta { form, dictionary: dictionary(number), sha256, quality, bytes: bytes.clone() }
}

fn info(delta: &NewDelta) -> DeltaInfo {
    let NewDelta { form, dictionary, sha256, quality, ref bytes } = *delta;
    DeltaInfo { form, dictionary, sha256, size: bytes.len() as u64, hash: Digest::of(bytes), quality }
}

fn key_of(blob: Digest, delta: &NewDelta) -> Key {
    Key::Delta(blob, delta.dictionary, delta.form)
}

pub(in crate::blobs) async fn deltas_are_known_with_dictionary_size_hash_and_quality(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(200, 1_000)).await;
    assert_eq!(store.deltas(digest).await.unwrap(), []);
    let made = [
        delta(DeltaForm::Dcz, 2, Quality::Quick, &sample(1, 300)),
        delta(DeltaForm::Dcb, 2, Quality::Quick, &sample(2, 300)),
        delta(DeltaForm::Dcb, 1, Quality::Best, &sample(3, 300)),
    ];
    store.put_deltas(digest, Vec::new()).await.unwrap();
    store.put_deltas(digest, made[..2].to_vec()).await.unwrap();
    store.put_deltas(digest, made[2..].to_vec()).await.unwrap();
    drop(store);
    let harness = harness.restart().await;
    let store = harness.store();
    assert_eq!(store.deltas(digest).await.unwrap(), made.each_ref().map(info));
    let all = store.deltas_all(vec![Digest::of(b"none"), digest]).await.unwrap();
    assert_eq!(all, [Vec::new(), made.each_ref().map(info).to_vec()]);
    for delta in &made {
        let key = key_of(digest, delta);
        assert_eq!(store.size(key).await.unwrap(), Some(300));
        assert_eq!(store.get(key).await.unwrap(), delta.bytes);
        assert_eq!(store.open(key).await.unwrap().read_at(0, 300).unwrap(), delta.bytes);
    }
    // The deltas belong to one blob, have one dictionary and one form, and are not variants.
    let others = [
        Key::Delta(digest, dictionary(1), DeltaForm::Dcz),
        Key::Delta(digest, dictionary(3), DeltaForm::Dcb),
        Key::Delta(dictionary(1), digest, DeltaForm::Dcb),
    ];
    for key in others {
        assert_eq!(store.size(key).await.unwrap(), None);
        assert!(is_missing(&store.get(key).await, key));
        assert!(is_missing(&store.open(key).await.map(drop), key));
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.variants(digest).await.unwrap(), []);
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert!(harness.is_tidy().await);
}

pub(in crate::blobs) async fn a_delta_alone_cannot_be_put(harness: impl Harness) {
    let store = harness.store();
    let key = Key::Delta(Digest::of(b"x"), dictionary(1), DeltaForm::Dcb);
    assert!(matches!(store.put(key, Bytes::from_static(b"x")).await, Err(Error::Disk(durable::Error::Io { .. }))));
    assert!(matches!(store.upload(key).await.map(drop), Err(Error::Disk(durable::Error::Io { .. }))));
}

pub(in crate::blobs) async fn a_better_delta_replaces_and_a_worse_one_does_not(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(201, 1_000)).await;
    let other = delta(DeltaForm::Dcb, 1, Quality::Quick, &sample(9, 100));
    store.put_deltas(digest, vec![other.clone()]).await.unwrap();
    let order = [
        (Quality::Quick, 1, true),
        (Quality::Quick, 2, false),
        (Quality::Best, 3, true),
        (Quality::Quick, 4, false),
        (Quality::Best, 5, false),
    ];
    let mut current = other.clone();
    for (quality, seed, replaces) in order {
        let put = delta(DeltaForm::Dcz, 1, quality, &sample(seed, 100));
        store.put_deltas(digest, vec![put.clone()]).await.unwrap();
        if replaces {
            current = put;
        }
        assert_eq!(store.deltas(digest).await.unwrap(), [info(&other), info(&current)]);
        let key = key_of(digest, &current);
        assert_eq!(store.get(key).await.unwrap(), current.bytes);
        assert_eq!(store.open(key).await.unwrap().read_at(0, 100).unwrap(), current.bytes);
    }
    // In a single put, the better one counts too, in either order.
    let both = [Quality::Best, Quality::Quick].map(|quality| delta(DeltaForm::Dcb, 2, quality, &sample(6, 50)));
    for pair in [both.to_vec(), both.iter().rev().cloned().collect()] {
        store.put_deltas(digest, pair).await.unwrap();
        assert_eq!(store.deltas(digest).await.unwrap().last(), Some(&info(&both[0])));
    }
}

pub(in crate::blobs) async fn deltas_of_the_dictionaries_that_were_put_last_stay(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(202, 1_000)).await;
    let both = |number: usize, quality| {
        DeltaForm::ALL.map(|form| delta(form, number, quality, &sample(number as u64, 100 + form as usize)))
    };
    let known = async || -> Vec<Digest> {
        let mut found: Vec<_> = store.deltas(digest).await.unwrap().into_iter().map(|info| info.dictionary).collect();
        found.dedup();
        found
    };
    for number in 0..DELTA_DICTIONARIES_MAX {
        store.put_deltas(digest, both(number, Quality::Quick).to_vec()).await.unwrap();
    }
    // The first is remade, and so becomes the latest, and two more follow.
    store.put_deltas(digest, both(0, Quality::Best)[..1].to_vec()).await.unwrap();
    let more = [both(100, Quality::Quick), both(101, Quality::Quick)].concat();
    store.put_deltas(digest, more).await.unwrap();
    for number in [1, 2] {
        for delta in both(number, Quality::Quick) {
            let key = key_of(digest, &delta);
            assert!(is_missing(&store.get(key).await, key), "{number}");
        }
    }
    assert_eq!(store.deltas(digest).await.unwrap().len(), 2 * DELTA_DICTIONARIES_MAX);
    let left = known().await;
    assert!(left.contains(&dictionary(0)) && left.ends_with(&[dictionary(100), dictionary(101)]));
    assert!(left.contains(&dictionary(3)) && !left.contains(&dictionary(1)) && !left.contains(&dictionary(2)));
    // More in one put than a blob may have.
    let all: Vec<_> = (0..40).flat_map(|number| both(number, Quality::Best)).collect();
    store.put_deltas(digest, all).await.unwrap();
    assert_eq!(known().await, (40 - DELTA_DICTIONARIES_MAX..40).map(dictionary).collect::<Vec<_>>());
    let bytes = 1_000 + DELTA_DICTIONARIES_MAX as u64 * 201;
    assert_eq!(store.delete_put_before(Key::Blob(digest), u64::MAX, false).await.unwrap(), Some(bytes));
    assert!(harness.is_tidy().await);
}

pub(in crate::blobs) async fn a_damaged_delta_is_forgotten_and_can_be_made_again(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(203, 1_000);
    let digest = put_blob(&*store, &bytes).await;
    let made = DeltaForm::ALL.map(|form| delta(form, 1, Quality::Best, &sample(form as u64, 200)));
    let (key, other) = (key_of(digest, &made[0]), key_of(digest, &made[1]));
    let put = || store.put_deltas(digest, made.to_vec());
    put().await.unwrap();
    harness.damage(key, &sample(16, 200)).await;
    assert!(is_corrupt(&store.get(key).await, key));
    assert!(is_missing(&store.get(key).await, key));
    assert_eq!(store.deltas(digest).await.unwrap(), [info(&made[1])]);
    assert_eq!(store.get(other).await.unwrap(), made[1].bytes);
    put().await.unwrap();
    assert_eq!(store.get(key).await.unwrap(), made[0].bytes);
    harness.damage(key, &sample(17, 200)).await;
    assert!(is_corrupt(&store.open(key).await.map(drop), key));
    put().await.unwrap();
    // A file of a wrong length does not even count as listed.
    harness.damage(key, b"").await;
    assert_eq!(store.deltas(digest).await.unwrap().len(), 1);
    assert!(is_missing(&store.open(key).await.map(drop), key));
    put().await.unwrap();
    assert_eq!(store.open(key).await.unwrap().read_at(0, 200).unwrap(), made[0].bytes);
    assert_eq!(store.get(blob(&bytes)).await.unwrap(), bytes);
}

pub(in crate::blobs) async fn deltas_of_a_blob_that_is_gone_are_refused(harness: impl Harness) {
    let store = harness.store();
    let digest = Digest::of(b"gone");
    let put = delta(DeltaForm::Dcb, 1, Quality::Quick, &sample(1, 10));
    assert!(is_missing(&store.put_deltas(digest, vec![put]).await, Key::Blob(digest)));
    assert_eq!(store.deltas(digest).await.unwrap(), []);
}

pub(in crate::blobs) async fn a_deleted_blob_takes_its_deltas_along_and_not_those_that_it_is_the_dictionary_of(
    harness: impl Harness,
) {
    let store = harness.store();
    let (old, new) = (put_blob(&*store, &sample(204, 1_000)).await, put_blob(&*store, &sample(205, 1_000)).await);
    let between =
        |from: Digest| NewDelta { dictionary: from, ..delta(DeltaForm::Dcb, 1, Quality::Quick, &sample(1, 70)) };
    store.put_deltas(new, vec![between(old)]).await.unwrap();
    store.put_deltas(old, vec![between(new)]).await.unwrap();
    store.put_variants(old, vec![(Form::Br, Quality::Quick, sample(2, 5))]).await.unwrap();
    assert_eq!(store.delete_put_before(Key::Blob(old), u64::MAX, false).await.unwrap(), Some(1_075));
    let (gone, left) = (Key::Delta(old, new, DeltaForm::Dcb), Key::Delta(new, old, DeltaForm::Dcb));
    assert_eq!(store.deltas(old).await.unwrap(), []);
    assert!(is_missing(&store.open(gone).await.map(drop), gone));
    assert_eq!(store.get(left).await.unwrap(), sample(1, 70));
    // A listing does not touch the deltas of an existing blob, and the same blob put again has none.
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(store.deltas(new).await.unwrap(), [info(&between(old))]);
    put_blob(&*store, &sample(204, 1_000)).await;
    assert_eq!((store.deltas(old).await.unwrap(), store.size(gone).await.unwrap()), (Vec::new(), None));
    store.delete(Key::Blob(new)).await.unwrap();
    assert!(is_missing(&store.get(left).await, left));
}

pub(in crate::blobs) async fn a_deleted_delta_leaves_the_others(harness: impl Harness) {
    let store = harness.store();
    let digest = put_blob(&*store, &sample(206, 1_000)).await;
    let made = [1, 2, 3].map(|number| delta(DeltaForm::Dcb, number, Quality::Best, &sample(number as u64, 100)));
    store.put_deltas(digest, made.to_vec()).await.unwrap();
    store.delete(key_of(digest, &made[1])).await.unwrap();
    assert_eq!(store.deltas(digest).await.unwrap(), [info(&made[0]), info(&made[2])]);
    store.put_deltas(digest, vec![delta(DeltaForm::Dcb, 2, Quality::Quick, &sample(4, 100))]).await.unwrap();
    assert_eq!(store.get(key_of(digest, &made[1])).await.unwrap(), sample(4, 100));
    assert_eq!(store.deltas(digest).await.unwrap().len(), 3);
}

pub(in crate::blobs) async fn deltas_can_be_replaced_while_they_are_read(harness: impl Harness) {
    let store = harness.store();
    let (quick, best) = (sample(207, 50_000), sample(208, 50_000));
    for seed in 300..305 {
        let digest = put_blob(&*store, &sample(seed, 100)).await;
        let put = |quality, bytes: &Bytes| vec![delta(DeltaForm::Dcz, 1, quality, bytes)];
        let key = Key::Delta(digest, dictionary(1), DeltaForm::Dcz);
        store.put_deltas(digest, put(Quality::Quick, &quick)).await.unwrap();
        let open = store.open(key).await.unwrap();
        let readers = readers_until(&store, key, &quick, &best);
        tokio::task::yield_now().await;
        store.put_deltas(digest, put(Quality::Best, &best)).await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        // An open file keeps its bytes.
        store.delete(Key::Blob(digest)).await.unwrap();
        assert_eq!(open.read_at(0, 50_000).unwrap(), quick);
    }
}
