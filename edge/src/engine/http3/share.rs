//! The share of a connection that its streams hold, and what is dropped when memory is scarce.

use std::time::{Duration, Instant};

use super::super::inbound::Broken;
use super::super::share::Share;
use super::super::{FRAME_BYTES, Service};
use super::Connection;
use super::frame::Code;
use super::streams::Stream;

impl<S: Service> Connection<S> {
    /// Says whether memory is scarce.
    pub fn tighten(&mut self, is_tight: bool) {
        self.is_tight = is_tight;
    }

    /// Bytes of bodies that are held for the peer: what was read ahead, and bodies at hand that nothing else needs any
    /// more.
    pub fn held_for_peer(&self) -> usize {
        self.streams.held_bytes() + self.streams.iter().map(|stream| stream.response.pinned_bytes()).sum::<usize>()
    }

    /// The time since which a stream holds bytes that the peer does not take, if any does.
    pub fn holds_since(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::holds_since).min()
    }

    /// Resets the streams that have held bytes for at least `stalled` that the peer takes none of, and gives their
    /// number: it asked for more than it can take (RFC 9114 §8.1, H3_EXCESSIVE_LOAD).
    pub fn shed(&mut self, stalled: Duration, now: Instant) -> usize {
        let is_slow = |since: Instant| now.saturating_duration_since(since) >= stalled;
        let slow = self.streams.iter().filter(|stream| stream.holds_since().is_some_and(is_slow));
        let streams: Vec<(u64, bool)> = slow.map(|stream| (stream.id, stream.upload.is_some())).collect();
        for (id, is_receiving) in &streams {
            self.forget(*id, Broken::Gone);
            self.reset(*id, Code::ExcessiveLoad, *is_receiving);
        }
        streams.len()
    }

    fn share(&self) -> usize {
        if self.is_tight { FRAME_BYTES.min(self.limits.response_bytes) } else { self.limits.response_bytes }
    }

    /// Bytes that a stream may read ahead.
    pub(super) fn share_of(&mut self, id: u64) -> Share {
        let held = self.streams.held_by_others(id);
        self.share_beside(held)
    }

    /// Whether a stream that holds nothing may read ahead.
    pub(super) fn has_share(&self) -> bool {
        self.share_beside(self.streams.held_bytes()).bytes_to_read(1, false).is_some()
    }

    fn share_beside(&self, held: usize) -> Share {
        let share = Share { max: self.share(), held, is_stuck: false };
        Share { is_stuck: share.is_full() && self.holds_since().is_some(), ..share }
    }
}
