//! The two bodies of an exchange: the client's on its way to the backend, the backend's on its way to the client.
//!
//! Neither is ever collected: a frame is asked for when the other side can take it.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connect::{Connection, STREAM_WINDOW_BYTES};
use super::error::{BadAnswer, Error, Phase};
use super::forward::Permit;
use super::http1::codec::Decoder;
use super::idle_pool::Kept;
use super::pool::Member;
use super::progress::{Progress, Upload};
use super::trailers;
use crate::engine::ResponseBody;
use crate::engine::inbound::Broken;

/// Bytes of a request's body up to which it is remembered, so that it can be sent again where that does no harm.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Why a request whose body is malformed cannot be forwarded.
pub(crate) const MALFORMED: &str = "its body is malformed";

type BoxError = Box<dyn StdError + Send + Sync>;

/// The client's body, counted, and for a while remembered: what was sent to a backend that failed can be sent again.
pub(crate) struct Original(Option<Rc<RefCell<Source>>>);

/// The client's body as it is sent once.
pub(crate) struct RequestBody {
    source: Option<Rc<RefCell<Source>>>,
    /// Number of remembered pieces that were replayed.
    given: usize,
    progress: Rc<Progress>,
}

/// Where a request's body comes from, whichever backend it goes to.
struct Source {
    inner: Option<Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>>,
    /// Whether something of it came.
    is_begun: bool,
    /// Bytes that may still come.
    left: u64,
    /// The bytes so far, while they are few enough.
    remembered: Option<Vec<Bytes>>,
    remembered_bytes: usize,
    /// Fields that do not pass as trailers of this request, beside those that never do.
    dropped: Vec<HeaderName>,
}

/// Ends a request's body that must not go on; what is wrong stands in the exchange's [`Progress`].
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(crate) struct BrokenOff;

impl Source {
    fn remember(&mut self, frame: &Frame<Bytes>) {
        let Some(remembered) = &mut self.remembered else { return };
        match frame.data_ref() {
            Some(data) if self.remembered_bytes + data.len() <= REPLAY_BYTES_MAX => {
                self.remembered_bytes += data.len();
                remembered.push(data.clone());
            }
            // Trailers come once.
            _ => self.remembered = None,
        }
    }

    fn piece(&self, number: usize) -> Option<Bytes> {
        self.remembered.as_ref()?.get(number).cloned()
    }

    fn is_over(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }
}

impl Original {
    /// Wraps `body`, of which at most `bytes_max` are let through, which is remembered if it `may_be_sent_again`, and
    /// whose trailers lose the fields `dropped`.
    pub(crate) fn new<B>(body: B, bytes_max: u64, may_be_sent_again: bool, dropped: Vec<HeaderName>) -> Self
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        let inner: Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>> = Box::pin(body.map_err(Into::into));
        let remembered = may_be_sent_again.then(Vec::new);
        let inner = Some(inner);
        let source = Source { inner, is_begun: false, left: bytes_max, remembered, remembered_bytes: 0, dropped };
        Self(Some(Rc::new(RefCell::new(source))))
    }

    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// The body from its beginning, if it is whole.
    pub(crate) fn body(&self) -> RequestBody {
        let upload = if self.0.is_some() { Upload::Running } else { Upload::Done };
        RequestBody { source: self.0.clone(), given: 0, progress: Rc::new(Progress::new(upload)) }
    }

    /// Whether all that came of it is remembered.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|source| {
            let source = source.borrow();
            source.remembered.is_some() || !source.is_begun
        })
    }
}

impl RequestBody {
    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    fn break_off(&mut self, why: Upload) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(source) = self.source.take() {
            source.borrow_mut().inner = None;
        }
        self.progress.set_upload(why);
        Poll::Ready(Some(Err(BrokenOff)))
    }

    fn end(&mut self) {
        self.source = None;
        self.progress.set_upload(Upload::Done);
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
        let Some(shared) = this.source.clone() else { return Poll::Ready(None) };
        let mut source = shared.borrow_mut();
        if let Some(piece) = source.piece(this.given) {
            this.given += 1;
            this.progress.note();
            let is_last = source.piece(this.given).is_none() && source.is_over();
            drop(source);
            if is_last {
                this.end();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(inner) = &mut source.inner else {
            drop(source);
            this.end();
            return Poll::Ready(None);
        };
        let Poll::Ready(item) = inner.as_mut().poll_frame(context) else {
            this.progress.set_upload(Upload::Waiting);
            return Poll::Pending;
        };
        this.progress.note();
        source.is_begun = true;
        let mut frame = match item {
            None => {
                source.inner = None;
                drop(source);
                this.end();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a client broke off its request's body");
                drop(source);
                return this.break_off(why_broken(&error));
            }
            Some(Ok(frame)) => frame,
        };
        let length = u64::try_from(frame.data_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX);
        match source.left.checked_sub(length) {
            Some(left) => source.left = left,
            None => {
                drop(source);
                return this.break_off(Upload::TooLarge);
            }
        }
        if let Some(trailers) = frame.trailers_mut() {
            trailers::filter(trailers, &source.dropped);
        }
        source.remember(&frame);
        this.given += 1;
        // After the last frame nobody may ask again, so the end is noted with it.
        let at_end = frame.is_trailers() || source.is_over();
        if at_end {
            source.inner = None;
        }
        drop(source);
        if at_end {
            this.end();
        } else {
            this.progress.set_upload(Upload::Running);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else { return SizeHint::with_exact(0) };
        let source = source.borrow();
        let rest = source.remembered.iter().flatten().skip(self.given).map(Bytes::len).sum::<usize>();
        let rest = u64::try_from(rest).unwrap_or(u64::MAX);
        let inner = source.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Why a request's body broke off.
///
/// hyper reports what it cannot decode as invalid input or data (RFC 9112 §7.1), and a connection that ended or broke
/// by other kinds; but data that TLS cannot decrypt came from nobody who could be answered.
fn why_broken(error: &BoxError) -> Upload {
    match error.downcast_ref() {
        Some(Broken::Slow) => return Upload::TooSlow,
        Some(Broken::Malformed) => return Upload::Malformed,
        Some(Broken::Gone) => return Upload::BrokenOff,
        None => {}
    }
    let io = error.downcast_ref::<hyper::Error>().and_then(StdError::source).and_then(|source| source.downcast_ref());
    let is_malformed = io.is_some_and(|io: &io::Error| {
        let is_of_tls = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) && !is_of_tls
    });
    if is_malformed { Upload::Malformed } else { Upload::BrokenOff }
}

/// Longest time that the rest of a request goes on to a backend whose answer is over.
const REST_MAX: Duration = Duration::from_secs(2);

/// State of a body until its end: the connection that it comes from, and its outcome.
pub(crate) struct Exchange {
    pub(crate) connection: Connection,
    pub(crate) permit: Permit,
    pub(crate) kept: Rc<Kept>,
    pub(crate) progress: Rc<Progress>,
}

impl Exchange {
    /// Ends it in order; the connection is kept if all of the request has gone out on it.
    ///
    /// A backend may answer before it has read the request's body. The rest goes on to it for a while, so that the
    /// client's connection can go on to its next request too (RFC 9112 §9.3).
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

/// The reader of an answer's body.
#[derive(Debug)]
pub(crate) enum Answer {
    /// From the exchange's own connection.
    Http1(Decoder),
    Http2(Incoming),
}

/// The body of a backend's answer; dropped before its end, it closes the connection to the backend.
pub struct ProxyBody {
    answer: Option<Answer>,
    exchange: Option<Exchange>,
    /// Why it broke off, until that is reported.
    failed: Option<Error>,
    member: Option<Arc<Member>>,
    /// Fields that do not pass as trailers of this answer, beside those that never do.
    dropped: Vec<HeaderName>,
    idle_max: Duration,
    /// When the whole exchange must be over.
    deadline: Option<Pin<Box<Sleep>>>,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// Over HTTP/2, all that came was given.
    is_drained: bool,
}

impl ProxyBody {
    /// The answer of an exchange, whose trailers lose the fields `dropped`.
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

    /// The member.
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
            (Some(Answer::Http1(_)), None) | (None, _) => Poll::Ready(None),
        }
    }

    /// Ends the exchange as failed, and says why.
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

    /// Whether the backend has rested for too long. Only the time counts in which this side waited for it: a client
    /// that is slow to take what is there is no fault of the backend's.
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

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_some(usize::MAX, context)
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.answer {
            None => true,
            Some(Answer::Http1(decoder)) => decoder.is_over(),
            Some(Answer::Http2(incoming)) => incoming.is_end_stream(),
        };
        is_over && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Some(Answer::Http1(decoder)) => decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact),
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
                // One turn later, so that the client has what came before: the head and all of it may have come with
                // the error.
                this.failed = Some(this.fail(error));
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::filter(trailers, &this.dropped);
                    this.finish();
                } else {
                    // A server does not ask again after the last frame.
                    this.finish_at_end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn held_bytes(&self) -> usize {
        match (&self.answer, &self.exchange) {
            (Some(Answer::Http1(_)), Some(exchange)) => exchange.connection.held_bytes(),
            // The part that hyper has is unknown: the window, or nothing if it gave all that it had.
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

#[cfg(test)]
mod tests;
