//! The output of a connection in one turn, in order: small parts by copy, bodies by reference.

use std::io::{self, IoSlice, Write};

use bytes::Bytes;

use crate::tls::WRITE_BYTES;
use devanture_http::Sink;

/// Bodies up to this length are copied: a list of many slices costs more.
const COPIED_BYTES_MAX: usize = 2 * 1024;
/// Maximum number of slices per write.
const SLICES_MAX: usize = 64;
/// Maximum amount of memory kept for the next turn.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Bytes before the text, which are never sent. An allocation of this size begins at a page, and so does the record
/// into which the TLS library copies the text, behind a header of 5 bytes. If the target of a copy lies so little
/// behind its source, relative to the page, some processors copy thirty times slower (AMD's with fast short
/// `rep movsb`): 3 µs for 16 responses.
const AHEAD_BYTES: usize = 64;

/// The output of the current turn.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// The copied bytes, after [`AHEAD_BYTES`].
    text: Vec<u8>,
    /// The bytes by reference, each with the position in the copied bytes.
    bodies: Vec<(usize, Bytes)>,
    /// Total bytes of both.
    bytes: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { text: vec![0; AHEAD_BYTES], bodies: Vec::new(), bytes: 0 }
    }
}

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the number of bytes.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    /// Returns true if no more output should be added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WRITE_BYTES
    }

    /// Writes all output to `writer`, which must accept everything, and clears the output.
    pub(super) fn write_to(&mut self, writer: &mut impl Write) -> io::Result<()> {
        let text = self.text.get(AHEAD_BYTES..).unwrap_or_default();
        let written = if self.bodies.is_empty() { take_all(writer, text) } else { self.write_slices(writer) };
        self.clear();
        written
    }

    fn write_slices(&self, writer: &mut impl Write) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (mut count, mut at) = (0, AHEAD_BYTES);
        let last = [(self.text.len(), Bytes::new())];
        for (place, body) in self.bodies.iter().chain(&last) {
            // The last body is written without a slice of its own.
            for part in [self.text.get(at..*place).unwrap_or_default(), body] {
                if part.is_empty() {
                    continue;
                }
                if let Some(slice) = slices.get_mut(count) {
                    *slice = IoSlice::new(part);
                    count += 1;
                }
                if count == SLICES_MAX {
                    write_all_of(writer, &slices)?;
                    count = 0;
                }
            }
            at = *place;
        }
        write_all_of(writer, slices.get(..count).unwrap_or_default())
    }

    /// Clears the output.
    pub(super) fn clear(&mut self) {
        self.text.truncate(AHEAD_BYTES);
        self.bodies.clear();
        self.bytes = 0;
        if self.text.capacity() > KEPT_BYTES_MAX {
            self.text = vec![0; AHEAD_BYTES];
        }
    }
}

/// Writes all `slices`; a partial write is an error.
fn write_all_of(writer: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<()> {
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    if bytes > 0 && writer.write_vectored(slices)? != bytes {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

fn take_all(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    if !bytes.is_empty() && writer.write(bytes)? != bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

impl Sink for Pieces {
    fn room(&self) -> usize {
        WRITE_BYTES.saturating_sub(self.bytes)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    fn put_body(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED_BYTES_MAX {
            return self.put(&bytes);
        }
        self.bytes += bytes.len();
        self.bodies.push((self.text.len(), bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_written_in_its_order(sizes in prop::collection::vec((any::<bool>(), prop_oneof![0..9_usize, 2_000..2_100_usize, 5_000..6_000_usize]), 0..200)) {
            let (mut pieces, mut expected) = (Pieces::default(), Vec::new());
            for (number, (is_body, size)) in sizes.into_iter().enumerate() {
                let bytes = vec![u8::try_from(number).unwrap_or(0); size];
                expected.extend_from_slice(&bytes);
                if is_body {
                    pieces.put_body(bytes.into());
                } else {
                    pieces.put(&bytes);
                }
                prop_assert_eq!(pieces.room(), WRITE_BYTES.saturating_sub(expected.len()));
            }
            let mut written = Vec::new();
            pieces.write_to(&mut written).unwrap();
            prop_assert!(written == expected);
            prop_assert!(pieces.is_empty());
            pieces.write_to(&mut written).unwrap();
            prop_assert_eq!(written.len(), expected.len());
        }
    }
}
