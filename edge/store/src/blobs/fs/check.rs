//! Reads a stored file and compares the bytes with the hash, slowly, and without displacing other files from the page
//! cache.

use std::fs::File;
use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use devanture_config::Digest;
#[cfg(target_os = "linux")]
use rustix::fs::{Advice, fadvise};
#[cfg(target_os = "linux")]
use rustix::io::{ReadWriteFlags, preadv2};

use super::folder::Located;
use super::{FileBlobs, Key};
use crate::blobs::Error;
use devanture_base::durable::{Stamp, failed};

/// Bytes of one read.
const PIECE_BYTES: usize = 256 * 1_024;

/// A file on its way through the hash.
struct Reading {
    file: File,
    stamp: Stamp,
    hasher: blake3::Hasher,
    expected: Digest,
    at: u64,
    /// Bytes still to be read; bytes beyond the length at the time of opening are read too.
    left: u64,
    bytes: u64,
}

impl Reading {
    /// Reads the next piece. Returns the length; 0 at the end.
    fn read_piece(&mut self) -> std::io::Result<usize> {
        let mut piece = vec![0; PIECE_BYTES];
        let read = loop {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            match read(&self.file, piece.get_mut(..wanted).unwrap_or_default(), self.at) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.hasher.update(piece.get(..read).unwrap_or_default());
        self.at = self.at.saturating_add(read as u64);
        self.left = self.left.saturating_sub(read as u64);
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }
}

/// Reads a piece. Pages that were not in the page cache before are dropped from the cache again.
#[cfg(target_os = "linux")]
fn read(file: &File, piece: &mut [u8], at: u64) -> std::io::Result<usize> {
    if let Ok(read) = preadv2(file, &mut [IoSliceMut::new(piece)], at, ReadWriteFlags::NOWAIT)
        && read == piece.len()
    {
        return Ok(read);
    }
    let read = file.read_at(piece, at)?;
    // Only a hint.
    fadvise(file, at, std::num::NonZeroU64::new(read as u64), Advice::DontNeed).ok();
    Ok(read)
}

#[cfg(not(target_os = "linux"))]
fn read(file: &File, piece: &mut [u8], at: u64) -> std::io::Result<usize> {
    file.read_at(piece, at)
}

impl FileBlobs {
    /// Reads the file of `key` at most `bytes_per_second_max` a second. Returns the length in bytes.
    pub(super) async fn check_slowly(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error> {
        let mut reading = self
            .with(move |folder| {
                let located = folder.locate(key)?.ok_or(Error::Missing(key))?;
                let Located { file, stamp, at, size, expected, .. } = located;
                // A file that has grown is not whole either.
                let left = if size == stamp.size { u64::MAX } else { size };
                Ok(Reading { file, stamp, hasher: blake3::Hasher::new(), expected, at: at.into(), left, bytes: 0 })
            })
            .await?;
        loop {
            let (read, next) = self
                .with(move |folder| {
                    let read = reading.read_piece().map_err(failed("reading", &folder.path(key)))?;
                    Ok((read, reading))
                })
                .await?;
            reading = next;
            if read == 0 {
                break;
            }
            let pause = pause(read, bytes_per_second_max);
            // A timer takes a millisecond at least.
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        let Reading { stamp, hasher, expected, bytes, .. } = reading;
        if Digest::from(hasher.finalize()) == expected {
            return Ok(bytes);
        }
        match self.with(move |folder| folder.set_aside_damaged(key, stamp)).await? {
            Some(quarantined) => Err(Error::Corrupt { key, quarantined }),
            // A new file has the name by now.
            None => Err(Error::Missing(key)),
        }
    }
}

/// The time for so many bytes.
fn pause(bytes: usize, bytes_per_second_max: u64) -> Duration {
    let micros = (bytes as u64).saturating_mul(1_000_000);
    Duration::from_micros(micros.checked_div(bytes_per_second_max).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_ends_a_check() {
        let folder = tempfile::tempdir().unwrap();
        // The system opens a folder, but does not read from it.
        let file = File::open(folder.path()).unwrap();
        let (stamp, expected) = (Stamp::of(&file.metadata().unwrap()), Digest::of(b""));
        let hasher = blake3::Hasher::new();
        let mut reading = Reading { file, stamp, hasher, expected, at: 0, left: u64::MAX, bytes: 0 };
        assert_eq!(reading.read_piece().unwrap_err().kind(), ErrorKind::IsADirectory);
    }
}
