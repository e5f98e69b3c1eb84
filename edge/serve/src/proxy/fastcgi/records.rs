//! FastCGI records: encoder of requests and decoder of responses.
//!
//! The codec does no I/O: the reader accepts bytes in pieces of any size and returns events.

use bytes::{Buf as _, Bytes, BytesMut};

/// Length of a record header.
pub const HEADER_BYTES: usize = 8;
/// Maximum size of a record's content.
pub const CONTENT_BYTES_MAX: usize = 65_535;
/// Longest name or value: the first bit of a length marks a length of four bytes.
const LENGTH_BYTES_MAX: usize = 0x7fff_ffff;
/// The version of the protocol.
const VERSION: u8 = 1;
/// Request number: a connection has one request at a time.
const REQUEST_ID: u16 = 1;
/// The responder role.
const RESPONDER: u8 = 1;
/// Flag that asks a backend to keep the connection after the response.
const KEEP_CONNECTION: u8 = 1;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// Reason why a backend's record is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The end record of a request has a wrong length.
    #[error("the end of its answer has another length")]
    End,
    /// The protocol version is unknown.
    #[error("it is no FastCGI answer")]
    Version,
    /// The record belongs to another request.
    #[error("it answers another request")]
    Request,
}

/// End status of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Request complete.
    Complete,
    /// Rejected without processing: the backend is overloaded.
    Overloaded,
    /// Rejected without processing: the backend speaks another dialect.
    Refused,
}

/// Event decoded from the next bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of the response: the head, then the body.
    Stdout(Bytes),
    /// A piece of the error output.
    Stderr(Bytes),
    /// The end of the response.
    End(End),
    /// More bytes are required.
    More,
}

/// Decoder of records.
#[derive(Debug, Default)]
pub struct Reader {
    kind: u8,
    content_left: usize,
    padding_left: usize,
}

impl Reader {
    /// Takes the next event off the front of `input`.
    ///
    /// # Errors
    /// Errors of a record header or of the end record.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Event, BadRecord> {
        loop {
            if self.content_left > 0 {
                if input.is_empty() {
                    return Ok(Event::More);
                }
                if self.kind == END_REQUEST {
                    return self.end(input);
                }
                let content = input.split_to(self.content_left.min(input.len())).freeze();
                self.content_left -= content.len();
                match self.kind {
                    STDOUT => return Ok(Event::Stdout(content)),
                    STDERR => return Ok(Event::Stderr(content)),
                    // Management records, which are unsolicited.
                    _ => continue,
                }
            }
            let skipped = self.padding_left.min(input.len());
            input.advance(skipped);
            self.padding_left -= skipped;
            let Some((header, _)) = input.split_first_chunk::<HEADER_BYTES>() else { return Ok(Event::More) };
            let [version, kind, id_high, id_low, content_high, content_low, padding, _reserved] = *header;
            if version != VERSION {
                return Err(BadRecord::Version);
            }
            let is_of_request = matches!(kind, END_REQUEST | STDOUT | STDERR);
            if is_of_request && u16::from_be_bytes([id_high, id_low]) != REQUEST_ID {
                return Err(BadRecord::Request);
            }
            input.advance(HEADER_BYTES);
            self.kind = kind;
            self.content_left = usize::from(u16::from_be_bytes([content_high, content_low]));
            self.padding_left = usize::from(padding);
            if kind == END_REQUEST && self.content_left != HEADER_BYTES {
                return Err(BadRecord::End);
            }
        }
    }

    fn end(&mut self, input: &mut BytesMut) -> Result<Event, BadRecord> {
        let Some((content, _)) = input.split_first_chunk::<HEADER_BYTES>() else { return Ok(Event::More) };
        let [_, _, _, _, status, ..] = *content;
        input.advance(HEADER_BYTES);
        self.content_left = 0;
        Ok(Event::End(match status {
            0 => End::Complete,
            2 => End::Overloaded,
            _ => End::Refused,
        }))
    }

    /// Skips received padding, so that an idle connection buffers no padding.
    pub fn skip_padding(&mut self, input: &mut BytesMut) {
        if self.content_left == 0 {
            let skipped = self.padding_left.min(input.len());
            input.advance(skipped);
            self.padding_left -= skipped;
        }
    }
}

/// Returns the header of a record with `content` bytes; callers respect the maximum, and a greater length is cut off.
fn header(kind: u8, content: usize) -> [u8; HEADER_BYTES] {
    let [id_high, id_low] = REQUEST_ID.to_be_bytes();
    let [high, low] = u16::try_from(content).unwrap_or(u16::MAX).to_be_bytes();
    [VERSION, kind, id_high, id_low, high, low, 0, 0]
}

/// Writes the begin record of a request.
pub fn write_begin(out: &mut Vec<u8>, is_kept: bool) {
    let flags = if is_kept { KEEP_CONNECTION } else { 0 };
    out.extend_from_slice(&header(BEGIN_REQUEST, HEADER_BYTES));
    out.extend_from_slice(&[0, RESPONDER, flags, 0, 0, 0, 0, 0]);
}

/// Returns the header of a record with a piece of the request body; an empty record ends the body.
#[must_use]
pub fn stdin(content: usize) -> Bytes {
    Bytes::copy_from_slice(&header(STDIN, content))
}

/// Writer of the parameters of a request. PHP parses each record separately, so that no pair may span two records.
#[derive(Debug)]
pub struct Params<'o> {
    out: &'o mut Vec<u8>,
    /// Position of the current record's header.
    record: usize,
}

/// A pair longer than a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a field is too long for FastCGI")]
pub struct PairTooLong;

impl<'o> Params<'o> {
    /// Starts the parameters at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        let record = out.len();
        out.extend_from_slice(&header(PARAMS, 0));
        Self { out, record }
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// The pair does not fit in a record.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), PairTooLong> {
        let bytes = length_bytes(name) + length_bytes(value) + name.len() + value.len();
        if bytes > CONTENT_BYTES_MAX {
            return Err(PairTooLong);
        }
        if self.content() + bytes > CONTENT_BYTES_MAX {
            self.close();
            self.record = self.out.len();
            self.out.extend_from_slice(&header(PARAMS, 0));
        }
        write_length(self.out, name.len());
        write_length(self.out, value.len());
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(value);
        Ok(())
    }

    /// Ends the parameters.
    pub fn finish(mut self) {
        self.close();
        // An empty record ends the parameters; an empty last record is the end already.
        if self.content() > 0 {
            self.out.extend_from_slice(&header(PARAMS, 0));
        }
    }

    fn content(&self) -> usize {
        self.out.len().saturating_sub(self.record + HEADER_BYTES)
    }

    fn close(&mut self) {
        let complete = header(PARAMS, self.content());
        if let Some(place) = self.out.get_mut(self.record..self.record + HEADER_BYTES) {
            place.copy_from_slice(&complete);
        }
    }
}

/// Returns the bytes that encode the length of a name or value.
const fn length_bytes(text: &[u8]) -> usize {
    if text.len() < 0x80 { 1 } else { 4 }
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let long = u32::try_from(length.min(LENGTH_BYTES_MAX)).unwrap_or(0) | 0x8000_0000;
            out.extend_from_slice(&long.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let mut bytes = header(kind, content.len()).to_vec();
        bytes[6] = padding;
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + usize::from(padding), 0xff);
        bytes
    }

    /// Output, error output and end of a response.
    type Answer = (Vec<u8>, Vec<u8>, Option<End>);

    /// Decodes `bytes` in pieces of `width`.
    fn read(bytes: &[u8], width: usize) -> Result<Answer, BadRecord> {
        let (mut reader, mut input) = (Reader::default(), BytesMut::new());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(width) {
            input.extend_from_slice(piece);
            loop {
                match reader.next(&mut input)? {
                    Event::Stdout(data) => stdout.extend_from_slice(&data),
                    Event::Stderr(data) => stderr.extend_from_slice(&data),
                    Event::End(end) => return Ok((stdout, stderr, Some(end))),
                    Event::More => break,
                }
            }
        }
        Ok((stdout, stderr, None))
    }

    /// Decodes the pairs of parameters, as a program does.
    fn pairs(mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = Vec::new();
        loop {
            let content = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
            assert_eq!((bytes[0], bytes[1]), (VERSION, PARAMS));
            let (mut record, rest) = bytes[HEADER_BYTES..].split_at(content);
            bytes = rest;
            if content == 0 {
                assert!(rest.is_empty());
                return pairs;
            }
            while !record.is_empty() {
                let mut length = || {
                    let (length, used) = match record[0] {
                        short @ 0..=0x7f => (usize::from(short), 1),
                        _ => {
                            let long = u32::from_be_bytes(record[..4].try_into().unwrap());
                            (usize::try_from(long & 0x7fff_ffff).unwrap(), 4)
                        }
                    };
                    record = &record[used..];
                    length
                };
                let (name, value) = (length(), length());
                pairs.push((record[..name].to_vec(), record[name..name + value].to_vec()));
                record = &record[name + value..];
            }
        }
    }

    proptest! {
        #[test]
        fn an_answer_means_the_same_in_whatever_pieces_it_comes(
            parts in prop::collection::vec((any::<bool>(), 0_usize..3_000, any::<u8>()), 0..6),
            width in 1_usize..5_000,
        ) {
            let (mut bytes, mut stdout, mut stderr) = (Vec::new(), Vec::new(), Vec::new());
            for (is_error, length, padding) in parts {
                let content = vec![padding; length];
                bytes.extend(record(if is_error { STDERR } else { STDOUT }, &content, padding));
                if is_error { stderr.extend(content) } else { stdout.extend(content) }
            }
            // Management records are skipped.
            bytes.extend(record(10, b"abc", 1));
            bytes.extend(record(END_REQUEST, &[0; 8], 3));
            prop_assert_eq!(read(&bytes, width), Ok((stdout, stderr, Some(End::Complete))));
        }

        #[test]
        fn parameters_are_read_as_they_were_written(
            lengths in prop::collection::vec((1_usize..300, 0_usize..30_000), 0..9),
        ) {
            let mut out = Vec::new();
            let mut params = Params::new(&mut out);
            let mut expected = Vec::new();
            for (name, value) in lengths {
                let pair = (vec![b'N'; name], vec![b'v'; value]);
                params.push(&pair.0, &pair.1).unwrap();
                expected.push(pair);
            }
            params.finish();
            prop_assert_eq!(pairs(&out), expected);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..2_000), width in 1_usize..99) {
            read(&bytes, width).ok();
        }
    }

    #[test]
    fn what_is_no_answer_to_this_request_is_refused() {
        let mut other = record(STDOUT, b"x", 0);
        other[3] = 2;
        assert_eq!(read(&other, 99), Err(BadRecord::Request));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n", 99), Err(BadRecord::Version));
        assert_eq!(read(&record(END_REQUEST, b"short", 0), 99), Err(BadRecord::End));
        for (status, end) in [(0, End::Complete), (1, End::Refused), (2, End::Overloaded), (3, End::Refused)] {
            let (.., found) = read(&record(END_REQUEST, &[0, 0, 0, 0, status, 0, 0, 0], 0), 99).unwrap();
            assert_eq!(found, Some(end));
        }
    }

    #[test]
    fn a_pair_that_fits_in_no_record_is_refused() {
        let mut out = Vec::new();
        let mut params = Params::new(&mut out);
        assert_eq!(params.push(b"A", &[0; CONTENT_BYTES_MAX]), Err(PairTooLong));
        params.push(b"A", &[0; CONTENT_BYTES_MAX - 6]).unwrap();
        params.push(b"B", b"1").unwrap();
        params.finish();
        assert_eq!(pairs(&out).len(), 2);
    }
}
