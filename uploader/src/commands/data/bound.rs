//! Bounds of an unpacked archive: the archive may come from any backend, and a few bytes of an archive can expand to
//! more than any disk holds.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use devanture_config::problem::Code;

use crate::output::exit::Failure;
use crate::output::report::byte_text;
use crate::platform;

/// Upper bound of unpacked bytes for each received byte: real data compress to a hundredth at best …
const TIMES_MAX: u64 = 1_000;
/// … beyond this size, which is always allowed: 1 GiB.
const ALWAYS_BYTES: u64 = 1 << 30;
/// The least size counted for an entry, as it takes that much of a disk.
const ENTRY_BYTES: u64 = 4_096;
/// The part of a disk to be left free …
const RESERVE_PART: u64 = 20;
/// … and the upper bound of these bytes: 1 GiB.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// The remedy for a reached bound.
const LIFT: &str = "look at it first: pull it as an archive, such as backup.tar.zst; `--max-bytes BYTES` unpacks it up to \
                    so many bytes";

/// Counts the bytes read.
pub(super) struct Counted<R> {
    from: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.bytes.set(self.bytes.get().saturating_add(count as u64));
        Ok(count)
    }
}

/// The bound of one archive.
pub(super) struct Bound {
    /// The user's bound, in place of the other bounds.
    max: Option<u64>,
    /// The destination folder.
    folder: PathBuf,
    read: Rc<Cell<u64>>,
    unpacked: u64,
}

impl Bound {
    /// Returns the bound of the archive in `from`, unpacked into `folder`; with the reader that counts for it.
    pub(super) fn new<R: Read>(from: R, folder: &Path, max: Option<u64>) -> (Self, Counted<R>) {
        let read = Rc::new(Cell::new(0));
        let bound = Self { max, folder: folder.to_owned(), read: Rc::clone(&read), unpacked: 0 };
        (bound, Counted { from, bytes: read })
    }

    /// Checks, before an entry is made, that the disk has room for its bytes.
    ///
    /// # Errors
    /// `unreadable_file`, as for a full disk; like [`Self::add`].
    pub(super) fn begin(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.max.is_none()
            && let Some((free, reserve)) = free_space(&self.folder)
            && bytes > free.saturating_sub(reserve)
        {
            let (bytes, free, reserve) = (byte_text(bytes), byte_text(free), byte_text(reserve));
            let folder = self.folder.display();
            let message = format!(
                "A file of {bytes} does not fit on the disk of {folder}: {free} are free, of which {reserve} stay so."
            );
            return Err(Failure::new(Code::UnreadableFile, message).hint(format!("make room; or {LIFT}")));
        }
        // Even with a bound of the user: this concerns names alone.
        self.add(if bytes == 0 && self.max.is_none() { ENTRY_BYTES } else { 0 })
    }

    /// Counts bytes that are about to be written.
    ///
    /// # Errors
    /// `archive_bomb`.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), Failure> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        let read = self.read.get();
        let max = self.max.unwrap_or_else(|| ALWAYS_BYTES.saturating_add(read.saturating_mul(TIMES_MAX)));
        if self.unpacked <= max {
            return Ok(());
        }
        let message = match self.max {
            Some(max) => format!("The archive unpacks to more than the {} that `--max-bytes` allows.", byte_text(max)),
            None => format!(
                "The archive unpacks to more than {}, of which {} have come: data does not compress so far.",
                byte_text(max),
                byte_text(read)
            ),
        };
        Err(Failure::new(Code::ArchiveBomb, message).hint(LIFT))
    }
}

/// Returns the free bytes on the disk of a folder, and the bytes to be left free; `None` if unknown.
fn free_space(folder: &Path) -> Option<(u64, u64)> {
    let (free, size) = platform::disk_bytes(folder)?;
    Some((free, (size / RESERVE_PART).min(RESERVE_BYTES_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_is_bounded_by_what_has_come_or_by_what_a_person_allows() {
        let folder = tempfile::tempdir().unwrap();
        let (mut bound, mut from) = Bound::new(&[0; 10][..], folder.path(), None);
        bound.add(ALWAYS_BYTES).unwrap();
        let refused = bound.add(1).unwrap_err();
        assert!(refused.is(Code::ArchiveBomb) && refused.hint.unwrap().contains("--max-bytes"), "{}", refused.message);
        io::copy(&mut from, &mut io::sink()).unwrap();
        bound.add(10 * TIMES_MAX - 1).unwrap();
        assert!(bound.add(1).is_err());
        let (mut bound, _) = Bound::new(io::empty(), folder.path(), Some(2 * ALWAYS_BYTES));
        bound.add(2 * ALWAYS_BYTES).unwrap();
        assert!(bound.add(1).unwrap_err().message.contains("`--max-bytes`"));
        let (mut bound, _) = Bound::new(io::empty(), folder.path(), None);
        let entries = (0..=ALWAYS_BYTES / ENTRY_BYTES).take_while(|_| bound.begin(0).is_ok()).count();
        assert_eq!(entries as u64, ALWAYS_BYTES / ENTRY_BYTES, "files that hold nothing take their room, too");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_does_not_fit_on_the_disk_is_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut bound, _) = Bound::new(io::empty(), folder.path(), None);
        let refused = bound.begin(u64::MAX).unwrap_err();
        assert!(refused.is(Code::UnreadableFile) && refused.message.contains("does not fit"), "{}", refused.message);
        let (mut bound, _) = Bound::new(io::empty(), folder.path(), Some(1));
        bound.begin(u64::MAX).unwrap();
    }
}
