//! A bucket that is unreachable, fails, or stalls: no put without the bucket is acknowledged, files on the disk are
//! served, and no caller waits for ever.

use std::time::{Duration, Instant};

use super::*;
use crate::s3::Address;

/// A number so large that every repetition fails, too.
const FAILURES: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_the_bucket_fails_at_any_step_is_not_acknowledged_and_healed_by_the_next() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let bucket = bucket(&variables(gate.address, seaweed::OWNER));
    let node = Node::new(&bucket);
    let small = sample(1, 1_000);
    gate.fail(FAILURES);
    assert!(is_remote(&node.store.put(key_of(&small), small.clone()).await));
    assert!(is_remote(&node.store.put_all([(Digest::of(&small), small.clone())].into()).await));
    gate.fail(0);
    assert_eq!(objects(&bucket).await, Vec::<String>::new());
    // As after a crash between the two: the disk has the file, the bucket does not.
    assert!(node.has(key_of(&small)));
    assert_eq!(node.store.sizes(vec![Digest::of(&small)]).await.unwrap(), [None]);
    let blob = put(&*node.store, &small).await;
    assert_eq!(Node::new(&bucket).store.get(key_of(&small)).await.unwrap(), small);
    // Some of many are written, and none is acknowledged.
    let many: BTreeMap<Digest, Bytes> =
        (0..40).map(|seed| sample(seed, 500)).map(|bytes| (Digest::of(&bytes), bytes)).collect();
    gate.fail_after(10, FAILURES);
    assert!(is_remote(&node.store.put_all(many.clone()).await));
    gate.fail(0);
    node.store.put_all(many.clone()).await.unwrap();
    let other = Node::new(&bucket);
    assert!(other.store.get_all(many.keys().copied().collect()).await.unwrap().iter().all(Result::is_ok));
    // Variants.
    let variant = vec![(Form::Br, Quality::Quick, sample(2, 100))];
    gate.fail(FAILURES);
    assert!(is_remote(&node.store.put_variants(blob, variant.clone()).await));
    gate.fail(0);
    assert_eq!(bucket.read(&Origin::Made.path(blob)).await.unwrap(), None);
    node.store.put_variants(blob, variant.clone()).await.unwrap();
    assert_eq!(variants_of(&*Node::new(&bucket).store, blob).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_put_that_the_bucket_fails_at_any_step_leaves_no_object_and_has_its_parts_removed() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let bucket = bucket(&variables(gate.address, seaweed::OWNER));
    let node = Node::new(&bucket);
    let large = sample(1, 10 * 1_024 * 1_024);
    // The upload has a start, two parts, and an end.
    for step in 0..4 {
        let mut upload = node.store.upload(key_of(&large)).await.unwrap();
        upload.write(large.clone()).await.unwrap();
        gate.fail_after(step, FAILURES);
        gate.others();
        assert!(is_remote(&upload.finish().await), "step {step}");
        // A started upload gets a further request for the removal of its parts, whatever the result of the request.
        assert!(step == 0 || gate.others() > 1, "step {step}");
        gate.fail(0);
        assert_eq!(objects(&bucket).await, Vec::<String>::new(), "step {step}");
    }
    put(&*node.store, &large).await;
    assert!(Node::new(&bucket).store.get(key_of(&large)).await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_bucket_the_disk_is_served_and_the_rest_fails_soon() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let there = bucket(&seaweed.variables());
    let first = Node::new(&there);
    let site = Site::put(&*first.store, 5_000, 10).await;
    let Node { data, store } = first;
    drop(store);
    let node = Node::with_data(data, &nowhere());
    let kept = Node::new(&there);
    kept.store.fetch(site.version, site.blobs()).await.unwrap();
    site.is_in(&*node.store, &*kept.store).await;
    // As for loading a version of a thousand files: each fails without a wait of its own.
    let began = Instant::now();
    for number in 0..1_000_u64 {
        let absent = Digest::of(&number.to_le_bytes());
        assert!(is_remote(&node.store.get(Key::Blob(absent)).await));
        assert_eq!(node.store.variants(absent).await.unwrap(), []);
    }
    assert!(is_remote(&node.store.fetch(Digest::of(b"absent"), Vec::new()).await));
    assert!(is_remote(&node.store.sizes(site.blobs()).await));
    assert!(is_remote(&node.store.list().await));
    assert!(is_remote(&node.store.delete_put_before(Key::Manifest(site.version), u64::MAX, true).await));
    let bytes = sample(1, 100);
    assert!(is_remote(&node.store.put(key_of(&bytes), bytes.clone()).await));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    site.is_in(&*node.store, &*kept.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_never_answers_is_not_waited_for_longer_than_its_waits() {
    // The bucket accepts connections and sends no answer.
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let variables = variables(listener.local_addr().unwrap(), seaweed::OWNER);
    let address: Address = format!("s3://{BUCKET}/silent").parse().unwrap();
    let wait = Duration::from_millis(200);
    let waits = Waits { read_max: wait, write_max: wait, retry_max: wait, ..Waits::CLUSTER };
    let bucket = Bucket::with_waits(&address, &variables, tls(&variables), waits).unwrap();
    let node = Node::new(&bucket);
    let bytes = sample(1, 100);
    let began = Instant::now();
    assert!(is_remote(&node.store.put(key_of(&bytes), bytes.clone()).await));
    assert_eq!(node.store.get(key_of(&bytes)).await.unwrap(), bytes);
    assert!(is_remote(&node.store.get(Key::Manifest(Digest::of(&bytes))).await));
    assert!(began.elapsed() < Duration::from_secs(30));
    drop(listener);
}
