//! Frames as bytes (RFC 9113 §4.1 and §6): reads and writes frame heads, padding and short payloads.

/// Bytes of a frame head.
pub(super) const HEAD_BYTES: usize = 9;
/// Maximum payload accepted in one frame: the minimum and the default of `SETTINGS_MAX_FRAME_SIZE`.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16_384;
/// Connection preface of clients (§3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (§6).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flags of frames (§6).
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Error codes (§7) sent by this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    None = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// Error of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ends (§5.4.1).
    Connection(Code),
    /// The stream ends (§5.4.2).
    Stream(u32, Code),
}

/// Head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Stream number, without the reserved bit.
    pub(super) stream: u32,
}

impl FrameHead {
    /// Reads a head from the beginning of `bytes`, if complete; returns the head and the rest.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let ([a, b, c, kind, flags, stream @ ..], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let stream = u32::from_be_bytes(*stream) & !(1 << 31);
        Some((Self { length, kind: *kind, flags: *flags, stream }, rest))
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Returns the head of a frame of `length` bytes, which are fewer than 2²⁴.
#[inline]
pub(super) fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
    let [.., a, b, c] = length.to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// Adds a whole frame with a short payload.
pub(super) fn write(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    into.extend_from_slice(&head(payload.len(), kind, flags, stream));
    into.extend_from_slice(payload);
}

/// Adds RST_STREAM (§6.4).
pub(super) fn write_reset(into: &mut Vec<u8>, stream: u32, code: Code) {
    write(into, kind::RST_STREAM, 0, stream, &(code as u32).to_be_bytes());
}

/// Adds WINDOW_UPDATE (§6.9).
pub(super) fn write_window(into: &mut Vec<u8>, stream: u32, increment: u32) {
    write(into, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

/// Adds GOAWAY (§6.8).
pub(super) fn write_goaway(into: &mut Vec<u8>, last: u32, code: Code) {
    into.extend_from_slice(&head(8, kind::GOAWAY, 0, 0));
    into.extend_from_slice(&last.to_be_bytes());
    into.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Returns a payload without the padding (§6.1, §6.2).
///
/// # Errors
///
/// FRAME_SIZE_ERROR if the padding length is missing, PROTOCOL_ERROR if the padding is as long as the payload. Both end
/// the connection, since the field tables or windows may be out of step.
pub(super) fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let (length, rest) = payload.split_first().ok_or(Fault::Connection(Code::FrameSize))?;
    let content = rest.len().checked_sub(usize::from(*length)).and_then(|content| rest.get(..content));
    content.ok_or(Fault::Connection(Code::Protocol))
}

/// Returns the field block fragment of HEADERS (§6.2); the priority is deprecated and skipped.
///
/// # Errors
///
/// Errors of [`unpadded`]; FRAME_SIZE_ERROR if the priority is cut off.
pub(super) fn fragment(head: FrameHead, payload: &[u8]) -> Result<&[u8], Fault> {
    let padded = head.has(flag::PADDED);
    if head.has(flag::PRIORITY) && payload.len() < 5 + usize::from(padded) {
        return Err(Fault::Connection(Code::FrameSize));
    }
    let content = unpadded(head, payload)?;
    if !head.has(flag::PRIORITY) {
        return Ok(content);
    }
    content.get(5..).ok_or(Fault::Connection(Code::Protocol))
}

/// Returns a payload that is one 32-bit number.
///
/// # Errors
///
/// FRAME_SIZE_ERROR of the connection.
pub(super) fn number(payload: &[u8]) -> Result<u32, Fault> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_length| Fault::Connection(Code::FrameSize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn padded(flags: u8) -> FrameHead {
        FrameHead { length: 0, kind: kind::HEADERS, flags, stream: 1 }
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(length in 0_usize..1 << 24, kind: u8, flags: u8, stream in 0_u32..1 << 31) {
            let bytes = head(length, kind, flags, stream);
            prop_assert_eq!(FrameHead::read(&bytes), Some((FrameHead { length, kind, flags, stream }, &[][..])));
            prop_assert_eq!(FrameHead::read(&bytes[..8]), None);
        }

        #[test]
        fn padding_is_taken_off_as_it_was_put_on(content: Vec<u8>, pad: u8) {
            let payload = [&[pad][..], &content, &vec![0; usize::from(pad)]].concat();
            prop_assert_eq!(unpadded(padded(flag::PADDED), &payload), Ok(&content[..]));
        }
    }

    #[test]
    fn the_reserved_bit_of_a_stream_is_passed_over() {
        let (read, _) = FrameHead::read(&[0, 0, 0, 1, 0, 0x80, 0, 0, 1]).unwrap();
        assert_eq!(read.stream, 1);
    }

    #[test]
    fn padding_that_does_not_fit_is_an_error() {
        let (size, protocol) = (Err(Fault::Connection(Code::FrameSize)), Err(Fault::Connection(Code::Protocol)));
        assert_eq!(unpadded(padded(flag::PADDED), &[]), size);
        assert_eq!(unpadded(padded(flag::PADDED), &[1]), protocol);
        assert_eq!(unpadded(padded(flag::PADDED), &[2, 0, 0]), Ok(&[][..]));
        assert_eq!(unpadded(padded(flag::PADDED), &[3, 0, 0]), protocol);
    }

    #[test]
    fn a_priority_in_headers_is_passed_over_and_must_fit() {
        let (both, only) = (padded(flag::PADDED | flag::PRIORITY), padded(flag::PRIORITY));
        assert_eq!(fragment(only, &[0, 0, 0, 0, 9, b'x']), Ok(&b"x"[..]));
        assert_eq!(fragment(only, &[0, 0, 0]), Err(Fault::Connection(Code::FrameSize)));
        assert_eq!(fragment(both, &[1, 0, 0, 0, 0, 9, b'x', 0]), Ok(&b"x"[..]));
        assert_eq!(fragment(both, &[4, 0, 0, 0, 0, 0, 0]), Err(Fault::Connection(Code::Protocol)));
    }
}
