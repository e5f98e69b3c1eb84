//! Reads every page of the catalog and compares each page with its checksum.
//!
//! The database makes the comparison only at the opening of a file that no process closed. A damaged page without
//! readers, or with bytes that still look like a record, would be found by the start after the next crash, which then
//! fails. So the file is copied in the state of such a start, and the copy is read as by such a start.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::RedbCatalog;
use super::file::{CatalogFile, cached, durable_error, store_error, whole};
use crate::catalog::{CopyState, Error};
use devanture_base::durable::{self, FILE_MODE};

/// The extension of a copy while its bytes are written. The copy has no name any more when it is read.
const COPY_EXTENSION: &str = "checked";
/// Free space required on the disk, as a multiple of the copy: commits need room meanwhile.
const FREE_TIMES_MIN: u64 = 2;
/// Bytes of one read before the copy is made.
const PIECE_BYTES: usize = 1_024 * 1_024;
/// Lower bound of the rate of these reads: pages read more slowly leave memory again before they are copied.
const BYTES_PER_SECOND_MIN: u64 = 8 * 1_024 * 1_024;
/// Progress of a repair up to which the database checks the last commit, from 0. The callback gets more than 0 only for
/// a damaged last commit, and then 0.3; with a whole one, the next call is at 0.6.
const LAST_COMMIT_LOST_MAX: f64 = 0.5;
/// The priority of the thread that reads a copy, where 0 is usual and 19 the lowest: the same as for compression that a
/// push waits for.
const NICE: i32 = 10;

impl RedbCatalog {
    /// See [`crate::catalog::Catalog::check_pages`].
    pub(super) async fn check_all_pages(&self, bytes_per_second_max: u64) -> Result<(), Error> {
        self.read_ahead(bytes_per_second_max).await?;
        // Between two commits the file is whole. The reads bring the file into memory, so that the next commit waits
        // only for a moment.
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let copying = move |file: &CatalogFile| {
            let copy = file.unnamed_copy();
            // Here and not in the caller, which may be gone: no commit is made meanwhile.
            drop(turn);
            copy
        };
        let copy = self.blocking(copying).await?;
        let path = self.file.path().to_owned();
        let (done, found) = oneshot::channel();
        let read = move || {
            lower_priority();
            drop(done.send(check_copy(&path, copy)));
        };
        let spawned = std::thread::Builder::new().name("catalog-pages".to_owned()).spawn(read);
        spawned.map_err(|error| Error::Store(error.to_string()))?;
        let found = match found.await.unwrap_or(Err(Error::Ending)) {
            Ok(CopyState::Whole) => Ok(()),
            // The last commit was acknowledged by this process, which still runs.
            Ok(CopyState::LastCommitLost) => Err(Error::Damaged { path: self.file.path().display().to_string() }),
            Err(damaged @ Error::Damaged { .. }) => Err(damaged),
            Err(unknown) => return Err(unknown),
        };
        self.damaged.store(found.is_err(), Ordering::Release);
        found
    }

    /// Reads the file once, slowly, so that the file is in memory for the copy.
    async fn read_ahead(&self, bytes_per_second_max: u64) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Store(error.to_string());
        let mut opened = self.blocking(move |file| File::open(file.path()).map_err(failed)).await?;
        loop {
            let piece = move || -> std::io::Result<(usize, File)> {
                let read = opened.read(&mut vec![0; PIECE_BYTES])?;
                Ok((read, opened))
            };
            let read;
            (read, opened) = self.blocking(move |_| piece().map_err(failed)).await?;
            if read == 0 {
                return Ok(());
            }
            let pause = pause_after(read as u64, bytes_per_second_max);
            // A timer takes a millisecond at least.
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Returns the pause after `bytes` bytes.
fn pause_after(bytes: u64, bytes_per_second_max: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second_max.max(BYTES_PER_SECOND_MIN))
}

impl CatalogFile {
    /// Returns a copy of the file after the last commit, which vanishes with the handle. Must not run concurrently with
    /// a commit.
    fn unnamed_copy(&self) -> Result<File, Error> {
        self.check_in_place()?;
        // While the database is held, the file is not closed and reopened.
        self.with(|_open| unnamed_copy_of(&self.path)).unwrap_or_else(|| Err(store_error(redb::Error::DatabaseClosed)))
    }
}

fn unnamed_copy_of(path: &Path) -> Result<File, Error> {
    let failed = |error: std::io::Error| store_error(redb::Error::Io(error));
    let mut from = File::open(path).map_err(failed)?;
    let bytes = from.metadata().map_err(failed)?.len();
    if free_bytes(path).is_some_and(|free| free < bytes.saturating_mul(FREE_TIMES_MIN)) {
        return Err(Error::Full);
    }
    let name = path.with_extension(COPY_EXTENSION);
    // Removes the remains of a killed process.
    durable::remove_file(&name).map_err(|error| durable_error(&error))?;
    let mut copy = durable::open_in_place(&name, FILE_MODE).map_err(|error| durable_error(&error))?;
    durable::remove_file(&name).map_err(|error| durable_error(&error))?;
    // Copied by the system, without the bytes in this process.
    std::io::copy(&mut from, &mut copy).map_err(failed)?;
    Ok(copy)
}

/// Returns the free bytes on the disk of a file; `None` if the system does not answer.
fn free_bytes(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn lower_priority() {
    // On Linux the priority belongs to the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the catalog is read at the priority of those that serve visitors");
    }
}

/// Reads every page of `copy`, a copy of the catalog in `path`, which errors name. Blocks on the disk.
///
/// # Errors
/// [`Error::Damaged`] if a start over such a file would fail, [`Error::Store`].
pub(in crate::catalog) fn check_copy(path: &Path, copy: File) -> Result<CopyState, Error> {
    let damaged = || Error::Damaged { path: path.display().to_string() };
    let refused = |error: redb::DatabaseError| match redb::Error::from(error) {
        redb::Error::Corrupted(reason) => {
            tracing::debug!(path = %path.display(), reason, "the catalog is damaged");
            damaged()
        }
        // The file is shorter than its header states.
        redb::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => damaged(),
        other => store_error(other),
    };
    whole(path, || {
        // The database would turn an empty file into a catalog.
        if copy.metadata().map_err(|error| store_error(redb::Error::Io(error)))?.len() == 0 {
            return Err(damaged());
        }
        let (was_read, is_last_lost) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let noted = (Rc::clone(&was_read), Rc::clone(&is_last_lost));
        let mut builder = cached();
        builder.set_repair_callback(move |repair| {
            let (was_read, is_last_lost) = &noted;
            was_read.set(true);
            let progress = repair.progress();
            is_last_lost.set(is_last_lost.get() || (progress > 0.0 && progress < LAST_COMMIT_LOST_MAX));
        });
        let mut database = builder.create_file(copy).map_err(refused)?;
        // Opening a closed file reads next to nothing. Without a damaged page, opening makes only what the database
        // restores from other pages.
        if !was_read.get() {
            database.check_integrity().map_err(refused)?;
        }
        Ok(if is_last_lost.get() { CopyState::LastCommitLost } else { CopyState::Whole })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::catalog::{Catalog as _, Change, Commit};

    const MARK: &[u8] = b"a text to be found";

    fn path_in(folder: &TempDir) -> std::path::PathBuf {
        folder.path().join("catalog.redb")
    }

    async fn put(catalog: &RedbCatalog, key: &str, value: &[u8]) {
        let changes = vec![Change::Put(key.to_owned(), value.into())];
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }

    /// Flips a bit in each copy of the text in the file: the page in use has one of the copies.
    fn flip(path: &Path) {
        let bytes = std::fs::read(path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let at = |(at, window): (usize, &[u8])| (window[1..] == MARK[1..]).then_some(at);
        let found: Vec<usize> = bytes.windows(MARK.len()).enumerate().filter_map(at).collect();
        assert!(!found.is_empty());
        for at in found {
            file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        }
    }

    async fn is_damaged(catalog: &RedbCatalog) -> bool {
        let found = catalog.check_pages(u64::MAX).await;
        assert!(matches!(found, Ok(()) | Err(Error::Damaged { .. })), "{found:?}");
        assert_eq!(catalog.state().is_damaged, found.is_err(), "the state has what was found last");
        found.is_err()
    }

    #[tokio::test]
    async fn a_whole_catalog_is_whole_while_it_is_written_and_after_it_was_closed() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
        assert!(!is_damaged(&catalog).await);
        for number in 0..50 {
            put(&catalog, &format!("n/{number:03}"), &[b'x'; 3_000]).await;
        }
        assert!(!is_damaged(&catalog).await);
        put(&catalog, "n/007", MARK).await;
        assert!(!is_damaged(&catalog).await);
        drop(catalog);
        let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
        assert!(!is_damaged(&catalog).await);
        assert_eq!(catalog.list("n/", None, false, 99).await.unwrap().len(), 50);
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["catalog.lock", "catalog.redb"], "the copy has no name");
    }

    #[test]
    fn the_file_is_read_at_the_rate_that_is_wanted_and_never_so_slowly_that_it_leaves_memory() {
        assert_eq!(pause_after(16_777_216, 16_777_216), Duration::from_secs(1));
        assert_eq!(pause_after(16_777_216, u64::MAX), Duration::ZERO);
        for slow in [0, 1, 65_536, BYTES_PER_SECOND_MIN] {
            assert_eq!(pause_after(BYTES_PER_SECOND_MIN, slow), Duration::from_secs(1), "{slow}");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_is_found_that_no_read_shows() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
        put(&catalog, "a", MARK).await;
        for number in 0..50 {
            put(&catalog, &format!("n/{number:03}"), &[b'x'; 3_000]).await;
        }
        drop(catalog);
        // Without a commit since the opening, and with one.
        let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
        for number in [50, 51] {
            assert!(!is_damaged(&catalog).await);
            flip(&path_in(&folder));
            assert!(catalog.get("a").await.unwrap().is_some());
            assert!(is_damaged(&catalog).await);
            flip(&path_in(&folder));
            assert!(!is_damaged(&catalog).await);
            put(&catalog, &format!("n/{number:03}"), &[b'x'; 3_000]).await;
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_of_the_last_commit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
        for number in 0..50 {
            put(&catalog, &format!("n/{number:03}"), &[b'x'; 3_000]).await;
        }
        put(&catalog, "z", MARK).await;
        flip(&path_in(&folder));
        assert!(is_damaged(&catalog).await);
    }

    #[tokio::test]
    async fn a_catalog_that_was_handed_over_is_the_other_process_s_to_check() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
        put(&catalog, "a", MARK).await;
        catalog.hand_over().await.unwrap();
        assert!(matches!(catalog.check_pages(u64::MAX).await, Err(Error::HandedOver)));
    }
}
