//! Bodies of responses that are polled as they are sent, and no faster than their clients take them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{MapErr, UnsyncBoxBody};
use http_body_util::{Empty, Full};

use super::{BodyError, StreamBody};

/// The result of a poll of a body.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// The body of a response. Its connection says how many bytes it can use, since what is read beyond them is only held.
pub trait ResponseBody: Body<Data = Bytes> {
    /// Polls for the next frame as [`Body::poll_frame`] does, but reads no more than `bytes_max` bytes for it, where it
    /// reads at all: bytes that are in memory already are given as they are. A read that is under way keeps its length.
    fn poll_some(self: Pin<&mut Self>, bytes_max: usize, cx: &mut Context<'_>) -> Polled<Self::Error> {
        let _ = bytes_max;
        self.poll_frame(cx)
    }

    /// Bytes of memory that it holds beside what it has given: of a read that is under way, or read ahead.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Whether the bytes that it gives lie in memory that is held anyway, such as that of a loaded version.
    fn is_shared(&self) -> bool {
        false
    }
}

/// A body for the engine, whatever its errors are.
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
    /// They were there before the response began.
    fn is_shared(&self) -> bool {
        true
    }
}

impl<E> ResponseBody for UnsyncBoxBody<Bytes, E> {}

impl<S> ResponseBody for http_body_util::StreamBody<S> where Self: Body<Data = Bytes> {}

impl<B, F> ResponseBody for MapErr<B, F> where Self: Body<Data = Bytes> {}
