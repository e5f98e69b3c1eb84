//! Unanswered streams (RFC 9113 §5.1).
//!
//! A small answer in memory never becomes a stream: the answer waits in a queue and is written whole.

use super::super::response::Response;
use super::super::streams::{self, Multiplexed};
use super::flow::{ReceiveWindow, SendWindow};

/// HTTP/2 as a protocol with streams.
pub(super) struct Http2;

impl Multiplexed for Http2 {
    type Id = u32;
    type Own = SendWindow;
    type Upload = Upload;
}

/// Stream; the protocol-specific state is the send window.
pub(super) type Stream<O> = streams::Stream<Http2, O>;

/// Streams of one connection. Streams waiting for the connection's window, or for a share of the read-ahead, are
/// parked.
pub(super) type Streams<O> = streams::Streams<Http2, O>;

/// Incomplete request.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) window: ReceiveWindow,
}

impl<O> Stream<O> {
    pub(super) fn new(id: u32, response: Response<O>, window: u32) -> Self {
        Self::with(id, response, SendWindow::new(window))
    }
}

impl<O> Streams<O> {
    /// Queues a stream after its own window opened, and marks the stream as not stalled. A stream that also waits for
    /// the connection's window keeps its place and clock.
    pub(super) fn opened(&mut self, id: u32) {
        if self.get(id).is_some_and(|stream| !stream.parked) {
            self.unstall(id);
            self.queue(id);
        }
    }

    /// Returns true if all streams have bytes and no window.
    #[cfg(test)]
    pub(super) fn all_stalled(&self) -> bool {
        self.iter().all(|stream| stream.stalled.is_some())
    }
}
