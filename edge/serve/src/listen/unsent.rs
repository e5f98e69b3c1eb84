//! Bytes of responses that hyper holds for one connection: read from bodies and not written, and the
//! streams of HTTP/2 whose client takes none of theirs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::response_memory::{self, Held, STALL_MIN};
use crate::tls::WRITE_BYTES;
use devanture_http::FRAME_BYTES;

/// Bytes that are read while the share of the connection is used up. hyper shows no windows, so that each stream must
/// be given something before it shows whether its client takes it.
const LEAST_BYTES: usize = 2 * 1024;

/// Bytes of one response of HTTP/1.1 beyond which no more are read until some were written.
const PIECE_BYTES: usize = 4 * FRAME_BYTES;

/// Bytes that hyper holds.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes: Cell<usize>,
    /// The share of the connection.
    bytes_max: usize,
    /// One response at a time, whose next bytes can wait until those before are written.
    is_http1: bool,
    /// Wakes the body of HTTP/1.1 that waits for that.
    waiting: RefCell<Option<Waker>>,
    streams: RefCell<Streams>,
}

/// The streams whose bodies gave bytes, and the time since which nothing more was taken from them.
#[derive(Debug, Default)]
struct Streams {
    next: u64,
    stalled: BTreeMap<u64, (Instant, Waker)>,
    /// Those that have stalled since then, or longer, are to end.
    ends_before: Option<Instant>,
}

impl Unsent {
    pub(super) fn new(bytes_max: usize, is_http1: bool) -> Self {
        Self { bytes: Cell::new(0), bytes_max, is_http1, waiting: RefCell::default(), streams: RefCell::default() }
    }

    pub(super) const fn is_http1(&self) -> bool {
        self.is_http1
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Bytes that a body may read now, as few as possible if memory `is_tight`. `None` where it is woken when it
    /// may.
    pub(super) fn bytes_to_read(&self, is_tight: bool, cx: &Context<'_>) -> Option<usize> {
        let bytes = self.bytes.get();
        let bytes_max = if is_tight { FRAME_BYTES.min(self.bytes_max) } else { self.bytes_max };
        let ample = if self.is_http1 { PIECE_BYTES.min(bytes_max) } else { bytes_max / 2 };
        if bytes < ample {
            return Some(bytes_max);
        }
        if self.is_http1 {
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            return None;
        }
        Some(if bytes + FRAME_BYTES <= bytes_max { FRAME_BYTES } else { LEAST_BYTES })
    }

    /// Reports to `held` what is held, where the socket has taken nothing since `blocked`.
    pub(crate) fn report(&self, held: &mut Held, blocked: Option<Instant>, cx: &Context<'_>) {
        // Of what was written to the TLS session, it is not known how much is left.
        let bytes = self.bytes.get() + if blocked.is_some() { WRITE_BYTES } else { 0 };
        let oldest = || self.streams.borrow().stalled.values().map(|(since, _)| *since).min();
        held.set(bytes, || oldest().into_iter().chain(blocked).min(), cx.waker());
    }

    /// Drops what the client does not take. Whether that is the connection as a whole.
    pub(crate) fn shed(&self, blocked: Option<Instant>) -> bool {
        let now = Instant::now();
        if blocked.is_some_and(|since| now.duration_since(since) >= STALL_MIN) {
            response_memory::count_ended(self.streams.borrow().stalled.len().max(1));
            return true;
        }
        let Some(before) = now.checked_sub(STALL_MIN) else { return false };
        let mut streams = self.streams.borrow_mut();
        streams.ends_before = Some(before);
        let slow = streams.stalled.values().filter(|(since, _)| *since <= before);
        response_memory::count_ended(slow.map(|(_, waker)| waker.wake_by_ref()).count());
        false
    }

    /// A number for a stream that has given nothing.
    pub(super) fn stream(&self) -> u64 {
        let mut streams = self.streams.borrow_mut();
        streams.next += 1;
        streams.next
    }

    /// The body of a stream gave bytes.
    pub(super) fn gave(&self, stream: u64, waker: &Waker) {
        self.streams.borrow_mut().stalled.insert(stream, (Instant::now(), waker.clone()));
    }

    /// The body of a stream has nothing to give, or it is over.
    pub(super) fn rests(&self, stream: u64) {
        self.streams.borrow_mut().stalled.remove(&stream);
    }

    /// Whether a stream is to be reset, since it has stalled for long.
    pub(super) fn is_to_end(&self, stream: u64) -> bool {
        let streams = self.streams.borrow();
        let Some((since, _)) = streams.stalled.get(&stream) else { return false };
        streams.ends_before.is_some_and(|before| *since <= before)
    }
}
