//! The end of a connection in two steps (RFC 9113 §6.8), and streams whose peer is too slow.

use std::time::Instant;

use super::super::clocks::{Overdue, earlier};
use super::super::drain::Drain;
use super::super::inbound::Broken;
use super::super::under_way::{Kinds, UnderWay};
use super::super::{Cause, Service};
use super::frame::{self, Code, kind};
use super::streams::Stream;
use super::{Connection, Phase};

/// The most that a stream's number can be.
const STREAM_MAX: u32 = (1 << 31) - 1;
/// By these bytes the answer to that PING is known.
const PING: [u8; 8] = *b"draining";

impl<S: Service> Connection<S> {
    pub(super) fn advance_drain(&mut self, now: Instant) {
        if self.drain.announce(now) {
            frame::write_goaway(&mut self.control, STREAM_MAX, Code::None);
            frame::write(&mut self.control, kind::PING, 0, 0, &PING);
        }
        if self.drain.is_due(now) {
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
        let _ending = Cause::Drain.begin();
        for id in self.streams.cut(kinds) {
            self.forget(id, Broken::Gone);
            self.reset(id, Code::Cancel);
        }
    }

    /// A stream may be too slow at `at`.
    pub(super) fn check_by(&mut self, at: Instant) {
        self.next_check = earlier(self.next_check, Some(at));
    }

    /// Ends what is too slow.
    pub(super) fn check_clocks(&mut self, now: Instant) {
        if std::mem::take(&mut self.upload_reopened) {
            self.streams.restart_uploads(now);
        }
        if self.next_check.is_none_or(|check| check > now) {
            return;
        }
        self.next_check = self.unfinished();
        if self.next_check.is_some_and(|deadline| deadline <= now) {
            tracing::debug!("a head came too slowly");
            return self.end(Code::EnhanceYourCalm);
        }
        let mut overdue = Overdue::new(earlier(self.next_check, self.check_lingering(now)));
        let (has_window, opened) = (self.window.available() > 0, self.window_opened);
        self.streams.check(&mut overdue, now, &self.limits, self.is_upload_shut(), |stream| {
            let since = stream.stalled?;
            // One that waits for its share of the connection's window has time while the peer opens that, and once it
            // is open it is not the peer that it waits for.
            match stream.parked {
                false => Some(since),
                true => (!has_window).then(|| opened.map_or(since, |opened| opened.max(since))),
            }
        });
        let Overdue { stalled, starved, next } = overdue;
        self.next_check = next;
        for id in stalled {
            tracing::debug!(id, "a stream was reset: its peer took nothing in time");
            self.forget(id, Broken::Gone);
            self.reset(id, Code::Cancel);
        }
        for id in starved {
            if self.streams.starve(id) {
                self.forget(id, Broken::Slow);
                self.reset(id, Code::Cancel);
            }
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
}
