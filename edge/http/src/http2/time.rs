//! End of a connection in two steps (RFC 9113 §6.8), and streams with a slow peer.

use std::time::Instant;

use super::super::clocks::{Overdue, earlier};
use super::super::drain::Drain;
use super::super::inbound::Broken;
use super::super::under_way::{Kinds, UnderWay};
use super::super::{Cause, Service};
use super::frame::{self, Code, kind};
use super::streams::Stream;
use super::{Connection, Phase};

/// Maximum stream number.
const STREAM_MAX: u32 = (1 << 31) - 1;
/// Payload that identifies the answer to the drain's PING.
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

    /// Handles the answer to a PING.
    pub(super) fn pong(&mut self, payload: &[u8; 8]) {
        if matches!(self.drain, Drain::Announced(_)) && *payload == PING {
            self.last_goaway();
        }
    }

    /// Sends the final GOAWAY with the last accepted stream.
    pub(super) fn last_goaway(&mut self) {
        if !matches!(self.drain, Drain::Last(_)) {
            frame::write_goaway(&mut self.control, self.last_taken, Code::None);
            self.drain = Drain::Last(self.last_taken);
        }
    }

    /// Returns true if no output is left.
    pub(super) fn is_over(&self) -> bool {
        let is_drained = matches!(self.drain, Drain::Last(_)) && self.in_flight() == 0;
        (is_drained || self.phase == Phase::Ended) && self.control.is_empty()
    }

    /// Returns the kinds of requests under way.
    pub fn under_way(&self) -> Kinds {
        let streams = self.streams.iter().map(Stream::under_way);
        let ready = (!self.ready.is_empty()).then_some(UnderWay::Download);
        // The rest of a request with a complete response is received and discarded for a while.
        let lingering = (!self.lingering.is_empty()).then_some(UnderWay::Upload);
        streams.chain(ready).chain(lingering).collect()
    }

    /// Ends requests of the given kinds, each in its stream: event streams in place, all others by a reset.
    pub fn cut(&mut self, kinds: Kinds) {
        let _ending = Cause::Drain.begin();
        for id in self.streams.cut(kinds) {
            self.forget(id, Broken::Gone);
            self.reset(id, Code::Cancel);
        }
    }

    /// Schedules a check of slow streams for `at`.
    pub(super) fn check_by(&mut self, at: Instant) {
        self.next_check = earlier(self.next_check, Some(at));
    }

    /// Ends slow streams and connections.
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
            // A stream that waits for the connection's window has time while the peer opens the window, and does not
            // wait for the peer once the window is open.
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

    /// Returns the deadline of an incomplete head or frame. The pace of bodies is checked by stream.
    fn unfinished(&self) -> Option<Instant> {
        let is_data = self.partial.get(3).is_some_and(|byte| *byte == kind::DATA);
        let partial = self.partial_since.filter(|_| !self.partial.is_empty() && !is_data);
        let block = self.block.as_ref().map(|block| block.since);
        let since = partial.into_iter().chain(block).min()?;
        Some(since + self.limits.header)
    }
}
