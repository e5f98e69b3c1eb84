//! Reads a stored file piece by piece, with a check of each piece.

use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
#[cfg(target_os = "linux")]
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::folder::{Checked, Folder};
use super::handles::FileId;
use super::tree::Tree;
use crate::blobs::{Key, ReadAt, read_on_a_thread};
use devanture_base::fair::Lane;

/// A file, readable while the value exists, even after a loss of the name. There are one or two values for each of very
/// many served files.
pub(super) struct OpenedFile {
    pub(super) checked: Checked,
    pub(super) folder: Arc<Folder>,
    /// The lane of the turns for reads from the disk.
    pub(super) lane: Lane,
}

impl OpenedFile {
    /// Returns the name of the bytes. Computed on demand, since there is a value for each encoding of very many files.
    fn key(&self) -> Key {
        match (self.checked.handle.id(), self.checked.form) {
            (FileId::Index(blob), Some(form)) => Key::Variant(blob, form),
            // An index contains only variants.
            (FileId::Index(blob), None) => Key::Blob(blob),
            (FileId::Of(key), _) => key,
        }
    }

    /// Returns the available part of `len` bytes from `offset`.
    fn available(&self, offset: u64, len: usize) -> usize {
        usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(len)
    }

    /// Records that an operator removed or replaced the file by hand.
    fn note_lost(&self, error: &std::io::Error) {
        if error.kind() == ErrorKind::NotFound && !self.is_damaged() {
            self.checked.tree.set_damaged();
            self.folder.found_lost(self.key());
        }
    }
}

/// Returns the `len` bytes at `offset` of a file, from `bytes`, which begin at offset `from`.
fn piece(bytes: Vec<u8>, from: u64, offset: u64, len: usize) -> Bytes {
    let at = usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX);
    let wanted = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
    // A slice would hold whole groups in memory for the time of a slow reader.
    if wanted.len() == bytes.len() { bytes.into() } else { Bytes::copy_from_slice(wanted) }
}

impl ReadAt for OpenedFile {
    /// Checks all bytes of the read: the disk may return bytes that differ from the written ones.
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let len = self.available(offset, len);
        if len == 0 {
            return Ok(Bytes::new());
        }
        let Checked { at, size, tree, .. } = &self.checked;
        let (file, stamp) = self.folder.reopen(&self.checked).inspect_err(|error| self.note_lost(error))?;
        let (from, around) = Tree::around(offset, len, *size);
        let mut bytes = vec![0; around];
        let read = file.read_exact_at(&mut bytes, from.saturating_add((*at).into()));
        if read.as_ref().is_err_and(|error| error.kind() != ErrorKind::UnexpectedEof) {
            return read.map(|()| Bytes::new());
        }
        if read.is_err() || !tree.is_whole(from, &bytes) {
            tree.set_damaged();
            self.folder.found_damaged(self.key(), stamp);
            return Err(std::io::Error::new(ErrorKind::InvalidData, "stored bytes changed since they were checked"));
        }
        Ok(piece(bytes, from, offset, len))
    }

    #[cfg(target_os = "linux")]
    fn read_cached(&self, offset: u64, len: usize) -> std::io::Result<Option<Bytes>> {
        let len = self.available(offset, len);
        let Checked { handle, at, size, tree, .. } = &self.checked;
        // Opening the file may wait for the disk.
        let Some((file, _)) = handle.opened() else { return Ok(None) };
        let is_trusted = tree.is_trusted(offset, len);
        // A part of a group cannot be checked alone.
        let (from, around) = if is_trusted { (offset, len) } else { Tree::around(offset, len, *size) };
        let mut bytes = vec![0; around];
        let pieces = &mut [IoSliceMut::new(&mut bytes)];
        match preadv2(&*file, pieces, from.saturating_add((*at).into()), ReadWriteFlags::NOWAIT) {
            // Damaged bytes are read again, and reported, on a thread that may block.
            Ok(read) if read == bytes.len() && (is_trusted || tree.is_whole_or_trusted(from, &bytes)) => {
                Ok(Some(piece(bytes, from, offset, len)))
            }
            // Only a part is in memory, or the file has become shorter: a blocking read tells.
            Ok(_) => Ok(None),
            // The read would block, or this kind of file cannot tell.
            Err(Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read_in_turn(self: Arc<Self>, offset: u64, len: usize) -> BoxFuture<'static, std::io::Result<Bytes>> {
        Box::pin(async move {
            let turn = self.folder.reads.take(self.lane, len as u64).await;
            let read = move || {
                let _turn = turn;
                self.read_at(offset, len)
            };
            read_on_a_thread(read).await
        })
    }

    fn size(&self) -> u64 {
        self.checked.size
    }

    fn held_bytes(&self) -> usize {
        self.checked.tree.held_bytes()
    }

    fn is_damaged(&self) -> bool {
        self.checked.tree.is_damaged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counts of its `Arc`, the value fits in the allocator's class of 96 bytes, like a handle.
    #[test]
    fn a_file_that_nobody_reads_takes_little_memory() {
        assert!(size_of::<OpenedFile>() <= 80, "{}", size_of::<OpenedFile>());
    }
}
