//! Tests of the folder of files: the conformance list, its layout, and the state after failures, crashes and full
//! disks.

mod damage;
mod deltas;
mod faults;
mod format;
mod handles;
mod many;
mod reads;
mod removal;
mod small_variants;

use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::blobs::conformance::{Harness, blob, conformance, sample};
use crate::blobs::{DeltaForm, OPEN_FILES_MAX};
use devanture_base::durable;
use devanture_base::durable::fault::{Fault, arm};

struct InAFolder {
    data: TempDir,
    store: Arc<FileBlobs>,
}

impl InAFolder {
    fn of(data: TempDir, open_files_max: usize) -> Self {
        let store = Arc::new(FileBlobs::open(data.path().to_path_buf(), open_files_max).unwrap());
        Self { data, store }
    }
}

/// Returns every file below `folder` that is not part of the layout, by its path in the folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn path_of(data: &Path, key: Key) -> PathBuf {
    let digest = digest_of(key).to_string();
    let (kind, suffix) = match key {
        Key::Blob(_) => ("blobs", String::new()),
        Key::Manifest(_) => ("manifests", ".json".to_owned()),
        Key::Variant(_, Form::Br) => ("variants", ".br".to_owned()),
        Key::Variant(_, Form::Gz) => ("variants", ".gz".to_owned()),
        Key::Variant(_, Form::Zst) => ("variants", ".zst".to_owned()),
        Key::Variant(_, Form::BrQuick) => ("variants", ".br.quick".to_owned()),
        Key::Variant(_, Form::GzQuick) => ("variants", ".gz.quick".to_owned()),
        Key::Variant(_, Form::ZstQuick) => ("variants", ".zst.quick".to_owned()),
        Key::Delta(_, dictionary, DeltaForm::Dcb) => ("deltas", format!(".{dictionary}.dcb")),
        Key::Delta(_, dictionary, DeltaForm::Dcz) => ("deltas", format!(".{dictionary}.dcz")),
    };
    data.join(kind).join(&digest[..2]).join(format!("{digest}{suffix}"))
}

/// Changes a file in place, as a disk or a stranger would.
fn overwrite(path: &Path, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

#[async_trait]
impl Harness for InAFolder {
    async fn start() -> Self {
        Self::of(tempfile::tempdir().unwrap(), OPEN_FILES_MAX)
    }

    fn store(&self) -> Arc<dyn Blobs> {
        Arc::clone(&self.store) as Arc<dyn Blobs>
    }

    async fn restart(self) -> Self {
        drop(Arc::into_inner(self.store).unwrap());
        Self::of(self.data, OPEN_FILES_MAX)
    }

    async fn damage(&self, key: Key, bytes: &[u8]) {
        overwrite(&path_of(self.data.path(), key), bytes);
    }

    async fn is_tidy(&self) -> bool {
        // The last part of a dropped upload ends with its blocking thread.
        let end = Instant::now() + Duration::from_secs(5);
        while !files(&self.data.path().join("tmp")).is_empty() {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        true
    }
}

conformance!(InAFolder);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn the_layout_is_the_one_that_is_written_down() {
    let harness = InAFolder::start().await;
    let (data, store) = (harness.data.path(), harness.store());
    let bytes = sample(1, 10);
    let digest = Digest::of(&bytes);
    store.put(Key::Blob(digest), bytes.clone()).await.unwrap();
    store.put(Key::Manifest(digest), bytes.clone()).await.unwrap();
    let variants = Form::ALL.into_iter().map(|form| (form, Quality::Quick, sample(2, 9_000))).collect();
    store.put_variants(digest, variants).await.unwrap();
    let hex = digest.to_string();
    let two = &hex[..2];
    let expected = [
        "format".to_owned(),
        format!("blobs/{two}/{hex}"),
        format!("manifests/{two}/{hex}.json"),
        format!("variants/{two}/{hex}.br"),
        format!("variants/{two}/{hex}.gz"),
        format!("variants/{two}/{hex}.zst"),
        format!("variants/{two}/{hex}.index"),
    ];
    assert_eq!(files(data), expected.into());
    assert_eq!(std::fs::read_to_string(data.join("format")).unwrap(), "devanture 1\n");
    let hash = Digest::of(&sample(2, 9_000));
    let index = std::fs::read_to_string(data.join(format!("variants/{two}/{hex}.index"))).unwrap();
    assert_eq!(index, format!("br 9000 {hash} quick\ngz 9000 {hash} quick\nzst 9000 {hash} quick\n"));
    for name in files(data) {
        let path = data.join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "{path:?}");
        let folder = path.parent().unwrap();
        assert!(folder == data || std::fs::metadata(folder).unwrap().permissions().mode() & 0o7777 == 0o700);
    }
    // A damaged file is moved to where an operator finds it.
    overwrite(&path_of(data, Key::Blob(digest)), b"bad");
    overwrite(&path_of(data, Key::Manifest(digest)), b"bad");
    overwrite(&path_of(data, Key::Variant(digest, Form::Br)), &sample(3, 9_000));
    for key in [Key::Blob(digest), Key::Manifest(digest), Key::Variant(digest, Form::Br)] {
        let Err(Error::Corrupt { quarantined, .. }) = store.get(key).await else { panic!("{key:?}") };
        assert!(Path::new(&quarantined).starts_with(data.join("quarantine")));
    }
    let expected = [format!("blob-{hex}"), format!("manifest-{hex}.json"), format!("variant-{hex}.br")];
    assert_eq!(files(&data.join("quarantine")), expected.into());
}

#[test]
fn the_examples_of_the_docs_are_what_the_code_writes() {
    let docs = include_str!("../../../../../../docs/storage.md");
    let (_, rest) = docs.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once('\n').unwrap();
    let manifest = devanture_config::Manifest::parse(example.as_bytes()).unwrap();
    assert_eq!(manifest.canonical(), example.as_bytes());
    assert_eq!(manifest.files.values().next().unwrap().hash, Digest::of(b"hello\n"));
    for expected in [manifest.id().to_string(), Digest::of(b"").to_string(), "devanture 1".to_owned()] {
        assert!(docs.contains(&format!("`{expected}`")), "{expected}");
    }
}

#[test]
fn a_folder_of_another_format_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    durable::write_file(&data.path().join("format"), b"devanture 2\n", 0o600).unwrap();
    let error = FileBlobs::open(data.path().to_path_buf(), OPEN_FILES_MAX).err().unwrap().to_string();
    assert!(error.contains("`devanture 2`") && error.contains("`devanture 1`"), "{error}");
    assert_eq!(files(data.path()), ["format".to_owned()].into());
    assert!(!data.path().join("blobs").exists());
}

#[test]
fn a_start_empties_what_the_dead_left_and_not_what_the_living_write() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let draft = folder.draft().unwrap();
    durable::write_file(&data.path().join("tmp/left"), b"half", 0o600).unwrap();
    Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    assert_eq!(files(&data.path().join("tmp")).len(), 1);
    drop(draft);
    assert_eq!(files(&data.path().join("tmp")).len(), 0);
}

#[test]
fn folders_removed_by_hand_come_back() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let digest = Digest::of(&bytes);
    folder.put(Key::Blob(digest), &bytes).unwrap();
    std::fs::remove_dir_all(data.path().join("variants")).unwrap();
    assert_eq!(folder.variants(digest).unwrap(), []);
    folder.put_variants(digest, &[(Form::Br, Quality::Quick, sample(2, 5))]).unwrap();
    assert_eq!(folder.variants(digest).unwrap().len(), 1);
    folder.list().unwrap();
}

#[test]
fn a_folder_of_what_was_sent_does_not_come_back_empty_by_a_put() {
    for (name, is_kept) in [("blobs", true), ("manifests", true), ("variants", false)] {
        let data = tempfile::tempdir().unwrap();
        let open = || Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
        let (folder, bytes) = (open(), sample(1, 10));
        let digest = Digest::of(&bytes);
        let put = |folder: &Folder| -> Result<(), Error> {
            folder.put(Key::Blob(digest), &bytes)?;
            folder.put_all(&BTreeMap::from([(digest, bytes.clone())]))?;
            folder.put(Key::Manifest(digest), &bytes)?;
            folder.put_variants(digest, &[(Form::Br, Quality::Quick, sample(2, 5))])
        };
        put(&folder).unwrap();
        std::fs::remove_dir_all(data.path().join(name)).unwrap();
        let found = put(&folder);
        assert_eq!(matches!(found, Err(Error::Disk(durable::Error::Gone { .. }))), is_kept, "{name}: {found:?}");
        assert_eq!(data.path().join(name).exists(), !is_kept, "{name}");
        // Restored files come into folders created for them; a cache, and a start, create them anyway.
        folder.make_sent().unwrap();
        put(&folder).unwrap();
        let cache = folder.into_cache();
        std::fs::remove_dir_all(data.path().join(name)).unwrap();
        put(&cache).unwrap();
        std::fs::remove_dir_all(data.path().join(name)).unwrap();
        put(&open()).unwrap();
    }
}

#[test]
fn a_start_over_what_the_system_does_not_let_be_changed_reads_what_is_stored() {
    // EPERM, EIO, EACCES and EROFS, at each step of the start.
    for errno in [1, 5, 13, 30] {
        let data = tempfile::tempdir().unwrap();
        let bytes = sample(1, 10);
        let key = Key::Blob(Digest::of(&bytes));
        Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap().put(key, &bytes).unwrap();
        for nth in 0.. {
            let refusing = arm(data.path(), Fault::Refused(errno), nth);
            let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
            if !refusing.fired() {
                break;
            }
            assert_eq!(folder.get(key).unwrap(), bytes, "{errno} at step {nth}");
            let refused = folder.put(key, &bytes);
            assert!(matches!(&refused, Err(Error::Disk(error)) if error.is_unwritable()), "{errno}: {refused:?}");
        }
    }
}

#[test]
fn an_index_that_cannot_be_read_says_nothing_and_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let digest = Digest::of(&bytes);
    folder.put(Key::Blob(digest), &bytes).unwrap();
    let variants = [(Form::Br, Quality::Quick, sample(2, 5))];
    let index = path_of(data.path(), Key::Variant(digest, Form::Br)).with_extension("index");
    for garbage in [&b""[..], b"\xff\n", b"br 5", &[b'x'; 100_000]] {
        folder.put_variants(digest, &variants).unwrap();
        overwrite(&index, garbage);
        assert_eq!(folder.variants(digest).unwrap(), []);
    }
    folder.put_variants(digest, &variants).unwrap();
    assert_eq!(folder.variants(digest).unwrap().len(), 1);
}

#[tokio::test]
async fn an_upload_that_failed_stays_failed() {
    let harness = InAFolder::start().await;
    let bytes = sample(1, 600_000);
    let armed = arm(harness.data.path(), Fault::Full, 1);
    let mut upload = harness.store().upload(blob(&bytes)).await.unwrap();
    assert!(matches!(upload.write(bytes.clone()).await, Err(Error::Disk(durable::Error::Full { .. }))));
    drop(armed);
    assert!(matches!(upload.write(bytes.clone()).await, Err(Error::Disk(durable::Error::Io { .. }))));
    assert!(matches!(upload.write(Bytes::from_static(b"a")).await, Err(Error::Disk(durable::Error::Io { .. }))));
    assert!(matches!(upload.finish().await, Err(Error::Disk(durable::Error::Io { .. }))));
    assert!(harness.is_tidy().await);
}

#[tokio::test(start_paused = true)]
async fn a_check_reads_no_more_bytes_in_a_second_than_it_is_given() {
    let harness = InAFolder::start().await;
    let bytes = sample(1, 1_000_000);
    harness.store.put(blob(&bytes), bytes.clone()).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(harness.store.check(blob(&bytes), 1_000).await.unwrap(), 1_000_000);
    // The clock of the test advances only by the waits.
    assert!(began.elapsed() >= Duration::from_secs(999), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nothing_new_is_uploaded_below_the_floor_of_free_space() {
    let folder = tempfile::tempdir().unwrap();
    let floor = FreeSpace::short(folder.path().to_path_buf());
    let (small, large) = (sample(1, 1_000), sample(2, 1_000_000));
    let without = FileBlobs::open(folder.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    without.put(blob(&small), small.clone()).await.unwrap();
    drop(without);
    let store = FileBlobs::open(folder.path().to_path_buf(), OPEN_FILES_MAX).unwrap().above(floor);
    assert!(matches!(store.check_free_space(), Err(Error::Short { .. })));
    let mut upload = store.upload(blob(&large)).await.unwrap();
    assert!(matches!(upload.write(large.clone()).await, Err(Error::Short { .. })));
    let mut upload = store.upload_unnamed().await.unwrap();
    upload.write(sample(3, 1_000)).await.unwrap();
    assert!(matches!(upload.finish().await, Err(Error::Short { .. })));
    assert_eq!(files(&folder.path().join("tmp")), BTreeSet::new());
    // Existing files are readable, and files made during serving are stored.
    assert_eq!(store.get(blob(&small)).await.unwrap(), small);
    store.put_variants(Digest::of(&small), vec![(Form::Br, Quality::Quick, sample(1, 100))]).await.unwrap();
}

#[tokio::test]
async fn law_3_a_really_full_disk_is_reported_and_what_was_there_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root may mount a small file system");
        return;
    }
    let store = FileBlobs::open(folder.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let mut kept = Vec::new();
    let full = loop {
        let bytes = sample(kept.len() as u64, 20_000);
        match store.put(blob(&bytes), bytes.clone()).await {
            Ok(()) => kept.push(bytes),
            Err(error) => break error,
        }
        assert!(kept.len() < 100);
    };
    assert!(matches!(full, Error::Disk(durable::Error::Full { .. })), "{full:?}");
    let large = sample(1_000, 1_000_000);
    let mut upload = store.upload(blob(&large)).await.unwrap();
    assert!(matches!(upload.write(large.clone()).await, Err(Error::Disk(durable::Error::Full { .. }))));
    drop(upload);
    let digest = Digest::of(&kept[0]);
    let result = store.put_variants(digest, vec![(Form::Br, Quality::Quick, sample(1, 20_000))]).await;
    assert!(matches!(result, Err(Error::Disk(durable::Error::Full { .. }))));
    assert_eq!(store.variants(digest).await.unwrap(), []);
    for bytes in &kept {
        assert_eq!(store.get(blob(bytes)).await.unwrap(), *bytes);
    }
    assert_eq!(files(&folder.path().join("tmp")), BTreeSet::new());
    // Room can be made on a full disk.
    store.delete(blob(&kept[1])).await.unwrap();
    store.put_variants(digest, vec![(Form::Br, Quality::Quick, sample(1, 10_000))]).await.unwrap();
    drop(store);
    assert!(Command::new("umount").arg("--lazy").arg(folder.path()).status().unwrap().success());
}

/// Not a statement about the machine, only a figure in the output of the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_small_files_are_put_by_sixteen_at_once() {
    let harness = InAFolder::start().await;
    let started = Instant::now();
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let store = harness.store();
            tokio::spawn(async move {
                for n in (task..500).step_by(16) {
                    let bytes = sample(n, 5_000);
                    store.put(blob(&bytes), bytes).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("500 files of 5,000 bytes were put in {:?}", started.elapsed());
    assert_eq!(harness.store().list().await.unwrap().len(), 500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn law_4_what_is_got_is_what_was_put_and_damage_of_any_byte_is_found(
        bytes in proptest::collection::vec(any::<u8>(), 1..5_000),
        pieces in proptest::collection::vec(1..2_000_usize, 1..5),
        place in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
    ) {
        runtime().block_on(async {
            let harness = InAFolder::start().await;
            let (store, bytes) = (harness.store(), Bytes::from(bytes));
            let key = blob(&bytes);
            let mut upload = store.upload(key).await.unwrap();
            let mut rest = bytes.clone();
            for piece in pieces {
                let piece = rest.split_to(piece.min(rest.len()));
                upload.write(piece).await.unwrap();
            }
            upload.write(rest).await.unwrap();
            upload.finish().await.unwrap();
            assert_eq!(store.get(key).await.unwrap(), bytes);
            let mut damaged = bytes.to_vec();
            damaged[place.index(bytes.len())] ^= 1 << bit;
            harness.damage(key, &damaged).await;
            assert!(matches!(store.get(key).await, Err(Error::Corrupt { .. })));
            store.put(key, bytes.clone()).await.unwrap();
            harness.damage(key, &damaged).await;
            assert!(matches!(store.open(key).await.map(drop), Err(Error::Corrupt { .. })));
        });
    }
}

/// Only the system decides if a read would wait; the result must equal that of a blocking read.
#[tokio::test]
async fn what_is_read_without_waiting_is_what_is_stored() {
    let harness = InAFolder::start().await;
    let bytes = sample(3, 200_000);
    let key = Key::Blob(Digest::of(&bytes));
    harness.store().put(key, bytes.clone()).await.unwrap();
    let opened = harness.store().open(key).await.unwrap();
    for (offset, len) in [(0, 65_536), (1, 10), (199_990, 10), (199_990, 100), (200_000, 10), (300_000, 10), (0, 0)] {
        let read = opened.read_at(offset, len);
        if let Some(cached) = opened.read_cached(offset, len).unwrap() {
            assert_eq!(cached, read.unwrap(), "{len} from {offset}");
        }
    }
    // A file truncated meanwhile is left to a blocking read, which reports the damage.
    overwrite(&path_of(harness.data.path(), key), &bytes[..100_000]);
    assert_eq!(opened.read_cached(90_000, 65_536).unwrap(), None);
    assert!(opened.read_at(90_000, 65_536).is_err());
}
