//! Disk space held back for commits that free some: on a full disk, not even a deletion could be recorded otherwise.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use devanture_base::durable;

/// Length of the reserve. A commit writes some dozens of pages of 4 KiB, and those of earlier commits are used again.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// No more than this part of a small disk is held back.
const DISK_SHARE: u64 = 16;
/// In how many steps it is released: another program that fills the disk takes one of them, not all.
const STEPS: u64 = 4;
/// Times the reserve that must be free for it to be filled again.
const FREE_TIMES_MIN: u64 = 2;
/// Interval between two attempts to fill it again.
const REFILL_EVERY: Duration = Duration::from_secs(10);

/// A file whose blocks are given back to the disk when a commit needs them.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// When it was filled or tried last; `None` before the first time.
    tried: Mutex<Option<Instant>>,
}

impl Reserve {
    /// The reserve in the file `path`, filled where the disk has room.
    pub(super) fn open(path: PathBuf) -> Self {
        let reserve = Self { path, tried: Mutex::new(None) };
        reserve.refill();
        reserve
    }

    /// Gives a part of it back to the disk. Returns false when nothing is left.
    pub(super) fn release(&self) -> bool {
        // Not while it is filled.
        let _turn = self.tried.lock();
        let length = self.length();
        let full = self.full_bytes().unwrap_or(length);
        let rest = length.saturating_sub(full.div_ceil(STEPS).max(1));
        if length == 0 {
            return false;
        }
        match durable::set_allocated(&self.path, rest) {
            Ok(()) => {
                tracing::warn!(bytes = length - rest, left = rest, "the disk is full: a commit uses reserved space");
                true
            }
            Err(error) => {
                tracing::error!(%error, "reserved space could not be released");
                false
            }
        }
    }

    /// Fills it where the disk has room again, every few seconds at most.
    pub(super) fn refill(&self) {
        let mut tried = self.tried.lock();
        if tried.is_some_and(|tried| tried.elapsed() < REFILL_EVERY) {
            return;
        }
        *tried = Some(Instant::now());
        let Some(full) = self.full_bytes().filter(|full| self.length() < *full) else { return };
        if self.free_bytes().is_none_or(|free| free < full.saturating_mul(FREE_TIMES_MIN)) {
            return;
        }
        if let Err(error) = durable::set_allocated(&self.path, full) {
            tracing::warn!(%error, "no space could be reserved for commits on a full disk");
        }
    }

    fn length(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    /// The length that it has when it is full; `None` where the system does not answer.
    fn full_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.folder()).ok()?;
        Some(BYTES_MAX.min(disk.f_blocks.saturating_mul(disk.f_frsize) / DISK_SHARE))
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.folder()).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
