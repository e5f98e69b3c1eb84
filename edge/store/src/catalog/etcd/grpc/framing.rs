//! The frames of gRPC messages: a flag, four bytes of length, the message.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message;

/// Upper bound of the length of an accepted message. The largest request of etcd is 1.5 MiB by default, so that one
/// record always fits.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes before a message.
const HEAD_BYTES: usize = 5;

/// The reason why bytes are not messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The message is compressed, which was not offered.
    #[error("a compressed message")]
    Compressed,
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes")]
    TooLong(usize),
    /// The bytes are not a message of this method.
    #[error("a message that cannot be decoded")]
    Undecodable,
}

/// The frame of a message.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEAD_BYTES.saturating_add(length));
    frame.put_u8(0);
    // Requests are bounded far below 4 GiB before this point.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message.encode_to_vec());
    frame.freeze()
}

/// Splits bytes that arrive in pieces into messages.
#[derive(Default)]
pub(super) struct Frames {
    bytes: BytesMut,
}

impl Frames {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Returns the next message; `None` until the whole message has arrived.
    pub(super) fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some((head, _)) = self.bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [flag, length @ ..] = *head;
        if flag != 0 {
            return Err(FrameError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        if self.bytes.len() < HEAD_BYTES.saturating_add(length) {
            return Ok(None);
        }
        self.bytes.advance(HEAD_BYTES);
        let message = self.bytes.split_to(length).freeze();
        match M::decode(message) {
            Ok(message) => Ok(Some(message)),
            Err(_) => Err(FrameError::Undecodable),
        }
    }

    /// Returns true if no part of a message is left.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::wire::{KeyValue, RangeResponse};
    use super::*;

    fn message(values: &[Vec<u8>]) -> RangeResponse {
        let kvs = values.iter().map(|value| KeyValue {
            key: Bytes::from_static(b"key"),
            mod_revision: 7,
            value: Bytes::copy_from_slice(value),
        });
        RangeResponse { header: None, kvs: kvs.collect(), more: false }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            all in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4), 0..5),
            cuts in prop::collection::vec(1..60_usize, 1..20),
        ) {
            let expected: Vec<_> = all.iter().map(|values| message(values)).collect();
            let bytes: Vec<u8> = expected.iter().flat_map(|message| framed(message).to_vec()).collect();
            let (mut frames, mut found, mut rest) = (Frames::default(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                frames.push(piece);
                rest = after;
                while let Some(message) = frames.next::<RangeResponse>().unwrap() {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert!(frames.is_empty());
        }

        #[test]
        fn any_bytes_are_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(_)) = frames.next::<RangeResponse>() {}
        }
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_by_its_head() {
        let mut frames = Frames::default();
        frames.push(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(frames.next::<RangeResponse>(), Err(FrameError::TooLong(0xffff_ffff)));
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut frames = Frames::default();
        frames.push(&[1, 0, 0, 0, 0]);
        assert_eq!(frames.next::<RangeResponse>(), Err(FrameError::Compressed));
    }
}
