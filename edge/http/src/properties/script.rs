//! HTTP/2 client derived from any bytes: mostly valid frames in any order.

use super::engine::hpack;
use super::site::PATHS;

/// Preface of every client (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Settings of a client, including invalid settings.
const SETTINGS: [(u16, u32); 12] = [
    (1, 0),
    (1, 100),
    (1, 65_536),
    (2, 0),
    (2, 2),
    (4, 0),
    (4, 1),
    (4, 100_000),
    (4, 0x8000_0000),
    (5, 16_384),
    (5, 20_000),
    (0x7a7a, 1),
];

/// Optional fields of a request, including invalid fields.
const FIELDS: [(&str, &[u8]); 10] = [
    ("accept", b"*/*"),
    ("cookie", b"a=1"),
    ("cookie", b"b=2"),
    ("te", b"trailers"),
    ("te", b"gzip"),
    ("connection", b"close"),
    ("content-length", b"3"),
    ("host", b"a.example"),
    (":late", b"1"),
    ("x-upper", b" spaces "),
];

/// Returns a frame of any kind.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Remaining steps.
struct Steps<'i> {
    input: std::iter::Copied<std::slice::Iter<'i, u8>>,
    /// Last begun stream.
    last: u32,
}

/// Returns the client's bytes.
pub(super) fn client(input: &[u8]) -> Vec<u8> {
    let mut steps = Steps { input: input.iter().copied(), last: 0 };
    let mut bytes = [PREFACE, &frame(4, 0, 0, &[])].concat();
    while let Some(step) = steps.input.next() {
        let frames = steps.frames(step);
        bytes.extend_from_slice(&frames);
    }
    bytes
}

impl Steps<'_> {
    fn byte(&mut self) -> u8 {
        self.input.next().unwrap_or_default()
    }

    /// Returns mostly a begun stream.
    fn stream(&mut self) -> u32 {
        match self.byte() {
            255 => 0,
            254 => self.last + 2,
            byte => self.last.saturating_sub(2 * u32::from(byte % 4)),
        }
    }

    /// Returns the next bytes of the input unchanged.
    fn raw(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte());
        self.input.by_ref().take(count).collect()
    }

    fn frames(&mut self, step: u8) -> Vec<u8> {
        match step % 16 {
            0..=4 => {
                let (block, ends) = self.request();
                self.last += 2;
                frame(1, 4 | u8::from(ends), self.last - 1, &block)
            }
            // In pieces, with padding and a priority.
            5 => {
                let (block, ends) = self.request();
                let (begin, rest) = block.split_at(usize::from(step / 16) % block.len());
                self.last += 2;
                let padded = [&[2, 0, 0, 0, 0, 7][..], begin, &[0, 0]].concat();
                let rest = [frame(9, 0, self.last - 1, &[]), frame(9, 4, self.last - 1, rest)];
                [frame(1, 0x28 | u8::from(ends), self.last - 1, &padded), rest.concat()].concat()
            }
            6 | 7 => {
                let (stream, bytes) = (self.stream_id(), usize::from(self.byte()) * usize::from(step / 16));
                frame(0, step / 16 % 2, stream, &vec![b'd'; bytes])
            }
            8 => {
                let (stream, size) = (self.stream_id(), self.byte());
                let increment = [0, 1, 1_000, 65_535, 0x7fff_ffff, 40_000, 200_000, 16_384][usize::from(size % 8)];
                frame(8, 0, if size & 0x80 == 0 { 0 } else { stream }, &u32::to_be_bytes(increment))
            }
            9 => {
                let mut payload = Vec::new();
                for _ in 0..step / 64 {
                    let (id, value) = SETTINGS[usize::from(self.byte()) % SETTINGS.len()];
                    payload.extend_from_slice(&id.to_be_bytes());
                    payload.extend_from_slice(&value.to_be_bytes());
                }
                frame(4, 0, 0, &payload)
            }
            10 => frame(3, 0, self.stream_id(), &[0, 0, 0, 8]),
            11 => frame(6, step / 128, 0, b"whatever"),
            12 => {
                let kind = [2, 7, 4, 5, 9, 0x20][usize::from(step / 16) % 6];
                let stream = if kind == 2 { self.stream_id() } else { 0 };
                let flags = if kind == 4 { 1 } else { 0 };
                let length = if kind == 2 { 5 } else { 8 * usize::from(kind != 4) };
                frame(kind, flags, stream, &vec![0; length])
            }
            // Trailers, or a block of any kind.
            13 => {
                let (stream, block) = (self.stream_id(), self.raw());
                frame(1, 5, stream, &block)
            }
            14 => {
                let (kind, flags, stream, payload) = (self.byte(), self.byte(), self.stream_id(), self.raw());
                frame(kind, flags, stream, &payload)
            }
            _ => self.raw(),
        }
    }

    fn stream_id(&mut self) -> u32 {
        match self.stream() {
            0 => 0,
            even => even - 1,
        }
    }

    /// Returns a field block of a request; true without a body.
    fn request(&mut self) -> (Vec<u8>, bool) {
        let (place, kind) = (usize::from(self.byte()), self.byte());
        let path = PATHS[place % PATHS.len()];
        let (method, ends) = match kind % 4 {
            0 | 1 => ("GET", true),
            2 => ("HEAD", true),
            _ => ("POST", kind & 0x80 != 0),
        };
        let mut block = Vec::new();
        for (name, value) in [(":method", method), (":scheme", "https"), (":path", path), (":authority", "a.example")] {
            let inserts = kind & 0x40 != 0;
            let write = if inserts { hpack::literal_inserting } else { hpack::literal };
            block.extend_from_slice(&write(name, value.as_bytes()));
        }
        if place >= 9 * 16 {
            let (name, value) = FIELDS[place % FIELDS.len()];
            block.extend_from_slice(&hpack::literal_inserting(name, value));
        }
        (block, ends)
    }
}
