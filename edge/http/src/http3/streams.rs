//! Requests with bytes still to receive or to send.

use std::time::Instant;

use bytes::Bytes;

use super::super::response::Response;
use super::super::streams::{self, Multiplexed};
use super::reader::FrameReader;

/// HTTP/3 as a protocol with streams.
pub(super) struct Http3;

impl Multiplexed for Http3 {
    type Id = u64;
    type Own = Own;
    type Upload = Upload;
}

/// Request with bytes still to receive or to send.
pub(super) type Stream<O> = streams::Stream<Http3, O>;

/// Streams of one connection. Streams waiting for a share of the read-ahead are parked.
pub(super) type Streams<O> = streams::Streams<Http3, O>;

/// Protocol-specific state of a stream, in place of the windows and frames of HTTP/2.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Bytes of the request body waiting for the reader.
    pub(super) unread: usize,
    /// Received body bytes that were not read: room for bytes without a reader is not offered again.
    pub(super) unreturned: usize,
    /// True if the stream was held back for lack of room.
    pub(super) held_back: bool,
    /// Bytes to send before the next body byte: HEADERS frames, and the head of a DATA frame.
    pub(super) unsent: Bytes,
    /// True if the head of the DATA frame for the body's bytes exists.
    pub(super) is_framed: bool,
    /// True if nothing follows `unsent` and the body's bytes.
    pub(super) is_last: bool,
}

/// Expected part of a request after the head (RFC 9114 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// DATA or trailers.
    Body,
    /// End of the request.
    End,
}

/// Incomplete request.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) reader: FrameReader,
    pub(super) next: Next,
    /// Start time of an incomplete frame other than DATA.
    pub(super) since: Option<Instant>,
}

/// Request with an incomplete head.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: u64,
    pub(super) reader: FrameReader,
    /// Arrival time of the first byte.
    pub(super) since: Instant,
    /// True if held back, since earlier heads hold much memory.
    pub(super) held_back: bool,
}

impl<O> Stream<O> {
    pub(super) fn new(id: u64, response: Response<O>) -> Self {
        Self::with(id, response, Own::default())
    }

    /// Returns the protocol-specific heap bytes of the stream.
    #[cfg(test)]
    pub(super) fn own_bytes(&self) -> usize {
        self.upload.as_ref().map_or(0, |upload| upload.reader.held_bytes()) + self.own.unsent.len()
    }
}
