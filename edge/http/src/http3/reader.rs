//! Frames of one stream, for any split of the bytes (RFC 9114 §7.1).

use std::borrow::Cow;

use super::frame::{Fault, FrameHead};

/// Way of reading the payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// As a whole.
    Whole,
    /// In pieces, as received.
    Pieces,
    /// Skipped.
    Discard,
}

/// Result of reading bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event<'b> {
    /// Complete frame with its type and payload.
    Frame(u64, Cow<'b, [u8]>),
    /// Piece of a payload.
    Piece(&'b [u8]),
}

/// Position within the frames of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before or within the head of a frame.
    #[default]
    Head,
    /// Within a payload read as a whole; holds the frame type and the length.
    Whole(u64, usize),
    /// Within a payload read in pieces; holds the remaining length.
    Pieces(u64),
    /// Within a skipped payload; holds the remaining length.
    Discard(u64),
}

/// Frame reader for the bytes of one stream.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    state: State,
    /// Incomplete head or payload.
    partial: Vec<u8>,
}

impl FrameReader {
    /// Consumes bytes up to the next event; `treat` decides by each complete head how to read the frame. `None` once
    /// all bytes are consumed.
    ///
    /// # Errors
    ///
    /// Errors of `treat`.
    pub(super) fn next<'b>(
        &mut self,
        bytes: &mut &'b [u8],
        mut treat: impl FnMut(FrameHead) -> Result<Treatment, Fault>,
    ) -> Result<Option<Event<'b>>, Fault> {
        loop {
            match &mut self.state {
                State::Head => {
                    let Some(head) = self.head(bytes) else { return Ok(None) };
                    self.state = match treat(head)? {
                        // `treat` has checked that the payload fits in memory.
                        Treatment::Whole => State::Whole(head.kind, usize::try_from(head.length).unwrap_or(usize::MAX)),
                        Treatment::Pieces => State::Pieces(head.length),
                        Treatment::Discard => State::Discard(head.length),
                    };
                }
                State::Whole(kind, length) => {
                    let kind = *kind;
                    let (part, rest) = bytes.split_at((*length - self.partial.len()).min(bytes.len()));
                    *bytes = rest;
                    if part.len() == *length {
                        self.state = State::Head;
                        return Ok(Some(Event::Frame(kind, Cow::Borrowed(part))));
                    }
                    self.partial.extend_from_slice(part);
                    if self.partial.len() < *length {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    return Ok(Some(Event::Frame(kind, Cow::Owned(std::mem::take(&mut self.partial)))));
                }
                State::Pieces(0) | State::Discard(0) => self.state = State::Head,
                State::Pieces(left) => {
                    let part = take(bytes, left);
                    return Ok((!part.is_empty()).then_some(Event::Piece(part)));
                }
                State::Discard(left) => {
                    if take(bytes, left).is_empty() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Returns the next head, if complete.
    fn head(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        if self.partial.is_empty()
            && let Some((head, rest)) = FrameHead::read(bytes)
        {
            *bytes = rest;
            return Some(head);
        }
        while let Some((first, rest)) = bytes.split_first() {
            self.partial.push(*first);
            *bytes = rest;
            if let Some((head, _)) = FrameHead::read(&self.partial) {
                self.partial = Vec::new();
                return Some(head);
            }
        }
        None
    }

    /// Returns true within an incomplete frame.
    pub(super) fn is_within_frame(&self) -> bool {
        match self.state {
            State::Head => !self.partial.is_empty(),
            State::Whole(..) => true,
            State::Pieces(left) | State::Discard(left) => left > 0,
        }
    }

    /// Returns true within a frame that yields no event before completion.
    pub(super) fn is_within_whole(&self) -> bool {
        self.is_within_frame() && !matches!(self.state, State::Pieces(_))
    }

    /// Returns the heap bytes of the reader.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }
}

/// Takes the next of the `left` bytes of a payload.
fn take<'b>(bytes: &mut &'b [u8], left: &mut u64) -> &'b [u8] {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (part, rest) = bytes.split_at(count);
    *bytes = rest;
    *left -= u64::try_from(count).unwrap_or_default();
    part
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::frame;
    use super::*;

    /// Frame types modulo 3 choose the treatment.
    fn treat(head: FrameHead) -> Result<Treatment, Fault> {
        Ok([Treatment::Whole, Treatment::Pieces, Treatment::Discard][usize::try_from(head.kind % 3).unwrap()])
    }

    /// Returns the frames of the input, with the pieces of each frame joined.
    fn read(pieces: &[&[u8]]) -> (Vec<(u64, Vec<u8>)>, FrameReader) {
        let (mut reader, mut found) = (FrameReader::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            let mut last = found.len();
            while let Some(event) = reader
                .next(&mut piece, |head| {
                    found.extend((head.kind % 3 != 2).then(|| (head.kind, Vec::new())));
                    last = found.len();
                    treat(head)
                })
                .unwrap()
            {
                let payload = &mut found.last_mut().unwrap().1;
                match event {
                    Event::Frame(kind, whole) => {
                        assert_eq!(kind % 3, 0);
                        payload.extend_from_slice(&whole);
                    }
                    Event::Piece(part) => payload.extend_from_slice(part),
                }
            }
            assert!(piece.is_empty());
        }
        (found, reader)
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written_however_they_are_cut(
            frames in vec((0_u64..70_000, vec(any::<u8>(), 0..100)), 0..8),
            cuts in vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                frame::write_head(&mut bytes, *kind, payload.len());
                bytes.extend_from_slice(payload);
            }
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|two| &bytes[two[0]..two[1]]).collect();
            let expected: Vec<_> = frames.into_iter().filter(|(kind, _)| kind % 3 != 2).collect();
            let (found, reader) = read(&pieces);
            prop_assert_eq!(found, expected.clone());
            prop_assert!(!reader.is_within_frame());
            prop_assert_eq!(reader.held_bytes(), 0);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(&single).0, expected);
        }
    }

    #[test]
    fn it_is_known_whether_the_end_of_a_frame_is_still_to_come() {
        for (bytes, within, whole) in [
            (&b""[..], false, false),
            (b"\x40", true, true),
            (b"\x00", true, true),
            (b"\x00\x03", true, true),
            (b"\x00\x03ab", true, true),
            (b"\x00\x03abc", false, false),
            (b"\x01\x03ab", true, false),
            (b"\x01\x03abc", false, false),
            (b"\x02\x03ab", true, true),
            (b"\x02\x03abc\x01\x00", false, false),
        ] {
            let reader = read(&[bytes]).1;
            assert_eq!((reader.is_within_frame(), reader.is_within_whole()), (within, whole), "{bytes:x?}");
        }
    }
}
