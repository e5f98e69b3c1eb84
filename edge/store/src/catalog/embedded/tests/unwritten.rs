//! Tests of a disk that cannot be written: records are read on, and a mirror follows in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{CatalogFile, Faults, RedbCatalog, SmallDisk, number, path_in};
use crate::catalog::embedded::{Snapshot, SnapshotPage};
use crate::catalog::{Catalog as _, Change, Committed, Error, Record, Revision};

/// Errors of a disk that cannot be written: EPERM, EIO, ENXIO, EACCES, ENODEV, EROFS, ESTALE and EUCLEAN.
const UNWRITABLE: [i32; 8] = [1, 5, 6, 13, 19, 30, 116, 117];

#[test]
fn a_disk_that_takes_no_write_refuses_commits_by_name_and_is_read_on() {
    for errno in UNWRITABLE {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let file = CatalogFile::open_failing(&path_in(&folder), &faults).unwrap();
        let first = file.commit(&number(1)).unwrap();
        faults.errno.store(errno, Ordering::SeqCst);
        faults.after(0, true);
        for _ in 0..3 {
            let refused = file.commit(&number(2));
            assert!(matches!(refused, Err(Error::Unwritable { .. })), "{errno}: {refused:?}");
            assert_eq!(file.get("last").unwrap().unwrap().revision, first, "{errno}");
            assert_eq!(file.list("n/", None, false, 9).unwrap().len(), 1, "{errno}");
        }
        assert!(file.is_unwritten() && file.return_to_file().is_err(), "{errno}");
        faults.after(usize::MAX, false);
        file.return_to_file().unwrap();
        assert!(!file.is_unwritten(), "{errno}");
        assert!(file.commit(&number(2)).unwrap() > first, "{errno}");
        drop(file);
        assert_eq!(CatalogFile::open(&path_in(&folder)).unwrap().list("n/", None, false, 9).unwrap().len(), 2);
    }
}

fn put(revision: Revision, key: &str) -> Committed {
    Committed { revision, changes: vec![Change::Put(key.to_owned(), b"1".as_slice().into())].into() }
}

#[tokio::test]
async fn a_mirror_follows_in_memory_until_its_disk_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mirror = RedbCatalog::of(CatalogFile::open_failing(&path_in(&folder), &faults).unwrap(), 0);
    let (pages, receiver) = mpsc::channel(1);
    let old = Record { value: b"1".as_slice().into(), revision: 4 };
    pages.try_send(SnapshotPage { records: vec![("old".to_owned(), old)], is_last: true }).ok().unwrap();
    let snapshot = Snapshot { origin: "a".to_owned(), revision: 5, note: "n5".to_owned(), pages: receiver };
    mirror.replace(snapshot, false).await.unwrap();
    faults.errno.store(30, Ordering::SeqCst);
    faults.after(0, true);
    assert!(mirror.apply(5, vec![put(6, "new")], None, true).await.is_err(), "it is found out");
    let delete = Committed { revision: 7, changes: vec![Change::Delete("old".to_owned())].into() };
    mirror.apply(5, vec![put(6, "new"), delete], Some("n7".to_owned()), true).await.unwrap();
    let revision_of = async |mirror: &RedbCatalog, key| mirror.get(key).await.unwrap().map(|record| record.revision);
    assert_eq!((revision_of(&mirror, "new").await, revision_of(&mirror, "old").await), (Some(6), None));
    assert!(mirror.state().is_unwritable && mirror.look_after().await.is_err());
    assert_eq!(revision_of(&mirror, "new").await, Some(6), "an attempt to go back loses nothing");
    faults.after(usize::MAX, false);
    mirror.look_after().await.unwrap();
    assert!(!mirror.state().is_unwritable);
    mirror.apply(7, vec![put(8, "last")], None, true).await.unwrap();
    drop(mirror);
    let mirror = RedbCatalog::open(&path_in(&folder)).unwrap();
    assert_eq!((revision_of(&mirror, "new").await, revision_of(&mirror, "old").await), (Some(6), None));
    assert_eq!(mirror.last_revision().await.unwrap(), 8);
    assert_eq!((mirror.origin().await.unwrap(), mirror.note().await.unwrap()), (Some("a".into()), Some("n7".into())));
}

#[tokio::test]
async fn a_catalog_on_a_disk_that_is_mounted_read_only_opens_and_is_read() {
    let Some(disk) = SmallDisk::mount("8m") else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let catalog = RedbCatalog::open_with_reserve(&path_in(&disk.0)).unwrap();
    let first = catalog.commit(number(1)).await.unwrap();
    drop(catalog);
    disk.remount("ro");
    let catalog = Arc::new(RedbCatalog::open_with_reserve(&path_in(&disk.0)).unwrap());
    assert!(catalog.state().is_unwritable);
    assert!(matches!(RedbCatalog::open(&path_in(&disk.0)), Err(Error::Locked { .. })), "it has its lock");
    assert_eq!(catalog.get("last").await.unwrap().unwrap().revision, first);
    let refused = catalog.commit(number(2)).await;
    assert!(matches!(refused, Err(Error::Unwritable { .. })), "{refused:?}");
    disk.remount("rw");
    assert!(catalog.commit(number(2)).await.unwrap() > first);
    assert!(!catalog.state().is_unwritable);
}
