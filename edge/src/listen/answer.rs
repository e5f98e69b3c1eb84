//! What a connection knows of its requests: how many there are, which are not answered to the last byte, and which
//! HTTP/2 stream has a peer that does not take what it asked for.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tracing::debug;

use super::watch::Stall;

/// The requests of one connection, shared by its tasks on one thread.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that have begun so far.
    requests: Cell<u64>,
    /// Requests whose answer was not yet written to the last byte.
    in_flight: Cell<usize>,
    /// Requests whose answer was not yet handed to hyper as a whole.
    answering: Cell<usize>,
    /// What the body did that was polled last.
    body: Cell<BodyPoll>,
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What a body did when it was polled.
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
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether all that is left of the requests is bytes that the peer has yet to take.
    pub(crate) fn only_awaits_peer(&self) -> bool {
        self.in_flight.get() > 0 && self.answering.get() == 0
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Tells the connection's driver that the edge drains.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Remembers whom [`Self::drain`] is to wake.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    /// Counts requests that were answered by another.
    pub(crate) fn carry(&self, requests: u64) {
        self.requests.set(self.requests.get() + requests);
    }

    /// Counts a request.
    pub(crate) fn begin(self: &Rc<Self>) -> Answering {
        self.requests.set(self.requests.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        self.answering.set(self.answering.get() + 1);
        Answering { flight: Rc::new(Flight(Rc::clone(self))) }
    }
}

/// A request until its last byte was written.
#[derive(Debug)]
struct Flight(Rc<Activity>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// A request until its answer was handed over.
#[derive(Debug)]
pub(crate) struct Answering {
    flight: Rc<Flight>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let activity = &self.flight.0;
        activity.answering.set(activity.answering.get() - 1);
    }
}

/// The body of an answer; without one it is empty.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: Option<B>,
    answering: Answering,
}

impl<B> Answer<B> {
    pub(crate) const fn new(body: Option<B>, answering: Answering) -> Self {
        Self { body, answering }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Counted;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        let flight = &self.answering.flight;
        flight.0.body.set(if polled.is_pending() { BodyPoll::Waits } else { BodyPoll::Gave });
        polled.map_ok(|frame| frame.map_data(|bytes| Counted { bytes, _flight: Rc::clone(flight) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Bytes of an answer; while they wait to be written, their request is in flight.
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: Bytes,
    _flight: Rc<Flight>,
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
    /// How long a stream may have bytes that its peer gives no window for.
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
    let mut stall = Stall::default();
    std::future::poll_fn(|cx| {
        activity.body.set(BodyPoll::Untouched);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match activity.body.get() {
            BodyPoll::Untouched => {}
            BodyPoll::Gave => stall.begin(),
            BodyPoll::Waits => stall.clear(),
        }
        if stall.poll_over(cx, write_max).is_ready() {
            debug!("a stream was reset: its peer took nothing in time");
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
