//! End of a connection in two steps (RFC 9114 §5.2), and streams with a slow peer.

use std::time::Instant;

use super::super::clocks::{Overdue, earlier, is_over};
use super::super::drain::Drain;
use super::super::inbound::Broken;
use super::super::under_way::{Kinds, UnderWay};
use super::super::{Cause, Service};
use super::Connection;
use super::frame::{self, Code, Fault, NUMBER_MAX};
use super::streams::Stream;

/// Maximum stream number of a request.
const STREAM_MAX: u64 = NUMBER_MAX & !3;

impl<S: Service> Connection<S> {
    pub(super) fn advance_drain(&mut self, now: Instant) {
        if self.drain.announce(now) {
            frame::write_goaway(&mut self.control, STREAM_MAX);
        }
        if self.drain.is_due(now) {
            self.last_goaway();
        }
    }

    /// Sends the final GOAWAY with the first refused stream.
    pub(super) fn last_goaway(&mut self) {
        if self.drain.last().is_none() {
            frame::write_goaway(&mut self.control, self.first_untaken);
            self.drain = Drain::Last(self.first_untaken);
        }
    }

    /// Returns true if the final GOAWAY refuses the stream.
    pub(super) fn passes_over(&self, id: u64) -> bool {
        self.drain.last().is_some_and(|first| id >= first)
    }

    /// Returns true if no output is left.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.last().is_some() && self.in_flight() == 0 && self.control.is_empty() && self.actions.is_empty()
    }

    /// Returns the kinds of requests under way.
    pub fn under_way(&self) -> Kinds {
        let streams = self.streams.iter().map(Stream::under_way);
        // The rest of a request with a complete response is received and discarded for a while.
        let uploads = (!self.lingering.is_empty() || !self.openings.is_empty()).then_some(UnderWay::Upload);
        streams.chain(uploads).collect()
    }

    /// Ends requests of the given kinds, each in its stream: event streams in place, all others by a reset.
    pub fn cut(&mut self, kinds: Kinds) {
        let _ending = Cause::Drain.begin();
        for id in self.streams.cut(kinds) {
            self.break_off(id, Broken::Gone, Code::RequestCancelled);
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
        let (mut overdue, mut late) = (Overdue::new(self.check_lingering(now)), Vec::new());
        self.streams.check(&mut overdue, now, &self.limits, self.is_upload_shut(), |stream| stream.stalled);
        let openings = self.openings.iter().map(|opening| (opening.id, Some(opening.since)));
        let frame_since = |stream: &Stream<_>| stream.upload.as_ref().and_then(|upload| upload.since);
        for (id, since) in openings.chain(self.streams.iter().map(|stream| (stream.id, frame_since(stream)))) {
            if is_over(since.map(|since| since + self.limits.header), now, &mut overdue.next) {
                late.push(id);
            }
        }
        let mut silent = Vec::new();
        for (id, since) in &self.unbegun {
            if is_over(Some(*since + self.limits.header), now, &mut overdue.next) {
                silent.push(*id);
            }
        }
        let Overdue { stalled, starved, next } = overdue;
        self.next_check = next;
        for id in late {
            tracing::debug!(id, "a head came too slowly");
            self.fault(id, Fault::Stream(Code::RequestIncomplete), now);
        }
        for id in stalled {
            if self.streams.contains(id) {
                tracing::debug!(id, "a stream was reset: its peer took nothing in time");
                self.break_off(id, Broken::Gone, Code::RequestCancelled);
            }
        }
        for id in starved {
            if self.streams.starve(id) {
                self.break_off(id, Broken::Slow, Code::RequestCancelled);
            }
        }
        self.end_unbegun(&silent, now);
    }
    /// Ends a connection whose peer opened streams and sent no head in time: bytes behind a gap occupy memory as long
    /// as the gap remains. While uploads are shut, the peer may have no window for a head: then only the streams end.
    fn end_unbegun(&mut self, silent: &[u64], now: Instant) {
        if silent.is_empty() {
            return;
        }
        tracing::debug!(streams = silent.len(), "the first bytes of streams did not come in time");
        if !self.is_upload_shut() {
            return self.end(Code::ExcessiveLoad);
        }
        for id in silent {
            self.unbegun.retain(|(other, _)| other != id);
            self.fault(*id, Fault::Stream(Code::RequestIncomplete), now);
        }
    }
}
