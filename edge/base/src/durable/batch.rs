//! Small files written together, so that the waits for the disk are shared.

use std::path::Path;

use super::{Draft, Error};

/// Threads that sync the files of a batch. The first sync makes the file system commit the data of all files, and the
/// remaining threads share the waits for the disk.
const THREADS: usize = 8;

/// Files under temporary names, not yet on stable storage. Dropping the batch removes the files.
#[derive(Debug)]
pub struct Batch {
    drafts: Vec<Draft>,
}

impl Batch {
    /// Writes files in `folder`, which is on the file system of their later names.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`]; no file is left then.
    pub fn write<'b>(folder: &Path, files: impl Iterator<Item = &'b [u8]>) -> Result<Self, Error> {
        let mut drafts = Vec::with_capacity(files.size_hint().0);
        for bytes in files {
            let mut draft = Draft::create(folder)?;
            draft.write(bytes)?;
            drafts.push(draft);
        }
        Ok(Self { drafts })
    }

    /// Syncs all files to stable storage, and returns the files in order.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`], like [`Draft::sync`]; no file is left then.
    pub fn sync(self) -> Result<Vec<Draft>, Error> {
        let share = self.drafts.len().div_ceil(THREADS).max(1);
        std::thread::scope(|scope| {
            let sync = |drafts: &[Draft]| drafts.iter().try_for_each(Draft::sync);
            let mut parts = self.drafts.chunks(share);
            let own = parts.next().unwrap_or_default();
            let others: Vec<_> = parts.map(|part| scope.spawn(move || sync(part))).collect();
            let mut result = sync(own);
            for other in others {
                let synced = other.join().unwrap_or_else(|_panicked| {
                    Err(super::failed("syncing", Path::new("a batch"))(std::io::Error::other("a thread panicked")))
                });
                result = result.and(synced);
            }
            result
        })?;
        Ok(self.drafts)
    }
}
