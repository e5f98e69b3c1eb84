//! Files that are closed between two reads: readers do not notice, whatever happened to their names meanwhile.

use super::*;

/// A store with one open file at a time.
struct WithOneOpen(InAFolder);

#[async_trait]
impl Harness for WithOneOpen {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self(InAFolder::of(data, 1))
    }

    fn store(&self) -> Arc<dyn Blobs> {
        self.0.store()
    }

    async fn restart(self) -> Self {
        drop(Arc::into_inner(self.0.store).unwrap());
        Self(InAFolder::of(self.0.data, 1))
    }

    async fn damage(&self, key: Key, bytes: &[u8]) {
        self.0.damage(key, bytes).await;
    }

    async fn is_tidy(&self) -> bool {
        self.0.is_tidy().await
    }
}

conformance!(WithOneOpen);

/// Returns a store with two open files and `count` blobs, with their opened readers.
async fn opened(count: u64) -> (InAFolder, Vec<(Arc<dyn ReadAt>, Bytes)>) {
    let harness = InAFolder::of(tempfile::tempdir().unwrap(), 2);
    let mut files = Vec::new();
    for number in 0..count {
        let bytes = sample(number, 1_000);
        harness.store.put(blob(&bytes), bytes.clone()).await.unwrap();
        files.push((harness.store.open(blob(&bytes)).await.unwrap(), bytes));
    }
    (harness, files)
}

#[tokio::test]
async fn few_of_the_files_that_are_read_are_open() {
    let (harness, files) = opened(20).await;
    let folder = &harness.store.disk.folder;
    for _ in 0..3 {
        for (file, bytes) in &files {
            assert_eq!(file.read_at(10, 100).unwrap(), bytes[10..110]);
            assert!(folder.open_count() <= 2);
        }
    }
    drop(files);
    assert_eq!(folder.open_count(), 0);
}

#[tokio::test]
async fn what_is_read_again_and_again_stays_open() {
    let (_harness, files) = opened(20).await;
    let (hot, others) = files.split_first().unwrap();
    let Some(_) = others[18].0.read_cached(0, 10).unwrap() else { return };
    hot.0.read_at(0, 10).unwrap();
    for (file, _) in others {
        assert!(hot.0.read_cached(0, 10).unwrap().is_some(), "it is open");
        file.read_at(0, 10).unwrap();
    }
    assert!(others[0].0.read_cached(0, 10).unwrap().is_none(), "to open it may take time");
}

#[tokio::test]
async fn one_file_that_many_have_is_open_once() {
    let (harness, files) = opened(1).await;
    let (_, bytes) = &files[0];
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(harness.store.open(blob(bytes)).await.unwrap());
    }
    assert_eq!(harness.store.disk.folder.open_count(), 1);
    assert!(all.iter().all(|file| file.read_at(0, 1_000).unwrap() == *bytes));
}

#[tokio::test]
async fn a_blob_that_was_put_again_is_read_from_its_new_file() {
    let (harness, files) = opened(5).await;
    for (_, bytes) in &files {
        harness.store.put(blob(bytes), bytes.clone()).await.unwrap();
    }
    for (file, bytes) in &files {
        assert_eq!(file.read_at(0, 1_000).unwrap(), bytes);
        assert!(!file.is_damaged());
    }
    assert!(harness.store.disk.folder.open_count() <= 2);
}

#[tokio::test]
async fn what_was_removed_or_replaced_by_hand_is_damaged_and_nothing_else_is_given_out() {
    let (harness, files) = opened(5).await;
    let paths: Vec<PathBuf> = files.iter().map(|(_, bytes)| path_of(harness.data.path(), blob(bytes))).collect();
    durable::remove_file(&paths[0]).unwrap();
    overwrite(&paths[1], &files[2].1);
    for number in [0, 1] {
        assert!(files[number].0.read_at(0, 10).is_err());
        assert!(files[number].0.is_damaged());
    }
    assert_eq!(files[2].0.read_at(0, 10).unwrap(), files[2].1[..10]);
    assert_eq!(harness.store.damages(), 2);
}

#[tokio::test]
async fn what_is_deleted_or_collected_is_read_to_its_end_by_those_who_have_it() {
    let (harness, files) = opened(6).await;
    for (number, (_, bytes)) in files.iter().enumerate() {
        match number % 3 {
            0 => harness.store.delete(blob(bytes)).await.unwrap(),
            kind => {
                let gone = harness.store.delete_put_before(blob(bytes), u64::MAX, kind == 1).await.unwrap();
                assert_eq!(gone, Some(1_000));
            }
        }
    }
    for (file, bytes) in &files {
        assert_eq!(file.read_at(0, 1_000).unwrap(), bytes);
        assert!(!file.is_damaged());
    }
}

#[tokio::test]
async fn what_a_check_sets_aside_is_read_where_it_is_whole_by_those_who_have_it() {
    let harness = InAFolder::of(tempfile::tempdir().unwrap(), 1);
    let (bytes, other) = (sample(1, 200_000), sample(2, 10));
    for bytes in [&bytes, &other] {
        harness.store.put(blob(bytes), bytes.clone()).await.unwrap();
    }
    let file = harness.store.open(blob(&bytes)).await.unwrap();
    let _closes_it = harness.store.open(blob(&other)).await.unwrap();
    let path = path_of(harness.data.path(), blob(&bytes));
    let opened = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    opened.write_all_at(&[bytes[70_000] ^ 1], 70_000).unwrap();
    assert!(matches!(harness.store.check(blob(&bytes), u64::MAX).await, Err(Error::Corrupt { .. })));
    assert!(!path.exists());
    assert_eq!(file.read_at(0, 65_536).unwrap(), bytes[..65_536]);
    assert_eq!(file.read_at(70_000, 1).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn what_cannot_be_opened_is_as_it_was_and_what_is_gone_is_damaged_once() {
    let (harness, files) = opened(5).await;
    let (file, bytes) = &files[0];
    let path = path_of(harness.data.path(), blob(bytes));
    let (shard, aside) = (path.parent().unwrap(), harness.data.path().join("aside"));
    durable::move_folder(shard, &aside).unwrap();
    durable::write_file(shard, b"", 0o600).unwrap();
    assert_eq!(file.read_at(0, 10).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!((file.is_damaged(), harness.store.damages()), (false, 0));
    durable::remove_file(shard).unwrap();
    durable::move_folder(&aside, shard).unwrap();
    assert_eq!(file.read_at(0, 10).unwrap(), bytes[..10]);
    // Further files are read until the file is closed again.
    for (other, _) in files.iter().skip(1).chain(files.iter().skip(1)) {
        other.read_at(0, 10).unwrap();
    }
    durable::remove_file(&path).unwrap();
    for _ in 0..2 {
        assert_eq!(file.read_at(0, 10).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!((file.is_damaged(), harness.store.damages()), (true, 1));
    }
}

#[tokio::test]
async fn a_small_variant_is_read_to_its_end_by_those_who_have_it_when_its_blob_goes() {
    let (harness, files) = opened(4).await;
    let (variant, digest) = (sample(9, 500), Digest::of(&files[0].1));
    harness.store.put_variants(digest, vec![(Form::Br, Quality::Quick, variant.clone())]).await.unwrap();
    let small = harness.store.open(Key::Variant(digest, Form::Br)).await.unwrap();
    // Further files are read until the file is closed.
    for (other, _) in files.iter().chain(&files) {
        other.read_at(0, 10).unwrap();
    }
    harness.store.delete(Key::Blob(digest)).await.unwrap();
    assert_eq!(small.read_at(0, 500).unwrap(), variant);
    assert!(!small.is_damaged());
}

#[tokio::test]
async fn what_was_removed_by_hand_is_checked_again_when_it_comes_back() {
    let (harness, files) = opened(5).await;
    let (file, bytes) = &files[0];
    let (path, aside) = (path_of(harness.data.path(), blob(bytes)), harness.data.path().join("aside"));
    assert!(durable::move_file(&path, &aside).unwrap());
    assert_eq!(file.read_at(0, 10).unwrap_err().kind(), ErrorKind::NotFound);
    damage::rot(&aside, 500);
    assert!(durable::move_file(&aside, &path).unwrap());
    assert!(matches!(harness.store.open(blob(bytes)).await.map(drop), Err(Error::Corrupt { .. })));
}
