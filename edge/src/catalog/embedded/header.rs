//! The head of the catalog's file as this process left it: whether something else has written over the file since.
//!
//! A file that is copied over ours keeps its name and its inode. Its head does not: `redb` keeps the numbers and the
//! checksums of the last two commits there, and every commit writes one of them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;

/// Bytes of the head: `redb` has its two commit slots within the first 320.
const HEAD_BYTES: usize = 512;

/// Length and first bytes of a file.
#[derive(PartialEq, Eq)]
struct Head {
    length: u64,
    first: [u8; HEAD_BYTES],
}

/// A handle for reading, and what the file had after this process last wrote to it.
pub(super) struct Header {
    file: File,
    /// `None` while this process writes to it, and where it could not be read.
    known: Mutex<Option<Head>>,
}

impl Header {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let header = Self { file: File::open(path)?, known: Mutex::new(None) };
        header.note();
        Ok(header)
    }

    /// Whether the file is as it was noted. True where nothing is noted, and where the file cannot be read: reading it
    /// is no proof that another wrote to it.
    pub(super) fn is_ours(&self) -> bool {
        let known = self.known.lock();
        match (&*known, self.head()) {
            (Some(known), Ok(head)) => *known == head,
            (None, _) | (_, Err(_)) => true,
        }
    }

    /// Lets `write` write to the file, and notes what it left there. Never called by two at once.
    pub(super) fn writing<T>(&self, write: impl FnOnce() -> T) -> T {
        *self.known.lock() = None;
        let outcome = write();
        self.note();
        outcome
    }

    fn note(&self) {
        *self.known.lock() = self.head().ok();
    }

    fn head(&self) -> std::io::Result<Head> {
        let mut first = [0; HEAD_BYTES];
        let length = self.file.metadata()?.len();
        // A shorter file is another one already by its length.
        let wanted = usize::try_from(length).map_or(HEAD_BYTES, |length| length.min(HEAD_BYTES));
        if let Some(first) = first.get_mut(..wanted) {
            self.file.read_exact_at(first, 0)?;
        }
        Ok(Head { length, first })
    }
}
