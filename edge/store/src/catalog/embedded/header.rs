//! The head of the catalog's file as this process left it: whether something else has written over the file since.
//!
//! A file that is copied over ours keeps its name and its inode. Its head does not: `redb` keeps the numbers and the
//! checksums of the last two commits there, and every commit writes one of them.

use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;

/// Bytes of the head: `redb` has its two commit slots within the first 320.
const HEAD_BYTES: usize = 512;

/// Length and first bytes of a file.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    length: u64,
    first: [u8; HEAD_BYTES],
}

/// A handle for reading, and what the file has by what this process wrote to it.
///
/// That is kept write by write rather than read after a commit: what is copied over the file while a commit is synced
/// would be taken for ours otherwise.
#[derive(Debug)]
pub(super) struct Header {
    file: File,
    /// `None` where the file could not be read, and after a write that failed.
    known: Mutex<Option<Head>>,
}

impl Header {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let header = Self { file: File::open(path)?, known: Mutex::new(None) };
        header.note();
        Ok(header)
    }

    /// Takes what the file has for ours.
    pub(super) fn note(&self) {
        *self.known.lock() = self.head().ok();
    }

    /// Whether the file is as this process left it. True where nothing is known, and where the file cannot be read:
    /// that is no proof that another wrote to it.
    pub(super) fn is_ours(&self) -> bool {
        self.has(self.known.lock().as_ref())
    }

    /// Lets `write` put `data` at `offset` of the file.
    ///
    /// # Errors
    /// Those of `write`; and without writing to the head where the file is no longer ours.
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

    /// Lets `resize` give the file that length in bytes.
    ///
    /// # Errors
    /// As [`Header::writing`].
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
        // A shorter file is another one already by its length.
        let wanted = usize::try_from(length).map_or(HEAD_BYTES, |length| length.min(HEAD_BYTES));
        if let Some(first) = first.get_mut(..wanted) {
            self.file.read_exact_at(first, 0)?;
        }
        Ok(Head { length, first })
    }
}
