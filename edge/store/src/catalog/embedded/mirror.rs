//! The file as a mirror of a remote store: commits with their remote revisions, and whole snapshots.
//!
//! A mirror has an origin, a text that names the store. Commits need not be on stable storage one by one: a lost tail
//! comes again from the origin, after the revision of the file.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering as AtomicOrdering;

use redb::{Database, Durability, ReadableTable, Table, TableError};
use tokio::sync::mpsc;

use super::RedbCatalog;
use super::file::{CatalogFile, META, META_REVISION, ORIGIN, RECORDS, encoded, store_error};
use crate::catalog::{Change, Committed, Error, Record, Revision};

/// The key of the origin in [`ORIGIN`].
const ORIGIN_KEY: &str = "origin";
/// The key in [`ORIGIN`] of the note.
const NOTE_KEY: &str = "note";

/// A part of a snapshot: records in the byte order of their keys.
pub(in crate::catalog) struct SnapshotPage {
    pub(in crate::catalog) records: Vec<(String, Record)>,
    /// Set on the last page.
    pub(in crate::catalog) is_last: bool,
}

/// A whole state that replaces the state of the mirror.
pub(in crate::catalog) struct Snapshot {
    pub(in crate::catalog) origin: String,
    pub(in crate::catalog) revision: Revision,
    /// A note of the reader about the origin; empty for none.
    pub(in crate::catalog) note: String,
    /// The pages. If the channel closes before the last page, the mirror stays as it is.
    pub(in crate::catalog) pages: mpsc::Receiver<SnapshotPage>,
}

impl RedbCatalog {
    /// Returns the origin of the mirror; `None` if the file is not a mirror yet, or is an independent catalog.
    pub(in crate::catalog) async fn origin(&self) -> Result<Option<String>, Error> {
        self.blocking(|file| file.text(ORIGIN_KEY)).await
    }

    /// Returns the last note stored with the records; `None` if there is none.
    pub(in crate::catalog) async fn note(&self) -> Result<Option<String>, Error> {
        self.blocking(|file| file.text(NOTE_KEY)).await
    }

    /// The revision of the last commit in the file.
    pub(in crate::catalog) async fn last_revision(&self) -> Result<Revision, Error> {
        let revision = self.blocking(CatalogFile::revision).await?;
        self.watchers.last.store(revision, AtomicOrdering::Release);
        Ok(revision)
    }

    /// Writes the commits of the origin after `after`, in order; commits up to the file's own revision are skipped.
    /// Stores `note` with them. With `is_durable`, all applied commits are on stable storage when the call returns.
    /// Watchers are not informed.
    ///
    /// # Errors
    /// [`Error::Store`] if the file ends before `after`, so that commits would be missing.
    pub(in crate::catalog) async fn apply(
        &self,
        after: Revision,
        commits: Vec<Committed>,
        note: Option<String>,
        is_durable: bool,
    ) -> Result<(), Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let watchers = Arc::clone(&self.watchers);
        self.blocking(move |file| {
            let _turn = turn;
            let durability = if is_durable { Durability::Immediate } else { Durability::None };
            let revision = file.apply_all(after, &commits, note.as_deref(), durability)?;
            watchers.last.store(revision, AtomicOrdering::Release);
            Ok(())
        })
        .await
    }

    /// Replaces the records by those of a snapshot, atomically and durably. Returns the changes if `is_announced`.
    pub(in crate::catalog) async fn replace(
        &self,
        snapshot: Snapshot,
        is_announced: bool,
    ) -> Result<Vec<Change>, Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let watchers = Arc::clone(&self.watchers);
        self.blocking(move |file| {
            let _turn = turn;
            let revision = snapshot.revision;
            let mut changes = Vec::new();
            file.replace_all(snapshot, |change| {
                if is_announced {
                    changes.push(change);
                }
            })?;
            watchers.last.store(revision, AtomicOrdering::Release);
            Ok(changes)
        })
        .await
    }

    /// Sends a commit to the watchers.
    pub(in crate::catalog) fn announce(&self, committed: Committed) {
        // A commit without a watcher has no receiver, which is no error.
        drop(self.watchers.committed.send(committed));
    }
}

impl CatalogFile {
    fn text(&self, key: &'static str) -> Result<Option<String>, Error> {
        self.read(|transaction| match transaction.open_table(ORIGIN) {
            Ok(table) => Ok(table.get(key)?.map(|text| text.value().to_owned())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Returns the revision of the file afterwards.
    fn apply_all(
        &self,
        after: Revision,
        commits: &[Committed],
        note: Option<&str>,
        durability: Durability,
    ) -> Result<Revision, Error> {
        let applied = self.write_as_mirror(|database| apply(database, after, commits, note, durability))?;
        applied.map_err(|last| Error::Store(format!("the mirror ends at {last} and not at {after}")))
    }

    fn replace_all(&self, snapshot: Snapshot, changed: impl FnMut(Change)) -> Result<(), Error> {
        match self.write_as_mirror(|database| replace(database, snapshot, changed))? {
            true => Ok(()),
            false => Err(Error::Store("the snapshot ended before its last page".to_owned())),
        }
    }

    /// Passes the file to `write`, or the copy while a new process has the file. Callers must not overlap.
    fn write_as_mirror<T>(&self, write: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        if self.is_handed_over() {
            return self.with(write).unwrap_or(Err(redb::Error::DatabaseClosed)).map_err(store_error);
        }
        self.check_in_place()?;
        if self.with(|_| ()).is_none()
            && let Err(error) = self.open_again()
            && !self.is_unwritten()
        {
            return Err(error);
        }
        // If the disk cannot be written, the mirror follows in memory: changes lost at the end of the process come
        // again.
        let written = self.with(write);
        written.unwrap_or(Err(redb::Error::DatabaseClosed)).map_err(|error| {
            if self.is_unwritten() {
                return store_error(error);
            }
            if self.logged.failed.is_due() {
                tracing::error!(path = %self.path.display(), %error, "the mirror could not be written and is opened again");
            }
            // A failure has no effect: the next access tries again, and reports the error.
            drop(self.open_again());
            store_error(error)
        })
    }
}

/// Returns the revision of the file afterwards; if the file ends before `after`, the file is unchanged and its revision
/// is the error.
fn apply(
    database: &Database,
    after: Revision,
    commits: &[Committed],
    note: Option<&str>,
    durability: Durability,
) -> Result<Result<Revision, Revision>, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    let mut last;
    {
        let mut records = transaction.open_table(RECORDS)?;
        let mut meta = transaction.open_table(META)?;
        last = meta.get(META_REVISION)?.map_or(0, |value| value.value());
        if last < after {
            return Ok(Err(last));
        }
        for committed in commits {
            if committed.revision <= last {
                continue;
            }
            for change in committed.changes.iter() {
                make(&mut records, change, committed.revision)?;
            }
            last = committed.revision;
        }
        meta.insert(META_REVISION, last)?;
        if let Some(note) = note {
            transaction.open_table(ORIGIN)?.insert(NOTE_KEY, note)?;
        }
    }
    transaction.commit()?;
    Ok(Ok(last))
}

fn make(records: &mut Table<'_, &str, &[u8]>, change: &Change, revision: Revision) -> Result<(), redb::Error> {
    match change {
        Change::Delete(key) => drop(records.remove(key.as_str())?),
        Change::Put(key, value) => drop(records.insert(key.as_str(), encoded(revision, value).as_slice())?),
    }
    Ok(())
}

/// Returns false, without any change, if the last page did not arrive.
fn replace(database: &Database, mut snapshot: Snapshot, mut changed: impl FnMut(Change)) -> Result<bool, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        let mut done: Option<String> = None;
        loop {
            let Some(page) = snapshot.pages.blocking_recv() else { return Ok(false) };
            let is_last = page.is_last;
            let end = page.records.last().map(|(key, _)| key.clone()).filter(|_| !is_last);
            merge(&mut records, done.as_deref(), end.as_deref(), page, &mut changed)?;
            if is_last {
                break;
            }
            done = end.or(done);
        }
        transaction.open_table(META)?.insert(META_REVISION, snapshot.revision)?;
        transaction.open_table(ORIGIN)?.insert(ORIGIN_KEY, snapshot.origin.as_str())?;
        transaction.open_table(ORIGIN)?.insert(NOTE_KEY, snapshot.note.as_str())?;
    }
    transaction.commit()?;
    Ok(true)
}

/// Replaces the records after `after` up to `end` by those of a page; up to the last record without an `end`.
fn merge(
    records: &mut Table<'_, &str, &[u8]>,
    after: Option<&str>,
    end: Option<&str>,
    page: SnapshotPage,
    changed: &mut impl FnMut(Change),
) -> Result<(), redb::Error> {
    if end.is_none() && !page.is_last {
        // An empty page between two pages.
        return Ok(());
    }
    let bounds = (after.map_or(Bound::Unbounded, Bound::Excluded), end.map_or(Bound::Unbounded, Bound::Included));
    let mut deleted = Vec::new();
    let mut put = Vec::new();
    {
        let mut stored = records.range::<&str>(bounds)?;
        let mut wanted = page.records.into_iter();
        let (mut left, mut right) = (stored.next().transpose()?, wanted.next());
        loop {
            let order = match (&left, &right) {
                (Some((key, _)), Some((wanted, _))) => key.value().cmp(wanted),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            if order == Ordering::Less
                && let Some((key, _)) = &left
            {
                deleted.push(key.value().to_owned());
            }
            if order != Ordering::Less
                && let Some((key, record)) = right.take()
            {
                let bytes = encoded(record.revision, &record.value);
                // Compares the bytes and not the revision alone: a restored cluster assigns its revisions a second
                // time.
                let is_same = order == Ordering::Equal
                    && left.as_ref().is_some_and(|(_, stored)| stored.value() == bytes.as_slice());
                if !is_same {
                    put.push((key, record, bytes));
                }
                right = wanted.next();
            }
            if order != Ordering::Greater {
                left = stored.next().transpose()?;
            }
        }
    }
    for key in deleted {
        records.remove(key.as_str())?;
        changed(Change::Delete(key));
    }
    for (key, record, bytes) in put {
        records.insert(key.as_str(), bytes.as_slice())?;
        changed(Change::Put(key, record.value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{Catalog, Commit};

    type SealState = BTreeMap<String, (Revision, Vec<u8>)>;

    fn pages(state: &SealState, records_max: usize) -> Vec<SnapshotPage> {
        let all: Vec<_> = state
            .iter()
            .map(|(key, (revision, value))| {
                (key.clone(), Record { value: value.as_slice().into(), revision: *revision })
            })
            .collect();
        let mut pages: Vec<_> =
            all.chunks(records_max).map(|records| SnapshotPage { records: records.to_vec(), is_last: false }).collect();
        match pages.last_mut() {
            Some(page) => page.is_last = true,
            None => pages.push(SnapshotPage { records: Vec::new(), is_last: true }),
        }
        pages
    }

    async fn replace(
        catalog: &RedbCatalog,
        state: &SealState,
        revision: Revision,
        records_max: usize,
    ) -> Result<Vec<Change>, Error> {
        send(catalog, pages(state, records_max), revision).await
    }

    async fn send(catalog: &RedbCatalog, pages: Vec<SnapshotPage>, revision: Revision) -> Result<Vec<Change>, Error> {
        let (sender, receiver) = mpsc::channel(pages.len() + 1);
        for page in pages {
            sender.try_send(page).ok().unwrap();
        }
        drop(sender);
        let snapshot = Snapshot { origin: "a".to_owned(), revision, note: String::new(), pages: receiver };
        catalog.replace(snapshot, true).await
    }

    async fn state(catalog: &RedbCatalog) -> SealState {
        let listed = catalog.list("", None, false, usize::MAX).await.unwrap();
        listed.into_iter().map(|(key, record)| (key, (record.revision, record.value.to_vec()))).collect()
    }

    fn states() -> impl Strategy<Value = SealState> {
        prop::collection::btree_map("[ab]{0,3}", (1..4_u64, prop::collection::vec(0..2_u8, 0..2)), 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_snapshot_replaces_whatever_is_there_and_names_each_difference(
            before in states(), after in states(), records_max in 1..5_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            runtime.block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let catalog = RedbCatalog::open(&folder.path().join("mirror.redb")).unwrap();
                replace(&catalog, &before, 5, records_max).await.unwrap();
                assert_eq!(state(&catalog).await, before);
                let changes = replace(&catalog, &after, 9, records_max).await.unwrap();
                assert_eq!(state(&catalog).await, after);
                assert_eq!(catalog.last_revision().await.unwrap(), 9);
                let mut changed: Vec<_> = changes.iter().map(|change| match change {
                    Change::Delete(key) | Change::Put(key, _) => key.clone(),
                }).collect();
                changed.sort();
                let all: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
                let different: Vec<_> = all.into_iter().filter(|key| before.get(key) != after.get(key)).collect();
                assert_eq!(changed, different);
            });
        }
    }

    #[tokio::test]
    async fn a_snapshot_without_its_last_page_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = RedbCatalog::open(&folder.path().join("mirror.redb")).unwrap();
        let before = SealState::from([("a".to_owned(), (1, vec![1])), ("b".to_owned(), (2, vec![2]))]);
        replace(&catalog, &before, 2, 9).await.unwrap();
        let mut cut = pages(&SealState::from([("b".to_owned(), (3, vec![3])), ("c".to_owned(), (3, vec![3]))]), 1);
        cut.pop();
        assert!(send(&catalog, cut, 3).await.is_err());
        assert_eq!(state(&catalog).await, before);
        assert_eq!(catalog.last_revision().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_mirror_has_the_revisions_of_its_origin_and_keeps_them_when_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.redb");
        let catalog = RedbCatalog::open(&path).unwrap();
        assert_eq!(catalog.origin().await.unwrap(), None);
        replace(&catalog, &SealState::new(), 7, 1).await.unwrap();
        let committed = |revision, change| Committed { revision, changes: [change].into() };
        let put = |key: &str| Change::Put(key.to_owned(), b"1".as_slice().into());
        let commits = vec![
            // From before the snapshot.
            committed(6, put("old")),
            committed(12, put("a")),
            committed(40, put("b")),
            committed(41, Change::Delete("a".to_owned())),
        ];
        catalog.apply(7, commits, Some("b".to_owned()), false).await.unwrap();
        drop(catalog);
        let catalog = RedbCatalog::open(&path).unwrap();
        assert_eq!(catalog.origin().await.unwrap().as_deref(), Some("a"));
        assert_eq!(catalog.note().await.unwrap().as_deref(), Some("b"));
        assert_eq!(catalog.last_revision().await.unwrap(), 41);
        assert_eq!(state(&catalog).await, SealState::from([("b".to_owned(), (40, b"1".to_vec()))]));
    }

    #[tokio::test]
    async fn a_mirror_that_is_handed_over_is_written_to_its_copy_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.redb");
        let old = RedbCatalog::open(&path).unwrap();
        replace(&old, &SealState::new(), 1, 1).await.unwrap();
        old.hand_over().await.unwrap();
        let new = RedbCatalog::open(&path).unwrap();
        let put = Change::Put("a".to_owned(), b"1".as_slice().into());
        let commits = vec![Committed { revision: 2, changes: [put].into() }];
        old.apply(1, commits.clone(), None, true).await.unwrap();
        assert_eq!((old.last_revision().await.unwrap(), new.last_revision().await.unwrap()), (2, 1));
        assert!(matches!(old.commit(Commit::default()).await, Err(Error::HandedOver)));
        drop(new);
        old.take_back().await.unwrap();
        assert_eq!(old.last_revision().await.unwrap(), 1);
        // Commits that only the copy had are missing in the file.
        assert!(matches!(old.apply(2, commits, None, true).await, Err(Error::Store(_))));
        assert_eq!(old.last_revision().await.unwrap(), 1);
    }
}
