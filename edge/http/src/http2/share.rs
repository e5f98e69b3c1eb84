//! What the connection holds for its peer, and what is dropped when memory is scarce.

use std::time::{Duration, Instant};

use super::super::inbound::Broken;
use super::super::share::Share;
use super::super::{Cause, Service};
use super::Connection;
use super::frame::Code;

impl<S: Service> Connection<S> {
    /// Says whether memory is scarce.
    pub fn tighten(&mut self, is_tight: bool) {
        self.is_tight = is_tight;
    }

    /// Bytes of bodies that are held for the peer: what was read ahead, and bodies at hand that nothing else needs any
    /// more.
    pub fn held_for_peer(&self) -> usize {
        self.streams.held_for_peer()
    }

    /// The time since which a stream holds bytes that the peer does not take, if any does.
    pub fn holds_since(&self) -> Option<Instant> {
        self.streams.holds_since()
    }

    /// Resets the streams that have held bytes for at least `stalled` that the peer takes none of, and gives their
    /// number: it asked for more than it can take (RFC 9113 §7).
    pub fn shed(&mut self, stalled: Duration, now: Instant) -> usize {
        let slow = self.streams.to_shed(stalled, now);
        let _ending = Cause::Memory.begin();
        for id in &slow {
            self.forget(*id, Broken::Gone);
            self.reset(*id, Code::EnhanceYourCalm);
        }
        slow.len()
    }

    /// Bytes that a stream may read ahead.
    pub(super) fn share_of(&mut self, id: u32) -> Share {
        self.streams.share_of(id, self.limits.response_bytes, self.is_tight)
    }

    /// Whether a stream that holds nothing may read ahead.
    pub(super) fn has_share(&self) -> bool {
        self.streams.has_share(self.limits.response_bytes, self.is_tight)
    }
}
