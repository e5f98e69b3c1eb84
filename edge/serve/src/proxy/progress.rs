//! Progress of an exchange: when a byte last moved, and the state of the request's body.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The state of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    /// The client broke it off.
    BrokenOff,
    /// All of it was handed on, or there was none.
    Done,
    /// It is not framed as its protocol has it.
    Malformed,
    /// The edge waits for the client.
    Waiting,
    /// A part was handed on, and the backend is to take more.
    Running,
    /// The client rested too long within it.
    TooSlow,
    /// It is longer than the limit.
    TooLarge,
}

/// What the two bodies of an exchange report to its timeout.
#[derive(Debug)]
pub(crate) struct Progress {
    moved: Cell<Instant>,
    upload: Cell<Upload>,
}

impl Progress {
    pub(crate) fn new(upload: Upload) -> Self {
        Self { moved: Cell::new(Instant::now()), upload: Cell::new(upload) }
    }

    /// Notes that something moved.
    pub(crate) fn note(&self) {
        self.moved.set(Instant::now());
    }

    /// When something last moved.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    pub(crate) fn upload(&self) -> Upload {
        self.upload.get()
    }

    pub(crate) fn set_upload(&self, upload: Upload) {
        self.upload.set(upload);
    }

    /// Runs `work` until nothing has moved for `limit`; `None` says that this happened.
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
                // The alarm is not moved at each byte: it is set again when it rings too early.
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
