//! Counters of the bucket and the disk: each counts exactly its own events.
//!
//! The tests have one thread, with a recorder for the thread alone.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::*;

/// Returns the value of a counter; 0 for one that was never counted.
fn counted(recorder: &PrometheusRecorder, name: &str) -> u64 {
    let text = recorder.handle().render();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn damaged_variants_of_the_bucket_are_counted_and_whole_ones_are_not() {
    if !is_installed() {
        return;
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let origin = Node::new(&bucket);
    let blob = put(&*origin.store, &sample(1, 1_000)).await;
    let variant = |form, seed| (form, Quality::Quick, sample(seed, 400));
    origin.store.put_variants(blob, vec![variant(Form::Br, 2), variant(Form::Gz, 3)]).await.unwrap();
    let path = Origin::Made.path(blob);
    let whole = bucket.read(&path).await.unwrap().unwrap();
    let mut changed = whole.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    for (object, variants, mismatches) in [(whole.clone(), 2, 0), (changed.into(), 1, 1), (whole.slice(1..), 0, 2)] {
        bucket.write(&path, [object]).await.unwrap();
        assert_eq!(variants_of(&*Node::new(&bucket).store, blob).await.len(), variants);
        assert_eq!(counted(&recorder, "devanture_bucket_mismatches_total"), mismatches);
    }
}

#[tokio::test]
async fn evicted_files_are_counted_with_their_bytes() {
    if !is_installed() {
        return;
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let seaweed = Seaweed::start();
    let node = Node::new(&bucket(&seaweed.variables()));
    for (seed, length) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        put(&*node.store, &sample(seed, length)).await;
    }
    let stays = key_of(&sample(3, 4_000));
    let report = node.store.evict(&|key| key == stays, 0, u64::MAX).await.unwrap();
    assert_eq!(report, EvictReport { files: 2, bytes: 3_000, left_bytes: 4_000 });
    assert_eq!(counted(&recorder, "devanture_evicted_files_total"), 2);
    assert_eq!(counted(&recorder, "devanture_evicted_bytes_total"), 3_000);
}
