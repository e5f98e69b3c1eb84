//! The requests of a connection: their number, which are not answered to the last byte, and which
//! HTTP/2 stream has a peer that does not take what it asked for.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tracing::debug;

use super::draining::Draining;
use super::response_memory::Held;
use super::unsent::Unsent;
use super::watch::Stall;
use devanture_base::fair::Lane;
use devanture_http::under_way::is_event_stream;
use devanture_http::{BodyError, Cause, Kinds, ResponseBody, UnderWay, announced_length};

/// The requests of one connection, shared by its tasks on one thread.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that have begun so far.
    requests: Cell<u64>,
    /// Requests whose answer was not yet written to the last byte, by kind.
    in_flight: [Cell<u32>; UnderWay::ALL.len()],
    /// Requests whose answer was not yet handed to hyper as a whole.
    answering: Cell<usize>,
    /// The result of the last poll of a body.
    body: Cell<BodyPoll>,
    draining: Cell<Option<Draining>>,
    /// What is under way on the engine, as it was reported last in a drain.
    on_engine: Cell<Kinds>,
    /// What is to be ended, although the connection goes on.
    cut: Cell<Kinds>,
    waker: RefCell<Option<Waker>>,
    /// Bytes of responses that the connection holds.
    held: RefCell<Held>,
    /// The part of it that hyper holds, on its connections.
    unsent: OnceCell<Box<Unsent>>,
    /// Whose share of the thread its long answers take.
    lane: Cell<Lane>,
}

/// The result of a poll of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum BodyPoll {
    /// It was not polled.
    #[default]
    Untouched,
    /// It gave bytes.
    Gave,
    /// It had none yet.
    Waits,
}

impl Activity {
    pub(crate) const fn lane(&self) -> Lane {
        self.lane.get()
    }

    pub(crate) fn set_lane(&self, lane: Lane) {
        self.lane.set(lane);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.iter().map(|count| usize::try_from(count.get()).unwrap_or(usize::MAX)).sum()
    }

    /// Whether all that is left of the requests is bytes that the peer has yet to take.
    pub(crate) fn only_awaits_peer(&self) -> bool {
        self.answering.get() == 0 && self.in_flight() > 0
    }

    pub(crate) fn draining(&self) -> Option<Draining> {
        self.draining.get()
    }

    /// Wakes the connection's driver, since the edge drains.
    pub(crate) fn drain(&self, has_successor: bool) {
        self.draining.set(Some(if has_successor { Draining::Patiently } else { Draining::AtOnce }));
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What is under way.
    pub(crate) fn under_way(&self) -> Kinds {
        let on_hyper = UnderWay::ALL.into_iter().filter(|kind| self.count(*kind).is_some_and(|count| count.get() > 0));
        on_hyper.fold(self.on_engine.get(), Kinds::with)
    }

    /// Takes note of what is under way on the engine.
    pub(crate) fn set_on_engine(&self, kinds: Kinds) {
        self.on_engine.set(kinds);
    }

    fn count(&self, kind: UnderWay) -> Option<&Cell<u32>> {
        self.in_flight.get(kind as usize)
    }

    /// Whether event streams can be ended where they are: over HTTP/2, hyper polls bodies in tasks of their own.
    pub(crate) fn ends_event_streams(&self) -> bool {
        self.unsent().is_none_or(Unsent::is_http1)
    }

    /// Has the connection's driver end what is of these kinds.
    pub(crate) fn cut(&self, kinds: Kinds) {
        self.cut.set(kinds);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What is to be ended, each kind once.
    pub(crate) fn take_cut(&self) -> Kinds {
        self.cut.take()
    }

    /// Remembers whom [`Self::drain`] is to wake.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    /// Takes part in a budget for what is held of responses.
    pub(crate) fn share_memory(&self, held: Held) {
        *self.held.borrow_mut() = held;
    }

    /// Bytes of responses that are held.
    pub(crate) fn held(&self) -> RefMut<'_, Held> {
        self.held.borrow_mut()
    }

    /// Counts what hyper holds from now on, which speaks HTTP/1.1 or HTTP/2; `bytes_max` is the share of the
    /// connection.
    pub(crate) fn count_unsent(&self, bytes_max: usize, is_http1: bool) {
        self.unsent.get_or_init(|| Box::new(Unsent::new(bytes_max, is_http1)));
    }

    /// Bytes of responses that hyper holds, on its connections.
    pub(crate) fn unsent(&self) -> Option<&Unsent> {
        self.unsent.get().map(|unsent| &**unsent)
    }

    /// Counts requests that were answered by another, which has nothing under way any more.
    pub(crate) fn carry(&self, requests: u64) {
        self.on_engine.set(Kinds::NONE);
        self.requests.set(self.requests.get() + requests);
    }

    /// Counts a request, with or without a body. hyper does not show here how much of a body came: it is under way
    /// until there is a response.
    pub(crate) fn begin(self: &Rc<Self>, has_body: bool) -> Answering {
        self.requests.set(self.requests.get() + 1);
        self.answering.set(self.answering.get() + 1);
        let kind = if has_body { UnderWay::Upload } else { UnderWay::Request };
        Answering { flight: Rc::new(Flight::new(Rc::clone(self), kind)) }
    }
}

/// A request until its last byte was written.
#[derive(Debug)]
struct Flight {
    activity: Rc<Activity>,
    kind: Cell<UnderWay>,
}

impl Flight {
    fn new(activity: Rc<Activity>, kind: UnderWay) -> Self {
        let flight = Self { activity, kind: Cell::new(kind) };
        flight.add(1);
        flight
    }

    fn become_kind(&self, kind: UnderWay) {
        self.add(-1);
        self.kind.set(kind);
        self.add(1);
    }

    /// Whether it is an event stream that is to end where it is. Its body is polled when the driver is woken.
    fn is_to_end(&self) -> bool {
        self.kind.get() == UnderWay::EventStream && self.activity.cut.get().has(UnderWay::EventStream)
    }

    fn add(&self, more: i32) {
        if let Some(count) = self.activity.count(self.kind.get()) {
            count.set(count.get().saturating_add_signed(more));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.add(-1);
    }
}

/// A request until its answer was handed over.
#[derive(Debug)]
pub(crate) struct Answering {
    flight: Rc<Flight>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let activity = &self.flight.activity;
        activity.answering.set(activity.answering.get() - 1);
    }
}

/// The body of an answer; without one it is empty. It has as many bytes as its head announces, or it fails: hyper sends
/// what it is given, so that the next response of a connection would begin within a body that is too short.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: Option<B>,
    /// Bytes that are still to come, where the head announced a length.
    left: Option<u64>,
    /// The trailers that came when it was looked whether more bytes follow.
    trailers: Option<HeaderMap>,
    answering: Answering,
}

/// A body has another length than its head announced (RFC 9112 §6.3, RFC 9113 §8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum OtherLength {
    #[error("the body of a response is shorter than its head announced")]
    Shorter,
    #[error("the body of a response is longer than its head announced")]
    Longer,
}

type Polled<T> = Poll<Option<Result<Frame<T>, BodyError>>>;

impl<B> Answer<B> {
    /// Answers without a body.
    pub(crate) const fn empty(answering: Answering) -> Self {
        Self { body: None, left: None, trailers: None, answering }
    }

    fn is_whole(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }
}

impl<B: ResponseBody<Error: Into<BodyError>> + Unpin> Answer<B> {
    /// Answers with `response`, to a HEAD without its body (RFC 9110 §9.3.2): on HTTP/2, hyper would send it.
    pub(crate) fn of(response: Response<B>, is_head: bool, answering: Answering) -> Response<Self> {
        // RFC 9110 §15.3.5 and §15.4.5: no body, whatever is announced.
        let is_bare = is_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let left = announced_length(response.headers()).filter(|_| !is_bare);
        let is_event_stream = left.is_none() && is_event_stream(response.headers());
        answering.flight.become_kind(if is_event_stream { UnderWay::EventStream } else { UnderWay::Download });
        response.map(|body| {
            let is_sent = !is_head || body.is_end_stream();
            Self { body: is_sent.then_some(body), left, trailers: None, answering }
        })
    }

    /// Whether there are bytes below a head that announced none: over HTTP/1.1, hyper never asks for them.
    pub(crate) fn exceeds_nothing(&mut self, cx: &mut Context<'_>) -> bool {
        self.check_end(cx).is_err()
    }

    /// The next frame, with its bytes counted off.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Polled<Bytes> {
        if self.answering.flight.is_to_end() {
            self.body = None;
        }
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let activity = &self.answering.flight.activity;
        let is_tight = || activity.held().is_tight();
        let bytes_max = activity.unsent().map_or(Some(usize::MAX), |unsent| unsent.bytes_to_read(is_tight(), cx));
        let Some(bytes_max) = bytes_max else { return Poll::Pending };
        let item = ready!(Pin::new(body).poll_some(bytes_max, cx));
        let Some(frame) = item.transpose().map_err(Into::into)? else {
            self.body = None;
            return Poll::Ready((!self.is_whole()).then(|| Err(OtherLength::Shorter.into())));
        };
        if let (Some(left), Some(bytes)) = (&mut self.left, frame.data_ref()) {
            let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            *left = left.checked_sub(count).ok_or(OtherLength::Longer)?;
        }
        if frame.is_trailers() && !self.is_whole() {
            return Poll::Ready(Some(Err(OtherLength::Shorter.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Looks whether the body goes on after the last byte that was announced, since hyper does not ask any more then.
    /// As far as that is known: what comes later is not sent.
    fn check_end(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        while self.left == Some(0)
            && self.body.as_ref().is_some_and(|body| !body.is_end_stream())
            && let Poll::Ready(Some(frame)) = self.poll_next(cx)
        {
            if let Ok(trailers) = frame?.into_trailers() {
                (self.trailers, self.body) = (Some(trailers), None);
            }
        }
        Ok(())
    }
}

impl<B: ResponseBody<Error: Into<BodyError>> + Unpin> Body for Answer<B> {
    type Data = Counted;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<Counted> {
        let this = &mut *self;
        if let Some(trailers) = this.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let polled = this.poll_next(cx);
        let flight = &this.answering.flight;
        flight.activity.body.set(if polled.is_pending() { BodyPoll::Waits } else { BodyPoll::Gave });
        let flight = Rc::clone(flight);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            this.check_end(cx)?;
        }
        let is_shared = this.body.as_ref().is_some_and(ResponseBody::is_shared);
        polled.map_ok(|frame| frame.map_data(|bytes| Counted::new(bytes, is_shared, flight)))
    }

    fn is_end_stream(&self) -> bool {
        // A body that ends too early is asked for its bytes, so that it fails.
        let is_over = self.is_whole() && self.trailers.is_none();
        is_over && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (self.left, &self.body) {
            // hyper trusts this more than the head.
            (Some(left), _) => SizeHint::with_exact(left),
            (None, Some(body)) => body.size_hint(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

/// Bytes of an answer; while they wait to be written, their request is in flight, and they are held for the client.
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: Bytes,
    /// Their number, where they are held for this alone.
    held: usize,
    flight: Rc<Flight>,
}

impl Counted {
    fn new(bytes: Bytes, is_shared: bool, flight: Rc<Flight>) -> Self {
        let held = if is_shared { 0 } else { bytes.len() };
        if let Some(unsent) = flight.activity.unsent() {
            unsent.add(held);
        }
        Self { bytes, held, flight }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(unsent) = self.flight.activity.unsent() {
            unsent.remove(self.held);
        }
    }
}

impl Buf for Counted {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

/// Runs the streams of an HTTP/2 connection on its own thread and queue: a task that went through the runtime's queue
/// would have the connection flush after every few streams.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(crate) activity: Rc<Activity>,
    /// Longest time that a stream may have bytes without a window.
    pub(crate) write_max: Duration,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // Boxed here, so that it is not moved into the task, and within it once more.
        let guarded = guarded(Box::pin(stream), Rc::clone(&self.activity), self.write_max);
        drop(tokio::task::spawn_local(guarded));
    }
}

/// Resets the stream, by dropping it, when its body gave bytes for which the peer opens no window in time. The socket
/// does not show that: such a peer may well take other streams' bytes.
async fn guarded<F: Future<Output = ()>>(mut stream: Pin<Box<F>>, activity: Rc<Activity>, write_max: Duration) {
    let (mut stall, among) = (Stall::default(), AmongStalled::new(&activity));
    let cause = std::future::poll_fn(|cx| {
        activity.body.set(BodyPoll::Untouched);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        match activity.body.get() {
            BodyPoll::Untouched => {}
            BodyPoll::Gave => {
                stall.begin();
                among.with(|unsent, number| unsent.gave(number, cx.waker()));
            }
            BodyPoll::Waits => {
                stall.clear();
                among.with(Unsent::rests);
            }
        }
        if stall.poll_over(cx, write_max).is_ready() {
            debug!("a stream was reset: its peer took nothing in time");
            return Poll::Ready(None);
        }
        match among.with(Unsent::is_to_end) {
            Some(true) => Poll::Ready(Some(Cause::Memory)),
            _ => Poll::Pending,
        }
    })
    .await;
    let _ending = cause.map(Cause::begin);
    drop(stream);
}

/// A stream among those that may stall, until its end.
struct AmongStalled<'a> {
    activity: &'a Activity,
    number: u64,
}

impl<'a> AmongStalled<'a> {
    fn new(activity: &'a Activity) -> Self {
        Self { activity, number: activity.unsent().map_or(0, Unsent::stream) }
    }

    fn with<R>(&self, note: impl FnOnce(&Unsent, u64) -> R) -> Option<R> {
        self.activity.unsent().map(|unsent| note(unsent, self.number))
    }
}

impl Drop for AmongStalled<'_> {
    fn drop(&mut self) {
        self.with(Unsent::rests);
    }
}

#[cfg(test)]
mod tests;
