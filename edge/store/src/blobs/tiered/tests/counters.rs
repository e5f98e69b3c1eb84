//! Counters of reads and of requests to the bucket.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::*;
use devanture_base::telemetry::BUCKET_REQUEST;

/// Returns the sum of the series of a metric with all these labels.
fn total(recorder: &PrometheusRecorder, name: &str, labels: &[&str]) -> u64 {
    let text = recorder.handle().render();
    let is_of = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    text.lines().filter(is_of).map(value).sum()
}

#[tokio::test]
async fn reads_that_the_disk_answers_or_not_and_damage_are_counted() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let files = [1, 2, 3].map(|seed| sample(seed, 1_000));
    for bytes in &files {
        put(&*first.store, bytes).await;
    }
    let [one, two, three] = [0, 1, 2].map(|number| key_of(&files[number]));
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let reads = || ["hit", "miss"].map(|outcome| total(&recorder, "devanture_local_reads_total", &[outcome]));
    for _ in 0..2 {
        second.store.get(one).await.unwrap();
    }
    assert_eq!(reads(), [1, 1]);
    for _ in 0..2 {
        second.store.open(two).await.unwrap();
    }
    assert_eq!(reads(), [2, 2]);
    second.store.get_all(files.iter().map(|bytes| Digest::of(bytes)).collect()).await.unwrap();
    assert_eq!(reads(), [4, 3]);
    // Damage on the disk, in the bucket, and the repair.
    let counted = || {
        ["local_files_replaced", "bucket_mismatches", "bucket_objects_stored_again"]
            .map(|name| total(&recorder, &format!("devanture_{name}_total"), &[]))
    };
    assert_eq!(counted(), [0, 0, 0]);
    overwrite(&second.path(one), &sample(4, 1_000));
    assert_eq!(second.store.get(one).await.unwrap(), files[0]);
    assert_eq!(counted(), [1, 0, 0]);
    bucket.write(&three.path().unwrap(), [sample(4, 1_000)]).await.unwrap();
    assert!(is_corrupt(&Node::new(&bucket).store.get(three).await));
    assert_eq!(counted(), [1, 1, 0]);
    assert!(!first.store.mend(two, Some(u64::MAX)).await.unwrap());
    assert!(first.store.mend(three, Some(u64::MAX)).await.unwrap());
    assert_eq!(counted(), [1, 2, 1]);
}

#[tokio::test]
async fn requests_to_the_bucket_are_counted_with_their_outcomes_and_their_bytes() {
    const LARGE: usize = 9 * 1_024 * 1_024;
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let bucket = bucket(&variables(gate.address, seaweed::OWNER));
    let node = Node::new(&bucket);
    let (small, large, absent) = (sample(1, 1_000), sample(2, LARGE), sample(3, 10));
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let requests = |operation: &str| {
        let operation = format!("operation=\"{operation}\"");
        let outcomes = ["ok", "missing", "failed"].map(|outcome| format!("outcome=\"{outcome}\""));
        outcomes.map(|outcome| total(&recorder, "devanture_bucket_requests_total", &[&operation, &outcome]))
    };
    let bytes =
        || ["\"in\"", "\"out\""].map(|direction| total(&recorder, "devanture_bucket_bytes_total", &[direction]));
    put(&*node.store, &small).await;
    assert_eq!((requests("put"), bytes()), ([1, 0, 0], [0, 1_000]));
    put(&*node.store, &large).await;
    let sent = 1_000 + LARGE as u64;
    assert_eq!((requests("put"), bytes()), ([2, 0, 0], [0, sent]));
    let other = Node::new(&bucket);
    other.store.get(key_of(&small)).await.unwrap();
    assert!(is_missing(&other.store.get(key_of(&absent)).await));
    assert_eq!((requests("get"), bytes()), ([1, 1, 0], [1_000, sent]));
    other.store.sizes(vec![Digest::of(&small), Digest::of(&absent)]).await.unwrap();
    assert_eq!(requests("head"), [1, 1, 0]);
    node.store.remote().list("blobs", 10, Lane::EDGE).await.unwrap();
    assert_eq!(requests("list"), [1, 0, 0]);
    other.store.delete(Key::Manifest(Digest::of(&absent))).await.unwrap();
    assert_eq!(requests("delete"), [1, 0, 0]);
    // A failure counts once, regardless of the attempts; a large object fails at the start, or at the first part.
    gate.fail(1_000_000);
    assert!(is_remote(&node.store.put(key_of(&absent), absent.clone()).await));
    assert!(is_remote(&node.store.put(key_of(&large), large.clone()).await));
    gate.fail_after(1, 1_000_000);
    assert!(is_remote(&node.store.put(key_of(&large), large.clone()).await));
    assert_eq!(requests("put"), [2, 0, 3]);
    // One each: a node pauses its requests to an unreachable bucket for a while.
    gate.fail(1_000_000);
    assert!(is_remote(&Node::new(&bucket).store.get(key_of(&small)).await));
    assert!(is_remote(&Node::new(&bucket).store.size(key_of(&small)).await));
    assert!(is_remote(&Node::new(&bucket).store.list().await));
    assert_eq!(["get", "head", "list"].map(requests), [[1, 1, 1], [1, 1, 1], [1, 0, 1]]);
    assert_eq!(bytes(), [1_000, sent], "what failed does not count");
    let timed = |operation: &str| total(&recorder, &format!("{BUCKET_REQUEST}_count"), &[operation]);
    assert_eq!(["put", "get", "head", "list", "delete"].map(timed), [5, 3, 3, 2, 1]);
}
