//! Frame boundaries of a WebSocket, and Close frames: a tunnel can only be closed between two frames (RFC 6455 §5).

/// Longest frame header: two bytes, a length of eight bytes and a mask of four bytes.
const HEAD_BYTES_MAX: usize = 14;
/// `Close` with status 1001, "going away" (RFC 6455 §7.4.1), as sent by a server.
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];
/// The opcode of a Close frame.
const CLOSE: u8 = 0x8;

/// Returns a Close frame as sent by a client, masked with an unpredictable mask (RFC 6455 §5.3).
pub(super) fn masked_going_away(mask: [u8; 4]) -> [u8; 8] {
    let [first, second, third, fourth] = mask;
    [0x88, 0x82, first, second, third, fourth, 0x03 ^ first, 0xE9 ^ second]
}

/// State of the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// Bytes of the payload left.
    payload_left: u64,
    is_closing: bool,
}

impl Frames {
    /// Follows `bytes`.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = rest.get(self.step(rest)..).unwrap_or_default();
        }
    }

    /// Returns the number of `bytes` before the next frame boundary; all bytes without a boundary.
    pub(super) fn until_boundary(&self, bytes: &[u8]) -> usize {
        let mut ahead = Self { head: self.head, ..*self };
        let mut passed = 0;
        while !ahead.is_at_boundary() && passed < bytes.len() {
            passed += ahead.step(bytes.get(passed..).unwrap_or_default());
        }
        passed
    }

    /// Returns true at a frame boundary.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0
    }

    /// Returns true after a Close frame, the last frame.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closing && self.is_at_boundary()
    }

    /// Consumes one byte of a header, or all available payload.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let taken = self.payload_left.min(available);
            self.payload_left -= taken;
            return usize::try_from(taken).unwrap_or(bytes.len());
        }
        let (Some(&byte), Some(place)) = (bytes.first(), self.head.get_mut(self.head_len)) else { return bytes.len() };
        *place = byte;
        self.head_len += 1;
        if self.head_len == head_bytes(&self.head) {
            self.is_closing |= self.head.first().is_some_and(|first| first & 0x0F == CLOSE);
            self.payload_left = payload_bytes(&self.head);
            self.head_len = 0;
        }
        1
    }
}

/// Returns the length of a header, computed from the first two bytes; an incomplete header has at least the minimum.
fn head_bytes(head: &[u8; HEAD_BYTES_MAX]) -> usize {
    let [_, second, ..] = head;
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

fn payload_bytes(head: &[u8; HEAD_BYTES_MAX]) -> u64 {
    let [_, second, a, b, c, d, e, f, g, h, ..] = *head;
    match second & 0x7F {
        126 => u64::from(u16::from_be_bytes([a, b])),
        127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        length => u64::from(length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match length {
            0..=125 => bytes.push(masked | u8::try_from(length).unwrap()),
            126..=0xFFFF => {
                bytes.push(masked | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        bytes.resize(bytes.len() + length, 0x88);
        bytes
    }

    #[test]
    fn a_close_frame_is_seen_and_no_payload_is_one() {
        let mut frames = Frames::default();
        frames.pass(&frame(1, 200, None));
        assert!(frames.is_at_boundary() && !frames.is_closed());
        frames.pass(&GOING_AWAY);
        assert!(frames.is_closed());
        let mut masked = Frames::default();
        masked.pass(&masked_going_away([1, 2, 3, 4]));
        assert!(masked.is_closed() && masked.is_at_boundary());
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_the_bytes_are_cut(
            sizes in prop::collection::vec((prop::sample::select(vec![0_usize, 1, 125, 126, 300, 70_000]), any::<bool>()), 1..5),
            cuts in prop::collection::vec(1_usize..5_000, 1..50),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (size, is_masked) in sizes {
                bytes.extend(frame(2, size, is_masked.then_some([7, 0x88, 9, 1])));
                ends.push(bytes.len());
            }
            let (mut frames, mut at) = (Frames::default(), 0);
            for cut in cuts.into_iter().cycle() {
                prop_assert_eq!(frames.is_at_boundary(), ends.contains(&at));
                let next = *ends.iter().find(|end| **end >= at).unwrap();
                prop_assert_eq!(frames.until_boundary(&bytes[at..]), next - at);
                if at == bytes.len() {
                    break;
                }
                let end = (at + cut).min(bytes.len());
                frames.pass(&bytes[at..end]);
                at = end;
            }
            prop_assert!(!frames.is_closed());
        }
    }
}
