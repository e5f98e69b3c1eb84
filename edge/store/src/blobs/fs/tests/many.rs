//! Tests of files written together: the order of steps, and the state after failures.

use super::faults::is_sound;
use super::*;

/// Changes a failing store: blobs put together, one of which is stored already.
pub(super) fn life(folder: &Folder, generation: u64) -> Result<(), Error> {
    folder.put_all(&named([sample(0, 2_000), sample(generation + 1_000_000, 300), sample(generation + 2_000_000, 0)]))
}

fn named(contents: impl IntoIterator<Item = Bytes>) -> BTreeMap<Digest, Bytes> {
    contents.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect()
}

/// Returns samples: two in one folder and one in a second folder.
fn two_folders() -> BTreeMap<Digest, Bytes> {
    let first = |bytes: &Bytes| Digest::of(bytes).as_bytes()[0];
    let all: Vec<Bytes> = (0..3_000).map(|seed| sample(seed, 20)).collect();
    let twin = all.iter().skip(1).find(|bytes| first(bytes) == first(&all[0])).unwrap();
    let other = all.iter().find(|bytes| first(bytes) != first(&all[0])).unwrap();
    named([all[0].clone(), twin.clone(), other.clone()])
}

#[test]
fn law_6_files_written_together_are_all_synced_before_any_has_its_name_and_each_folder_once() {
    use durable::Step::{Create, Folder as MakeFolder, Rename, SyncFile, SyncFolder, Write};
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let blobs = two_folders();
    let put = || {
        let log = arm(data.path(), Fault::None, 0);
        folder.put_all(&blobs).unwrap();
        log.steps()
    };
    let drafts = [&[Create, Write].repeat(3)[..], &[SyncFile; 3]].concat();
    // The first try of a rename finds no folder.
    let made = |count: usize| [&[Rename, MakeFolder, SyncFolder][..], &vec![Rename; count], &[SyncFolder]].concat();
    let (one, two) = (made(1), made(2));
    let steps = put();
    assert!(steps == [&drafts[..], &two, &one].concat() || steps == [&drafts[..], &one, &two].concat(), "{steps:?}");
    let (one, two) = ([Rename, SyncFolder], [Rename, Rename, SyncFolder]);
    let steps = put();
    assert!(steps == [&drafts[..], &two, &one].concat() || steps == [&drafts[..], &one, &two].concat(), "{steps:?}");
}

#[test]
fn law_3_a_failure_at_any_step_leaves_whole_blobs_alone_and_those_that_were_there() {
    for fault in [Fault::Full, Fault::Death] {
        for nth in 0.. {
            let data = tempfile::tempdir().unwrap();
            let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
            let mut blobs = two_folders();
            let (first, bytes) = blobs.pop_first().unwrap();
            folder.put(Key::Blob(first), &bytes).unwrap();
            blobs.insert(first, bytes.clone());
            let armed = arm(data.path(), fault, nth);
            let result = folder.put_all(&blobs);
            let fired = armed.fired();
            drop(armed);
            drop(folder);
            let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
            is_sound(data.path(), &folder);
            assert_eq!(folder.get(Key::Blob(first)).unwrap(), bytes, "step {nth}");
            if !fired {
                result.unwrap();
                assert_eq!(folder.list().unwrap().len(), 3);
                break;
            }
            // The removal of a useless file is only attempted.
            assert!(result.is_err(), "step {nth}");
            folder.put_all(&blobs).unwrap();
            assert_eq!(folder.list().unwrap().len(), 3, "step {nth}");
        }
    }
}

#[tokio::test]
async fn blobs_put_together_are_not_read_again_by_a_check_until_their_files_change() {
    let harness = InAFolder::start().await;
    let (store, blobs) = (harness.store(), two_folders());
    let digests: Vec<Digest> = blobs.keys().copied().collect();
    let fresh = |store: &FileBlobs| {
        let known = |digest: &Digest| {
            let path = path_of(harness.data.path(), Key::Blob(*digest));
            let stamp = durable::Stamp::of(&std::fs::metadata(path).unwrap());
            store.disk.folder.verified().of(Key::Blob(*digest), stamp, *digest).is_some()
        };
        digests.iter().filter(|digest| known(digest)).count()
    };
    store.put_all(blobs).await.unwrap();
    assert_eq!(fresh(&harness.store), 3, "they were read back as they were written");
    overwrite(&path_of(harness.data.path(), Key::Blob(digests[1])), b"other");
    assert_eq!(fresh(&harness.store), 2);
    assert!(matches!(store.check_all(digests.clone()).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn nothing_is_put_together_below_the_floor_of_free_space() {
    let folder = tempfile::tempdir().unwrap();
    let floor = FreeSpace::short(folder.path().to_path_buf());
    let store = FileBlobs::open(folder.path().to_path_buf(), OPEN_FILES_MAX).unwrap().above(floor);
    assert!(matches!(store.put_all(two_folders()).await, Err(Error::Short { .. })));
    assert_eq!(store.list().await.unwrap(), []);
}
