//! Frames as bytes (RFC 9114 §7): numbers, frame heads, and error codes.

/// Maximum encodable number (RFC 9000 §16).
pub(super) const NUMBER_MAX: u64 = (1 << 62) - 1;

/// Types of frames (§7.2).
pub(super) mod kind {
    pub(in super::super) const DATA: u64 = 0x0;
    pub(in super::super) const HEADERS: u64 = 0x1;
    pub(in super::super) const CANCEL_PUSH: u64 = 0x3;
    pub(in super::super) const SETTINGS: u64 = 0x4;
    pub(in super::super) const PUSH_PROMISE: u64 = 0x5;
    pub(in super::super) const GOAWAY: u64 = 0x7;
    pub(in super::super) const MAX_PUSH_ID: u64 = 0xd;

    /// Returns true for a frame type of HTTP/2 that HTTP/3 reserves: PRIORITY, PING, WINDOW_UPDATE and CONTINUATION
    /// (§7.2.8).
    pub(in super::super) const fn is_of_http2(kind: u64) -> bool {
        matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
    }
}

/// Types of unidirectional streams (§6.2, RFC 9204 §4.2).
pub(super) mod stream_type {
    pub(in super::super) const CONTROL: u64 = 0x0;
    pub(in super::super) const PUSH: u64 = 0x1;
    pub(in super::super) const QPACK_ENCODER: u64 = 0x2;
    pub(in super::super) const QPACK_DECODER: u64 = 0x3;
}

/// Error codes (§8.1, RFC 9204 §6) sent by this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Code {
    /// No error.
    None = 0x100,
    /// Error of the peer without a specific code.
    GeneralProtocol = 0x101,
    /// Error of this end.
    Internal = 0x102,
    /// Stream type not accepted by this end.
    StreamCreation = 0x103,
    /// End of a stream that the connection needs.
    ClosedCriticalStream = 0x104,
    /// Frame not permitted in the current state or stream.
    FrameUnexpected = 0x105,
    /// Malformed frame.
    Frame = 0x106,
    /// Excessive load caused by the peer.
    ExcessiveLoad = 0x107,
    /// Stream ID or push ID not permitted.
    Id = 0x108,
    /// Setting not permitted.
    Settings = 0x109,
    /// The control stream does not begin with SETTINGS.
    MissingSettings = 0x10a,
    /// Request rejected without any processing.
    RequestRejected = 0x10b,
    /// Request no longer answered.
    RequestCancelled = 0x10c,
    /// Request that ended before completion.
    RequestIncomplete = 0x10d,
    /// Malformed request.
    Message = 0x10e,
    /// Unreadable field section.
    QpackDecompressionFailed = 0x200,
    /// Error on the peer's encoder stream.
    QpackEncoderStream = 0x201,
    /// Error on the peer's decoder stream.
    QpackDecoderStream = 0x202,
}

/// Error of a stream or a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ends.
    Connection(Code),
    /// The request's stream ends (§4.1.1, §4.1.2).
    Stream(Code),
}

/// Reads a number from the beginning of `bytes`, if complete (RFC 9000 §16); returns the number and the rest.
#[inline]
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (taken, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = taken.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    // The two highest bits encode the length.
    Some((value & (u64::MAX >> (64 - 8 * taken.len() + 2)), rest))
}

/// Adds a number of at most [`NUMBER_MAX`] in the fewest bytes.
#[inline]
pub(super) fn write_number(into: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let [.., a, b, c, d] = bytes;
    match number {
        0..0x40 => into.push(d),
        0x40..0x4000 => into.extend_from_slice(&[c | 0x40, d]),
        0x4000..0x4000_0000 => into.extend_from_slice(&[a | 0x80, b, c, d]),
        _ => {
            let [first, rest @ ..] = bytes;
            into.push(first | 0xc0);
            into.extend_from_slice(&rest);
        }
    }
}

/// Maximum bytes of a frame head.
pub(super) const HEAD_BYTES_MAX: usize = 16;

/// Head of a frame (§7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u64,
    pub(super) length: u64,
}

impl FrameHead {
    /// Reads a head from the beginning of `bytes`, if complete; returns the head and the rest.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = number(bytes)?;
        let (length, rest) = number(rest)?;
        Some((Self { kind, length }, rest))
    }
}

/// Adds the head of a frame of `length` bytes.
#[inline]
pub(super) fn write_head(into: &mut Vec<u8>, kind: u64, length: usize) {
    write_number(into, kind);
    // A length in memory is below the maximum number.
    write_number(into, u64::try_from(length).unwrap_or(NUMBER_MAX).min(NUMBER_MAX));
}

/// Adds a GOAWAY frame, with one number as payload (§7.2.6).
pub(super) fn write_goaway(into: &mut Vec<u8>, id: u64) {
    let mut payload = Vec::new();
    write_number(&mut payload, id);
    write_head(into, kind::GOAWAY, payload.len());
    into.extend_from_slice(&payload);
}

/// Returns a payload that is exactly one number.
///
/// # Errors
///
/// H3_FRAME_ERROR of the connection (§7.1).
pub(super) fn only_number(payload: &[u8]) -> Result<u64, Fault> {
    match number(payload) {
        Some((number, [])) => Ok(number),
        _ => Err(Fault::Connection(Code::Frame)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_number(&mut bytes, value);
        bytes
    }

    #[test]
    fn the_numbers_of_rfc_9000_appendix_a_1_are_read_and_written() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(number(bytes), Some((value, &[][..])));
            assert_eq!(written(value), bytes);
        }
        // Minimal and longer encodings.
        assert_eq!(number(&[0x40, 0x25, 9]), Some((37, &[9][..])));
    }

    #[test]
    fn a_number_takes_as_few_bytes_as_it_can() {
        for (value, bytes) in
            [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), ((1 << 30) - 1, 4), (1 << 30, 8), (NUMBER_MAX, 8)]
        {
            assert_eq!(written(value).len(), bytes, "{value}");
            assert_eq!(number(&written(value)), Some((value, &[][..])));
        }
    }

    #[test]
    fn a_payload_that_is_one_number_has_nothing_after_it() {
        assert_eq!(only_number(&[0x40, 0x25]), Ok(37));
        for payload in [&[][..], &[0x40], &[1, 1], &[0xc0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(only_number(payload), Err(Fault::Connection(Code::Frame)));
        }
        let mut goaway = Vec::new();
        write_goaway(&mut goaway, NUMBER_MAX - 3);
        assert_eq!(goaway, [7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc]);
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(kind in 0..=NUMBER_MAX, length: u32, shift in 0_u32..62, more: Vec<u8>) {
            let kind = kind >> shift;
            let mut bytes = Vec::new();
            write_head(&mut bytes, kind, length as usize);
            let head = FrameHead { kind, length: length.into() };
            prop_assert!(bytes.len() <= HEAD_BYTES_MAX);
            for end in 0..bytes.len() {
                prop_assert_eq!(FrameHead::read(&bytes[..end]), None);
            }
            bytes.extend_from_slice(&more);
            prop_assert_eq!(FrameHead::read(&bytes), Some((head, &more[..])));
        }

        #[test]
        fn any_bytes_are_a_number_or_too_few(bytes: Vec<u8>) {
            match number(&bytes) {
                Some((value, rest)) => {
                    prop_assert!(value <= NUMBER_MAX);
                    prop_assert!(written(value).len() <= bytes.len() - rest.len());
                }
                None => prop_assert!(bytes.len() < 8),
            }
        }
    }
}
