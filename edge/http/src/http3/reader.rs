//! The frames of one stream, however their bytes are cut (RFC 9114 §7.1).

use std::borrow::Cow;

use super::frame::{Fault, FrameHead};

/// How the payload of a frame is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// As a whole.
    Whole,
    /// In pieces, as they come.
    Pieces,
    /// Not at all.
    Discard,
}

/// What comes of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event<'b> {
    /// A frame of this type, with its payload.
    Frame(u64, Cow<'b, [u8]>),
    /// A piece of a payload.
    Piece(&'b [u8]),
}

/// Where the frames of a stream are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Within the head of a frame, or before it.
    #[default]
    Head,
    /// Within the payload of a frame of this type that is taken as a whole, of so many bytes.
    Whole(u64, usize),
    /// Within the payload of a frame that is taken in pieces: so many bytes are still to come.
    Pieces(u64),
    /// Within that of a frame that is not taken.
    Discard(u64),
}

/// Reads frames from the bytes of one stream.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    state: State,
    /// The head that has begun, or the payload.
    partial: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes until they give something; `treat` says of each head that came whole what becomes of its frame.
    /// `None` once all bytes were taken.
    ///
    /// # Errors
    ///
    /// Those of `treat`.
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
                        // What is taken as a whole was found to be less than memory.
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

    /// The next head, if it is whole.
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

    /// Whether a frame has begun whose end has not come.
    pub(super) fn is_within_frame(&self) -> bool {
        match self.state {
            State::Head => !self.partial.is_empty(),
            State::Whole(..) => true,
            State::Pieces(left) | State::Discard(left) => left > 0,
        }
    }

    /// Whether that frame is one of which nobody has anything until it is whole.
    pub(super) fn is_within_whole(&self) -> bool {
        self.is_within_frame() && !matches!(self.state, State::Pieces(_))
    }

    /// Heap bytes that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }
}

/// The next of the `left` bytes of a payload.
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

    /// Types below 3 are taken in this way.
    fn treat(head: FrameHead) -> Result<Treatment, Fault> {
        Ok([Treatment::Whole, Treatment::Pieces, Treatment::Discard][usize::try_from(head.kind % 3).unwrap()])
    }

    /// The frames of some pieces, with the pieces of one put together.
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
