//! Removal of files: leftovers, collected files, and removals by a listing.

use super::*;

#[test]
fn leftovers_of_before_a_moment_are_removed_and_no_living_draft() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let draft = folder.draft().unwrap();
    durable::write_file(&data.path().join("tmp/left"), b"half", 0o600).unwrap();
    durable::write_file(&data.path().join("quarantine/blob-ab"), b"damaged", 0o600).unwrap();
    assert_eq!(folder.remove_leftovers(1, 0, false).unwrap(), (0, 0));
    for (dry_run, expected) in [(true, (2, 11)), (false, (2, 11)), (false, (0, 0))] {
        assert_eq!(folder.remove_leftovers(u64::MAX, 0, dry_run).unwrap(), expected, "{dry_run}");
    }
    assert_eq!((files(&data.path().join("tmp")).len(), files(&data.path().join("quarantine")).len()), (1, 0));
    drop(draft);
}

#[test]
fn leftovers_of_the_very_moment_stay() {
    use std::os::unix::fs::MetadataExt as _;
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let path = data.path().join("quarantine/blob-ab");
    durable::write_file(&path, b"damaged", 0o600).unwrap();
    let changed_s = u64::try_from(std::fs::metadata(&path).unwrap().ctime()).unwrap();
    assert_eq!(folder.remove_leftovers(changed_s, 0, false).unwrap(), (0, 0));
    assert_eq!(folder.remove_leftovers(changed_s + 1, 0, false).unwrap(), (1, 7));
}

#[test]
fn law_6_what_goes_for_good_is_gone_durably_and_its_collected_copy_too() {
    use durable::Step::{Remove, SyncFolder};
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 100);
    let key = Key::Manifest(Digest::of(&bytes));
    folder.put(key, &bytes).unwrap();
    folder.delete_put_before(key, u64::MAX, false).unwrap();
    folder.put(key, &bytes).unwrap();
    let log = arm(data.path(), Fault::None, 0);
    assert_eq!(folder.delete_put_before(key, u64::MAX, true).unwrap(), Some(100));
    assert_eq!(log.steps(), [Remove, Remove, SyncFolder]);
    assert_eq!(files(data.path()), ["format".to_owned()].into());
}

#[test]
fn a_blob_that_goes_leaves_no_file_of_what_was_made_of_it() {
    for how in ["deleted", "for good", "collected"] {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
        let bytes = sample(1, 100);
        folder.put(blob(&bytes), &bytes).unwrap();
        let variants = [(Form::Br, Quality::Quick, sample(2, 9_000)), (Form::Gz, Quality::Quick, sample(3, 90))];
        folder.put_variants(Digest::of(&bytes), &variants).unwrap();
        let delta = crate::blobs::conformance::delta(DeltaForm::Dcz, 1, Quality::Quick, &sample(4, 50));
        folder.put_deltas(Digest::of(&bytes), &[delta]).unwrap();
        match how {
            "deleted" => folder.delete(blob(&bytes)).unwrap(),
            how => {
                let gone = folder.delete_put_before(blob(&bytes), u64::MAX, how == "for good").unwrap();
                assert_eq!(gone, Some(100 + 9_000 + 90 + 50), "{how}");
            }
        }
        let left = files(data.path()).into_iter().filter(|name| !name.starts_with("collected/blobs/"));
        assert_eq!(left.collect::<Vec<_>>(), ["format"], "{how}");
    }
}

#[test]
fn a_collected_file_comes_back_where_its_folder_was_removed_by_hand() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 100);
    let key = blob(&bytes);
    folder.put(key, &bytes).unwrap();
    folder.delete_put_before(key, u64::MAX, false).unwrap();
    std::fs::remove_dir(path_of(data.path(), key).parent().unwrap()).unwrap();
    assert_eq!(folder.get(key).unwrap(), bytes);
}

#[test]
fn a_collected_file_comes_back_when_it_is_read_and_ends_after_its_time() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 100);
    for key in [Key::Blob(Digest::of(&bytes)), Key::Manifest(Digest::of(&bytes))] {
        folder.put(key, &bytes).unwrap();
        assert_eq!(folder.delete_put_before(key, u64::MAX, false).unwrap(), Some(100));
        assert_eq!((folder.size(key).unwrap(), folder.collected().unwrap()), (None, vec![key]));
        assert_eq!(folder.remove_leftovers(u64::MAX, 1, false).unwrap(), (0, 0));
        assert_eq!(folder.get(key).unwrap(), bytes);
        assert_eq!((folder.size(key).unwrap(), folder.collected().unwrap()), (Some(100), vec![]));
        folder.delete_put_before(key, u64::MAX, false).unwrap();
        assert_eq!(folder.remove_leftovers(0, u64::MAX, true).unwrap(), (1, 100));
        assert_eq!(folder.remove_leftovers(0, u64::MAX, false).unwrap(), (1, 100));
        assert!(matches!(folder.get(key), Err(Error::Missing(_))));
    }
}

#[test]
fn a_folder_that_took_the_name_of_the_opened_one_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let (root, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let folder = Folder::open(root.clone(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 100);
    let key = Key::Blob(Digest::of(&bytes));
    durable::move_folder(&root, &aside).unwrap();
    Folder::open(root.clone(), OPEN_FILES_MAX).unwrap().put(key, &bytes).unwrap();
    let is_refused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Disk(durable::Error::Replaced { .. }))), "{result:?}");
    };
    is_refused(folder.put(key, &bytes));
    is_refused(folder.put_all(&BTreeMap::from([(Digest::of(&bytes), bytes.clone())])));
    is_refused(folder.delete_put_before(key, u64::MAX, false).map(drop));
    is_refused(folder.remove_leftovers(u64::MAX, u64::MAX, false).map(drop));
    is_refused(folder.put_variants(Digest::of(&bytes), &[(Form::Br, Quality::Quick, sample(2, 5))]));
    is_refused(folder.list().map(drop));
    // No file is restored into the folder either.
    durable::make_folder(&root.join("collected")).unwrap();
    durable::move_folder(&root.join("blobs"), &root.join("collected/blobs")).unwrap();
    is_refused(folder.get(key).map(drop));
    std::fs::remove_dir_all(&root).unwrap();
    is_refused(folder.put(key, &bytes));
    durable::move_folder(&aside, &root).unwrap();
    folder.put(key, &bytes).unwrap();
}

#[test]
fn a_listing_removes_variants_whose_blob_is_gone_and_ignores_strangers() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let digest = Digest::of(&bytes);
    folder.put(Key::Blob(digest), &bytes).unwrap();
    folder.put_variants(digest, &[(Form::Br, Quality::Quick, sample(2, 5))]).unwrap();
    let shard = path_of(data.path(), Key::Blob(digest)).parent().unwrap().to_path_buf();
    durable::write_file(&shard.join("README"), b"", 0o600).unwrap();
    assert_eq!(folder.list().unwrap().len(), 1);
    // A crash in the middle of a deletion cannot lead to this state; a restored backup can.
    std::fs::remove_file(path_of(data.path(), Key::Blob(digest))).unwrap();
    assert_eq!(folder.list().unwrap(), []);
    assert_eq!(files(&data.path().join("variants")).len(), 0);
}

#[tokio::test]
async fn what_is_written_while_another_folder_takes_the_name_leaves_nothing_in_that_one() {
    let parent = tempfile::tempdir().unwrap();
    let (root, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let store = FileBlobs::open(root.clone(), OPEN_FILES_MAX).unwrap();
    let (bytes, small) = (sample(1, 600_000), sample(2, 100));
    // The upload has a file already, and only its name is missing.
    let mut upload = store.upload(blob(&bytes)).await.unwrap();
    upload.write(bytes.clone()).await.unwrap();
    durable::move_folder(&root, &aside).unwrap();
    let other = Folder::open(root.clone(), OPEN_FILES_MAX).unwrap();
    let is_refused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Disk(durable::Error::Replaced { .. }))), "{result:?}");
    };
    let log = arm(&root, Fault::None, 0);
    is_refused(store.put_all(BTreeMap::from([(Digest::of(&small), small.clone())])).await);
    assert_eq!(log.steps(), [], "nothing is begun");
    drop(log);
    is_refused(upload.finish().await.map(drop));
    assert_eq!(std::fs::read_dir(root.join("blobs")).unwrap().count(), 0);
    // The files belong to a different store, even under the name of a known one.
    other.put(blob(&small), &small).unwrap();
    let variants = vec![(Form::Br, Quality::Quick, sample(3, 9_000))];
    is_refused(store.put_variants_all(BTreeMap::from([(Digest::of(&small), variants)])).await);
    is_refused(store.delete(blob(&small)).await);
    assert_eq!(other.get(blob(&small)).unwrap(), small);
    assert_eq!(other.variants(Digest::of(&small)).unwrap(), []);
}

/// A push may send a blob that a collection has just removed.
#[test]
fn what_was_made_of_a_blob_stays_where_the_blob_comes_back_during_a_listing() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let digest = Digest::of(&bytes);
    folder.put(blob(&bytes), &bytes).unwrap();
    folder.put_variants(digest, &[(Form::Br, Quality::Quick, sample(2, 5))]).unwrap();
    let delta = crate::blobs::conformance::delta(DeltaForm::Dcz, 1, Quality::Quick, &sample(4, 50));
    folder.put_deltas(digest, &[delta]).unwrap();
    let shard = digest.to_string()[..2].to_owned();
    assert!(folder.orphans(&shard).unwrap().is_empty());
    durable::remove_file(&path_of(data.path(), blob(&bytes))).unwrap();
    let orphans = folder.orphans(&shard).unwrap();
    assert_eq!(orphans.keys().copied().collect::<Vec<_>>(), [digest]);
    folder.put(blob(&bytes), &bytes).unwrap();
    for (blob, deltas) in orphans {
        folder.remove_orphan(blob, deltas).unwrap();
    }
    assert_eq!((folder.variants(digest).unwrap().len(), folder.deltas(digest).unwrap().len()), (1, 1));
}

#[test]
fn law_4_what_changed_while_it_was_collected_is_checked_again_when_it_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 1_000);
    let key = blob(&bytes);
    folder.put(key, &bytes).unwrap();
    folder.open_file(key).unwrap();
    folder.delete_put_before(key, u64::MAX, false).unwrap();
    let path = path_of(data.path(), key);
    damage::rot(&data.path().join("collected").join(path.strip_prefix(data.path()).unwrap()), 500);
    assert!(matches!(folder.open_file(key).map(drop), Err(Error::Corrupt { .. })));
}

#[test]
fn a_collected_file_that_comes_back_is_reported_once() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 100);
    folder.put(blob(&bytes), &bytes).unwrap();
    folder.delete_put_before(blob(&bytes), u64::MAX, false).unwrap();
    let read = || devanture_base::telemetry::logged(|| assert_eq!(folder.get(blob(&bytes)).unwrap(), bytes));
    let line = read();
    assert!(line.contains("was brought back") && line.contains(&Digest::of(&bytes).short()), "{line}");
    assert_eq!(read(), "");
}

#[tokio::test]
async fn what_is_collected_is_listed_until_it_comes_back() {
    let harness = InAFolder::start().await;
    let bytes = sample(1, 100);
    harness.store.put(blob(&bytes), bytes.clone()).await.unwrap();
    assert_eq!(harness.store.collected().await.unwrap(), []);
    harness.store.delete_put_before(blob(&bytes), u64::MAX, false).await.unwrap();
    assert_eq!(harness.store.collected().await.unwrap(), [blob(&bytes)]);
    assert_eq!(harness.store.get(blob(&bytes)).await.unwrap(), bytes);
    assert_eq!(harness.store.collected().await.unwrap(), []);
}
