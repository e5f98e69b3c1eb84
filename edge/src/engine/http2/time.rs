//! The end of a connection in two steps (RFC 9113 §6.8), and streams whose peer is too slow.

use std::time::Instant;

use http_body_util::Empty;

use super::super::drain::Drain;
use super::super::inbound::Broken;
use super::super::response::Rest;
use super::super::under_way::{Kinds, UnderWay};
use super::super::{Service, stream_body};
use super::frame::{self, Code, kind};
use super::streams::Stream;
use super::{Connection, Phase};

/// The most that a stream's number can be.
const STREAM_MAX: u32 = (1 << 31) - 1;
/// By these bytes the answer to that PING is known.
const PING: [u8; 8] = *b"draining";

impl<S: Service> Connection<S> {
    pub(super) fn begin_drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = Drain::Requested;
        }
    }

    pub(super) fn advance_drain(&mut self, now: Instant) {
        if self.drain == Drain::Requested {
            frame::write_goaway(&mut self.control, STREAM_MAX, Code::None);
            frame::write(&mut self.control, kind::PING, 0, 0, &PING);
            self.drain = Drain::Announced(now);
        }
        if self.drain.deadline().is_some_and(|deadline| deadline <= now) {
            self.last_goaway();
        }
    }

    /// A PING was answered.
    pub(super) fn pong(&mut self, payload: &[u8; 8]) {
        if matches!(self.drain, Drain::Announced(_)) && *payload == PING {
            self.last_goaway();
        }
    }

    /// Says which stream is the last.
    pub(super) fn last_goaway(&mut self) {
        if !matches!(self.drain, Drain::Last(_)) {
            frame::write_goaway(&mut self.control, self.last_taken, Code::None);
            self.drain = Drain::Last(self.last_taken);
        }
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_over(&self) -> bool {
        let is_drained = matches!(self.drain, Drain::Last(_)) && self.in_flight() == 0;
        (is_drained || self.phase == Phase::Ended) && self.control.is_empty()
    }

    /// What is under way.
    pub fn under_way(&self) -> Kinds {
        let streams = self.streams.iter().map(Stream::under_way);
        let ready = (!self.ready.is_empty()).then_some(UnderWay::Download);
        // Of a request whose response is whole, the rest is received and discarded for a while.
        let lingering = (!self.lingering.is_empty()).then_some(UnderWay::Upload);
        streams.chain(ready).chain(lingering).collect()
    }

    /// Ends what is of these kinds, each in its stream: event streams where they are, all others by a reset.
    pub fn cut(&mut self, kinds: Kinds) {
        let of = self.streams.iter().filter(|stream| kinds.has(stream.under_way()));
        let streams: Vec<(u32, UnderWay)> = of.map(|stream| (stream.id, stream.under_way())).collect();
        for (id, kind) in streams {
            if kind == UnderWay::EventStream {
                if let Some(stream) = self.streams.get(id)
                    && let Rest::Stream(_, body) = &mut stream.response.body
                {
                    *body = stream_body(Empty::new());
                }
                self.streams.queue(id);
            } else {
                self.forget(id, Broken::Gone);
                self.reset(id, Code::Cancel);
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
        self.next_check = self.unfinished();
        if self.next_check.is_some_and(|deadline| deadline <= now) {
            tracing::debug!("a head came too slowly");
            return self.end(Code::EnhanceYourCalm);
        }
        let lingering = self.check_lingering(now);
        let next = [self.next_check, lingering].into_iter().flatten().min();
        let (mut stalled, mut starved, mut next) = (Vec::new(), Vec::new(), next);
        let (has_window, is_upload_shut) = (self.window.available() > 0, self.is_upload_shut());
        for stream in self.streams.iter() {
            // One that waits for its share of the connection's window has time while the peer opens that, and once it
            // is open it is not the peer that it waits for.
            let opened = if stream.parked { self.window_opened } else { None };
            let stalled_since = stream.stalled.filter(|_| !(stream.parked && has_window));
            let stalled_since = stalled_since.map(|since| opened.map_or(since, |opened| opened.max(since)));
            // A peer that has no window is not slow.
            let hungry_since = stream.hungry.map(|since| if is_upload_shut { now } else { since });
            let clocks = [
                (stalled_since.map(|since| since + self.limits.write), &mut stalled),
                (hungry_since.map(|since| since + self.limits.body), &mut starved),
            ];
            for (deadline, over) in clocks {
                match deadline {
                    Some(deadline) if deadline <= now => over.push(stream.id),
                    Some(deadline) => next = Some(next.map_or(deadline, |next| next.min(deadline))),
                    None => {}
                }
            }
        }
        self.next_check = next;
        for id in stalled {
            tracing::debug!(id, "a stream was reset: its peer took nothing in time");
            self.forget(id, Broken::Gone);
            self.reset(id, Code::Cancel);
        }
        for id in starved {
            self.starve(id);
        }
    }

    /// By when the head, or the frame, that has begun is to be whole. How fast bodies come is a matter of their
    /// streams.
    fn unfinished(&self) -> Option<Instant> {
        let is_data = self.partial.get(3).is_some_and(|byte| *byte == kind::DATA);
        let partial = self.partial_since.filter(|_| !self.partial.is_empty() && !is_data);
        let block = self.block.as_ref().map(|block| block.since);
        let since = partial.into_iter().chain(block).min()?;
        Some(since + self.limits.header)
    }

    /// The body of a request brought nothing for too long.
    fn starve(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.hungry = None;
        if stream.response.answering.is_none() {
            self.forget(id, Broken::Slow);
            return self.reset(id, Code::Cancel);
        }
        // Who answers hears of it first; if there is nothing it says, the answer is ours.
        stream.response.starved = true;
        if let Some(filler) = &stream.filler {
            filler.fail(Broken::Slow);
        }
        self.streams.queue(id);
    }
}
