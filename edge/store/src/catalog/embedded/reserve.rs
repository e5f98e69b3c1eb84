//! Disk space reserved for commits that free space: otherwise not even a deletion could be recorded on a full disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use devanture_base::durable;

/// Length of the reserve. A commit writes some dozens of pages of 4 KiB, and reuses pages of earlier commits.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Divisor of a small disk's size: at most this part is reserved.
const DISK_SHARE: u64 = 16;
/// Number of steps in which the reserve is released: a program that fills the disk takes one step, not all.
const STEPS: u64 = 4;
/// Free space required for a refill, as a multiple of the reserve.
const FREE_TIMES_MIN: u64 = 2;
/// Interval between two attempts to refill the reserve.
const REFILL_EVERY: Duration = Duration::from_secs(10);

/// A file of reserved blocks, which are released when a commit needs them.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// The time of the last fill or attempt; `None` before the first.
    tried: Mutex<Option<Instant>>,
}

impl Reserve {
    /// Opens the reserve in the file `path`, and fills the reserve if the disk has room.
    pub(super) fn open(path: PathBuf) -> Self {
        let reserve = Self { path, tried: Mutex::new(None) };
        reserve.refill();
        reserve
    }

    /// Releases a part of the reserve. Returns false if the reserve is empty.
    pub(super) fn release(&self) -> bool {
        // Not during a refill.
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

    /// Refills the reserve if the disk has room again, at most every few seconds.
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

    /// Returns the length of the full reserve; `None` if the system does not answer.
    fn full_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.folder()).ok()?;
        Some(BYTES_MAX.min(disk.f_blocks.saturating_mul(disk.f_frsize) / DISK_SHARE))
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.folder()).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
