//! Files that change on the disk after a check.

use super::*;

/// A stored blob of three groups and a bit, and the bytes.
async fn opened() -> (InAFolder, Key, Arc<dyn ReadAt>, Vec<u8>) {
    let harness = InAFolder::start().await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let key = Key::Blob(Digest::of(&bytes));
    harness.store.put(key, bytes.clone().into()).await.unwrap();
    let file = harness.store.open(key).await.unwrap();
    (harness, key, file, bytes)
}

/// Changes a byte in place, without a new modification time, like a failing disk.
pub(super) fn rot(path: &Path, at: usize) {
    let before = std::fs::metadata(path).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

#[tokio::test]
async fn bytes_that_changed_after_the_check_are_not_given_and_all_others_are() {
    let (harness, key, file, bytes) = opened().await;
    rot(&path_of(harness.data.path(), key), 70_000);
    let damaged = file.read_at(65_536, 65_536).unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::InvalidData);
    assert!(file.is_damaged());
    // Also for an undamaged piece of the same group.
    assert!(file.read_at(100_000, 10).is_err());
    assert_eq!(file.read_at(0, 65_536).unwrap(), bytes[..65_536]);
    assert_eq!(file.read_at(131_100, 1_000_000).unwrap(), bytes[131_100..]);
    assert!(file.read_at(0, 65_537).is_err());
    // The file was set aside: no reader opens the file again, and a put repairs the blob.
    assert!(matches!(harness.store.open(key).await, Err(Error::Missing(_))));
    assert_eq!(std::fs::read_dir(harness.data.path().join("quarantine")).unwrap().count(), 1);
    harness.store.put(key, bytes.clone().into()).await.unwrap();
    let repaired = harness.store.open(key).await.unwrap();
    assert!(!repaired.is_damaged());
    assert_eq!(repaired.read_at(60_000, 20_000).unwrap(), bytes[60_000..80_000]);
}

#[tokio::test]
async fn a_file_that_was_written_to_is_set_aside_with_the_first_piece_that_is_damaged() {
    let (harness, key, file, bytes) = opened().await;
    let path = path_of(harness.data.path(), key);
    rot(&path, 70_000);
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert!(file.read_at(65_536, 10).is_err());
    assert_eq!(harness.store.size(key).await.unwrap(), None);
    // A whole file with the same name by then stays.
    harness.store.put(key, bytes.clone().into()).await.unwrap();
    assert!(file.read_at(65_536, 10).is_err());
    assert_eq!(harness.store.size(key).await.unwrap(), Some(bytes.len() as u64));
}

#[tokio::test]
async fn a_file_that_was_cut_is_damaged() {
    let (harness, key, file, bytes) = opened().await;
    let path = path_of(harness.data.path(), key);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(150_000).unwrap();
    assert!(file.read_at(140_000, 1_000).is_err());
    assert!(file.is_damaged());
    assert_eq!(file.read_at(1, 130_000).unwrap(), bytes[1..130_001]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_in_the_page_cache_is_checked_again_when_the_last_check_is_long_ago() {
    let (harness, key, file, bytes) = opened().await;
    let path = path_of(harness.data.path(), key);
    // The opening checked the file, so that any piece can be read at once, if this kind of file can tell.
    let Some(piece) = file.read_cached(70_000, 1_000).unwrap() else { return };
    assert_eq!(piece, bytes[70_000..71_000]);
    let again = harness.store.open(key).await.unwrap();
    harness.store.disk.folder.distrust(key);
    // A read of a part of a group checks the whole group.
    assert_eq!(again.read_cached(131_000, 1_000).unwrap().unwrap(), bytes[131_000..132_000]);
    assert_eq!(again.read_cached(65_536, 65_536).unwrap().unwrap(), bytes[65_536..131_072]);
    // Recently checked groups are not hashed again.
    rot(&path, 131_072);
    assert!(again.read_cached(131_073, 1_000).unwrap().is_some());
    rot(&path, 66_000);
    harness.store.disk.folder.distrust(key);
    assert_eq!(again.read_cached(70_000, 1_000).unwrap(), None);
    assert!(!again.is_damaged(), "a thread that may wait says so");
    assert!(again.read_at(65_536, 65_536).is_err());
    assert!(again.is_damaged());
    assert_eq!(again.read_cached(0, 65_536).unwrap().unwrap(), bytes[..65_536]);
}

#[tokio::test]
async fn what_is_damaged_or_suspected_is_reported_once_and_checked_again_when_it_is_opened() {
    let (harness, key, _file, bytes) = opened().await;
    let (store, digest) = (&harness.store, Digest::of(&bytes));
    let is_verified = || {
        let metadata = std::fs::metadata(path_of(harness.data.path(), key)).unwrap();
        store.disk.folder.verified().of(key, durable::Stamp::of(&metadata), digest).is_some()
    };
    store.suspect(Key::Variant(digest, Form::Br));
    assert!(store.take_suspects().is_empty() && is_verified(), "variants are made again");
    store.suspect(key);
    assert!(!is_verified());
    assert_eq!(store.take_suspects(), HashSet::from([key]));
    assert!(store.take_suspects().is_empty());
    harness.damage(key, b"other bytes").await;
    assert!(matches!(store.get(key).await, Err(Error::Corrupt { .. })));
    assert_eq!(store.take_suspects(), HashSet::from([key]));
    for number in 0..10_001_u32 {
        store.suspect(Key::Blob(Digest::of(&number.to_le_bytes())));
    }
    assert_eq!(store.take_suspects().len(), 10_000);
}

#[tokio::test]
async fn a_file_is_checked_as_a_whole_once_and_its_pieces_whenever_they_are_read() {
    let (harness, key, _, bytes) = opened().await;
    rot(&path_of(harness.data.path(), key), 70_000);
    let again = harness.store.open(key).await.unwrap();
    assert_eq!(again.read_at(0, 65_536).unwrap(), bytes[..65_536]);
    assert_eq!(again.read_at(65_536, 10).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn law_4_a_damaged_file_that_cannot_be_set_aside_is_checked_again_when_it_is_opened() {
    for is_piece in [true, false] {
        let (harness, key, file, _) = opened().await;
        rot(&path_of(harness.data.path(), key), 70_000);
        let armed = arm(harness.data.path(), Fault::Death, 0);
        match is_piece {
            true => assert_eq!(file.read_at(65_536, 10).unwrap_err().kind(), ErrorKind::InvalidData),
            false => assert!(matches!(harness.store.get(key).await, Err(Error::Disk(_)))),
        }
        drop(armed);
        assert!(harness.store.size(key).await.unwrap().is_some(), "it has its name still");
        assert!(matches!(harness.store.open(key).await.map(drop), Err(Error::Corrupt { .. })), "{is_piece}");
    }
}

/// Else all files would be set aside while a disk does not answer.
#[test]
fn a_file_that_was_cut_while_it_was_opened_is_damaged_and_one_that_cannot_be_read_is_not() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 1_000);
    folder.put(blob(&bytes), &bytes).unwrap();
    let mut located = folder.locate(blob(&bytes)).unwrap().unwrap();
    assert_eq!(located.read().unwrap().unwrap(), bytes);
    overwrite(&path_of(data.path(), blob(&bytes)), &bytes[..999]);
    assert_eq!(located.read().unwrap(), None);
    // The system opens a folder, but does not read from it.
    located.file = std::fs::File::open(data.path()).unwrap();
    assert_eq!(located.read().unwrap_err().kind(), ErrorKind::IsADirectory);
}

#[tokio::test]
async fn a_file_that_is_open_holds_the_hashes_of_its_groups_in_memory_and_a_small_one_nothing() {
    let (harness, _, file, _) = opened().await;
    // As documented for the tree: 36 bytes for each 64 KiB.
    assert_eq!(file.held_bytes(), 4 * 36);
    let small = sample(1, 65_536);
    harness.store.put(blob(&small), small.clone()).await.unwrap();
    assert_eq!(harness.store.open(blob(&small)).await.unwrap().held_bytes(), 0);
}

/// Bytes that rot on the disk before any read.
#[tokio::test]
async fn a_blob_that_is_put_again_is_read_from_its_new_file_while_the_old_one_is_open() {
    let (harness, key, before, bytes) = opened().await;
    rot(&path_of(harness.data.path(), key), 70_000);
    harness.store.put(key, bytes.clone().into()).await.unwrap();
    let after = harness.store.open(key).await.unwrap();
    assert_eq!(after.read_at(0, 200_000).unwrap(), bytes);
    assert_eq!(before.read_at(0, 200_000).unwrap(), bytes, "they share one file");
    assert_eq!(harness.store.damages(), 0);
}
