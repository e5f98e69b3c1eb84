//! A store with a disk that fills or a process that ends at any step, and the order of syncs.

use super::*;

/// Changes a failing store: new and old blobs, a manifest, new and replaced variants and deltas, a deletion.
fn life(folder: &Folder, generation: u64) -> Result<(), Error> {
    let old = sample(0, 2_000);
    let new = sample(generation, 2_000);
    folder.put(blob(&old), &old)?;
    folder.put(blob(&new), &new)?;
    folder.put(Key::Manifest(Digest::of(&new)), &new)?;
    many::life(folder, generation)?;
    let variants = |quality| {
        let large = 9_000 + quality as usize;
        [
            (Form::Br, quality, sample(quality as u64, large)),
            (Form::Gz, quality, sample(9, 100)),
            (Form::Zst, quality, sample(quality as u64 + 2, if quality == Quality::Quick { 100 } else { large })),
        ]
    };
    folder.put_variants(Digest::of(&new), &variants(Quality::Quick))?;
    folder.put_variants(Digest::of(&new), &variants(Quality::Best))?;
    folder.put_variants(Digest::of(&old), &variants(Quality::Best))?;
    deltas::life(folder, Digest::of(&old), Digest::of(&new), generation)?;
    folder.delete(blob(&new))
}

/// Checks that all listed and known files are whole, and that no further files exist.
pub(super) fn is_sound(data: &Path, folder: &Folder) {
    for (key, size, _) in folder.list().unwrap() {
        assert_eq!(folder.get(key).unwrap().len() as u64, size);
        if let Key::Blob(digest) = key {
            for info in folder.variants(digest).unwrap() {
                let bytes = folder.get(Key::Variant(digest, info.form)).unwrap();
                assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (info.size, info.hash));
            }
            for info in folder.deltas(digest).unwrap() {
                let bytes = folder.get(Key::Delta(digest, info.dictionary, info.form)).unwrap();
                assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (info.size, info.hash));
            }
        }
    }
    assert_eq!(files(&data.join("tmp")), BTreeSet::new());
    assert_eq!(files(&data.join("quarantine")), BTreeSet::new());
}

#[test]
fn law_3_a_full_disk_at_any_step_leaves_everything_whole() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    life(&folder, 1).unwrap();
    for nth in 0.. {
        let armed = arm(data.path(), Fault::Full, nth);
        let result = life(&folder, 2 + nth as u64);
        let fired = armed.fired();
        drop(armed);
        is_sound(data.path(), &folder);
        assert!(folder.get(blob(&sample(0, 2_000))).is_ok(), "step {nth}");
        if !fired {
            result.unwrap();
            break;
        }
        // Some removals are only attempted; any other failure is reported.
        assert!(matches!(result, Ok(()) | Err(Error::Disk(durable::Error::Full { .. }))), "step {nth}: {result:?}");
        // With room again, the same changes succeed.
        life(&folder, 2 + nth as u64).unwrap();
    }
}

#[test]
fn law_3_a_death_at_any_step_leaves_everything_whole_for_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    life(&Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap(), 1).unwrap();
    for nth in 0.. {
        let armed = arm(data.path(), Fault::Death, nth);
        // The crash may also happen during the opening.
        let result =
            Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).and_then(|folder| life(&folder, 2 + nth as u64));
        let fired = armed.fired();
        drop(armed);
        let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
        is_sound(data.path(), &folder);
        assert!(folder.get(blob(&sample(0, 2_000))).is_ok(), "step {nth}");
        if !fired {
            result.unwrap();
            break;
        }
        life(&folder, 2 + nth as u64).unwrap();
    }
}

#[test]
fn law_6_what_could_not_be_synced_into_its_folder_is_there_only_where_it_was_before() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let first = |bytes: &Bytes| Digest::of(bytes).as_bytes()[0];
    let old = sample(0, 20);
    let new = (1..).map(|seed| sample(seed, 20)).find(|bytes| first(bytes) == first(&old)).unwrap();
    folder.put(blob(&old), &old).unwrap();
    for bytes in [&old, &new] {
        let together = BTreeMap::from([(Digest::of(bytes), bytes.clone())]);
        let puts: [&dyn Fn() -> Result<(), Error>; 2] =
            [&|| folder.put(blob(bytes), bytes), &|| folder.put_all(&together)];
        for put in puts {
            let steps = [durable::Step::Create, durable::Step::Write, durable::Step::SyncFile, durable::Step::Rename];
            let armed = arm(data.path(), Fault::Full, steps.len());
            assert!(matches!(put(), Err(Error::Disk(durable::Error::Full { .. }))));
            assert_eq!(armed.steps()[..=steps.len()], [&steps[..], &[durable::Step::SyncFolder]].concat());
            drop(armed);
            assert_eq!(folder.size(blob(bytes)).unwrap(), (bytes == &old).then_some(20));
        }
    }
}

/// Otherwise an index that may not be on the disk would be read, and list files that are lost with the next failure.
#[test]
fn law_6_an_index_that_could_not_be_synced_into_its_folder_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let digest = Digest::of(&bytes);
    folder.put(blob(&bytes), &bytes).unwrap();
    let index = path_of(data.path(), Key::Variant(digest, Form::Br)).with_extension("index");
    let put = |quality, length: usize| folder.put_variants(digest, &[(Form::Br, quality, sample(9, length))]);
    // The first put creates the folder. The index lists a file for a large variant, and contains a small one.
    put(Quality::Quick, 9_000).unwrap();
    let failing_sync = |steps: &[durable::Step]| steps.iter().position(|step| *step == durable::Step::SyncFolder);
    for length in [9_001, 5] {
        folder.delete(blob(&bytes)).unwrap();
        folder.put(blob(&bytes), &bytes).unwrap();
        let steps = {
            let log = arm(data.path(), Fault::None, 0);
            put(Quality::Quick, length).unwrap();
            log.steps()
        };
        folder.delete(blob(&bytes)).unwrap();
        folder.put(blob(&bytes), &bytes).unwrap();
        let armed = arm(data.path(), Fault::Full, failing_sync(&steps).unwrap());
        assert!(matches!(put(Quality::Quick, length), Err(Error::Disk(durable::Error::Full { .. }))));
        assert!(armed.fired());
        drop(armed);
        assert!(!index.exists(), "{length} bytes");
        assert_eq!(folder.variants(digest).unwrap(), []);
        put(Quality::Quick, length).unwrap();
        assert_eq!(folder.variants(digest).unwrap().len(), 1);
    }
}

#[test]
fn law_6_a_start_syncs_the_folders_that_a_killed_process_may_have_made() {
    let data = tempfile::tempdir().unwrap();
    drop(Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap());
    let log = arm(data.path(), Fault::None, 0);
    drop(Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap());
    let synced = log.steps().into_iter().filter(|step| *step == durable::Step::SyncFolder).count();
    assert_eq!(synced, 4, "blobs, variants, deltas, manifests");
}

#[tokio::test]
async fn law_6_an_upload_is_synced_before_it_has_its_name() {
    use durable::Step::{Create, Rename, SyncFile, SyncFolder, Write};
    let harness = InAFolder::start().await;
    for (len, writes) in [(10, 1), (300_000, 1), (600_000, 2)] {
        let bytes = sample(1, len);
        // Creates the folder.
        harness.store.put(blob(&bytes), bytes.clone()).await.unwrap();
        let expected = [&[Create][..], &vec![Write; writes], &[SyncFile, Rename, SyncFolder]].concat();
        let log = arm(harness.data.path(), Fault::None, 0);
        let mut upload = harness.store.upload(blob(&bytes)).await.unwrap();
        for at in (0..len).step_by(300_000) {
            upload.write(bytes.slice(at..(at + 300_000).min(len))).await.unwrap();
        }
        upload.finish().await.unwrap();
        assert_eq!(log.steps(), expected);
        drop(log);
        let log = arm(harness.data.path(), Fault::None, 0);
        let mut upload = harness.store.upload_unnamed().await.unwrap();
        for at in (0..len).step_by(300_000) {
            upload.write(bytes.slice(at..(at + 300_000).min(len))).await.unwrap();
        }
        upload.finish().await.unwrap();
        assert_eq!(log.steps(), expected);
    }
}

#[test]
fn law_6_every_file_of_a_put_is_synced_before_it_has_its_name() {
    use durable::Step::{Create, Folder as MakeFolder, Remove, Rename, SyncFile, SyncFolder, Write};
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let put = || {
        let log = arm(data.path(), Fault::None, 0);
        folder.put(blob(&bytes), &bytes).unwrap();
        log.steps()
    };
    // The first try of a rename finds no folder.
    let made = [Rename, MakeFolder, SyncFolder, Rename, SyncFolder];
    assert_eq!(put(), [&[Create, Write, SyncFile], &made[..]].concat());
    assert_eq!(put(), [Create, Write, SyncFile, Rename, SyncFolder]);
    let put = |quality, lengths: [usize; 2]| {
        let log = arm(data.path(), Fault::None, 0);
        let [br, gz] = lengths.map(|length| sample(length as u64, length));
        folder.put_variants(Digest::of(&bytes), &[(Form::Br, quality, br), (Form::Gz, quality, gz)]).unwrap();
        log.steps()
    };
    let drafts = |count: usize| [[Create, Write].repeat(count), vec![SyncFile; count]].concat();
    let (small, large) = ([5, 8_192], [9_000, 9_001]);
    assert_eq!(put(Quality::Quick, large), [&drafts(3)[..], &made[..4], &[Rename, Rename, SyncFolder]].concat());
    assert_eq!(
        put(Quality::Best, large),
        [&drafts(3)[..], &[Remove, Rename, Rename, Rename, SyncFolder]].concat(),
        "no line of the old index stands beside other bytes"
    );
    assert_eq!(put(Quality::Quick, large), []);
    folder.delete(blob(&bytes)).unwrap();
    folder.put(blob(&bytes), &bytes).unwrap();
    // The index contains the small ones, and is replaced as a whole.
    for quality in [Quality::Quick, Quality::Best] {
        assert_eq!(put(quality, small), [&drafts(1)[..], &[Rename, SyncFolder]].concat());
    }
}

/// Otherwise an unresponsive disk would lead to repeated uploads or encodings, to collections, or to a new store.
#[test]
fn what_cannot_be_read_is_not_taken_for_what_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let bytes = sample(1, 10);
    let (key, digest) = (blob(&bytes), Digest::of(&bytes));
    folder.put(key, &bytes).unwrap();
    let first = digest.as_bytes()[0];
    // If a file is in the place of a folder, the system does not report a missing folder.
    let block = |kind: &str| {
        let shard = folder.shard(kind, digest);
        if shard.exists() {
            std::fs::remove_dir(&shard).unwrap();
        }
        durable::write_file(&shard, b"", 0o600).unwrap();
    };
    let is_unreadable = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Disk(durable::Error::Io { .. }))), "{result:?}");
    };
    assert_eq!((folder.variants(digest).unwrap(), folder.deltas(digest).unwrap()), (vec![], vec![]));
    block("variants");
    is_unreadable(folder.variants(digest).map(drop));
    is_unreadable(folder.open_together(digest, &[(Form::Br, digest)]).map(drop));
    block("deltas");
    is_unreadable(folder.deltas(digest).map(drop));
    for (kind, key) in [("manifests", Key::Manifest(digest)), ("blobs", key)] {
        let path = path_of(data.path(), key);
        if path.exists() {
            durable::remove_file(&path).unwrap();
        }
        assert_eq!(folder.size(key).unwrap(), None);
        block(kind);
        is_unreadable(folder.size(key).map(drop));
        is_unreadable(folder.get(key).map(drop));
    }
    is_unreadable(folder.sizes(&[digest]).map(drop));
    is_unreadable(folder.list_part(first).map(drop));
    let other = tempfile::tempdir().unwrap();
    check_format(other.path()).unwrap();
    durable::make_folder(&other.path().join("format")).unwrap();
    is_unreadable(check_format(other.path()));
}
