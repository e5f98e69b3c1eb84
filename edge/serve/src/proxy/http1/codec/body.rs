//! The body of an answer out of the bytes that come: of a known length, in chunks, or until the connection ends.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::HeaderMap;

use super::{FIELDS_MAX, Fault, Length, fields, malformed, places};

/// Most bytes of the line before a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// Most bytes that an answer may spend on what stands behind its chunks' sizes, which nobody reads.
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of trailers.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;

/// Takes a body apart.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes that chunk extensions may still have.
    extensions_left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Within a chunk, of which so many bytes are to come.
    Chunk(u64),
    /// Behind the bytes of a chunk, before the end of its line.
    ChunkEnd,
    /// Before the line with a chunk's size.
    ChunkLine,
    /// So many bytes are to come.
    Known(u64),
    Over,
    /// Behind the last chunk.
    Trailers,
    UntilClose,
}

/// The decoded piece.
#[derive(Debug)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// Nothing, until more comes.
    More,
    /// The end of the body.
    Over,
    /// The trailers, which end the body.
    Trailers(HeaderMap),
}

impl Decoder {
    /// Takes a body of `length` apart.
    #[must_use]
    pub const fn new(length: Length) -> Self {
        let state = match length {
            Length::Chunked => State::ChunkLine,
            Length::Known(0) => State::Over,
            Length::Known(length) => State::Known(length),
            Length::UntilClose => State::UntilClose,
        };
        Self { state, extensions_left: EXTENSIONS_BYTES_MAX }
    }

    /// Whether nothing more is to come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Number of bytes to come, where that is known.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        match self.state {
            State::Known(left) => Some(left),
            State::Over => Some(0),
            State::Chunk(_) | State::ChunkEnd | State::ChunkLine | State::Trailers | State::UntilClose => None,
        }
    }

    /// Takes what comes next off the front of `input`.
    ///
    /// # Errors
    /// Errors of its framing.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Fault> {
        loop {
            let data = match &mut self.state {
                State::Over => return Ok(Decoded::Over),
                State::UntilClose | State::Known(_) | State::Chunk(_) if input.is_empty() => return Ok(Decoded::More),
                State::UntilClose => input.split().freeze(),
                State::Known(left) => {
                    let data = up_to(input, left);
                    if *left == 0 {
                        self.state = State::Over;
                    }
                    data
                }
                State::Chunk(left) => {
                    let data = up_to(input, left);
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                        self.look_ahead(input);
                    }
                    data
                }
                State::ChunkEnd | State::ChunkLine => match self.pass_line(input)? {
                    true => continue,
                    false => return Ok(Decoded::More),
                },
                State::Trailers => return self.trailers(input),
            };
            return Ok(Decoded::Data(data));
        }
    }

    /// Notes that the connection has ended.
    ///
    /// # Errors
    /// The body was not over.
    pub fn close(&mut self) -> Result<(), Fault> {
        match self.state {
            State::Over | State::UntilClose => {
                self.state = State::Over;
                Ok(())
            }
            _ => Err(Fault::Closed),
        }
    }

    /// Passes over the end of the body with its last piece, if it is there and all is well with it: then nobody needs
    /// to ask again. What is wrong is reported when it is read.
    fn look_ahead(&mut self, input: &mut BytesMut) {
        if input.starts_with(b"\r\n0\r\n\r\n") {
            input.advance(b"\r\n0\r\n\r\n".len());
            self.state = State::Over;
        }
    }

    /// Passes over the end of a chunk, or the line before one; says whether all of it was there.
    fn pass_line(&mut self, input: &mut BytesMut) -> Result<bool, Fault> {
        if self.state == State::ChunkEnd {
            return match **input {
                [b'\r', b'\n', ..] => {
                    input.advance(2);
                    self.state = State::ChunkLine;
                    Ok(true)
                }
                [] | [b'\r'] => Ok(false),
                _ => Err(Fault::Malformed("a chunk does not end where it should")),
            };
        }
        let window = input.get(..CHUNK_LINE_BYTES_MAX).unwrap_or(input);
        let Some(end) = memchr::memchr(b'\n', window) else {
            let begins_well = window.first().is_none_or(u8::is_ascii_hexdigit);
            return match begins_well && window.len() < CHUNK_LINE_BYTES_MAX {
                true => Ok(false),
                false => Err(Fault::Malformed("the size of a chunk is none")),
            };
        };
        let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        let (size, extension) = line.and_then(chunk_size).ok_or(Fault::Malformed("the size of a chunk is none"))?;
        let left = self.extensions_left.checked_sub(extension);
        self.extensions_left = left.ok_or(Fault::Malformed("its chunks have too much beside them"))?;
        input.advance(end + 1);
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(true)
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Decoded, Fault> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            self.state = State::Over;
            return Ok(Decoded::Over);
        }
        let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let window = input.get(..TRAILERS_BYTES_MAX).unwrap_or(input);
        let (length, places) = match httparse::parse_headers(window, &mut slots).map_err(malformed)? {
            httparse::Status::Complete((length, lines)) => (length, places(window, lines)?),
            httparse::Status::Partial if window.len() < TRAILERS_BYTES_MAX => return Ok(Decoded::More),
            httparse::Status::Partial => return Err(Fault::Malformed("its trailers are too long")),
        };
        let text = input.split_to(length).freeze();
        self.state = State::Over;
        Ok(Decoded::Trailers(fields(&text, places)?))
    }
}

/// As much of `input` as there is, and `left` allows.
fn up_to(input: &mut BytesMut, left: &mut u64) -> Bytes {
    let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
    input.split_to(length).freeze()
}

/// The size that the line before a chunk says, and how many bytes stand behind it.
fn chunk_size(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at_checked(digits)?;
    // Sixteen digits hold any size, and leading zeros have no end.
    if number.is_empty() || number.len() > 16 {
        return None;
    }
    let extension = rest.trim_ascii_start();
    if !(extension.is_empty() || extension.starts_with(b";")) {
        return None;
    }
    // RFC 9112 §2.2: a bare CR is no end of a line, and nothing else here either.
    if rest.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    let size = u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
    Some((size, rest.len()))
}
