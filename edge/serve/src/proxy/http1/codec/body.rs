//! Decodes a response body: of a known length, in chunks, or until the connection ends.

use bytes::{Buf as _, Bytes, BytesMut};
use devanture_http::chunks::{ChunkDecoder, ChunkFault, ChunkPart};
use http::header::HeaderMap;

use super::{FIELDS_MAX, Fault, Length};

/// The end of the last chunk of a body without trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Decoder of a body.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    Chunks(Box<ChunkDecoder>),
    /// Bytes left of a known length.
    Known(u64),
    Over,
    UntilClose,
}

/// Result of a decoding step.
#[derive(Debug)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// More input is required.
    More,
    /// The end of the body.
    Over,
    /// The trailers, which end the body.
    Trailers(HeaderMap),
}

impl Decoder {
    /// Creates a decoder for a body of `length`.
    #[must_use]
    pub fn new(length: Length) -> Self {
        Self(match length {
            Length::Chunked => State::Chunks(Box::new(ChunkDecoder::new(FIELDS_MAX))),
            Length::Known(0) => State::Over,
            Length::Known(length) => State::Known(length),
            Length::UntilClose => State::UntilClose,
        })
    }

    /// Returns true at the end of the body.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.0, State::Over)
    }

    /// Returns the number of bytes left, if known.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        match self.0 {
            State::Known(left) => Some(left),
            State::Over => Some(0),
            State::Chunks(_) | State::UntilClose => None,
        }
    }

    /// Takes the next piece off the front of `input`.
    ///
    /// # Errors
    /// Errors of the framing.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Fault> {
        let data = match &mut self.0 {
            State::Over => return Ok(Decoded::Over),
            State::Chunks(chunks) => match chunks.next_part(input)? {
                ChunkPart::Content { framing, content } => {
                    input.advance(framing);
                    let data = input.split_to(content).freeze();
                    // Consumes a complete and valid end of the body with the last piece, which saves another call. An
                    // invalid end is reported by the next call.
                    if input.starts_with(LAST_CHUNK) && chunks.is_at_chunk_end() {
                        input.advance(LAST_CHUNK.len());
                        self.0 = State::Over;
                    }
                    data
                }
                ChunkPart::End { framing, trailers } => {
                    input.advance(framing);
                    self.0 = State::Over;
                    return Ok(trailers.map_or(Decoded::Over, Decoded::Trailers));
                }
                ChunkPart::More => {
                    input.clear();
                    return Ok(Decoded::More);
                }
            },
            State::UntilClose | State::Known(_) if input.is_empty() => return Ok(Decoded::More),
            State::UntilClose => input.split().freeze(),
            State::Known(left) => {
                let data = up_to(input, left);
                if *left == 0 {
                    self.0 = State::Over;
                }
                data
            }
        };
        Ok(Decoded::Data(data))
    }

    /// Records the end of the connection.
    ///
    /// # Errors
    /// The body was incomplete.
    pub fn close(&mut self) -> Result<(), Fault> {
        match self.0 {
            State::Over | State::UntilClose => {
                self.0 = State::Over;
                Ok(())
            }
            _ => Err(Fault::Closed),
        }
    }
}

impl From<ChunkFault> for Fault {
    fn from(fault: ChunkFault) -> Self {
        Self::Malformed(fault.reason())
    }
}

/// Takes as many bytes of `input` as exist and `left` allows.
fn up_to(input: &mut BytesMut, left: &mut u64) -> Bytes {
    let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
    input.split_to(length).freeze()
}
