//! The file of the catalog, by blocking calls: opening, reading, committing, and reopening after an error. On a disk
//! that cannot be written, the file is read in its current state ([`UnwrittenFile`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, WriteTransaction,
};

use super::header::Header;
use super::panics::quietly;
use super::storage::{Seal, SealedFile, storage};
use super::unwritten::UnwrittenFile;
use crate::catalog::{Change, Check, Commit, Error, Record, Revision};
use devanture_base::durable::{self, FILE_MODE};
use devanture_base::telemetry::Noted;

/// Key to eight bytes of revision, the highest first, and the value.
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Numbers about the catalog.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The key in [`META`] of the layout's number, [`FORMAT`].
const META_FORMAT: &str = "format";
/// The key in [`META`] of the last commit's revision.
pub(super) const META_REVISION: &str = "revision";
/// The origin of a mirror. A copy made by [`CatalogFile::copy_to`] has no origin: the copy is an independent catalog.
pub(super) const ORIGIN: TableDefinition<'_, &str, &str> = TableDefinition::new("origin");
/// The layout number of this program.
const FORMAT: u64 = 1;
/// Upper bound of the database's cache in bytes. Records are small and the system caches the file, too.
const CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The length of a revision before a value.
const REVISION_BYTES: usize = 8;

/// An opened catalog.
pub(super) struct CatalogFile {
    pub(super) path: PathBuf,
    /// Locked for writing while the file is closed and reopened; locked for reading by all other users, including
    /// commits. `None` after a failed reopening: the next caller tries again.
    pub(super) database: RwLock<Option<Database>>,
    /// Set if the database is over an [`UnwrittenFile`].
    pub(super) unwritten: AtomicBool,
    /// The identity of the opened file.
    identity: durable::Identity,
    /// The last head written by this process.
    header: Arc<Header>,
    seal: Seal,
    /// The lock of the file, held for the life of the value, including the moment between closing and reopening; `None`
    /// while the catalog is handed over.
    pub(super) lock: Mutex<Option<durable::Lock>>,
    pub(super) logged: LoggedFaults,
    #[cfg(test)]
    faults: Option<Arc<super::tests::Faults>>,
}

/// Log lines about a failing disk, each at most once a minute: a caller that waits for the disk tries every second, and
/// every change meets the same error.
#[derive(Default)]
pub(super) struct LoggedFaults {
    pub(super) failed: Noted,
    opening: Noted,
    pub(super) reading: Noted,
    sync: Noted,
}

/// The reason of a refused commit.
enum Refusal {
    /// The check at this key failed.
    Conflict(String),
    /// The database failed, perhaps after the commit of this revision was written.
    Failed(redb::Error, Option<Revision>),
}

impl<E: Into<redb::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into(), None)
    }
}

pub(super) fn store_error(error: redb::Error) -> Error {
    match error {
        redb::Error::Io(source) if durable::is_full(&source) => Error::Full,
        // An error of the system that is not caused by the file itself.
        redb::Error::Io(source) if source.raw_os_error().is_some() => Error::Unwritable { reason: source.to_string() },
        other => Error::Store(other.to_string()),
    }
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    |error| match error.raw_os_error() {
        Some(_) => Error::Unwritable { reason: error.to_string() },
        None => Error::Store(format!("reading {}: {error}", path.display())),
    }
}

pub(super) fn durable_error(error: &durable::Error) -> Error {
    match error {
        durable::Error::Full { .. } => Error::Full,
        durable::Error::Gone { .. } => Error::Unwritable { reason: error.to_string() },
        durable::Error::Replaced { path } => Error::Replaced { path: path.clone() },
        durable::Error::Io { source, .. } if source.raw_os_error().is_some() => {
            Error::Unwritable { reason: error.to_string() }
        }
        durable::Error::Io { .. } => Error::Store(error.to_string()),
    }
}

/// Runs `work` on the database, which panics at some damaged pages.
///
/// # Errors
/// The errors of `work`, and [`Error::Damaged`] in place of such a panic.
pub(super) fn whole<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let damaged = |_panic| Err(Error::Damaged { path: path.display().to_string() });
    quietly(|| catch_unwind(AssertUnwindSafe(work))).unwrap_or_else(damaged)
}

impl CatalogFile {
    /// Opens the catalog in `path`; creates a missing file. A file on a failed or read-only disk is opened for reads.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let held = |holder| Error::Locked { path: path.display().to_string(), holder };
        let lock = take_lock(path)?;
        if !path.exists() {
            create(path)?;
        }
        let seal = Seal::default();
        let header = Arc::new(Header::open(path).map_err(unreadable(path))?);
        let (database, is_unwritten) = whole(path, || {
            let opened = SealedFile::open(path, seal.clone(), Arc::clone(&header));
            let opened = opened.and_then(|file| cached().create_with_backend(file));
            let (database, is_unwritten) = match opened {
                // A holder without the lock file: a tool, or an older copy of the folder.
                Err(DatabaseError::DatabaseAlreadyOpen) => return Err(held(None)),
                Err(error) if is_failed_disk(&error) => {
                    tracing::error!(path = %path.display(), %error, "the catalog cannot be written: it is read alone");
                    (unwritten(path).map_err(|_unread| store_error(error.into()))?, true)
                }
                opened => (opened.map_err(|error| store_error(error.into()))?, false),
            };
            check_format(&database)?;
            Ok((database, is_unwritten))
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            database: RwLock::new(Some(database)),
            unwritten: AtomicBool::new(is_unwritten),
            identity: durable::Identity::of(path).map_err(|error| durable_error(&error))?,
            header,
            seal,
            lock: Mutex::new(Some(lock)),
            logged: LoggedFaults::default(),
            #[cfg(test)]
            faults: None,
        })
    }

    /// Returns true if records are readable while the disk cannot be written.
    pub(super) fn is_unwritten(&self) -> bool {
        self.unwritten.load(Ordering::Acquire)
    }

    pub(super) fn reopened(&self) -> Result<Database, DatabaseError> {
        let file = SealedFile::open(&self.path, self.seal.clone(), Arc::clone(&self.header))?;
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return cached().create_with_backend(super::tests::FailingFile::over(file, faults));
        }
        cached().create_with_backend(file)
    }

    #[cfg(test)]
    pub(super) fn open_failing(path: &Path, faults: &Arc<super::tests::Faults>) -> Result<Self, Error> {
        let mut file = Self::open(path)?;
        file.faults = Some(Arc::clone(faults));
        file.open_again()?;
        Ok(file)
    }

    /// Closes and reopens the file, so that the database repairs the state after an interrupted commit. Reads go on
    /// after most errors.
    pub(super) fn open_again(&self) -> Result<(), Error> {
        let mut database = self.database.write();
        // A different file in its place would be taken for this file, with different records.
        self.check_in_place()?;
        // Closed first, since the file can be open only once.
        drop(database.take());
        self.open_into(&mut database)
    }

    /// Reopens the file for `database`, which is empty; only for reads if the file cannot be written.
    pub(super) fn open_into(&self, database: &mut Option<Database>) -> Result<(), Error> {
        match self.reopened() {
            Ok(opened) => {
                *database = Some(opened);
                self.unwritten.store(false, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                if self.logged.opening.is_due() {
                    tracing::error!(path = %self.path.display(), %error, "the catalog could not be opened again: it is read alone");
                }
                *database = unwritten(&self.path).ok();
                self.unwritten.store(database.is_some(), Ordering::Release);
                Err(store_error(error.into()))
            }
        }
    }

    /// Resumes in the file itself once the file can be written again, after changes in memory were written there. Must
    /// not run concurrently with a commit.
    ///
    /// # Errors
    /// An error while the file cannot be written.
    pub(super) fn return_to_file(&self) -> Result<(), Error> {
        if !self.is_unwritten() || self.is_handed_over() {
            return Ok(());
        }
        self.check_in_place()?;
        // A probe avoids that the database reads the whole file each time only to find the disk unwritable.
        durable::probe(durable::folder_of(&self.path)).map_err(|error| durable_error(&error))?;
        self.write_again()?;
        let mut database = self.database.write();
        let opened = self.reopened().map_err(|error| store_error(error.into()))?;
        if let Some(in_memory) = database.as_ref() {
            bring(in_memory, &opened).map_err(store_error)?;
        }
        *database = Some(opened);
        self.unwritten.store(false, Ordering::Release);
        tracing::info!(path = %self.path.display(), "the catalog can be written again");
        Ok(())
    }

    /// Passes the database to `work`; `None` while there is no database.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Database) -> T) -> Option<T> {
        let database = self.database.read();
        database.as_ref().map(work)
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the path still names the opened file, and that only this process has written to the file.
    pub(super) fn check_in_place(&self) -> Result<(), Error> {
        if self.is_handed_over() {
            return Err(Error::HandedOver);
        }
        self.identity.check().map_err(|error| durable_error(&error))?;
        if self.header.is_ours() { Ok(()) } else { Err(Error::Replaced { path: self.path.display().to_string() }) }
    }

    /// Makes the changes if all checks hold. Callers must not overlap.
    pub(super) fn commit(&self, commit: &Commit) -> Result<Revision, Error> {
        // The next start would lose a commit to a file without a name, and a commit on top of changes that are not on
        // the disk would be lost together with them.
        self.check_in_place()?;
        self.write_again()?;
        self.return_to_file()?;
        let write = |database: &Database| write(database, commit);
        let mut attempt = self.with(write);
        if attempt.is_none() {
            self.open_again()?;
            attempt = self.with(write);
        }
        match attempt {
            Some(Ok(revision)) => Ok(revision),
            Some(Err(Refusal::Conflict(key))) => Err(Error::Conflict { key }),
            Some(Err(Refusal::Failed(error, attempted))) => self.settle(error, attempted),
            None => Err(store_error(redb::Error::DatabaseClosed)),
        }
    }

    /// Reopens the file after a failed commit, and finds out if the commit was made nevertheless: the last write may
    /// have reached the disk before the error.
    fn settle(&self, error: redb::Error, attempted: Option<Revision>) -> Result<Revision, Error> {
        if self.logged.failed.is_due() {
            tracing::error!(path = %self.path.display(), %error, "a commit failed; the catalog is opened again");
        }
        match (self.open_again().and_then(|()| self.write_again()), attempted) {
            (Err(replaced @ Error::Replaced { .. }), _) => Err(replaced),
            (Ok(()), Some(attempted)) if self.revision()? == attempted => Ok(attempted),
            // The commit may be readable, whether on the disk or not.
            (Err(_), Some(_)) if self.seal.is_unsynced() => Err(Error::Undecided { reason: error.to_string() }),
            (Ok(()) | Err(_), _) => Err(store_error(error)),
        }
    }

    /// Writes changes to the disk that a failed sync has left only in memory, if any. Must not run concurrently with a
    /// commit.
    pub(super) fn write_again(&self) -> Result<(), Error> {
        if !self.seal.is_unsynced() {
            return Ok(());
        }
        self.check_in_place()?;
        if self.logged.sync.is_due() {
            tracing::warn!(path = %self.path.display(), "a sync of the catalog failed: all of it is written once more");
        }
        durable::write_again(&self.path).map_err(|error| durable_error(&error))?;
        self.seal.note_synced();
        Ok(())
    }
}

/// Returns the revision of the last commit that a reader sees.
pub(super) fn revision_in(transaction: &ReadTransaction) -> Result<Revision, redb::Error> {
    let table = transaction.open_table(META)?;
    let found = table.get(META_REVISION)?;
    Ok(found.map_or(0, |value| value.value()))
}

impl Drop for CatalogFile {
    fn drop(&mut self) {
        if !self.is_handed_over() && !self.header.is_ours() {
            // Closing writes the commit numbers of this process into a file copied over the catalog, which would spoil
            // a backup.
            self.seal.close();
        }
    }
}

/// Takes the lock beside the catalog in `path`.
pub(super) fn take_lock(path: &Path) -> Result<durable::Lock, Error> {
    let held = |holder| Error::Locked { path: path.display().to_string(), holder };
    durable::lock(&path.with_extension("lock")).map_err(|error| durable_error(&error))?.map_err(held)
}

/// Creates a catalog without records. The file gets its name when it is whole: a half-made file could not be opened any
/// more.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let draft = path.with_extension("new");
    let durable = |error: durable::Error| durable_error(&error);
    durable::remove_file(&draft).map_err(durable)?;
    let file = durable::open_in_place(&draft, FILE_MODE).map_err(durable)?;
    let made = initialise(file).map_err(store_error);
    let result = made.and_then(|()| durable::move_file(&draft, path).map_err(durable));
    if result.is_err() {
        drop(durable::remove_file(&draft));
    }
    result.map(|_| ())
}

/// Returns a builder of databases with a cache of [`CACHE_BYTES_MAX`].
pub(super) fn cached() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES_MAX);
    builder
}

/// Changes the contents of `to`, an earlier state of `from`, to those of `from`, atomically and durably. Does nothing
/// if both have the same revision.
fn bring(from: &Database, to: &Database) -> Result<(), redb::Error> {
    let reading = from.begin_read()?;
    let revision = revision_in(&reading)?;
    if revision == revision_in(&to.begin_read()?)? {
        return Ok(());
    }
    let mut writing = to.begin_write()?;
    writing.set_durability(Durability::Immediate)?;
    {
        let (wanted, mut records) = (reading.open_table(RECORDS)?, writing.open_table(RECORDS)?);
        let mut gone = Vec::new();
        for entry in records.iter()? {
            let (key, _) = entry?;
            if wanted.get(key.value())?.is_none() {
                gone.push(key.value().to_owned());
            }
        }
        for key in gone {
            records.remove(key.as_str())?;
        }
        for entry in wanted.iter()? {
            let (key, value) = entry?;
            let is_same = records.get(key.value())?.is_some_and(|stored| stored.value() == value.value());
            if !is_same {
                records.insert(key.value(), value.value())?;
            }
        }
        writing.open_table(META)?.insert(META_REVISION, revision)?;
        match reading.open_table(ORIGIN) {
            Ok(texts) => {
                let mut origin = writing.open_table(ORIGIN)?;
                for entry in texts.iter()? {
                    let (key, text) = entry?;
                    origin.insert(key.value(), text.value())?;
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    writing.commit()?;
    Ok(())
}

/// Opens the database of the file in `path`, without writes to the file.
fn unwritten(path: &Path) -> Result<Database, DatabaseError> {
    let file = UnwrittenFile::open(path).map_err(storage)?;
    cached().create_with_backend(file)
}

/// Returns true if the disk is the reason for the failed opening of a database. A missing right is not: the remedy is a
/// different user.
fn is_failed_disk(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Storage(StorageError::Io(source)) if durable::is_failed_disk(source))
}

fn initialise(file: std::fs::File) -> Result<(), redb::Error> {
    let kept = file.try_clone().map_err(StorageError::from)?;
    let database = cached().create_file(file)?;
    let transaction = database.begin_write()?;
    {
        transaction.open_table(RECORDS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_REVISION, 0)?;
    }
    transaction.commit()?;
    drop(database);
    Ok(kept.sync_all().map_err(StorageError::from)?)
}

fn check_format(database: &Database) -> Result<(), Error> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let table = database.begin_read()?.open_table(META)?;
        let found = table.get(META_FORMAT)?;
        Ok(found.map(|value| value.value()))
    };
    match read().map_err(store_error)? {
        Some(FORMAT) => Ok(()),
        other => Err(Error::Store(format!(
            "the catalog has the format {}; this program knows {FORMAT}",
            other.map_or_else(|| "of no number".to_owned(), |number| number.to_string())
        ))),
    }
}

fn write(database: &Database, commit: &Commit) -> Result<Revision, Refusal> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let revision = apply(&transaction, commit)?;
    transaction.commit().map_err(|error| Refusal::Failed(error.into(), Some(revision)))?;
    Ok(revision)
}

fn apply(transaction: &WriteTransaction, commit: &Commit) -> Result<Revision, Refusal> {
    let mut records = transaction.open_table(RECORDS)?;
    for check in &commit.checks {
        let (key, expected) = match check {
            Check::Absent(key) => (key, None),
            Check::At(key, revision) => (key, Some(*revision)),
        };
        let found = match records.get(key.as_str())? {
            Some(value) => Some(decoded(key, value.value()).map_err(|e| Refusal::Failed(e, None))?.revision),
            None => None,
        };
        if found != expected {
            return Err(Refusal::Conflict(key.clone()));
        }
    }
    let mut meta = transaction.open_table(META)?;
    let last = meta.get(META_REVISION)?.map_or(0, |value| value.value());
    let revision = last.checked_add(1).ok_or_else(|| StorageError::Corrupted("no revision is left".to_owned()))?;
    for change in &commit.changes {
        match change {
            Change::Delete(key) => drop(records.remove(key.as_str())?),
            Change::Put(key, value) => drop(records.insert(key.as_str(), encoded(revision, value).as_slice())?),
        }
    }
    meta.insert(META_REVISION, revision)?;
    Ok(revision)
}

pub(super) fn encoded(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REVISION_BYTES.saturating_add(value.len()));
    bytes.extend_from_slice(&revision.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

pub(super) fn decoded(key: &str, bytes: &[u8]) -> Result<Record, redb::Error> {
    match bytes.split_first_chunk::<REVISION_BYTES>() {
        Some((revision, value)) => Ok(Record { value: value.into(), revision: Revision::from_be_bytes(*revision) }),
        None => Err(redb::Error::Corrupted(format!("the record {key} is shorter than its revision"))),
    }
}
