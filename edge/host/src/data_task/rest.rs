//! Rest of an archive after an interrupted download: the archive is created again, and the part already received is
//! compared and skipped. No state is kept for a resumption, and changes in the meantime are detected.

use std::cell::Cell;
use std::io::{self, Write};

use devanture_config::Digest;
use devanture_config::api::DataRest;
use devanture_config::problem::Code;

use super::order::Failure;

/// Writer that skips the bytes already received by a client.
pub(super) struct ResumeWriter<'d, W> {
    to: W,
    /// Part already received, until skipped.
    before: Option<DataRest>,
    passed: u64,
    hasher: blake3::Hasher,
    /// True if the archive begins differently.
    differs: &'d Cell<bool>,
}

/// Writes an archive to `to`, or its rest.
///
/// # Errors
/// `precondition_failed` if the archive does not begin with the part already received; errors of `write`.
pub(super) fn write_rest<W: Write>(
    to: W,
    rest: Option<DataRest>,
    write: impl FnOnce(&mut ResumeWriter<'_, W>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let differs = Cell::new(false);
    let before = rest.filter(|rest| rest.from > 0);
    let mut behind = ResumeWriter { to, before, passed: 0, hasher: blake3::Hasher::new(), differs: &differs };
    let written = write(&mut behind);
    let is_shorter = written.is_ok() && behind.before.is_some();
    if differs.get() || is_shorter {
        let detail = "The data has changed since the download broke off: its archive begins otherwise by now.";
        return Err(Failure::new(Code::PreconditionFailed, detail));
    }
    written?;
    behind.flush().map_err(|error| Failure::io("writing", "the archive", &error))
}

impl<W: Write> Write for ResumeWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(before) = self.before else { return self.to.write(bytes) };
        let left = usize::try_from(before.from.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        self.hasher.update(bytes);
        self.passed = self.passed.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.passed >= before.from {
            if Digest::from(*self.hasher.finalize().as_bytes()) != before.digest {
                self.differs.set(true);
                return Err(io::Error::other("the archive begins otherwise"));
            }
            self.before = None;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(from: u64, of: &[u8], pieces: usize, archive: &[u8]) -> Result<Vec<u8>, Code> {
        let mut to = Vec::new();
        let rest = Some(DataRest { from, digest: Digest::of(of) });
        let written = write_rest(&mut to, rest, |to| {
            let mut pieces = archive.chunks(pieces);
            pieces.try_for_each(|piece| to.write_all(piece)).map_err(|error| Failure::io("writing", "x", &error))
        });
        written.map(|()| to).map_err(|failure| failure.code)
    }

    #[test]
    fn the_rest_of_an_archive_comes_behind_what_the_client_has_and_only_behind_that() {
        for pieces in [1, 3, 100] {
            assert_eq!(rest(0, b"", pieces, b"archive").unwrap(), b"archive");
            assert_eq!(rest(4, b"arch", pieces, b"archive").unwrap(), b"ive");
            assert_eq!(rest(7, b"archive", pieces, b"archive").unwrap(), b"", "it had come to its end");
            for (from, of) in [(4, &b"arch!"[..]), (4, b"xrch"), (8, b"archive!")] {
                assert_eq!(rest(from, of, pieces, b"archive"), Err(Code::PreconditionFailed), "{from}");
            }
        }
    }
}
