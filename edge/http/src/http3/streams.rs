//! Requests of which something is still to come or to be sent.

use std::time::Instant;

use bytes::Bytes;

use super::super::response::Response;
use super::super::streams::{self, Multiplexed};
use super::reader::FrameReader;

/// HTTP/3.
pub(super) struct Http3;

impl Multiplexed for Http3 {
    type Id = u64;
    type Own = Own;
    type Upload = Upload;
}

/// A request of which something is still to come or to be sent.
pub(super) type Stream<O> = streams::Stream<Http3, O>;

/// The streams of one connection. Those that wait for their share of what is read ahead are parked.
pub(super) type Streams<O> = streams::Streams<Http3, O>;

/// What a stream counts and writes itself, where HTTP/2 has windows and frames.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Bytes of the request's body that wait for their reader.
    pub(super) unread: usize,
    /// Bytes of it that came and were not read: what nobody will read is not asked for again.
    pub(super) unreturned: usize,
    /// It was given no more bytes for that.
    pub(super) held_back: bool,
    /// What is to be sent before the next byte of the body: frames of fields, and the head of a frame of DATA.
    pub(super) unsent: Bytes,
    /// The body's bytes have the head of their frame.
    pub(super) is_framed: bool,
    /// Nothing follows what is unsent, and the body's bytes.
    pub(super) is_last: bool,
}

/// What comes next of a request after its head (RFC 9114 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// DATA, or trailers.
    Body,
    /// Its end.
    End,
}

/// A request that is not whole.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) reader: FrameReader,
    pub(super) next: Next,
    /// When a frame began that is not whole, and is no DATA.
    pub(super) since: Option<Instant>,
}

/// A request whose head is not whole.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: u64,
    pub(super) reader: FrameReader,
    /// When its first byte came.
    pub(super) since: Instant,
    /// It was given no more bytes, since others have begun before it and hold much.
    pub(super) held_back: bool,
}

impl<O> Stream<O> {
    pub(super) fn new(id: u64, response: Response<O>) -> Self {
        Self::with(id, response, Own::default())
    }

    /// Heap bytes of it that no other protocol has.
    #[cfg(test)]
    pub(super) fn own_bytes(&self) -> usize {
        self.upload.as_ref().map_or(0, |upload| upload.reader.held_bytes()) + self.own.unsent.len()
    }
}
