//! Memory held for the peer, and streams to drop when memory is scarce.

use std::time::{Duration, Instant};

use super::super::inbound::Broken;
use super::super::share::Share;
use super::super::{Cause, Service};
use super::Connection;
use super::frame::Code;

impl<S: Service> Connection<S> {
    /// Sets whether memory is scarce.
    pub fn tighten(&mut self, is_tight: bool) {
        self.is_tight = is_tight;
    }

    /// Returns the body bytes held for the peer: read-ahead, and bodies in memory that have no other use.
    pub fn held_for_peer(&self) -> usize {
        self.streams.held_for_peer()
    }

    /// Returns the time since which any stream holds bytes that the peer does not read.
    pub fn holds_since(&self) -> Option<Instant> {
        self.streams.holds_since()
    }

    /// Resets the streams that have held unread bytes for at least `stalled`, and returns their number: the peer
    /// requested more than it reads (RFC 9114 §8.1, H3_EXCESSIVE_LOAD).
    pub fn shed(&mut self, stalled: Duration, now: Instant) -> usize {
        let slow = self.streams.to_shed(stalled, now);
        let _ending = Cause::Memory.begin();
        for id in &slow {
            self.break_off(*id, Broken::Gone, Code::ExcessiveLoad);
        }
        slow.len()
    }

    /// Returns the bytes that a stream may read ahead.
    pub(super) fn share_of(&mut self, id: u64) -> Share {
        self.streams.share_of(id, self.limits.response_bytes, self.is_tight)
    }

    /// Returns true if a stream without held bytes may read ahead.
    pub(super) fn has_share(&self) -> bool {
        self.streams.has_share(self.limits.response_bytes, self.is_tight)
    }
}
