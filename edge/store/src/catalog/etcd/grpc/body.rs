//! The body of a request: its first message, and those that a stream sends later.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Frames of messages to send.
pub(crate) struct Outgoing {
    first: Option<Bytes>,
    /// Later ones; the request ends when its sender is dropped.
    more: Option<mpsc::Receiver<Bytes>>,
}

impl Outgoing {
    /// One message and no other.
    pub(super) const fn one(frame: Bytes) -> Self {
        Self { first: Some(frame), more: None }
    }

    /// A message, and those that come by `more`.
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
