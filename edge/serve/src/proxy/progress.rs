//! Progress of an exchange: time of the last byte, and the state of the request body.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The state of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    /// The client broke off the body.
    BrokenOff,
    /// The whole body was forwarded, or the request has none.
    Done,
    /// The framing is invalid.
    Malformed,
    /// The edge waits for the client.
    Waiting,
    /// A part was forwarded, and the backend has to accept more.
    Running,
    /// The client paused too long.
    TooSlow,
    /// The body is longer than the limit.
    TooLarge,
}

/// State that the two bodies of an exchange report to the exchange's timeout.
#[derive(Debug)]
pub(crate) struct Progress {
    moved: Cell<Instant>,
    upload: Cell<Upload>,
}

impl Progress {
    pub(crate) fn new(upload: Upload) -> Self {
        Self { moved: Cell::new(Instant::now()), upload: Cell::new(upload) }
    }

    /// Records progress.
    pub(crate) fn note(&self) {
        self.moved.set(Instant::now());
    }

    /// Returns the time of the last progress.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    pub(crate) fn upload(&self) -> Upload {
        self.upload.get()
    }

    pub(crate) fn set_upload(&self, upload: Upload) {
        self.upload.set(upload);
    }

    /// Runs `work` until no progress has been made for `limit`, and then returns `None`.
    pub(crate) async fn limit<F: Future>(&self, limit: Duration, work: F) -> Option<F::Output> {
        self.note();
        let mut work = pin!(work);
        let mut alarm = pin!(sleep_until(self.moved() + limit));
        poll_fn(|context| {
            loop {
                if let Poll::Ready(output) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(output));
                }
                if alarm.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                // The timer is not moved with each byte: an early expiry resets the timer.
                let due = self.moved() + limit;
                if due <= Instant::now() {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(due);
            }
        })
        .await
    }
}
