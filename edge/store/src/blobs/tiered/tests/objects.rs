//! Differences between the bucket and the local disk: changed bytes, damage, and losses.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_4_other_bytes_in_the_bucket_are_never_stored_or_served() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let first = Node::new(&bucket);
    let site = Site::put(&*first.store, 3_000, 5).await;
    // A small blob, a streamed blob, a blob of several parts, and a manifest.
    let mut keys: Vec<Key> = [1, 6, 7].map(|number| key_of(&site.files[number])).to_vec();
    keys.push(Key::Manifest(site.version));
    for key in keys {
        let (path, whole) = (key.path().unwrap(), first.store.get(key).await.unwrap());
        let second = Node::new(&bucket);
        for other in [whole.slice(1..), sample(1, whole.len()), Bytes::new()] {
            bucket.write(&path, [other.clone()]).await.unwrap();
            assert!(is_corrupt(&second.store.get(key).await), "{path}");
            assert!(is_corrupt(&second.store.open(key).await.map(drop)));
            assert!(is_corrupt(&second.store.fetch(site.version, site.blobs()).await));
            assert!(is_corrupt(&second.store.check(key, u64::MAX).await));
            if let Key::Blob(blob) = key {
                assert!(is_corrupt(&second.store.check_all(vec![blob]).await));
                assert!(is_corrupt(&second.store.get_all(vec![blob]).await.unwrap().remove(0)));
            }
            assert!(!second.has(key));
            // No node removes the object from the others: the bytes may have changed only on the way to this node.
            assert_eq!(bucket.head(&path).await.unwrap().unwrap().size, other.len() as u64);
            // The node with a copy serves the file.
            assert_eq!(first.store.get(key).await.unwrap(), whole);
        }
        first.store.put(key, whole.clone()).await.unwrap();
        second.store.fetch(site.version, site.blobs()).await.unwrap();
        site.is_in(&*second.store, &*first.store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_4_variants_in_the_bucket_that_are_not_what_they_say_are_left_there() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let first = Node::new(&bucket);
    let blob = put(&*first.store, &sample(1, 1_000)).await;
    let (br, gz) = (sample(2, 400), sample(3, 500));
    let variants = vec![(Form::Br, Quality::Quick, br.clone()), (Form::Gz, Quality::Quick, gz.clone())];
    first.store.put_variants(blob, variants.clone()).await.unwrap();
    let path = Origin::Made.path(blob);
    let whole = bucket.read(&path).await.unwrap().unwrap();
    let mut changed = whole.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    // The damaged variant is left out, and the second one is as good as before.
    bucket.write(&path, [Bytes::from(changed)]).await.unwrap();
    let second = Node::new(&bucket);
    let found = variants_of(&*second.store, blob).await;
    assert_eq!(found.iter().map(|info| info.form).collect::<Vec<_>>(), [Form::Br]);
    assert_eq!(second.store.get(Key::Variant(blob, Form::Br)).await.unwrap(), br);
    // If all variants of a blob are damaged, no variant is left, but the blob still counts as worth compressing.
    let mut all_changed = whole.to_vec();
    for variant_end in [whole.len(), whole.len() - gz.len()] {
        all_changed[variant_end - 1] ^= 1;
    }
    for other in [whole.slice(1..), whole.slice(..whole.len() - 1), all_changed.into(), Bytes::new(), sample(4, 3_000)]
    {
        bucket.write(&path, [other]).await.unwrap();
        let node = Node::new(&bucket);
        assert_eq!(variants_of(&*node.store, blob).await, []);
        assert!(node.store.lacks_variants(blob).await.unwrap(), "they can be made again");
        // Remade variants replace the existing ones.
        node.store.put_variants(blob, variants.clone()).await.unwrap();
        assert_eq!(bucket.read(&path).await.unwrap().unwrap(), whole);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_file_that_is_damaged_is_fetched_again() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let bytes = sample(1, 100_000);
    let blob = put(&*node.store, &bytes).await;
    let key = Key::Blob(blob);
    let damage = || overwrite(&node.path(key), &sample(2, 100_000));
    damage();
    assert_eq!(node.store.get(key).await.unwrap(), bytes);
    damage();
    assert_eq!(node.store.open(key).await.unwrap().read_at(0, 100_000).unwrap(), bytes);
    damage();
    assert_eq!(node.store.get_all(vec![blob]).await.unwrap().remove(0).unwrap(), bytes);
    // As read by the scrub.
    damage();
    assert_eq!(node.store.check(key, u64::MAX).await.unwrap(), 100_000);
    damage();
    node.store.check_all(vec![blob]).await.unwrap();
    assert_eq!(std::fs::read(node.path(key)).unwrap(), bytes);
    let variant = sample(3, 50_000);
    node.store.put_variants(blob, vec![(Form::Br, Quality::Best, variant.clone())]).await.unwrap();
    overwrite(&node.path(Key::Variant(blob, Form::Br)), &sample(4, 50_000));
    assert_eq!(node.store.get(Key::Variant(blob, Form::Br)).await.unwrap(), variant);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bucket_has_lost_is_served_from_disks_and_stored_again() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    let site = Site::put(&*node.store, 4_000, 5).await;
    let before = objects(&bucket).await;
    bucket.remove(before.clone()).await.unwrap();
    assert_eq!(objects(&bucket).await, Vec::<String>::new());
    site.is_in(&*node.store, &*node.store).await;
    for blob in site.blobs() {
        assert!(node.store.mend(Key::Blob(blob), None).await.unwrap());
        assert!(!node.store.mend(Key::Blob(blob), None).await.unwrap(), "it is there again");
    }
    assert!(node.store.mend(Key::Manifest(site.version), None).await.unwrap());
    // With the derived files; a blob without variants has no object for them.
    assert_eq!(objects(&bucket).await, before);
    // A truncated object, too.
    let (path, bytes) = (key_of(&site.files[1]).path().unwrap(), &site.files[1]);
    bucket.write(&path, [bytes.slice(1..)]).await.unwrap();
    assert!(node.store.mend(key_of(bytes), None).await.unwrap());
    // An object with changed bytes is found by a read.
    let others: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    bucket.write(&path, [others.into()]).await.unwrap();
    assert!(node.store.check_shared(key_of(bytes), None).await.is_ok(), "it has the length");
    let read = node.store.check_shared(key_of(bytes), Some(u64::MAX)).await;
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    assert!(!node.store.mend(key_of(bytes), None).await.unwrap());
    assert!(node.store.mend(key_of(bytes), Some(u64::MAX)).await.unwrap());
    node.store.check_shared(key_of(bytes), Some(u64::MAX)).await.unwrap();
    let sizes = node.store.shared_sizes().await.unwrap().unwrap();
    assert_eq!((sizes.len(), sizes[&key_of(bytes)]), (site.blobs().len() + 1, bytes.len() as u64));
    // A node without a copy cannot store the object again.
    let other = Node::new(&bucket);
    assert!(!other.store.mend(key_of(bytes), None).await.unwrap());
    other.store.fetch(site.version, site.blobs()).await.unwrap();
    site.is_in(&*other.store, &*node.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_on_the_disk_is_checked_in_the_bucket_and_stays_there() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let bytes = sample(1, 1_200_000);
    let blob = put(&*first.store, &bytes).await;
    assert_eq!(second.store.check(Key::Blob(blob), u64::MAX).await.unwrap(), 1_200_000);
    assert_eq!(second.store.variants(blob).await.unwrap(), [], "as a verification asks");
    assert!(!second.has(Key::Blob(blob)));
    let [byte, ..] = *blob.as_bytes();
    assert_eq!(second.store.held_part(byte).await.unwrap(), [], "the scrub reads what the disk holds");
    assert_eq!(first.store.held_part(byte).await.unwrap(), [Key::Blob(blob)]);
    assert!(is_missing(&second.store.check(Key::Manifest(blob), u64::MAX).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_collects_is_gone_for_all_and_what_was_put_since_is_not() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let (first, second) = (Node::new(&bucket), Node::new(&bucket));
    let bytes = sample(1, 1_000);
    let (blob, key) = (put(&*first.store, &bytes).await, key_of(&bytes));
    first.store.put_variants(blob, vec![(Form::Br, Quality::Quick, sample(2, 70))]).await.unwrap();
    first.store.put_variants(blob, vec![(Form::Gz, Quality::Given, sample(3, 80))]).await.unwrap();
    let put_s = second.store.list().await.unwrap()[0].2;
    // The second node, without a copy on its disk, collects.
    assert_eq!(second.store.delete_put_before(key, put_s, false).await.unwrap(), None);
    let bytes_gone = second.store.delete_put_before(key, put_s + 1, false).await.unwrap().unwrap();
    assert!(bytes_gone > 1_150, "{bytes_gone}: with the objects of its variants");
    assert_eq!(objects(&bucket).await, Vec::<String>::new());
    assert_eq!(second.store.list().await.unwrap(), []);
    assert_eq!(first.store.sizes(vec![blob]).await.unwrap(), [None]);
    // The copy on the disk of the collecting node is restored for a catalog with a new reference to the blob.
    put(&*first.store, &bytes).await;
    assert_eq!(first.store.delete_put_before(key, u64::MAX, false).await.unwrap(), Some(1_150));
    assert_eq!((first.store.collected().await.unwrap(), first.store.size(key).await.unwrap()), (vec![key], None));
    assert_eq!(first.store.get(key).await.unwrap(), bytes);
    assert!(first.store.mend(key, None).await.unwrap());
    assert_eq!(second.store.get(key).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_removes_old_variants_whose_blob_is_gone_from_the_bucket_and_no_others() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    let bucket = bucket(&seaweed.variables());
    let node = Node::new(&bucket);
    // Two blobs of one folder, one of which loses its object but not its derived files, as after an interrupted
    // deletion.
    let mut of_first: BTreeMap<u8, Bytes> = BTreeMap::new();
    let (stays, goes) = (0..)
        .map(|seed| sample(seed, 100))
        .find_map(|bytes| of_first.insert(Digest::of(&bytes).as_bytes()[0], bytes.clone()).map(|other| (bytes, other)))
        .unwrap();
    let mut paths = Vec::new();
    for bytes in [&stays, &goes] {
        let blob = put(&*node.store, bytes).await;
        let variants = vec![(Form::Br, Quality::Quick, sample(1, 60)), (Form::Gz, Quality::Given, sample(2, 70))];
        node.store.put_variants(blob, variants).await.unwrap();
        paths.push(Origin::ALL.map(|origin| origin.path(blob)));
    }
    bucket.remove(vec![key_of(&goes).path().unwrap()]).await.unwrap();
    let before = objects(&bucket).await;
    let entry = bucket.head(&paths[1][0]).await.unwrap().unwrap();
    let first = Digest::of(&stays).as_bytes()[0];
    let day_s = 86_400;
    // The blob may be on its way.
    node.store.list_stored_at(first, entry.written_s + day_s).await.unwrap();
    assert_eq!(objects(&bucket).await, before);
    let listed = node.store.list_stored_at(first, entry.written_s + 2 * day_s).await.unwrap();
    assert_eq!(listed.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), [key_of(&stays)]);
    let mut left: Vec<String> = paths[0].iter().cloned().chain(key_of(&stays).path()).collect();
    left.sort();
    assert_eq!(objects(&bucket).await, left);
}
