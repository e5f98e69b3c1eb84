//! Container output as sent by podman: frames with an eight-byte head, which contains the stream and the length.

use std::io::{self, Write as _};

/// Bytes of a head.
const HEAD_BYTES: usize = 8;

/// Output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Writes to the same output of the process. Output without a reader is dropped: the container must not wait.
    pub(super) fn write(self, bytes: &[u8]) {
        match self {
            Self::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Self::Stderr => io::stderr().write_all(bytes),
        }
        .ok();
    }
}

/// Parser for frames in pieces of any size. Holds no more than a head.
#[derive(Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    /// Stream and remaining bytes of the current frame.
    current: Option<(Output, usize)>,
}

/// The bytes are not frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the output of the container came in a form that is not known")]
pub struct BadFrame;

impl Frames {
    /// Parses bytes and passes each piece of output to `take`.
    ///
    /// # Errors
    /// Fails with [`BadFrame`] if a head names no output; earlier output was passed on.
    pub fn read(&mut self, mut bytes: &[u8], mut take: impl FnMut(Output, &[u8])) -> Result<(), BadFrame> {
        while !bytes.is_empty() {
            if let Some((output, left)) = &mut self.current {
                let (piece, rest) = bytes.split_at((*left).min(bytes.len()));
                take(*output, piece);
                *left -= piece.len();
                bytes = rest;
                if *left == 0 {
                    self.current = None;
                }
                continue;
            }
            let missing = HEAD_BYTES.saturating_sub(self.head.len());
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            self.head.extend_from_slice(piece);
            bytes = rest;
            let Ok([stream, 0, 0, 0, length @ ..]) = <[u8; HEAD_BYTES]>::try_from(self.head.as_slice()) else {
                if self.head.len() == HEAD_BYTES {
                    return Err(BadFrame);
                }
                continue;
            };
            self.head.clear();
            let output = match stream {
                1 => Output::Stdout,
                2 => Output::Stderr,
                _ => return Err(BadFrame),
            };
            let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_error| BadFrame)?;
            self.current = (length > 0).then_some((output, length));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(pieces: &[(bool, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (is_error, piece) in pieces {
            bytes.extend([1 + u8::from(*is_error), 0, 0, 0]);
            bytes.extend(u32::try_from(piece.len()).unwrap().to_be_bytes());
            bytes.extend(piece);
        }
        bytes
    }

    proptest! {
        #[test]
        fn output_is_the_same_however_its_frames_are_cut(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..6),
            size in 1_usize..30,
        ) {
            let (mut frames, mut outputs) = (Frames::default(), [Vec::<u8>::new(), Vec::new()]);
            for chunk in framed(&pieces).chunks(size) {
                let taken = frames.read(chunk, |output, bytes| outputs[usize::from(output == Output::Stderr)].extend(bytes));
                prop_assert_eq!(taken, Ok(()));
            }
            for (index, output) in outputs.iter().enumerate() {
                let of: Vec<u8> =
                    pieces.iter().filter(|(is_error, _)| usize::from(*is_error) == index).flat_map(|(_, piece)| piece.clone()).collect();
                prop_assert_eq!(output, &of);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut taken = 0;
            let read = Frames::default().read(&bytes, |_, piece| taken += piece.len());
            prop_assert!(taken <= bytes.len() && (read.is_ok() || read == Err(BadFrame)));
        }
    }
}
