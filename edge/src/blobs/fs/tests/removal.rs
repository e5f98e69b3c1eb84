//! Files that leave the store: leftovers, collected files, and what a listing removes.

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
    is_refused(folder.delete_put_before(key, u64::MAX, false).map(drop));
    is_refused(folder.remove_leftovers(u64::MAX, u64::MAX, false).map(drop));
    is_refused(folder.list().map(drop));
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
    // A death in the middle of a deletion cannot leave this; a restored backup can.
    std::fs::remove_file(path_of(data.path(), Key::Blob(digest))).unwrap();
    assert_eq!(folder.list().unwrap(), []);
    assert_eq!(files(&data.path().join("variants")).len(), 0);
}
