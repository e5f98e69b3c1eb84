//! A catalog's file with writes, growth and syncs that fail as planned, or are overtaken by a copy over the file.

use std::io::Error as IoError;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use crate::catalog::embedded::storage::SealedFile;

/// The number of further successful writes of the disk, and the behavior after a failure.
#[derive(Debug)]
pub(in crate::catalog::embedded) struct Faults {
    left: AtomicUsize,
    pub(super) fired: AtomicBool,
    for_good: AtomicBool,
    /// The number of the error.
    pub(super) errno: AtomicI32,
    /// Number of failing syncs.
    pub(super) syncs: AtomicUsize,
    /// A copy made over a file in place of an error.
    instead: Mutex<Option<(PathBuf, Vec<u8>)>>,
}

impl Faults {
    pub(super) fn none() -> Arc<Self> {
        let (fired, for_good) = (AtomicBool::new(false), AtomicBool::new(false));
        let (left, syncs) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
        // ENOSPC.
        let errno = AtomicI32::new(28);
        Arc::new(Self { left, fired, for_good, errno, syncs, instead: Mutex::new(None) })
    }

    /// Copies `bytes` over the file at `path` after `successes` writes, in place of an error.
    pub(super) fn copy_over(&self, successes: usize, path: &Path, bytes: &[u8]) {
        *self.instead.lock() = Some((path.to_path_buf(), bytes.to_vec()));
        self.after(successes, false);
    }

    pub(super) fn after(&self, successes: usize, for_good: bool) {
        self.fired.store(false, Ordering::SeqCst);
        self.for_good.store(for_good, Ordering::SeqCst);
        self.left.store(successes, Ordering::SeqCst);
    }

    fn check_sync(&self) -> Result<(), IoError> {
        let failing = self.syncs.load(Ordering::SeqCst);
        if failing > 0 {
            self.syncs.store(failing - 1, Ordering::SeqCst);
            // EIO.
            return Err(IoError::from_raw_os_error(5));
        }
        self.check()
    }

    #[expect(clippy::disallowed_methods, reason = "over the file itself, as `cp` does")]
    fn check(&self) -> Result<(), IoError> {
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            return Ok(());
        }
        self.fired.store(true, Ordering::SeqCst);
        if !self.for_good.load(Ordering::SeqCst) {
            self.left.store(usize::MAX, Ordering::SeqCst);
        }
        if let Some((path, bytes)) = self.instead.lock().take() {
            return std::fs::write(path, bytes);
        }
        Err(IoError::from_raw_os_error(self.errno.load(Ordering::SeqCst)))
    }
}

/// A file with writes, growth and syncs that fail as planned.
#[derive(Debug)]
pub(in crate::catalog::embedded) struct FailingFile {
    file: SealedFile,
    faults: Arc<Faults>,
}

impl FailingFile {
    pub(in crate::catalog::embedded) fn over(file: SealedFile, faults: &Arc<Faults>) -> Self {
        Self { file, faults: Arc::clone(faults) }
    }
}

impl StorageBackend for FailingFile {
    fn len(&self) -> Result<u64, IoError> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), IoError> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), IoError> {
        self.faults.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), IoError> {
        self.faults.check_sync().inspect_err(|_failed| self.file.note_unsynced())?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), IoError> {
        self.faults.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), IoError> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
