//! The body of a request: the first message, and later messages of a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Frames of messages to send.
pub(crate) struct Outgoing {
    first: Option<Bytes>,
    /// Later messages; the request ends when the sender is dropped.
    more: Option<mpsc::Receiver<Bytes>>,
}

impl Outgoing {
    /// Creates a body of one message.
    pub(super) const fn one(frame: Bytes) -> Self {
        Self { first: Some(frame), more: None }
    }

    /// Creates a body of a message and the later messages from `more`.
    pub(super) const fn many(first: Bytes, more: mpsc::Receiver<Bytes>) -> Self {
        Self { first: Some(first), more: Some(more) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(more) = &mut self.more else { return Poll::Ready(None) };
        Poll::Ready(ready!(more.poll_recv(context)).map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.more.is_none()
    }
}
