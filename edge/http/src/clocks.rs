//! Streams with a slow peer, and streams cut by a drain.

use std::time::Instant;

use http_body_util::Empty;

use super::inbound::{Broken, ReaderActions};
use super::limits::Limits;
use super::response::Rest;
use super::stream_body;
use super::streams::{Multiplexed, Stream, Streams};
use super::under_way::{Kinds, UnderWay};

/// Streams that are too slow, by reason.
pub(super) struct Overdue<I> {
    /// Streams with output that the peer did not read in time.
    pub(super) stalled: Vec<I>,
    /// Streams with a request body that brought no bytes in time.
    pub(super) starved: Vec<I>,
    /// Next time at which a stream may be too slow.
    pub(super) next: Option<Instant>,
}

impl<I> Overdue<I> {
    /// Creates an empty list; the next check is due at `next`.
    pub(super) const fn new(next: Option<Instant>) -> Self {
        Self { stalled: Vec::new(), starved: Vec::new(), next }
    }
}

/// Returns the earlier of two times.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Returns true if `deadline` has passed; otherwise moves `next` forward to `deadline` if earlier.
pub(super) fn is_over(deadline: Option<Instant>, now: Instant, next: &mut Option<Instant>) -> bool {
    let is_over = deadline.is_some_and(|deadline| deadline <= now);
    if !is_over {
        *next = earlier(*next, deadline);
    }
    is_over
}

impl<P: Multiplexed, O> Streams<P, O> {
    /// Finds streams that are too slow. `stalled_since` returns the time since which a stream waits for the peer; while
    /// uploads are shut, the peer has no window for bodies and is not slow.
    pub(super) fn check(
        &self,
        overdue: &mut Overdue<P::Id>,
        now: Instant,
        limits: &Limits,
        is_upload_shut: bool,
        stalled_since: impl Fn(&Stream<P, O>) -> Option<Instant>,
    ) {
        let Overdue { stalled, starved, next } = overdue;
        for stream in self.iter() {
            if is_over(stalled_since(stream).map(|since| since + limits.write), now, next) {
                stalled.push(stream.id);
            }
            let hungry_since = stream.hungry.map(|since| if is_upload_shut { now } else { since });
            if is_over(hungry_since.map(|since| since + limits.body), now, next) {
                starved.push(stream.id);
            }
        }
    }

    /// Restarts the clocks of uploads, which had no window.
    pub(super) fn restart_uploads(&mut self, now: Instant) {
        self.iter_mut().filter_map(|stream| stream.hungry.as_mut()).for_each(|since| *since = now);
    }

    /// Records the actions of a request body's reader. Returns the actions, and true if the reader has just begun to
    /// wait.
    pub(super) fn tend_upload(&mut self, id: P::Id, now: Instant) -> Option<(ReaderActions, bool)> {
        let stream = self.get(id)?;
        let tended = stream.filler.as_ref()?.tend();
        let is_awaited = tended.is_awaited && stream.upload.is_some();
        let begins = is_awaited && stream.hungry.is_none();
        stream.hungry = is_awaited.then(|| stream.hungry.unwrap_or(now));
        Some((tended, begins))
    }

    /// Handles a request body that brought no bytes for too long. Returns true if the stream has an answer already and
    /// must be reset.
    pub(super) fn starve(&mut self, id: P::Id) -> bool {
        let Some(stream) = self.get(id) else { return false };
        stream.hungry = None;
        if stream.response.answering.is_none() {
            return true;
        }
        // The service sees the error first; without a response of the service, the engine answers.
        stream.response.starved = true;
        if let Some(filler) = &stream.filler {
            filler.fail(Broken::Slow);
        }
        self.queue(id);
        false
    }

    /// Ends event streams in place, if `kinds` includes them, and returns the other matching streams, which the caller
    /// must reset.
    pub(super) fn cut(&mut self, kinds: Kinds) -> Vec<P::Id> {
        let of = self.iter().filter(|stream| kinds.has(stream.under_way()));
        let (events, others): (Vec<_>, Vec<_>) =
            of.map(|stream| (stream.id, stream.under_way())).partition(|(_, kind)| *kind == UnderWay::EventStream);
        for (id, _) in events {
            if let Some(stream) = self.get(id)
                && let Rest::Stream(_, body) = &mut stream.response.body
            {
                *body = stream_body(Empty::new());
            }
            self.queue(id);
        }
        others.into_iter().map(|(id, _)| id).collect()
    }
}
