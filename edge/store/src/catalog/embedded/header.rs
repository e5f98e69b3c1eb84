//! The head of the catalog's file as left by this process, for the detection of foreign writes to the file.
//!
//! A file copied over the catalog keeps the name and the inode of the catalog, but not the head: `redb` stores the
//! numbers and the checksums of the last two commits there, and every commit writes a part of the head.

use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;

/// Bytes of the head: the two commit slots of `redb` are within the first 320.
const HEAD_BYTES: usize = 512;

/// Length and first bytes of a file.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    length: u64,
    first: [u8; HEAD_BYTES],
}

/// A handle for reads, and the expected head after the writes of this process.
///
/// The expectation is updated write by write rather than read after a commit: a file copied over the catalog during the
/// sync of a commit would otherwise be taken for the catalog.
#[derive(Debug)]
pub(super) struct Header {
    file: File,
    /// `None` if the file could not be read, and after a failed write.
    known: Mutex<Option<Head>>,
}

impl Header {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let header = Self { file: File::open(path)?, known: Mutex::new(None) };
        header.note();
        Ok(header)
    }

    /// Records the current head as written by this process.
    pub(super) fn note(&self) {
        *self.known.lock() = self.head().ok();
    }

    /// Returns true if the file is as this process left it. True also if the head is unknown or the file cannot be
    /// read: neither proves a foreign write.
    pub(super) fn is_ours(&self) -> bool {
        self.has(self.known.lock().as_ref())
    }

    /// Calls `write` to put `data` at `offset` of the file.
    ///
    /// # Errors
    /// The errors of `write`; and an error without a write to the head if the file was written by another program.
    pub(super) fn writing(
        &self,
        offset: u64,
        data: &[u8],
        write: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let at = match usize::try_from(offset) {
            Ok(at) if at < HEAD_BYTES => at,
            Ok(_) | Err(_) => return write(),
        };
        self.changing(write, |head| {
            head.first.iter_mut().skip(at).zip(data).for_each(|(byte, new)| *byte = *new);
        })
    }

    /// Calls `resize` to give the file the length `length` in bytes.
    ///
    /// # Errors
    /// Like [`Header::writing`].
    pub(super) fn resizing(&self, length: u64, resize: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        self.changing(resize, |head| head.length = length)
    }

    fn changing(&self, change: impl FnOnce() -> Result<(), Error>, note: impl FnOnce(&mut Head)) -> Result<(), Error> {
        let mut known = self.known.lock();
        if !self.has(known.as_ref()) {
            return Err(Error::other("the file is another one than was opened, and stays as it is"));
        }
        let before = known.take();
        change()?;
        *known = before.map(|mut head| {
            note(&mut head);
            head
        });
        Ok(())
    }

    fn has(&self, known: Option<&Head>) -> bool {
        match (known, self.head()) {
            (Some(known), Ok(head)) => *known == head,
            (None, _) | (_, Err(_)) => true,
        }
    }

    fn head(&self) -> Result<Head, Error> {
        let mut first = [0; HEAD_BYTES];
        let length = self.file.metadata()?.len();
        // A shorter file differs already by its length.
        let wanted = usize::try_from(length).map_or(HEAD_BYTES, |length| length.min(HEAD_BYTES));
        if let Some(first) = first.get_mut(..wanted) {
            self.file.read_exact_at(first, 0)?;
        }
        Ok(Head { length, first })
    }
}
