//! The backend's response body on the way to the client: frames are polled as the client accepts more.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connection::{Answer, Connection, STREAM_WINDOW_BYTES};
use super::error::{BadAnswer, Error, Phase};
use super::idle_pool::Kept;
use super::permit::Permit;
use super::pool::Member;
use super::progress::{Progress, Upload};
use super::request_body::MALFORMED;
use super::trailers;
use devanture_http::ResponseBody;

/// Longest time to send the rest of a request to a backend with a complete response.
const REST_MAX: Duration = Duration::from_secs(2);

/// State of a body until its end: the connection, and the outcome.
pub(crate) struct Exchange {
    pub(crate) connection: Connection,
    pub(crate) permit: Permit,
    pub(crate) kept: Rc<Kept>,
    pub(crate) progress: Rc<Progress>,
}

impl Exchange {
    /// Ends the exchange in order; the connection is kept if the whole request is sent.
    ///
    /// A backend may respond before reading the whole request body. The rest is sent for a limited time, so that the
    /// client's connection can continue with the next request too (RFC 9112 §9.3).
    fn finish(self) {
        let Self { mut connection, permit, kept, .. } = self;
        if !connection.is_sending_rest() {
            return kept.give_back(&permit.lease.member, connection);
        }
        drop(tokio::task::spawn_local(async move {
            if timeout(REST_MAX, connection.sent_rest()).await.is_ok() {
                kept.give_back(&permit.lease.member, connection);
            }
        }));
    }
}

/// The body of a backend's response; a drop before the end closes the connection to the backend.
pub struct ProxyBody {
    answer: Option<Answer>,
    exchange: Option<Exchange>,
    /// Reason of the failure, until reported.
    failed: Option<Error>,
    member: Option<Arc<Member>>,
    /// Fields forbidden in the trailers of the response, besides the generally forbidden fields.
    dropped: Vec<HeaderName>,
    idle_max: Duration,
    /// Deadline of the whole exchange.
    deadline: Option<Pin<Box<Sleep>>>,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// Over HTTP/2, all received bytes are delivered.
    is_drained: bool,
}

impl ProxyBody {
    /// Creates the body of an exchange; the fields `dropped` are removed from the trailers.
    pub(crate) fn new(
        answer: Answer,
        exchange: Exchange,
        dropped: Vec<HeaderName>,
        idle_max: Duration,
        deadline: Option<Instant>,
    ) -> Self {
        let mut this = Self {
            member: Some(Arc::clone(&exchange.permit.lease.member)),
            answer: Some(answer),
            exchange: Some(exchange),
            dropped,
            idle_max,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
            ..Self::empty()
        };
        this.finish_at_end();
        this
    }

    pub(crate) const fn empty() -> Self {
        Self {
            answer: None,
            exchange: None,
            failed: None,
            member: None,
            dropped: Vec::new(),
            idle_max: Duration::ZERO,
            deadline: None,
            alarm: None,
            waiting_since: None,
            is_drained: false,
        }
    }

    /// Returns the member.
    #[must_use]
    pub fn member(&self) -> Option<&Arc<Member>> {
        self.member.as_ref()
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

    fn poll_answer(
        &mut self,
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BadAnswer>>> {
        match (&mut self.answer, &self.exchange) {
            (Some(Answer::Http1(decoder)), Some(exchange)) => {
                exchange.connection.poll_frame(context, decoder, bytes_max).map_err(BadAnswer::Http1)
            }
            (Some(Answer::Http2(incoming)), _) => {
                let polled = Pin::new(incoming).poll_frame(context).map_err(BadAnswer::Http);
                self.is_drained = polled.is_pending();
                polled
            }
            (Some(Answer::FastCgi(body)), Some(exchange)) => {
                exchange.connection.poll_script_frame(context, body, bytes_max).map_err(BadAnswer::Http1)
            }
            (Some(Answer::Http1(_) | Answer::FastCgi(_)), None) | (None, _) => Poll::Ready(None),
        }
    }

    /// Ends the exchange as failed, and returns the error to report.
    fn fail(&mut self, error: BadAnswer) -> Error {
        let upload = self.exchange.take().map(|exchange| exchange.progress.upload());
        self.answer = None;
        match upload {
            Some(Upload::BrokenOff | Upload::TooLarge) => Error::Cancelled,
            Some(Upload::Malformed) => Error::BadRequest(MALFORMED),
            Some(Upload::TooSlow) => Error::Timeout(Phase::RequestBody),
            _ => Error::BadAnswer(error),
        }
    }

    /// Returns true if the backend has paused too long. Only time spent waiting for the backend counts: a slow client
    /// is not the backend's fault.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let idle_max = self.idle_max;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(since + idle_max)));
        while alarm.as_mut().poll(context).is_ready() {
            // A backend that still accepts the request body has not paused either.
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

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_some(usize::MAX, context)
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.answer {
            None => true,
            Some(Answer::Http1(decoder)) => decoder.is_over(),
            Some(Answer::FastCgi(body)) => body.is_over(),
            Some(Answer::Http2(incoming)) => incoming.is_end_stream(),
        };
        is_over && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Some(Answer::Http1(decoder)) => decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Some(Answer::FastCgi(body)) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Some(Answer::Http2(incoming)) => incoming.size_hint(),
            None if self.failed.is_some() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl ResponseBody for ProxyBody {
    fn poll_some(
        mut self: Pin<&mut Self>,
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.answer.is_none() {
            return Poll::Ready(None);
        }
        let polled = this.poll_answer(bytes_max, context);
        if polled.is_pending() && this.is_overdue(context) {
            let waited_for_client = this.exchange.as_ref().is_some_and(|e| e.progress.upload() == Upload::Waiting);
            (this.answer, this.exchange) = (None, None);
            let phase = if waited_for_client { Phase::RequestBody } else { Phase::Body };
            return Poll::Ready(Some(Err(Error::Timeout(phase))));
        }
        let is_late = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(context).is_ready();
        if !this.is_end_stream() && this.deadline.as_mut().is_some_and(is_late) {
            (this.answer, this.exchange) = (None, None);
            return Poll::Ready(Some(Err(Error::Timeout(Phase::Total))));
        }
        let item = ready!(polled);
        this.waiting_since = None;
        match item {
            None => {
                this.finish();
                this.answer = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                // Delayed by one poll, so that the client gets the earlier bytes: head and body may have arrived
                // together with the error.
                this.failed = Some(this.fail(error));
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::filter(trailers, &this.dropped);
                    this.finish();
                } else {
                    // A server does not poll again after the last frame.
                    this.finish_at_end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn held_bytes(&self) -> usize {
        match (&self.answer, &self.exchange) {
            (Some(Answer::Http1(_) | Answer::FastCgi(_)), Some(exchange)) => exchange.connection.held_bytes(),
            // The bytes buffered by hyper are unknown: the window is the estimate, or zero after a full delivery.
            (Some(Answer::Http2(incoming)), _) if !self.is_drained => {
                let left = incoming.size_hint().upper().unwrap_or(u64::MAX);
                usize::try_from(left.min(STREAM_WINDOW_BYTES.into())).unwrap_or(0)
            }
            _ => 0,
        }
    }
}

impl std::fmt::Debug for ProxyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBody").field("answer", &self.answer).finish_non_exhaustive()
    }
}
