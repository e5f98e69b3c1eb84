//! The end of a connection in two steps (RFC 9114 §5.2), and streams whose peer is too slow.

use std::time::Instant;

use http_body_util::Empty;

use super::super::drain::Drain;
use super::super::inbound::Broken;
use super::super::response::Rest;
use super::super::under_way::{Kinds, UnderWay};
use super::super::{Service, stream_body};
use super::Connection;
use super::frame::{self, Code, Fault, NUMBER_MAX};
use super::streams::Stream;

/// The greatest number of a request's stream.
const STREAM_MAX: u64 = NUMBER_MAX & !3;

impl<S: Service> Connection<S> {
    pub(super) fn begin_drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = Drain::Requested;
        }
    }

    pub(super) fn advance_drain(&mut self, now: Instant) {
        if self.drain == Drain::Requested {
            frame::write_goaway(&mut self.control, STREAM_MAX);
            self.drain = Drain::Announced(now);
        }
        if self.drain.deadline().is_some_and(|deadline| deadline <= now) {
            self.last_goaway();
        }
    }

    /// Says which streams are not taken any more.
    pub(super) fn last_goaway(&mut self) {
        if self.drain.last().is_none() {
            frame::write_goaway(&mut self.control, self.first_untaken);
            self.drain = Drain::Last(self.first_untaken);
        }
    }

    /// Whether a stream is not taken any more.
    pub(super) fn passes_over(&self, id: u64) -> bool {
        self.drain.last().is_some_and(|first| id >= first)
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.last().is_some() && self.in_flight() == 0 && self.control.is_empty() && self.actions.is_empty()
    }

    /// What is under way.
    pub fn under_way(&self) -> Kinds {
        let streams = self.streams.iter().map(Stream::under_way);
        // Of a request whose response is whole, the rest is received and discarded for a while.
        let uploads = (!self.lingering.is_empty() || !self.openings.is_empty()).then_some(UnderWay::Upload);
        streams.chain(uploads).collect()
    }

    /// Ends what is of these kinds, each in its stream: event streams where they are, all others by a reset.
    pub fn cut(&mut self, kinds: Kinds) {
        let of = self.streams.iter().filter(|stream| kinds.has(stream.under_way()));
        let streams: Vec<(u64, UnderWay, bool)> =
            of.map(|stream| (stream.id, stream.under_way(), stream.upload.is_some())).collect();
        for (id, kind, is_receiving) in streams {
            if kind == UnderWay::EventStream {
                if let Some(stream) = self.streams.get(id)
                    && let Rest::Stream(_, body) = &mut stream.response.body
                {
                    *body = stream_body(Empty::new());
                }
                self.streams.queue(id);
            } else {
                self.forget(id, Broken::Gone);
                self.reset(id, Code::RequestCancelled, is_receiving);
            }
        }
    }

    /// A stream may be too slow at `at`.
    pub(super) fn check_by(&mut self, at: Instant) {
        self.next_check = Some(self.next_check.map_or(at, |check| check.min(at)));
    }

    /// Ends what is too slow.
    pub(super) fn check_clocks(&mut self, now: Instant) {
        if std::mem::take(&mut self.upload_reopened) {
            self.streams.iter_mut().filter_map(|stream| stream.hungry.as_mut()).for_each(|since| *since = now);
        }
        if self.next_check.is_none_or(|check| check > now) {
            return;
        }
        let (mut slow, mut starved, mut next) = (Vec::new(), Vec::new(), self.check_lingering(now));
        let mut late = Vec::new();
        let is_upload_shut = self.is_upload_shut();
        let mut check = |deadline: Option<Instant>, id: u64, over: &mut Vec<u64>| match deadline {
            Some(deadline) if deadline <= now => over.push(id),
            Some(deadline) => next = Some(next.map_or(deadline, |next| next.min(deadline))),
            None => {}
        };
        for opening in &self.openings {
            check(Some(opening.since + self.limits.header), opening.id, &mut late);
        }
        for stream in self.streams.iter() {
            let id = stream.id;
            // A peer that is given no room is not slow.
            let hungry_since = stream.hungry.map(|since| if is_upload_shut { now } else { since });
            check(stream.stalled.map(|since| since + self.limits.write), id, &mut slow);
            check(hungry_since.map(|since| since + self.limits.body), id, &mut starved);
            let frame_since = stream.upload.as_ref().and_then(|upload| upload.since);
            check(frame_since.map(|since| since + self.limits.header), id, &mut late);
        }
        self.next_check = next;
        for id in late {
            tracing::debug!(id, "a head came too slowly");
            self.fault(id, Fault::Stream(Code::RequestIncomplete), now);
        }
        for id in slow {
            let Some(stream) = self.streams.get(id) else { continue };
            tracing::debug!(id, "a stream was reset: its peer took nothing in time");
            let is_receiving = stream.upload.is_some();
            self.forget(id, Broken::Gone);
            self.reset(id, Code::RequestCancelled, is_receiving);
        }
        for id in starved {
            self.starve(id);
        }
    }

    /// The body of a request brought nothing for too long.
    fn starve(&mut self, id: u64) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.hungry = None;
        if stream.response.answering.is_none() {
            self.forget(id, Broken::Slow);
            return self.reset(id, Code::RequestCancelled, true);
        }
        // Who answers hears of it first; if there is nothing it says, the answer is ours.
        stream.response.starved = true;
        if let Some(filler) = &stream.filler {
            filler.fail(Broken::Slow);
        }
        self.streams.queue(id);
    }
}
