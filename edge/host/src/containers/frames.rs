//! The output of a container as the engine sends it: frames of eight bytes of head, which name the stream and the
//! length, and that many bytes.

use std::io::{self, Write as _};

/// Bytes of a head.
const HEAD_BYTES: usize = 8;

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Writes to the same output of this process. What nobody reads any more is lost: the container is not to wait for
    /// it.
    pub(super) fn write(self, bytes: &[u8]) {
        match self {
            Self::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Self::Stderr => io::stderr().write_all(bytes),
        }
        .ok();
    }
}

/// Reads frames, in pieces however they come. Holds no more than a head.
#[derive(Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    /// The stream of the frame that has begun, and the bytes that are still to come of it.
    current: Option<(Output, usize)>,
}

/// Says that bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the output of the container came in a form that is not known")]
pub struct BadFrame;

impl Frames {
    /// Takes bytes, and gives each piece of output in them to `take`.
    ///
    /// # Errors
    /// [`BadFrame`] where a head names no output; what came before was given.
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
