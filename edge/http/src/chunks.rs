//! Chunked bodies of HTTP/1.1 (RFC 9112 §7.1), of requests and of backend responses.
//!
//! The decoder reads bytes as they arrive and stores only trailers. Each line ends with CRLF: RFC 9112 §2.2 permits a
//! bare LF at the end of a line of a head, and never at the end of a chunk line. If two servers in a row disagree about
//! line ends, body bytes of the first server become a request for the second.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Maximum bytes of the line before a chunk, including the line end.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Maximum bytes of all extensions of a body, which are ignored.
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// Maximum bytes of trailers, including the final empty line.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;
/// Maximum digits of a size: sixteen suffice for any size, and leading zeros are unlimited otherwise.
const DIGITS_MAX: u8 = 16;

/// Framing error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum ChunkFault {
    /// The bytes of a chunk are not followed by a line end.
    ChunkEnd,
    /// The extensions are too long in total.
    Extensions,
    /// The name of a trailer is invalid.
    FieldName,
    /// The value of a trailer is invalid.
    FieldValue,
    /// A trailer line does not end with CRLF, or has a CR elsewhere.
    LineEnd,
    /// The line before a chunk has no size, or is too long.
    Size,
    /// Too many trailers.
    TooManyTrailers,
    /// The trailers are too long.
    TrailersTooLong,
}

impl ChunkFault {
    /// Returns the error as text for the message that contains it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ChunkEnd => "a chunk does not end where it should",
            Self::Extensions => "its chunks have too much beside them",
            Self::FieldName => "a field's name is none",
            Self::FieldValue => "a field's value is none",
            Self::LineEnd => "a line does not end as it should",
            Self::Size => "the size of a chunk is none",
            Self::TooManyTrailers => "it has too many fields",
            Self::TrailersTooLong => "its trailers are too long",
        }
    }
}

/// First part of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkPart {
    /// Framing followed by body bytes.
    Content {
        /// Bytes to skip.
        framing: usize,
        /// Body bytes after the framing.
        content: usize,
    },
    /// Framing followed by the end of the body.
    End {
        /// Bytes to skip.
        framing: usize,
        /// Trailers, if any.
        trailers: Option<HeaderMap>,
    },
    /// Framing only; the body continues.
    More,
}

/// Decoder of a chunked body.
#[derive(Debug)]
pub struct ChunkDecoder {
    state: State,
    /// Bytes of the current line before a chunk.
    line_bytes: usize,
    /// Bytes still permitted for extensions.
    extensions_left: usize,
    /// Received trailers.
    trailers: Vec<u8>,
    trailers_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After the size, within blanks.
    Blanks(u64),
    /// After the bytes of a chunk.
    ChunkEnd,
    /// After the CR of a chunk end.
    ChunkEndLf,
    /// Within a chunk; the value is the remaining bytes.
    Content(u64),
    /// Within an extension; the value is the chunk size.
    Extension(u64),
    Over,
    /// Within the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// After the CR of the size line.
    SizeLf(u64),
    /// After the last chunk.
    Trailers,
}

impl State {
    const FIRST: Self = Self::Size { size: 0, digits: 0 };
}

impl ChunkDecoder {
    /// Starts before the first chunk. More than `trailers_max` trailers are an error.
    #[must_use]
    pub const fn new(trailers_max: usize) -> Self {
        Self {
            state: State::FIRST,
            line_bytes: 0,
            extensions_left: EXTENSIONS_BYTES_MAX,
            trailers: Vec::new(),
            trailers_max,
        }
    }

    /// Returns true after the end of the body.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Returns true after a complete chunk, before its line end.
    #[must_use]
    pub const fn is_at_chunk_end(&self) -> bool {
        matches!(self.state, State::ChunkEnd)
    }

    /// Decodes the beginning of `input`; the caller skips the returned bytes and calls again for the rest.
    ///
    /// # Errors
    /// Fails on a framing error; later input has no meaning.
    pub fn next_part(&mut self, input: &[u8]) -> Result<ChunkPart, ChunkFault> {
        let mut framing = 0;
        while let Some(byte) = input.get(framing) {
            match &mut self.state {
                State::Over => break,
                State::Content(left) => {
                    let content = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - framing);
                    *left = left.saturating_sub(content as u64);
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(ChunkPart::Content { framing, content });
                }
                State::Trailers => self.take_trailer(*byte)?,
                _ => self.take_framing(*byte)?,
            }
            framing += 1;
        }
        match self.state {
            State::Over => Ok(ChunkPart::End { framing, trailers: self.read_trailers()? }),
            _ => Ok(ChunkPart::More),
        }
    }

    /// Decodes a byte between chunks.
    fn take_framing(&mut self, byte: u8) -> Result<(), ChunkFault> {
        self.line_bytes += 1;
        self.state = match (self.state, byte) {
            (State::ChunkEnd, b'\r') => State::ChunkEndLf,
            (State::ChunkEndLf, b'\n') => {
                self.line_bytes = 0;
                State::FIRST
            }
            (State::ChunkEnd | State::ChunkEndLf, _) => return Err(ChunkFault::ChunkEnd),
            (State::SizeLf(0), b'\n') => State::Trailers,
            (State::SizeLf(size), b'\n') => State::Content(size),
            _ if self.line_bytes >= LINE_BYTES_MAX => return Err(ChunkFault::Size),
            (State::Size { size, digits }, byte) if digits < DIGITS_MAX && byte.is_ascii_hexdigit() => {
                State::Size { size: size << 4 | hex(byte), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(ChunkFault::Size),
            (State::Size { size, .. } | State::Blanks(size) | State::Extension(size), b'\r') => State::SizeLf(size),
            (State::Size { size, .. } | State::Blanks(size), b' ' | b'\t') => self.beside(State::Blanks(size))?,
            (State::Size { size, .. } | State::Blanks(size), b';') => self.beside(State::Extension(size))?,
            // RFC 9112 §7.1.1: tokens and quoted strings, without control characters except HTAB.
            (State::Extension(size), byte) if byte == b'\t' || !byte.is_ascii_control() => {
                self.beside(State::Extension(size))?
            }
            _ => return Err(ChunkFault::Size),
        };
        Ok(())
    }

    /// Counts a byte after a size.
    fn beside(&mut self, state: State) -> Result<State, ChunkFault> {
        self.extensions_left = self.extensions_left.checked_sub(1).ok_or(ChunkFault::Extensions)?;
        Ok(state)
    }

    /// Decodes a byte of the trailers, or of the line that ends the trailers.
    fn take_trailer(&mut self, byte: u8) -> Result<(), ChunkFault> {
        let is_after_cr = self.trailers.last() == Some(&b'\r');
        if is_after_cr != (byte == b'\n') {
            return Err(ChunkFault::LineEnd);
        }
        if self.trailers.len() >= TRAILERS_BYTES_MAX {
            return Err(ChunkFault::TrailersTooLong);
        }
        self.trailers.push(byte);
        if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
            self.state = State::Over;
        }
        Ok(())
    }

    /// Parses the complete trailers.
    fn read_trailers(&mut self) -> Result<Option<HeaderMap>, ChunkFault> {
        let text = std::mem::take(&mut self.trailers);
        if text.len() <= b"\r\n".len() {
            return Ok(None);
        }
        let mut slots = vec![httparse::EMPTY_HEADER; self.trailers_max];
        let lines = match httparse::parse_headers(&text, &mut slots) {
            Ok(httparse::Status::Complete((_, lines))) => lines,
            Ok(httparse::Status::Partial) => return Err(ChunkFault::LineEnd),
            Err(error) => return Err(fault_of(error)),
        };
        let mut trailers = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_invalid| ChunkFault::FieldName)?;
            let value = HeaderValue::from_bytes(line.value).map_err(|_invalid| ChunkFault::FieldValue)?;
            trailers.append(name, value);
        }
        Ok(Some(trailers))
    }
}

const fn fault_of(error: httparse::Error) -> ChunkFault {
    match error {
        httparse::Error::HeaderValue => ChunkFault::FieldValue,
        httparse::Error::NewLine => ChunkFault::LineEnd,
        httparse::Error::TooManyHeaders => ChunkFault::TooManyTrailers,
        // The remaining variants concern start lines, which trailers do not have.
        httparse::Error::HeaderName | httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => {
            ChunkFault::FieldName
        }
    }
}

/// Returns the value of a hexadecimal digit.
fn hex(digit: u8) -> u64 {
    char::from(digit).to_digit(16).unwrap_or(0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, trailers and number of bytes.
    type WholeBody = (Vec<u8>, Option<HeaderMap>, usize);

    /// Returns the body at the beginning of `input`, if complete.
    fn read(input: &[u8]) -> Result<Option<WholeBody>, ChunkFault> {
        let (mut decoder, mut body, mut passed) = (ChunkDecoder::new(4), Vec::new(), 0);
        loop {
            match decoder.next_part(&input[passed..])? {
                ChunkPart::Content { framing, content } => {
                    body.extend_from_slice(&input[passed + framing..][..content]);
                    passed += framing + content;
                }
                ChunkPart::End { framing, trailers } => return Ok(Some((body, trailers, passed + framing))),
                ChunkPart::More => return Ok(None),
            }
        }
    }

    #[test]
    fn chunks_are_put_together_and_trailers_follow() {
        let chunks = b"5\r\nhello\r\n1 ;ext=\"v\"\r\n \r\n0005\r\nworld\r\n0\r\nx-sum: 42\r\n\r\nnext";
        let (body, trailers, passed) = read(chunks).unwrap().unwrap();
        assert_eq!((&*body, passed), (&b"hello world"[..], chunks.len() - 4));
        assert_eq!(trailers.unwrap()["x-sum"], "42");
        let (body, trailers, passed) = read(b"0\r\n\r\n0\r\n\r\n").unwrap().unwrap();
        assert_eq!((&*body, trailers, passed), (&b""[..], None, 5));
        assert_eq!(read(b"5\r\nhello\r\n0\r\nx: y\r\n"), Ok(None));
    }

    #[test]
    fn what_is_no_chunk_is_refused_as_soon_as_it_is_seen() {
        use ChunkFault as F;
        #[rustfmt::skip]
        let cases: &[(&[u8], F)] = &[
            (b"z",                            F::Size),
            (b"\r",                           F::Size),
            (b"-",                            F::Size),
            (b"+",                            F::Size),
            (b" ",                            F::Size),
            (b"0x",                           F::Size),
            (b"1 1",                          F::Size),
            (b"1\n",                          F::Size),      // RFC 9112 §7.1: CRLF
            (b"1\ra",                         F::Size),
            (b"1\r\r",                        F::Size),
            (b"1;a\n",                        F::Size),
            (b"1;a\rb",                       F::Size),
            (b"1;a\0",                        F::Size),
            (b"1 \n",                         F::Size),
            (b"00000000000000001",            F::Size),      // 17 digits
            (b"10000000000000000",            F::Size),      // more than 64 bits
            (b"1\r\nab",                      F::ChunkEnd),
            (b"1\r\na\n",                     F::ChunkEnd),
            (b"1\r\na\r\r",                   F::ChunkEnd),
            (b"2\r\na\r\n",                   F::ChunkEnd),
            (b"0\r\n\n",                      F::LineEnd),
            (b"0\r\nx: y\n",                  F::LineEnd),
            (b"0\r\nx: y\rz",                 F::LineEnd),
            (b"0\r\n\rx",                     F::LineEnd),
            (b"0\r\nno colon\r\n\r\n",        F::FieldName),
            (b"0\r\nx : y\r\n\r\n",           F::FieldName),
            (b"0\r\n: y\r\n\r\n",             F::FieldName),
            (b"0\r\nx: a\r\n folded\r\n\r\n", F::FieldName),
            (b"0\r\nx: a\0b\r\n\r\n",         F::FieldValue),
        ];
        for (chunks, fault) in cases {
            assert_eq!(read(chunks), Err(*fault), "{}", chunks.escape_ascii());
            assert_eq!(read(&chunks[..chunks.len() - 1]), Ok(None), "{}", chunks.escape_ascii());
        }
    }

    #[test]
    fn what_stands_beside_chunks_has_limits() {
        let line = |bytes: usize| format!("1;{}\r\na\r\n", "x".repeat(bytes - 4));
        assert_eq!(read(line(LINE_BYTES_MAX).as_bytes()), Ok(None));
        assert_eq!(read(line(LINE_BYTES_MAX + 1).as_bytes()), Err(ChunkFault::Size));
        assert_eq!(read("1;".repeat(LINE_BYTES_MAX).as_bytes()), Err(ChunkFault::Size));
        // 1,024 bytes after each size.
        assert_eq!(read(line(1_027).repeat(16).as_bytes()), Ok(None));
        assert_eq!(read(line(1_027).repeat(17).as_bytes()), Err(ChunkFault::Extensions));
        let trailer = |bytes: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(bytes - 7));
        assert!(read(trailer(TRAILERS_BYTES_MAX).as_bytes()).unwrap().is_some());
        assert_eq!(read(trailer(TRAILERS_BYTES_MAX + 1).as_bytes()), Err(ChunkFault::TrailersTooLong));
        let fields = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
        assert!(read(fields(4).as_bytes()).unwrap().is_some());
        assert_eq!(read(fields(5).as_bytes()), Err(ChunkFault::TooManyTrailers));
    }

    #[test]
    fn a_size_of_64_bits_is_one() {
        let mut decoder = ChunkDecoder::new(4);
        assert_eq!(decoder.next_part(b"FFFFffffFFFFffff\r\nab"), Ok(ChunkPart::Content { framing: 18, content: 2 }));
        assert_eq!(decoder.state, State::Content(u64::MAX - 2));
    }
}
