//! The two bodies of an exchange: the client's on its way to the backend, the backend's on its way to the client.
//!
//! Neither is ever collected: a frame is asked for when the other side can take it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::{BadAnswer, Error, Phase};
use super::headers;
use super::pool::{Connection, Permit, Pool};
use super::progress::{Progress, Upload};
use super::upstream::Target;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client's body, counted.
pub(crate) struct RequestBody {
    inner: Option<Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>>,
    left: u64,
    progress: Rc<Progress>,
}

/// Ends a request's body that must not go on; what is wrong stands in the exchange's [`Progress`].
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(crate) struct BrokenOff;

impl RequestBody {
    /// Wraps `body`, of which at most `bytes_max` are let through.
    pub(crate) fn new<B>(body: B, bytes_max: u64) -> Self
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        let progress = Rc::new(Progress::new(Upload::Running));
        Self { inner: Some(Box::pin(body.map_err(Into::into))), left: bytes_max, progress }
    }

    pub(crate) fn empty() -> Self {
        Self { inner: None, left: 0, progress: Rc::new(Progress::new(Upload::Done)) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    fn break_off(&mut self, why: Upload) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.inner = None;
        self.progress.set_upload(why);
        Poll::Ready(Some(Err(BrokenOff)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(item) = inner.as_mut().poll_frame(context) else {
            this.progress.set_upload(Upload::Waiting);
            return Poll::Pending;
        };
        this.progress.note();
        let mut frame = match item {
            None => {
                this.inner = None;
                this.progress.set_upload(Upload::Done);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a client broke off its request's body");
                return this.break_off(Upload::BrokenOff);
            }
            Some(Ok(frame)) => frame,
        };
        let length = u64::try_from(frame.data_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX);
        match this.left.checked_sub(length) {
            Some(left) => this.left = left,
            None => return this.break_off(Upload::TooLarge),
        }
        if let Some(trailers) = frame.trailers_mut() {
            headers::trailers(trailers);
        }
        // After the last frame nobody may ask again, so the end is noted with it.
        let at_end = frame.is_trailers() || this.inner.as_ref().is_none_or(|inner| inner.is_end_stream());
        if at_end {
            this.inner = None;
        }
        this.progress.set_upload(if at_end { Upload::Done } else { Upload::Running });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint())
    }
}

/// What a body keeps until its end: the connection that it comes from, and what becomes of it.
pub(crate) struct Exchange {
    pub(crate) connection: Connection,
    pub(crate) permit: Permit,
    pub(crate) pool: Rc<Pool>,
    pub(crate) progress: Rc<Progress>,
    pub(crate) target: Arc<Target>,
}

impl Exchange {
    /// Ends it in order; the connection is kept if all of the request has gone out on it.
    fn finish(self) {
        let Self { connection, permit, pool, progress, target } = self;
        if progress.upload() == Upload::Done {
            pool.give_back(&target, connection);
        }
        drop(permit);
    }
}

/// The body of a backend's answer; dropped before its end, it closes the connection to the backend.
pub struct ProxyBody {
    inner: Option<Incoming>,
    exchange: Option<Exchange>,
    idle_max: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
}

impl ProxyBody {
    pub(crate) fn new(inner: Incoming, exchange: Exchange, idle_max: Duration) -> Self {
        let mut this =
            Self { inner: Some(inner), exchange: Some(exchange), idle_max, alarm: None, waiting_since: None };
        this.finish_at_end();
        this
    }

    pub(crate) fn empty() -> Self {
        Self { inner: None, exchange: None, idle_max: Duration::ZERO, alarm: None, waiting_since: None }
    }

    fn finish_at_end(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish();
        }
    }

    /// Ends the exchange as failed, and says why.
    fn fail(&mut self, error: hyper::Error) -> Error {
        let upload = self.exchange.take().map(|exchange| exchange.progress.upload());
        self.inner = None;
        match upload {
            Some(Upload::BrokenOff | Upload::TooLarge) => Error::Cancelled,
            _ => Error::BadAnswer(BadAnswer::Http(error)),
        }
    }

    /// Whether the backend has rested for too long. Only the time counts in which this side waited for it: a client that
    /// is slow to take what is there is no fault of the backend's.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let idle_max = self.idle_max;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(since + idle_max)));
        while alarm.as_mut().poll(context).is_ready() {
            // A backend that still takes the request's body has not rested either.
            let uploaded = self.exchange.as_ref().map_or(since, |exchange| exchange.progress.moved());
            let due = since.max(uploaded) + idle_max;
            if due <= Instant::now() {
                return true;
            }
            alarm.as_mut().reset(due);
        }
        false
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(context);
        if polled.is_pending() && this.is_overdue(context) {
            let waited_for_client = this.exchange.as_ref().is_some_and(|e| e.progress.upload() == Upload::Waiting);
            this.inner = None;
            this.exchange = None;
            let phase = if waited_for_client { Phase::RequestBody } else { Phase::Body };
            return Poll::Ready(Some(Err(Error::Timeout(phase))));
        }
        let item = ready!(polled);
        this.waiting_since = None;
        match item {
            None => {
                this.finish();
                this.inner = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(this.fail(error)))),
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers(trailers);
                    this.finish();
                } else {
                    // A server does not ask again after the last frame.
                    this.finish_at_end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl std::fmt::Debug for ProxyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}
