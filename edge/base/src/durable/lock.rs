//! Lock files, each held by one process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Error, FILE_MODE, failed, open_or_create};

/// Bytes read of a lock file: a process id is shorter.
const PID_BYTES_MAX: u64 = 16;
/// Refuses to open a link (open(2)).
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Opens a lock file, creating a missing file. A link is not followed: otherwise a user who can place a link would
/// choose the file to overwrite.
fn open(path: &Path) -> Result<File, Error> {
    open_or_create(path, OpenOptions::new().read(true).write(true).mode(FILE_MODE).custom_flags(NO_FOLLOW))
}

/// Opens an existing lock file on an unwritable disk: the lock itself is not stored on the disk.
fn open_to_read(path: &Path, error: Error) -> Result<File, Error> {
    if !error.is_failed_disk() {
        return Err(error);
    }
    OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path).map_err(|_unreadable| error)
}

/// Exclusive lock file, held as long as the value or the process lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Copies the lock, which is held as long as either copy lives; a copy may be passed to another process.
    ///
    /// # Errors
    /// Fails if no descriptors are left.
    pub fn copy(&self) -> std::io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Adopts the copy of a lock taken by an earlier process.
    #[must_use]
    pub fn adopt(copy: OwnedFd) -> Self {
        Self { file: copy.into() }
    }
}

/// Takes the lock file `path`, creating a missing file; the inner `Err` is the process that holds the lock, if known.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn lock(path: &Path) -> Result<Result<Lock, Option<u32>>, Error> {
    // The lock belongs to the inode, so the file is written in place: a rename would leave two locks.
    let file = open(path).or_else(|error| open_to_read(path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.take(PID_BYTES_MAX).read_to_string(&mut text);
            return Ok(Err(read.ok().and_then(|_| text.trim().parse().ok())));
        }
        Err(TryLockError::Error(error)) => return Err(failed("locking", path)(error)),
    }
    // A full disk does not weaken the lock; only the holder is not recorded.
    let named = file.set_len(0).and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
    if let Err(error) = named {
        tracing::warn!(path = %path.display(), %error, "the lock file could not be written");
    }
    Ok(Ok(Lock { file }))
}

/// Returns true if another process holds the lock of [`lock`], as far as visible to the caller. Creates no file.
#[must_use]
pub fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Takes the lock file `path`, creating a missing file, and waits for the current holder: for short work.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn lock_in_turn(path: &Path) -> Result<Lock, Error> {
    let file = open(path)?;
    file.lock().map_err(failed("locking", path))?;
    Ok(Lock { file })
}
