//! The free space of the disk of the data folder, the floor below which no new file is stored, and the check that the
//! folder can be written at all (`writable`).
//!
//! Serving and switching need a little room too, for records, logs and temporary files. Uploads are therefore refused
//! while some room is left, and not by the first failed write.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::gauge;
use parking_lot::Mutex;

use super::Error;
use devanture_base::durable::failed;
use devanture_base::telemetry::gauge_value;

/// Divisor of the disk's size: at most this part of a disk is left free.
pub const SHARE_MAX: u64 = 16;
/// Number of files that must be possible to create for an upload, or a part of a small disk's: the edge creates files
/// for its own use, too.
const FILES_FREE_MIN: u64 = 32;
/// Interval of checks while no upload arrives.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Number of checks between two test writes of a file.
const LOOKS_BETWEEN_WRITES: u64 = 3;

/// The bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that an ordinary user may fill: the rest is root's.
    pub free_bytes: u64,
    bytes: u64,
    /// Bytes to be left free.
    pub bytes_min: u64,
    /// Number of files that can still be created, if too few. Some file systems, such as btrfs, do not have the number.
    files_short: Option<u64>,
}

impl Room {
    /// Returns the space of the disk of `folder`, with `bytes_min` bytes to be left free, or a part of a smaller disk,
    /// by a divisor. Blocks on the disk.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn of(folder: &Path, bytes_min: u64, share: u64) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        let bytes = found.f_blocks.saturating_mul(found.f_frsize);
        Ok(Self {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            bytes,
            bytes_min: bytes_min.min(bytes.checked_div(share).unwrap_or(u64::MAX)),
            files_short: (found.f_favail < FILES_FREE_MIN.min(found.f_files / SHARE_MAX)).then_some(found.f_favail),
        })
    }
}

/// The free space of one disk.
#[derive(Debug)]
pub struct FreeSpace {
    pub(super) folder: PathBuf,
    bytes_min: u64,
    /// The part of the disk, as a divisor, to be left free at most.
    share: u64,
    is_short: AtomicBool,
    /// The reason why the disk cannot be written; `None` if writes work.
    pub(super) unwritable: Mutex<Option<String>>,
}

impl FreeSpace {
    /// Creates the state of the disk of `folder`, with `bytes_min` bytes to be left free, or a sixteenth of a smaller
    /// disk.
    #[must_use]
    pub fn new(folder: PathBuf, bytes_min: u64) -> Arc<Self> {
        Arc::new(Self::with(folder, bytes_min, SHARE_MAX))
    }

    fn with(folder: PathBuf, bytes_min: u64, share: u64) -> Self {
        Self { folder, bytes_min, share, is_short: AtomicBool::new(false), unwritable: Mutex::default() }
    }

    /// A full disk: more is to stay free than there is.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn short(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self::with(folder, u64::MAX, 0))
    }

    /// Returns true if the last check found less than the space to be left free.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// Checks the disk, and reports a change. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Short`] and [`Error::OutOfFiles`]; [`Error::Disk`] where the system does not answer.
    pub fn check(&self) -> Result<(), Error> {
        let found = Room::of(&self.folder, self.bytes_min, self.share);
        let Room { free_bytes, bytes, bytes_min, files_short } =
            found.map_err(failed("looking at the free space of", &self.folder))?;
        let is_short = free_bytes < bytes_min || files_short.is_some();
        let was_short = self.is_short.swap(is_short, Ordering::Relaxed);
        gauge!("devanture_disk_free_bytes").set(gauge_value(free_bytes));
        gauge!("devanture_disk_size_bytes").set(gauge_value(bytes));
        gauge!("devanture_disk_short").set(u8::from(is_short));
        match (was_short, is_short) {
            (false, true) => tracing::error!(
                free_bytes,
                files_short,
                disk_free_bytes_min = bytes_min,
                "the disk of data_dir is almost full: new files are refused"
            ),
            (true, false) => {
                tracing::info!(free_bytes, "the disk of data_dir has room again: new files are stored");
            }
            _ => {}
        }
        match files_short {
            _ if free_bytes < bytes_min => Err(Error::Short { free_bytes, bytes_min }),
            Some(files_free) => Err(Error::OutOfFiles { files_free }),
            None => Ok(()),
        }
    }

    /// Checks the disk in a loop, for as long as the edge runs.
    pub async fn watch(self: Arc<Self>) {
        for number in 0_u64.. {
            let space = Arc::clone(&self);
            let writes = number.is_multiple_of(LOOKS_BETWEEN_WRITES) || space.unwritable().is_some();
            let look = move || {
                // The error was reported by the check itself, or is that of the first upload.
                drop(space.check());
                if writes {
                    space.look_whether_writable();
                }
            };
            drop(tokio::task::spawn_blocking(look).await);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_base::durable;

    #[test]
    fn less_than_what_is_to_stay_free_is_short() {
        let folder = tempfile::tempdir().unwrap();
        let (roomy, short) = (FreeSpace::new(folder.path().to_owned(), 0), FreeSpace::short(folder.path().to_owned()));
        assert!(matches!((roomy.check(), roomy.is_short()), (Ok(()), false)));
        assert!(matches!((short.check(), short.is_short()), (Err(Error::Short { bytes_min: u64::MAX, .. }), true)));
        let missing = FreeSpace::new(folder.path().join("missing"), 0);
        assert!(matches!(missing.check(), Err(Error::Disk(durable::Error::Io { .. }))));
    }

    #[test]
    fn a_disk_that_gets_short_and_one_that_has_room_again_are_reported_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        // The test does not fill the disk: the floor moves.
        let mut space = FreeSpace::with(folder.path().to_owned(), 0, 0);
        let mut look = |bytes_min| {
            space.bytes_min = bytes_min;
            let log =
                devanture_base::telemetry::logged(|| metrics::with_local_recorder(&recorder, || drop(space.check())));
            let size = gauge_value(Room::of(folder.path(), 0, 0).unwrap().bytes);
            let figures = recorder.handle().render();
            assert!(figures.contains(&format!("devanture_disk_size_bytes {size}\n")), "{figures}");
            assert!(figures.contains("devanture_disk_free_bytes "), "{figures}");
            (log, figures.contains("devanture_disk_short 1\n"))
        };
        assert_eq!(look(0), (String::new(), false));
        let (log, is_short) = look(u64::MAX);
        assert!(is_short && log.contains("almost full: new files are refused"), "{log}");
        assert_eq!(look(u64::MAX), (String::new(), true));
        let (log, is_short) = look(0);
        assert!(!is_short && log.contains("has room again: new files are stored"), "{log}");
        assert_eq!(look(0), (String::new(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_is_looked_at_at_the_start_and_again_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let space = FreeSpace::short(folder.path().to_owned());
        let watch = tokio::spawn(Arc::clone(&space).watch());
        // The paused clock advances only when all tasks are idle: each check is over by then.
        let moment = Duration::from_millis(1);
        tokio::time::sleep(moment).await;
        assert!(space.is_short.swap(false, Ordering::Relaxed));
        tokio::time::sleep(LOOK_EVERY - 3 * moment).await;
        assert!(!space.is_short());
        tokio::time::sleep(9 * moment).await;
        assert!(space.is_short());
        watch.abort();
    }
}
