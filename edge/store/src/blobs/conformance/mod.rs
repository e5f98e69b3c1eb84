//! Conformance tests of stores: one list of cases, mounted on each implementation by `conformance!`.

mod deltas;
mod many;
mod variants;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;

use super::{Blobs, Error, Form, Key, Quality};
pub(super) use deltas::*;
use devanture_base::durable;
pub(super) use many::*;
pub(super) use variants::*;

/// A store under test: the harness can close and reopen the store and damage the stored bytes directly.
#[async_trait]
pub(super) trait Harness: Sized + Send {
    async fn start() -> Self;
    fn store(&self) -> Arc<dyn Blobs>;
    async fn restart(self) -> Self;
    /// Replaces the stored bytes of `key`.
    async fn damage(&self, key: Key, bytes: &[u8]);
    /// Returns true if no remains of failed uploads exist.
    async fn is_tidy(&self) -> bool;
}

/// Passes the list of cases to `$then`, with its arguments.
macro_rules! each_case {
    ($then:ident, $harness:ty) => {
        $crate::blobs::conformance::$then! { @ $harness:
            what_was_put_comes_back_also_after_a_restart,
            law_4_bytes_with_another_hash_are_refused_and_leave_nothing,
            an_upload_in_pieces_is_the_same_as_a_whole_put,
            an_upload_dropped_midway_leaves_nothing,
            an_unnamed_upload_finds_its_name,
            what_was_never_put_is_missing,
            equal_bytes_put_at_once_by_many_are_one_blob,
            law_4_damaged_bytes_are_never_given_out_and_can_be_put_again,
            law_4_damage_is_found_by_open_too,
            a_put_mends_a_blob_that_lost_its_bytes,
            blobs_put_together_are_there_as_if_put_alone,
            law_4_of_blobs_put_together_none_is_stored_where_one_has_another_hash,
            many_blobs_are_checked_and_damage_among_them_is_found,
            many_blobs_are_read_in_their_order_each_as_if_alone,
            a_variant_alone_cannot_be_put,
            variants_are_known_with_size_hash_and_quality,
            a_better_variant_replaces_and_a_worse_one_does_not,
            a_damaged_variant_is_forgotten_and_can_be_made_again,
            variants_of_a_blob_that_is_gone_are_refused,
            a_deleted_blob_takes_its_variants_along,
            a_deleted_variant_leaves_the_others,
            variants_of_many_blobs_are_there_as_if_put_for_each,
            first_variants_of_an_app_are_kept_beside_those_that_are_there,
            what_is_open_stays_readable_when_deleted_or_replaced,
            any_part_can_be_read_and_nothing_beyond_the_end,
            a_listing_holds_every_blob_and_manifest_once,
            a_part_of_a_listing_holds_what_begins_with_its_byte,
            only_what_was_put_before_a_moment_is_deleted_by_it,
            what_goes_for_good_does_not_come_back,
            what_was_set_aside_is_counted_until_it_is_removed,
            variants_can_be_replaced_while_they_are_read,
            deltas_are_known_with_dictionary_size_hash_and_quality,
            a_delta_alone_cannot_be_put,
            a_better_delta_replaces_and_a_worse_one_does_not,
            deltas_of_the_dictionaries_that_were_put_last_stay,
            a_damaged_delta_is_forgotten_and_can_be_made_again,
            deltas_of_a_blob_that_is_gone_are_refused,
            a_deleted_blob_takes_its_deltas_along_and_not_those_that_it_is_the_dictionary_of,
            a_deleted_delta_leaves_the_others,
            deltas_can_be_replaced_while_they_are_read,
        }
    };
}
pub(super) use each_case;

/// A test for each case.
macro_rules! conformance {
    ($harness:ty) => {
        $crate::blobs::conformance::each_case! { conformance, $harness }
    };
    (@ $harness:ty: $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::blobs::conformance::$case(<$harness as $crate::blobs::conformance::Harness>::start().await)
                    .await;
            }
        )+
    };
}
pub(super) use conformance;

/// Runs all cases in one test, for cases that share a server. All run, even after a failure.
macro_rules! conformance_in_one {
    ($harness:ty) => {
        $crate::blobs::conformance::each_case! { conformance_in_one, $harness }
    };
    (@ $harness:ty: $($case:ident,)+) => {
        let mut failed = Vec::new();
        $(
            let case = tokio::spawn(async {
                $crate::blobs::conformance::$case(<$harness as $crate::blobs::conformance::Harness>::start().await)
                    .await;
            });
            if case.await.is_err() {
                failed.push(stringify!($case));
            }
        )+
        assert!(failed.is_empty(), "{failed:#?}");
    };
}
pub(super) use conformance_in_one;

/// Returns bytes that differ for each seed.
pub(super) fn sample(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub(super) fn blob(bytes: &[u8]) -> Key {
    Key::Blob(Digest::of(bytes))
}

async fn put_blob(store: &dyn Blobs, bytes: &Bytes) -> Digest {
    store.put(blob(bytes), bytes.clone()).await.unwrap();
    Digest::of(bytes)
}

fn is_missing<T>(result: &Result<T, Error>, key: Key) -> bool {
    matches!(result, Err(Error::Missing(missing)) if *missing == key)
}

fn is_corrupt<T>(result: &Result<T, Error>, key: Key) -> bool {
    matches!(result, Err(Error::Corrupt { key: corrupt, .. }) if *corrupt == key)
}

const SIZES: [usize; 6] = [0, 1, 4_096, 262_144, 262_145, 1_500_000];

pub(super) async fn what_was_put_comes_back_also_after_a_restart(harness: impl Harness) {
    let store = harness.store();
    let keys = |bytes: &Bytes| [blob(bytes), Key::Manifest(Digest::of(bytes))];
    for len in SIZES {
        let bytes = sample(1, len);
        for key in keys(&bytes) {
            store.put(key, bytes.clone()).await.unwrap();
            store.put(key, bytes.clone()).await.unwrap();
        }
    }
    drop(store);
    let harness = harness.restart().await;
    for len in SIZES {
        let bytes = sample(1, len);
        for key in keys(&bytes) {
            assert_eq!(harness.store().get(key).await.unwrap(), bytes);
            assert_eq!(harness.store().size(key).await.unwrap(), Some(len as u64));
            let open = harness.store().open(key).await.unwrap();
            assert_eq!((open.size(), open.read_at(0, len).unwrap()), (len as u64, bytes.clone()));
        }
    }
}

pub(super) async fn law_4_bytes_with_another_hash_are_refused_and_leave_nothing(harness: impl Harness) {
    let store = harness.store();
    let (promised, came) = (sample(1, 300_000), sample(2, 300_000));
    for key in [blob(&promised), Key::Manifest(Digest::of(&promised))] {
        let result = store.put(key, came.clone()).await;
        let expected = Digest::of(&promised);
        assert!(
            matches!(result, Err(Error::Mismatch { expected: e, found }) if e == expected && found == Digest::of(&came))
        );
        // Cut off, too.
        let mut upload = store.upload(key).await.unwrap();
        upload.write(promised.slice(..299_999)).await.unwrap();
        assert!(matches!(upload.finish().await, Err(Error::Mismatch { .. })));
        assert!(matches!(store.upload(key).await.unwrap().finish().await, Err(Error::Mismatch { .. })));
        assert!(is_missing(&store.get(key).await, key));
    }
    assert!(harness.is_tidy().await);
    assert_eq!(store.list().await.unwrap(), []);
}

pub(super) async fn an_upload_in_pieces_is_the_same_as_a_whole_put(harness: impl Harness) {
    let store = harness.store();
    for (len, piece) in [(0, 1), (10, 3), (100_000, 7_000), (1_500_000, 65_536), (1_500_000, 600_000)] {
        let bytes = sample(3, len);
        let mut upload = store.upload(blob(&bytes)).await.unwrap();
        for start in (0..len).step_by(piece) {
            upload.write(bytes.slice(start..(start + piece).min(len))).await.unwrap();
            upload.write(Bytes::new()).await.unwrap();
        }
        assert!(len == 0 || is_missing(&store.get(blob(&bytes)).await, blob(&bytes)) || piece != 3);
        assert_eq!(upload.finish().await.unwrap(), len as u64);
        assert_eq!(store.get(blob(&bytes)).await.unwrap(), bytes);
    }
    assert!(harness.is_tidy().await);
}

pub(super) async fn an_unnamed_upload_finds_its_name(harness: impl Harness) {
    let store = harness.store();
    for len in SIZES {
        let bytes = sample(4, len);
        let mut upload = store.upload_unnamed().await.unwrap();
        for start in (0..len).step_by(100_000) {
            upload.write(bytes.slice(start..(start + 100_000).min(len))).await.unwrap();
        }
        assert_eq!(upload.finish().await.unwrap(), (Digest::of(&bytes), len as u64));
        assert_eq!(store.get(blob(&bytes)).await.unwrap(), bytes);
    }
    let bytes = sample(5, 1_000_000);
    let mut upload = store.upload_unnamed().await.unwrap();
    upload.write(bytes.clone()).await.unwrap();
    drop(upload);
    assert!(is_missing(&store.get(blob(&bytes)).await, blob(&bytes)));
    assert!(harness.is_tidy().await);
}

pub(super) async fn an_upload_dropped_midway_leaves_nothing(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(4, 1_000_000);
    let mut upload = store.upload(blob(&bytes)).await.unwrap();
    upload.write(bytes.clone()).await.unwrap();
    drop(upload);
    assert!(harness.is_tidy().await);
    assert!(is_missing(&store.get(blob(&bytes)).await, blob(&bytes)));
}

pub(super) async fn what_was_never_put_is_missing(harness: impl Harness) {
    let store = harness.store();
    let digest = Digest::of(b"never");
    for key in [Key::Blob(digest), Key::Manifest(digest), Key::Variant(digest, Form::Br)] {
        assert_eq!(store.size(key).await.unwrap(), None);
        assert!(is_missing(&store.get(key).await, key));
        assert!(is_missing(&store.open(key).await.map(drop), key));
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.variants(digest).await.unwrap(), []);
    assert_eq!(store.list().await.unwrap(), []);
}

pub(super) async fn equal_bytes_put_at_once_by_many_are_one_blob(harness: impl Harness) {
    let store = harness.store();
    for len in [10, 700_000] {
        let bytes = sample(5, len);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (store, bytes) = (Arc::clone(&store), bytes.clone());
                tokio::spawn(async move {
                    put_blob(&*store, &bytes).await;
                    // A blob can be read after its put, regardless of concurrent operations.
                    assert_eq!(store.get(blob(&bytes)).await.unwrap(), bytes);
                    assert_eq!(store.open(blob(&bytes)).await.unwrap().size(), bytes.len() as u64);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert_eq!(store.list().await.unwrap().len(), 2);
    assert!(harness.is_tidy().await);
}

pub(super) async fn law_4_damaged_bytes_are_never_given_out_and_can_be_put_again(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(6, 5_000);
    for key in [blob(&bytes), Key::Manifest(Digest::of(&bytes))] {
        for damaged in [&sample(7, 5_000)[..], b"", &bytes[..4_999]] {
            store.put(key, bytes.clone()).await.unwrap();
            assert_eq!(store.get(key).await.unwrap(), bytes);
            harness.damage(key, damaged).await;
            assert!(is_corrupt(&store.get(key).await, key));
            assert!(is_missing(&store.get(key).await, key));
            assert_eq!(store.size(key).await.unwrap(), None);
        }
        store.put(key, bytes.clone()).await.unwrap();
        assert_eq!(store.get(key).await.unwrap(), bytes);
    }
}

pub(super) async fn law_4_damage_is_found_by_open_too(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(8, 200_000);
    let key = blob(&bytes);
    store.put(key, bytes.clone()).await.unwrap();
    store.open(key).await.unwrap();
    harness.damage(key, &sample(9, 200_000)).await;
    assert!(is_corrupt(&store.open(key).await.map(drop), key));
    assert!(is_missing(&store.open(key).await.map(drop), key));
    store.put(key, bytes.clone()).await.unwrap();
    assert_eq!(store.open(key).await.unwrap().read_at(0, 200_000).unwrap(), bytes);
}

pub(super) async fn a_put_mends_a_blob_that_lost_its_bytes(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(10, 3_000);
    let digest = put_blob(&*store, &bytes).await;
    for damaged in [&b""[..], &bytes[..100], &sample(11, 3_000)] {
        harness.damage(Key::Blob(digest), damaged).await;
        put_blob(&*store, &bytes).await;
        assert_eq!(store.get(Key::Blob(digest)).await.unwrap(), bytes);
    }
}

pub(super) async fn a_variant_alone_cannot_be_put(harness: impl Harness) {
    let store = harness.store();
    let key = Key::Variant(Digest::of(b"x"), Form::Br);
    assert!(matches!(store.put(key, Bytes::from_static(b"x")).await, Err(Error::Disk(durable::Error::Io { .. }))));
    assert!(matches!(store.upload(key).await.map(drop), Err(Error::Disk(durable::Error::Io { .. }))));
}

pub(super) async fn what_is_open_stays_readable_when_deleted_or_replaced(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(19, 300_000);
    let digest = put_blob(&*store, &bytes).await;
    let (quick, best) = (sample(20, 100_000), sample(21, 90_000));
    store.put_variants(digest, vec![(Form::Br, Quality::Quick, quick.clone())]).await.unwrap();
    let (open_blob, open_quick) =
        (store.open(Key::Blob(digest)).await.unwrap(), store.open(Key::Variant(digest, Form::Br)).await.unwrap());
    assert_eq!(open_quick.read_at(0, 10).unwrap(), quick[..10]);
    store.put_variants(digest, vec![(Form::Br, Quality::Best, best.clone())]).await.unwrap();
    assert_eq!(store.open(Key::Variant(digest, Form::Br)).await.unwrap().read_at(0, 90_000).unwrap(), best);
    store.delete(Key::Blob(digest)).await.unwrap();
    assert_eq!(open_quick.read_at(10, 100_000).unwrap(), quick[10..]);
    assert_eq!(open_blob.read_at(0, 300_000).unwrap(), bytes);
}

pub(super) async fn any_part_can_be_read_and_nothing_beyond_the_end(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(22, 10_000);
    let digest = put_blob(&*store, &bytes).await;
    let open = store.open(Key::Blob(digest)).await.unwrap();
    for (offset, len) in [(0_usize, 0_usize), (0, 10_000), (0, usize::MAX), (9_999, 5), (10_000, 5), (123, 456)] {
        let end = offset.saturating_add(len).min(10_000);
        assert_eq!(open.read_at(offset as u64, len).unwrap(), bytes[offset..end]);
    }
    assert_eq!(open.read_at(u64::MAX, 5).unwrap(), Bytes::new());
}

pub(super) async fn a_listing_holds_every_blob_and_manifest_once(harness: impl Harness) {
    let store = harness.store();
    let mut expected = BTreeMap::new();
    for seed in 0..20 {
        let bytes = sample(seed, 10 + usize::try_from(seed).unwrap());
        let key = if seed % 5 == 0 { Key::Manifest(Digest::of(&bytes)) } else { blob(&bytes) };
        store.put(key, bytes.clone()).await.unwrap();
        if let Key::Blob(digest) = key {
            store.put_variants(digest, vec![(Form::Br, Quality::Quick, sample(1, 5))]).await.unwrap();
        }
        expected.insert(key, bytes.len() as u64);
    }
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), expected.len());
    assert_eq!(listed.iter().map(|(key, size, _)| (*key, *size)).collect::<BTreeMap<_, _>>(), expected);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(listed.iter().all(|(_, _, stored)| now.abs_diff(*stored) < 60));
    // The listing does not touch files in use.
    for key in expected.keys() {
        store.get(*key).await.unwrap();
        if let Key::Blob(digest) = key {
            assert_eq!(store.variants(*digest).await.unwrap().len(), 1);
        }
    }
}

pub(super) async fn a_part_of_a_listing_holds_what_begins_with_its_byte(harness: impl Harness) {
    let store = harness.store();
    for seed in 0..40 {
        put_blob(&*store, &sample(seed, 10)).await;
    }
    let mut all = Vec::new();
    for first in 0..=u8::MAX {
        let part = store.list_part(first).await.unwrap();
        assert!(part.iter().all(|(key, ..)| matches!(key, Key::Blob(digest) if digest.as_bytes()[0] == first)));
        all.extend(part);
    }
    let mut listed = store.list().await.unwrap();
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!((all.len(), &all), (40, &listed));
}

pub(super) async fn only_what_was_put_before_a_moment_is_deleted_by_it(harness: impl Harness) {
    let store = harness.store();
    let (bytes, variant) = (sample(50, 1_000), sample(51, 70));
    let digest = put_blob(&*store, &bytes).await;
    let key = Key::Blob(digest);
    store.put_variants(digest, vec![(Form::Br, Quality::Quick, variant)]).await.unwrap();
    let put_s = store.list().await.unwrap()[0].2;
    // A file of the same second is not deleted: its put may have come after the question.
    for before_s in [0, put_s] {
        assert_eq!(store.delete_put_before(key, before_s, false).await.unwrap(), None);
    }
    assert_eq!(store.get(key).await.unwrap(), bytes);
    assert_eq!(store.delete_put_before(key, put_s + 1, false).await.unwrap(), Some(1_070));
    assert_eq!((store.size(key).await.unwrap(), store.variants(digest).await.unwrap()), (None, Vec::new()));
    assert_eq!(store.delete_put_before(key, u64::MAX, false).await.unwrap(), None);
    let manifest = Key::Manifest(digest);
    store.put(manifest, bytes).await.unwrap();
    assert_eq!(store.delete_put_before(manifest, u64::MAX, false).await.unwrap(), Some(1_000));
    assert_eq!(store.size(manifest).await.unwrap(), None);
}

pub(super) async fn what_goes_for_good_does_not_come_back(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(52, 1_000);
    for key in [blob(&bytes), Key::Manifest(Digest::of(&bytes))] {
        store.put(key, bytes.clone()).await.unwrap();
        assert_eq!(store.delete_put_before(key, 0, true).await.unwrap(), None);
        assert_eq!(store.delete_put_before(key, u64::MAX, false).await.unwrap(), Some(1_000));
        // A file collected before the second put may still await the final removal.
        store.put(key, bytes.clone()).await.unwrap();
        assert_eq!(store.delete_put_before(key, u64::MAX, true).await.unwrap(), Some(1_000));
        assert_eq!(store.collected().await.unwrap(), []);
        assert!(is_missing(&store.get(key).await, key));
        assert!(is_missing(&store.open(key).await.map(drop), key));
        assert_eq!(store.delete_put_before(key, u64::MAX, true).await.unwrap(), None);
    }
}

pub(super) async fn what_was_set_aside_is_counted_until_it_is_removed(harness: impl Harness) {
    let store = harness.store();
    let bytes = sample(53, 1_000);
    put_blob(&*store, &bytes).await;
    assert_eq!(store.quarantined().await.unwrap(), 0);
    harness.damage(blob(&bytes), b"damaged").await;
    assert!(is_corrupt(&store.get(blob(&bytes)).await, blob(&bytes)));
    assert_eq!(store.quarantined().await.unwrap(), 1);
    assert_eq!(store.remove_leftovers(0, u64::MAX, false).await.unwrap(), (0, 0));
    assert_eq!(store.remove_leftovers(u64::MAX, 0, true).await.unwrap(), (1, 7));
    assert_eq!(store.quarantined().await.unwrap(), 1);
    assert_eq!(store.remove_leftovers(u64::MAX, 0, false).await.unwrap(), (1, 7));
    assert_eq!(store.quarantined().await.unwrap(), 0);
}
