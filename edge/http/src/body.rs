//! Response bodies that are polled while they are sent, at the pace of their clients.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{MapErr, UnsyncBoxBody};
use http_body_util::{Empty, Full};

use super::{BodyError, StreamBody};

/// Result of polling a body.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// Response body. The connection passes the number of useful bytes, since bytes read beyond them only occupy memory.
pub trait ResponseBody: Body<Data = Bytes> {
    /// Polls for the next frame like [`Body::poll_frame`], but reads at most `bytes_max` bytes: bytes already in memory
    /// are returned as they are. A read under way keeps its length.
    fn poll_some(self: Pin<&mut Self>, bytes_max: usize, cx: &mut Context<'_>) -> Polled<Self::Error> {
        let _ = bytes_max;
        self.poll_frame(cx)
    }

    /// Returns the bytes of memory held for a read under way or for read-ahead, without bytes already returned.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Returns true if the body's bytes lie in memory that is held anyway, such as the memory of a loaded version.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Converts any body into a body for the engine.
pub fn stream_body<B>(body: B) -> StreamBody
where
    B: ResponseBody<Error: Into<BodyError>> + Unpin + 'static,
{
    Box::pin(AnyError(body))
}

struct AnyError<B>(B);

impl<B: ResponseBody<Error: Into<BodyError>> + Unpin> Body for AnyError<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<BodyError> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B: ResponseBody<Error: Into<BodyError>> + Unpin> ResponseBody for AnyError<B> {
    fn poll_some(mut self: Pin<&mut Self>, bytes_max: usize, cx: &mut Context<'_>) -> Polled<BodyError> {
        Pin::new(&mut self.0).poll_some(bytes_max, cx).map_err(Into::into)
    }

    fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}

impl ResponseBody for Empty<Bytes> {}

impl ResponseBody for Full<Bytes> {
    /// The bytes existed before the response began.
    fn is_shared(&self) -> bool {
        true
    }
}

impl<E> ResponseBody for UnsyncBoxBody<Bytes, E> {}

impl<S> ResponseBody for http_body_util::StreamBody<S> where Self: Body<Data = Bytes> {}

impl<B, F> ResponseBody for MapErr<B, F> where Self: Body<Data = Bytes> {}
