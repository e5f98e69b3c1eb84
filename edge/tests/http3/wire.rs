//! Frames as bytes on the streams of a QUIC connection, without validation.

use std::net::SocketAddr;

use quinn::{Connection, ConnectionError, Endpoint, ReadToEndError, RecvStream, SendStream, TransportConfig, VarInt};
use tokio::time::timeout;

use crate::http3_client::{endpoint, shake};
use crate::support::RunningEdge;
use crate::wire::{HOST, PATIENCE};

/// Maximum response size read.
const ANSWER_BYTES_MAX: usize = 1_000_000;

/// Frame types (RFC 9114 §7.2).
pub(super) mod kind {
    pub(in crate::http3) const DATA: u64 = 0;
    pub(in crate::http3) const HEADERS: u64 = 1;
    pub(in crate::http3) const CANCEL_PUSH: u64 = 3;
    pub(in crate::http3) const SETTINGS: u64 = 4;
    pub(in crate::http3) const PUSH_PROMISE: u64 = 5;
    pub(in crate::http3) const GOAWAY: u64 = 7;
    pub(in crate::http3) const MAX_PUSH_ID: u64 = 13;
}

/// Types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
pub(super) mod stream_type {
    pub(in crate::http3) const CONTROL: u64 = 0;
    pub(in crate::http3) const PUSH: u64 = 1;
    pub(in crate::http3) const ENCODER: u64 = 2;
    pub(in crate::http3) const DECODER: u64 = 3;
}

/// Variable-length integer (RFC 9000 §16).
pub(super) fn number(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 << (bytes.first()? >> 6);
    let (number, rest) = bytes.split_at_checked(length)?;
    let value = number.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let bits = 8 * length - 2;
    Some((value & (u64::MAX >> (64 - bits)), rest))
}

pub(super) fn frame(kind: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [number(kind), number(payload.len() as u64), payload.to_vec()].concat()
}

/// Start of a control stream.
pub(super) fn control(frames: &[Vec<u8>]) -> Vec<u8> {
    [number(stream_type::CONTROL), frames.concat()].concat()
}

/// Integer with a prefix of `bits` bits (RFC 7541 §5.1).
fn prefixed(first: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let (mut bytes, mut rest) = (vec![first | most as u8], value - most);
    while rest >= 128 {
        bytes.push(rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// Field section of literal names and values (RFC 9204 §4.5.6).
pub(super) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        section.extend(prefixed(0x20, 3, name.len()));
        section.extend_from_slice(name.as_bytes());
        section.extend(prefixed(0, 7, value.len()));
        section.extend_from_slice(value.as_bytes());
    }
    section
}

pub(super) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, section(fields))
}

/// Pseudo-header fields of a request, and additional fields.
pub(super) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path)];
    headers(&[&pseudo, more].concat())
}

/// Status in the bytes of a response.
fn status(mut bytes: &[u8]) -> Option<u16> {
    loop {
        let (kind, rest) = read_number(bytes)?;
        let (length, rest) = read_number(rest)?;
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        if kind == kind::HEADERS {
            return status_of_section(payload.get(2..)?);
        }
        bytes = rest;
    }
}

/// Value of the first field line, which is the status (RFC 9204 appendix A).
fn status_of_section(line: &[u8]) -> Option<u16> {
    let first = *line.first()?;
    if first & 0xc0 == 0xc0 {
        let statuses = [(24, 103), (25, 200), (26, 304), (27, 404), (28, 503), (63, 100), (64, 204), (65, 206)];
        let more = [(66, 302), (67, 400), (68, 403), (69, 421), (70, 425), (71, 500)];
        let index = if first == 0xff { 63 + line.get(1)? } else { first & 0x3f };
        return statuses.into_iter().chain(more).find(|(at, _)| *at == index).map(|(_, status)| status);
    }
    // A name reference to the static table, whose index may take another byte.
    let rest = if first & 0x0f == 0x0f { &line[2..] } else { &line[1..] };
    let length = *rest.first()?;
    let value = rest.get(1..1 + usize::from(length & 0x7f))?;
    if length & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { digits(value) }
}

/// Digits in the Huffman code of RFC 7541 appendix B.
fn digits(coded: &[u8]) -> Option<u16> {
    let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: usize| (0..count).try_fold(0, |value, _| Some(value << 1 | bits.next()?));
    let mut value = 0;
    for _ in 0..3 {
        let code = take(5)?;
        let digit = if code <= 2 { code } else { (code << 1 | take(1)?).checked_sub(0b01_1001)? + 3 };
        value = value * 10 + digit;
    }
    Some(value)
}

/// Outcome of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamOutcome {
    Status(u16),
    Reset(u64),
    /// Ended with the connection.
    Closed(u64),
}

/// Connection before the first stream.
pub(super) struct RawConnection {
    _endpoint: Endpoint,
    pub(super) connection: Connection,
    /// Streams kept open.
    held: Vec<SendStream>,
}

impl RawConnection {
    pub(super) async fn connect(edge: &RunningEdge) -> Self {
        Self::connect_at(edge, edge.http3().unwrap()).await
    }

    /// Connects to an edge at another address, such as a relay.
    pub(super) async fn connect_at(edge: &RunningEdge, to: SocketAddr) -> Self {
        let endpoint = endpoint(&edge.ca(), TransportConfig::default());
        let connection = shake(&endpoint, to, HOST).await.unwrap();
        Self { _endpoint: endpoint, connection, held: Vec::new() }
    }

    /// Opens a unidirectional stream with the given bytes, and keeps the stream open.
    pub(super) async fn open(&mut self, bytes: &[u8]) -> usize {
        let mut stream = timeout(PATIENCE, self.connection.open_uni()).await.unwrap().unwrap();
        // The connection may end at the first bytes.
        drop(stream.write_all(bytes).await);
        self.held.push(stream);
        self.held.len() - 1
    }

    /// Sends more bytes on a stream.
    pub(super) async fn more(&mut self, stream: usize, bytes: &[u8]) {
        drop(self.held[stream].write_all(bytes).await);
    }

    pub(super) fn finish(&mut self, stream: usize) {
        self.held[stream].finish().unwrap();
    }

    pub(super) fn reset(&mut self, stream: usize) {
        self.held[stream].reset(VarInt::from_u32(0x10c)).unwrap();
    }

    /// Sends the bytes of a request; returns the outcome.
    pub(super) async fn ask(&mut self, bytes: &[u8], ends: bool) -> StreamOutcome {
        match self.begin(bytes, ends).await {
            Some((_sending, receiving)) => self.answered(receiving).await,
            None => StreamOutcome::Closed(self.closed().await),
        }
    }

    /// Sends the bytes of a request; `None` once the connection has ended.
    pub(super) async fn begin(&self, bytes: &[u8], ends: bool) -> Option<(SendStream, RecvStream)> {
        let (mut sending, receiving) = timeout(PATIENCE, self.connection.open_bi()).await.unwrap().ok()?;
        drop(sending.write_all(bytes).await);
        if ends {
            drop(sending.finish());
        }
        Some((sending, receiving))
    }

    /// Outcome of a request.
    pub(super) async fn answered(&self, mut receiving: RecvStream) -> StreamOutcome {
        match timeout(PATIENCE, receiving.read_to_end(ANSWER_BYTES_MAX)).await.expect("something becomes of it") {
            Ok(bytes) => StreamOutcome::Status(status(&bytes).unwrap_or_else(|| panic!("no answer: {bytes:x?}"))),
            Err(ReadToEndError::Read(quinn::ReadError::Reset(code))) => StreamOutcome::Reset(code.into_inner()),
            Err(ReadToEndError::Read(quinn::ReadError::ConnectionLost(_))) => {
                StreamOutcome::Closed(self.closed().await)
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Error code with which the edge ended the connection.
    pub(super) async fn closed(&self) -> u64 {
        match timeout(PATIENCE, self.connection.closed()).await.expect("the connection ends") {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            error => panic!("{error}"),
        }
    }

    /// Control stream of the edge, with the first bytes. Drop would stop the stream.
    pub(super) async fn control_of_edge(&self) -> (RecvStream, Vec<u8>) {
        let mut stream = timeout(PATIENCE, self.connection.accept_uni()).await.unwrap().unwrap();
        let mut bytes = vec![0; 64];
        let count = timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap().unwrap();
        bytes.truncate(count);
        (stream, bytes)
    }
}
