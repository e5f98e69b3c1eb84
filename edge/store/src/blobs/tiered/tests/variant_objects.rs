//! The objects of variants: content, times of the writes, and use by nodes without the blob.

use super::*;

/// Returns the forms and qualities in an object; `None` if there is none.
async fn held(bucket: &Bucket, path: &str) -> Option<Vec<(Form, Quality)>> {
    let object = bucket.read(path).await.unwrap()?;
    let variants = variants_object::parse(&object).unwrap();
    assert!(variants.iter().all(|(info, bytes)| Digest::of(bytes) == info.hash));
    Some(variants.iter().map(|(info, _)| (info.form, info.quality)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_with_a_bundle_and_what_was_made_are_in_objects_of_their_own() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let [mixed, given, none] = [1, 2, 3].map(|seed| sample(seed, 1_000));
    let [mixed, given, none] =
        [put(&*node.store, &mixed).await, put(&*node.store, &given).await, put(&*node.store, &none).await];
    let variant = |form, quality, seed| (form, quality, sample(seed, 300));
    let both = vec![
        variant(Form::Zst, Quality::Quick, 4),
        variant(Form::Br, Quality::Given, 5),
        variant(Form::Gz, Quality::Quick, 6),
    ];
    node.store.put_variants(mixed, both).await.unwrap();
    node.store.put_variants(given, vec![variant(Form::Gz, Quality::Given, 7)]).await.unwrap();
    node.store.put_variants(none, Vec::new()).await.unwrap();
    let objects_of = async |blob| {
        let [made, given] = [Origin::Made, Origin::Given].map(|origin| origin.path(blob));
        (held(&bucket, &made).await, held(&bucket, &given).await)
    };
    let quick = vec![(Form::Gz, Quality::Quick), (Form::Zst, Quality::Quick)];
    let of_bundle = Some(vec![(Form::Br, Quality::Given)]);
    assert_eq!(objects_of(mixed).await, (Some(quick), of_bundle.clone()));
    assert_eq!(objects_of(given).await, (None, Some(vec![(Form::Gz, Quality::Given)])));
    assert_eq!(objects_of(none).await, (Some(Vec::new()), None), "that none are worth keeping is known to all");
    // A remade variant changes the object of made variants.
    node.store.put_variants(mixed, vec![variant(Form::Gz, Quality::Best, 8)]).await.unwrap();
    let best = vec![(Form::Gz, Quality::Best), (Form::Zst, Quality::Quick)];
    assert_eq!(objects_of(mixed).await, (Some(best), of_bundle));
    // Each is known to a node that has read no object yet.
    let size = async |blob, form| Node::new(&bucket).store.size(Key::Variant(blob, form)).await.unwrap();
    assert_eq!(size(mixed, Form::Br).await, Some(300));
    assert_eq!(size(mixed, Form::Gz).await, Some(300));
    assert_eq!(size(given, Form::Br).await, None);
    let other = Node::new(&bucket);
    assert!(!other.store.lacks_variants(none).await.unwrap(), "it does not try again");
    assert_eq!(variants_of(&*other.store, none).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_of_a_blob_that_left_the_disk_while_they_were_made_are_stored() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let blob = put(&*node.store, &sample(1, 1_000)).await;
    node.store.evict(&|_| false, 0, u64::MAX).await.unwrap();
    assert!(!node.has(Key::Blob(blob)));
    let made = sample(2, 300);
    node.store.put_variants(blob, vec![(Form::Br, Quality::Best, made.clone())]).await.unwrap();
    assert!(node.has(Key::Blob(blob)));
    for store in [&node.store, &Node::new(&bucket).store] {
        assert_eq!(store.get(Key::Variant(blob, Form::Br)).await.unwrap(), made);
    }
    // Variants of a blob that was collected meanwhile are useless.
    let gone = Digest::of(b"gone");
    let refused = node.store.put_variants(gone, vec![(Form::Br, Quality::Best, made)]).await;
    assert!(matches!(refused, Err(Error::Missing(Key::Blob(blob))) if blob == gone), "{refused:?}");
    assert_eq!(held(&bucket, &Origin::Made.path(gone)).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_variants_that_the_bucket_fails_at_any_step_leave_no_object_and_have_their_parts_removed() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let bucket = bucket(&variables(gate.address, seaweed::OWNER));
    let node = Node::new(&bucket);
    let blob = put(&*node.store, &sample(1, 1_000)).await;
    let path = Origin::Made.path(blob);
    let large: Vec<_> =
        [Form::Br, Form::Gz].map(|form| (form, Quality::Best, sample(form as u64, 6 * 1_024 * 1_024))).into();
    // The upload of the object has a start, two parts, and an end.
    for step in 0..4 {
        gate.fail_after(step, 1_000_000);
        gate.others();
        assert!(is_remote(&node.store.put_variants(blob, large.clone()).await), "step {step}");
        // A started upload gets a further request for the removal of its parts, whatever the result of the request.
        assert!(step == 0 || gate.others() > 1, "step {step}");
        gate.fail(0);
        assert_eq!(bucket.head(&path).await.unwrap(), None, "step {step}");
    }
    node.store.put_variants(blob, large.clone()).await.unwrap();
    let other = Node::new(&bucket);
    for (form, _, bytes) in large {
        assert!(other.store.get(Key::Variant(blob, form)).await.unwrap() == bytes, "{form:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_that_were_replaced_since_they_were_listed_are_not_written() {
    let node = Node::new(&nowhere());
    let bytes = sample(1, 1_000);
    let blob = Digest::of(&bytes);
    node.store.local.put(key_of(&bytes), bytes).await.unwrap();
    // Small and large variants are stored differently.
    for (form, length) in [(Form::Br, 300), (Form::Gz, 20_000)] {
        let [quick, best] = [2, 3].map(|seed| sample(seed, length));
        node.store.local.put_variants(blob, vec![(form, Quality::Quick, quick.clone())]).await.unwrap();
        let all = node.store.infos(blob, Origin::Made).await.unwrap();
        let listed: Vec<_> = all.into_iter().filter(|info| info.form == form).collect();
        assert_eq!(node.store.contents(blob, &listed).await.unwrap(), Some(vec![quick]));
        node.store.local.put_variants(blob, vec![(form, Quality::Best, best)]).await.unwrap();
        assert_eq!(node.store.contents(blob, &listed).await.unwrap(), None);
    }
}
