//! Files that say which process has something to itself.

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

/// Opens a lock file, making it where it is missing. A link is not followed: anyone who may put one there would choose
/// which file is overwritten.
fn open(path: &Path) -> Result<File, Error> {
    open_or_create(path, OpenOptions::new().read(true).write(true).mode(FILE_MODE).custom_flags(NO_FOLLOW))
}

/// Opens a lock file that is there on a disk that cannot be written: the lock itself is none of the disk's.
fn open_to_read(path: &Path, error: Error) -> Result<File, Error> {
    if !error.is_failed_disk() {
        return Err(error);
    }
    OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path).map_err(|_unreadable| error)
}

/// A file that says which process has something to itself, for as long as this value or the process lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// A copy of the lock, which holds for as long as one of both lives; another process may receive it.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn copy(&self) -> std::io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// The copy of a lock that an earlier process took.
    #[must_use]
    pub fn adopt(copy: OwnedFd) -> Self {
        Self { file: copy.into() }
    }
}

/// Takes the lock file `path`, making it where it is missing; `Err` inside is the process that has it, where it can be
/// known.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn lock(path: &Path) -> Result<Result<Lock, Option<u32>>, Error> {
    // The lock is the inode's, so this one file is written in place: a rename would leave two locks.
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
    // A full disk does not weaken the lock; only its holder is not recorded.
    let named = file.set_len(0).and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
    if let Err(error) = named {
        tracing::warn!(path = %path.display(), %error, "the lock file could not be written");
    }
    Ok(Ok(Lock { file }))
}

/// Whether another process has the lock of [`lock`], as far as the caller may know. Makes no file.
#[must_use]
pub fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Takes the lock file `path`, creating it if missing, and waits until its holder is done: for work that is over
/// at once.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn lock_in_turn(path: &Path) -> Result<Lock, Error> {
    let file = open(path)?;
    file.lock().map_err(failed("locking", path))?;
    Ok(Lock { file })
}
