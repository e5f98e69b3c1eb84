//! Tests of deltas in the folder of files: their layout, the order of steps, and the state after failures.

use super::*;
use crate::blobs::DELTA_DICTIONARIES_MAX;
use crate::blobs::conformance::delta;

/// Changes the deltas of a failing store: new ones, better ones, and more than a blob may have.
pub(super) fn life(folder: &Folder, old: Digest, new: Digest, generation: u64) -> Result<(), Error> {
    let of = |quality| DeltaForm::ALL.map(|form| delta(form, 1, quality, &sample(generation + quality as u64, 100)));
    folder.put_deltas(new, &of(Quality::Quick))?;
    folder.put_deltas(new, &of(Quality::Best))?;
    // Of a different dictionary each time, so that the oldest delta of the remaining blob is removed.
    let from = |number| NewDelta {
        dictionary: Digest::of(&[generation.to_le_bytes(), [number; 8]].concat()),
        ..delta(DeltaForm::Dcz, 1, Quality::Quick, &sample(generation, 50))
    };
    folder.put_deltas(old, &[from(0), from(1)])
}

fn put_blob(folder: &Folder, bytes: &Bytes) -> Digest {
    folder.put(blob(bytes), bytes).unwrap();
    Digest::of(bytes)
}

#[test]
fn the_layout_of_deltas_is_the_one_that_is_written_down() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let digest = put_blob(&folder, &sample(1, 10));
    let made = DeltaForm::ALL.map(|form| delta(form, 5, Quality::Quick, &sample(2, 5)));
    folder.put_deltas(digest, &made).unwrap();
    let (hex, dictionary) = (digest.to_string(), made[0].dictionary);
    let two = &hex[..2];
    let expected = ["index".to_owned(), format!("{dictionary}.dcb"), format!("{dictionary}.dcz")];
    let expected: BTreeSet<_> = expected.into_iter().map(|end| format!("{two}/{hex}.{end}")).collect();
    assert_eq!(files(&data.path().join("deltas")), expected);
    let index = std::fs::read_to_string(data.path().join(format!("deltas/{two}/{hex}.index"))).unwrap();
    let (sha256, hash) = ("05".repeat(32), Digest::of(&sample(2, 5)));
    let line = |form| format!("{form} {dictionary} {sha256} 5 {hash} quick\n");
    assert_eq!(index, line("dcb") + &line("dcz"));
    for name in files(&data.path().join("deltas")) {
        let path = data.path().join("deltas").join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "{path:?}");
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    }
    // A damaged file is moved to where an operator finds it.
    let key = Key::Delta(digest, dictionary, DeltaForm::Dcb);
    overwrite(&path_of(data.path(), key), b"worse");
    assert!(matches!(folder.get(key), Err(Error::Corrupt { .. })));
    let quarantined = format!("delta-{hex}.{dictionary}.dcb");
    assert_eq!(files(&data.path().join("quarantine")), [quarantined].into());
}

#[test]
fn law_6_every_delta_is_synced_before_it_has_its_name_and_the_index_comes_last() {
    use durable::Step::{Create, Folder as MakeFolder, Remove, Rename, SyncFile, SyncFolder, Write};
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let digest = put_blob(&folder, &sample(1, 10));
    let put = |deltas: &[NewDelta]| {
        let log = arm(data.path(), Fault::None, 0);
        folder.put_deltas(digest, deltas).unwrap();
        log.steps()
    };
    let both = |number, quality| DeltaForm::ALL.map(|form| delta(form, number, quality, &sample(2, 5)));
    let drafts = [Create, Write, SyncFile].repeat(3);
    // The first try of a rename finds no folder.
    let first = [&drafts[..], &[Rename, MakeFolder, SyncFolder, Rename, Rename, Rename, SyncFolder]].concat();
    assert_eq!(put(&both(0, Quality::Quick)), first);
    // The old index is removed before bytes that it does not describe get a name.
    let replaced = [&drafts[..], &[Remove, Rename, Rename, Rename, SyncFolder]].concat();
    assert_eq!(put(&both(0, Quality::Best)), replaced);
    assert_eq!(put(&both(0, Quality::Quick)), []);
    let added = [&drafts[..], &[Rename, Rename, Rename, SyncFolder]].concat();
    for number in 1..DELTA_DICTIONARIES_MAX {
        assert_eq!(put(&both(number, Quality::Quick)), added);
    }
    let in_place_of_the_oldest = [&drafts[..], &[Remove, Remove, Rename, Rename, Rename, SyncFolder]].concat();
    assert_eq!(put(&both(100, Quality::Quick)), in_place_of_the_oldest);
}

#[test]
fn an_index_of_deltas_that_cannot_be_read_says_nothing_and_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let digest = put_blob(&folder, &sample(1, 10));
    let deltas = [delta(DeltaForm::Dcb, 1, Quality::Quick, &sample(2, 5))];
    let index = path_of(data.path(), Key::Blob(digest)).display().to_string().replace("/blobs/", "/deltas/") + ".index";
    for garbage in [&b""[..], b"\xff\n", b"dcb 5", &[b'x'; 100_000]] {
        folder.put_deltas(digest, &deltas).unwrap();
        overwrite(Path::new(&index), garbage);
        assert_eq!(folder.deltas(digest).unwrap(), []);
    }
    folder.put_deltas(digest, &deltas).unwrap();
    assert_eq!(folder.deltas(digest).unwrap().len(), 1);
    std::fs::remove_dir_all(data.path().join("deltas")).unwrap();
    assert_eq!(folder.deltas(digest).unwrap(), []);
    folder.put_deltas(digest, &deltas).unwrap();
    assert_eq!(folder.deltas(digest).unwrap().len(), 1);
}

#[test]
fn a_listing_removes_deltas_whose_blob_is_gone_also_those_that_no_index_lists() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let made = |number| [delta(DeltaForm::Dcz, number, Quality::Quick, &sample(2, 5))];
    let (gone, kept) = (put_blob(&folder, &sample(1, 10)), put_blob(&folder, &sample(2, 10)));
    for digest in [gone, kept] {
        folder.put_deltas(digest, &made(1)).unwrap();
        // A crash in the middle of a put leaves this state.
        let left = path_of(data.path(), Key::Delta(digest, Digest::of(b"left"), DeltaForm::Dcb));
        durable::write_file(&left, b"left", 0o600).unwrap();
    }
    let shard = path_of(data.path(), Key::Delta(gone, gone, DeltaForm::Dcb)).parent().unwrap().to_path_buf();
    durable::write_file(&shard.join("README"), b"", 0o600).unwrap();
    std::fs::remove_file(path_of(data.path(), Key::Blob(gone))).unwrap();
    assert_eq!(folder.list().unwrap().len(), 1);
    let left = files(&data.path().join("deltas"));
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.iter().all(|name| name.contains(&kept.to_string()) || name.ends_with("README")));
    assert_eq!(folder.deltas(kept).unwrap().len(), 1);
}

/// An empty index means that no delta was made, which only the system can leave behind.
#[test]
fn indexes_that_cannot_be_read_are_set_aside_and_counted_and_others_stay() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_path_buf(), OPEN_FILES_MAX).unwrap();
    let digest = put_blob(&folder, &sample(1, 10));
    assert_eq!(folder.check_lists(digest).unwrap(), 0, "there is none");
    folder.put_variants(digest, &[(Form::Br, Quality::Quick, sample(2, 5))]).unwrap();
    folder.put_deltas(digest, &[delta(DeltaForm::Dcb, 1, Quality::Quick, &sample(2, 5))]).unwrap();
    let indexes = [("variant", folder.index_path(digest)), ("delta", folder.delta_index_path(digest))];
    for (kind, index) in &indexes {
        assert_eq!(folder.check_lists(digest).unwrap(), 0);
        overwrite(index, b"");
        assert_eq!(folder.check_lists(digest).unwrap(), 0);
        overwrite(index, b"\xff\n");
        assert_eq!(folder.check_lists(digest).unwrap(), 1);
        assert!(!index.exists() && data.path().join(format!("quarantine/{kind}-{digest}.index")).exists());
    }
    for (_, index) in &indexes {
        durable::write_file(index, b"\xff\n", 0o600).unwrap();
    }
    assert_eq!(folder.check_lists(digest).unwrap(), 2);
}
