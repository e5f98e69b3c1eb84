//! A stored file that is read piece by piece: each piece is checked.

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

/// A file that can be read for as long as this is there, whatever becomes of its name. There are one or two of these
/// for each of very many files that are served.
pub(super) struct OpenedFile {
    pub(super) checked: Checked,
    pub(super) folder: Arc<Folder>,
    /// Whose turn it is when it waits for the disk.
    pub(super) lane: Lane,
}

impl OpenedFile {
    /// The name of its bytes. Put together when it is needed, as there is one of these for each encoding of very many
    /// files.
    fn key(&self) -> Key {
        match (self.checked.handle.id(), self.checked.form) {
            (FileId::Index(blob), Some(form)) => Key::Variant(blob, form),
            // Nothing but variants stands in an index.
            (FileId::Index(blob), None) => Key::Blob(blob),
            (FileId::Of(key), _) => key,
        }
    }

    /// As much of `len` bytes from `offset` as the file has.
    fn available(&self, offset: u64, len: usize) -> usize {
        usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(len)
    }

    /// Notes that somebody removed or replaced the file by hand.
    fn note_lost(&self, error: &std::io::Error) {
        if error.kind() == ErrorKind::NotFound && !self.is_damaged() {
            self.checked.tree.set_damaged();
            self.folder.found_lost(self.key());
        }
    }
}

/// The `len` bytes at `offset` of a file, of which `bytes` are those from `from` on.
fn piece(bytes: Vec<u8>, from: u64, offset: u64, len: usize) -> Bytes {
    let at = usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX);
    let wanted = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
    // A slice would hold whole groups in memory for as long as a slow reader takes.
    if wanted.len() == bytes.len() { bytes.into() } else { Bytes::copy_from_slice(wanted) }
}

impl ReadAt for OpenedFile {
    /// Checks all that is read: what comes from the disk may not be what was written.
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
        // To open it may wait for the disk.
        let Some((file, _)) = handle.opened() else { return Ok(None) };
        let is_trusted = tree.is_trusted(offset, len);
        // A part of a group cannot be checked alone.
        let (from, around) = if is_trusted { (offset, len) } else { Tree::around(offset, len, *size) };
        let mut bytes = vec![0; around];
        let pieces = &mut [IoSliceMut::new(&mut bytes)];
        match preadv2(&*file, pieces, from.saturating_add((*at).into()), ReadWriteFlags::NOWAIT) {
            // What is not whole is read again, and reported, on a thread that may wait.
            Ok(read) if read == bytes.len() && (is_trusted || tree.is_whole_or_trusted(from, &bytes)) => {
                Ok(Some(piece(bytes, from, offset, len)))
            }
            // A part is in memory, or the file is shorter than it was: a read that waits tells.
            Ok(_) => Ok(None),
            // It would wait, or this kind of file cannot tell.
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

    /// With the counts of its `Arc`, it is what an allocator gives in 96 bytes, as a handle is.
    #[test]
    fn a_file_that_nobody_reads_takes_little_memory() {
        assert!(size_of::<OpenedFile>() <= 80, "{}", size_of::<OpenedFile>());
    }
}
