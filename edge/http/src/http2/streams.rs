//! Streams that are not answered yet (RFC 9113 §5.1).
//!
//! A request whose answer is at hand and small is never a stream here: its answer waits in a queue, and is put whole.

use super::super::response::Response;
use super::super::streams::{self, Multiplexed};
use super::flow::{ReceiveWindow, SendWindow};

/// HTTP/2.
pub(super) struct Http2;

impl Multiplexed for Http2 {
    type Id = u32;
    type Own = SendWindow;
    type Upload = Upload;
}

/// A stream; what it has of its own is its send window.
pub(super) type Stream<O> = streams::Stream<Http2, O>;

/// The streams of one connection. Those that wait for the window of the connection, or for their share of what is read
/// ahead, are parked.
pub(super) type Streams<O> = streams::Streams<Http2, O>;

/// A request that is not whole.
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
    /// A stream's own window has opened: it is in line, and stalled no more. One that waits for the window of the
    /// connection as well goes on waiting in its place, with its clock.
    pub(super) fn opened(&mut self, id: u32) {
        if self.get(id).is_some_and(|stream| !stream.parked) {
            self.unstall(id);
            self.queue(id);
        }
    }

    /// Whether all of them have bytes and no window.
    #[cfg(test)]
    pub(super) fn all_stalled(&self) -> bool {
        self.iter().all(|stream| stream.stalled.is_some())
    }
}
