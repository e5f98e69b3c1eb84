//! The file below `redb`, with a seal: after sealing no write reaches the file, not even by closing the database. After
//! a foreign file was copied over the file, the head is not written any more either.

use std::io::Error;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend, StorageError};

use super::header::Header;
use devanture_base::durable::{self, FILE_MODE};

/// The permission to write to the file, and the state of its syncs; shared by all holders of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Seal(Arc<SealState>);

#[derive(Debug, Default)]
struct SealState {
    is_closed: AtomicBool,
    is_unsynced: AtomicBool,
}

impl Seal {
    /// Refuses every write from now on.
    pub(super) fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }

    /// Returns true if a sync has failed since [`Seal::note_synced`]: earlier writes are readable, and may be missing
    /// on the disk even if a later sync succeeds.
    pub(super) fn is_unsynced(&self) -> bool {
        self.0.is_unsynced.load(Ordering::SeqCst)
    }

    /// Records that the whole file was written once more, and synced.
    pub(super) fn note_synced(&self) {
        self.0.is_unsynced.store(false, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), Error> {
        match self.0.is_closed.load(Ordering::SeqCst) {
            true => Err(Error::other("the file is another one than was opened, and stays as it is")),
            false => Ok(()),
        }
    }
}

/// A file that [`Seal`] can close to writes.
#[derive(Debug)]
pub(super) struct SealedFile {
    file: FileBackend,
    seal: Seal,
    header: Arc<Header>,
}

impl SealedFile {
    /// Opens an existing catalog file, and records its current head as written by this process.
    pub(super) fn open(path: &Path, seal: Seal, header: Arc<Header>) -> Result<Self, DatabaseError> {
        let file = durable::open_in_place(path, FILE_MODE).map_err(|error| storage(error.into_io()))?;
        if file.metadata().map_err(storage)?.len() == 0 {
            // `redb` would begin a catalog there.
            return Err(storage(Error::other("it is empty")));
        }
        let file = FileBackend::new(file)?;
        header.note();
        Ok(Self { file, seal, header })
    }

    /// A sync has failed.
    pub(super) fn note_unsynced(&self) {
        self.seal.0.is_unsynced.store(true, Ordering::SeqCst);
    }
}

pub(super) fn storage(error: Error) -> DatabaseError {
    DatabaseError::Storage(StorageError::Io(error))
}

impl StorageBackend for SealedFile {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.seal.check()?;
        self.header.resizing(len, || self.file.set_len(len))
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.seal.check()?;
        self.file.sync_data().inspect_err(|_failed| self.note_unsynced())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.seal.check()?;
        self.header.writing(offset, data, || self.file.write(offset, data))
    }

    fn close(&self) -> Result<(), Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
