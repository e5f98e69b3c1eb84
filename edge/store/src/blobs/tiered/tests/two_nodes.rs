//! Files put by one node are available to a second: blobs, manifests and variants, and the list of stored files.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_disk_fetches_a_version_bit_for_bit_and_then_needs_no_bucket() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let site = Site::put(&*first.store, 1_000, 60).await;
    let report = second.store.fetch(site.version, site.blobs()).await.unwrap();
    // A manifest and 63 files, and for each small one an object of variants: 54 made, 6 given.
    assert_eq!(report.objects, 64 + 60, "{report:?}");
    assert!(report.bytes > 9 * 1_024 * 1_024 + 300_000);
    assert_eq!(second.store.fetch(site.version, site.blobs()).await.unwrap(), FetchReport::default());
    site.is_in(&*second.store, &*first.store).await;
    // And without the bucket, after a restart.
    let Node { data, store } = second;
    drop(store);
    let alone = Node::with_data(data, &nowhere());
    site.is_in(&*alone.store, &*first.store).await;
    // Blobs missing in the bucket are named.
    let absent = Digest::of(b"absent");
    let fetched = first.store.fetch(site.version, vec![absent]).await;
    assert!(matches!(fetched, Err(Error::Missing(Key::Blob(blob))) if blob == absent));
    let fetched = first.store.fetch(absent, Vec::new()).await;
    assert!(matches!(fetched, Err(Error::Missing(Key::Manifest(version))) if version == absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_many_want_at_once_is_fetched_once() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let prefix = "fetched-once";
    let first = Node::new(&bucket_at(&seaweed.variables(), prefix));
    let through_gate = bucket_at(&variables(gate.address, seaweed::OWNER), prefix);
    let site = Arc::new(Site::put(&*first.store, 2_000, 50).await);
    let large = key_of(&site.files[52]);
    for key in [key_of(&site.files[0]), large] {
        let node = Node::new(&through_gate);
        let readers: Vec<_> = (0..16)
            .map(|_| {
                let store = Arc::clone(&node.store);
                tokio::spawn(async move { store.get(key).await.unwrap() })
            })
            .collect();
        for reader in readers {
            assert!(key_of(&reader.await.unwrap()) == key);
        }
        assert_eq!(gate.gets(), 1);
    }
    let node = Node::new(&through_gate);
    let fetches: Vec<_> = (0..4)
        .map(|_| {
            let (store, site) = (Arc::clone(&node.store), Arc::clone(&site));
            tokio::spawn(async move { store.fetch(site.version, site.blobs()).await.unwrap() })
        })
        .collect();
    for fetch in fetches {
        fetch.await.unwrap();
    }
    let gets = gate.gets();
    site.is_in(&*node.store, &*first.store).await;
    // 53 files, their objects of variants (three have none), the objects of five from the bundle, and a manifest; a
    // listing for each of the four.
    assert!(gets <= 53 + 53 + 5 + 1 + 4, "{gets}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_with_a_bundle_is_never_lost_to_remade_variants_of_another_node() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let bytes = sample(1, 1_000);
    let blob = put(&*first.store, &bytes).await;
    put(&*second.store, &bytes).await;
    let [quick, best, given] = [2, 3, 4].map(|seed| sample(seed, 500));
    let store = |node: &Node, form, quality, bytes: &Bytes| {
        let (store, bytes) = (Arc::clone(&node.store), bytes.clone());
        async move { store.put_variants(blob, vec![(form, quality, bytes)]).await.unwrap() }
    };
    store(&first, Form::Br, Quality::Quick, &quick).await;
    store(&first, Form::Gz, Quality::Quick, &quick).await;
    // The second node takes the variants of a bundle; the first, which does not know of them, remakes variants.
    store(&second, Form::Br, Quality::Given, &given).await;
    store(&first, Form::Br, Quality::Best, &best).await;
    let third = Node::new(&bucket);
    let found = variants_of(&*third.store, blob).await;
    let found: Vec<_> = found.iter().map(|info| (info.form, info.quality)).collect();
    assert_eq!(found, [(Form::Br, Quality::Given), (Form::Gz, Quality::Quick)]);
    assert_eq!(third.store.get(Key::Variant(blob, Form::Br)).await.unwrap(), given);
    // After a deletion on one node, no node restores the variant.
    third.store.delete(Key::Variant(blob, Form::Br)).await.unwrap();
    let fourth = Node::new(&bucket);
    let found = variants_of(&*fourth.store, blob).await;
    assert!(found.iter().all(|info| info.quality != Quality::Given), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variant_that_is_deleted_by_a_node_without_it_takes_no_other_along() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let first = Node::new(&bucket);
    let blob = put(&*first.store, &sample(1, 1_000)).await;
    let variants = [(Form::Br, Quality::Quick), (Form::Gz, Quality::Quick), (Form::Zst, Quality::Given)];
    let variants = variants.map(|(form, quality)| (form, quality, sample(2, 100)));
    first.store.put_variants(blob, variants.to_vec()).await.unwrap();
    Node::new(&bucket).store.delete(Key::Variant(blob, Form::Br)).await.unwrap();
    let left: Vec<Form> = variants_of(&*Node::new(&bucket).store, blob).await.iter().map(|info| info.form).collect();
    assert!(left.len() == 2 && !left.contains(&Form::Br), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_remake_variants_at_once_leave_those_of_one_whole() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let nodes = [Node::new(&bucket), Node::new(&bucket)];
    for seed in 0..20 {
        let bytes = sample(seed, 100);
        let blob = put(&*nodes[0].store, &bytes).await;
        put(&*nodes[1].store, &bytes).await;
        let made = [sample(seed + 100, 20_000), sample(seed + 200, 30_000)];
        let writes = nodes.iter().zip(&made).map(|(node, made)| {
            node.store.put_variants(
                blob,
                vec![(Form::Br, Quality::Best, made.clone()), (Form::Zst, Quality::Best, made.clone())],
            )
        });
        for written in futures_util::future::join_all(writes).await {
            written.unwrap();
        }
        let third = Node::new(&bucket);
        let found = third.store.get(Key::Variant(blob, Form::Br)).await.unwrap();
        assert!(made.contains(&found));
        assert_eq!(third.store.get(Key::Variant(blob, Form::Zst)).await.unwrap(), found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_push_has_to_send_is_what_the_bucket_lacks_whatever_the_disk_holds() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    // A few blobs are requested one by one, many by a listing.
    for count in [3, 50] {
        let files: Vec<Bytes> = (0..count).map(|number| sample(number + count * 100, 200)).collect();
        first.store.put_all(files.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect()).await.unwrap();
        let blobs: Vec<Digest> = files.iter().map(|bytes| Digest::of(bytes)).collect();
        assert_eq!(second.store.sizes(blobs.clone()).await.unwrap(), vec![Some(200); files.len()]);
        assert!(!second.has(key_of(&files[0])), "sizes fetch nothing");
        // A collection of a different node removed a blob: this disk still has the blob, and a push has to send it.
        second.store.delete(key_of(&files[0])).await.unwrap();
        assert!(first.has(key_of(&files[0])));
        assert_eq!(first.store.sizes(blobs).await.unwrap()[..2], [None, Some(200)]);
        put(&*first.store, &files[0]).await;
        assert_eq!(second.store.get(key_of(&files[0])).await.unwrap(), files[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_of_581_files_writes_each_object_once() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let gate = Gate::open(seaweed.address);
    let node = Node::new(&bucket(&variables(gate.address, seaweed::OWNER)));
    let files: BTreeMap<Digest, Bytes> = (0..581)
        .map(|number| sample(number, 700 + usize::try_from(number).unwrap()))
        .map(|bytes| (Digest::of(&bytes), bytes))
        .collect();
    let began = std::time::Instant::now();
    let blobs: Vec<Digest> = files.keys().copied().collect();
    for batch in blobs.chunks(200) {
        node.store.put_all(batch.iter().map(|blob| (*blob, files[blob].clone())).collect()).await.unwrap();
    }
    let sizes = node.store.sizes(blobs.clone()).await.unwrap();
    assert!(sizes.iter().all(Option::is_some));
    node.store.check_all(blobs.clone()).await.unwrap();
    assert_eq!(node.store.lacking_variants(blobs.clone()).await.unwrap().len(), blobs.len());
    let variants = |blob: &Digest| vec![(Form::Br, Quality::Quick, files[blob].slice(..300))];
    node.store.put_variants_all(blobs.iter().map(|blob| (*blob, variants(blob))).collect()).await.unwrap();
    node.store.put(Key::Manifest(Digest::of(b"{}")), Bytes::from_static(b"{}")).await.unwrap();
    let took = began.elapsed();
    let (puts, gets, others) = (gate.puts(), gate.gets(), gate.others());
    println!("581 files and their variants: {puts} writes, {gets} reads, {others} others, {took:?}");
    assert_eq!((puts, others), (2 * 581 + 1, 0));
    // One listing tells the stored files; blobs put by this node are not searched for variants.
    assert!(gets <= 3, "{gets}");
}
