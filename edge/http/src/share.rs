//! Read-ahead of response bodies beyond the peer's windows, and streams to drop when memory is scarce.
//!
//! A window gives the number of body bytes that can be sent; bytes read beyond the window only occupy memory. Whole
//! pieces are read nevertheless while the connection holds little, so that frames are full. The share of the connection
//! bounds the memory of all streams. A stream without room in the share waits until earlier streams have sent their
//! bytes. If those streams have no window, the waiting stream continues in small steps.

use std::time::{Duration, Instant};

use super::streams::{Multiplexed, Stream, Streams};
use super::{FRAME_BYTES, Outcome};

/// Bytes read of a body without a window, to detect the end: the end of a body with unknown length may be the only
/// remaining event, and needs no window.
const END_BYTES: usize = 1_024;
/// Bytes read of a body while stalled streams fill the share.
const STEP_BYTES: usize = 2_048;

/// Bytes that one stream may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Share of the connection.
    pub(super) max: usize,
    /// Bytes of the share held by other streams.
    pub(super) held: usize,
    /// True if the share is full and a part of it stalls.
    pub(super) is_stuck: bool,
}

impl Share {
    /// Returns the number of body bytes to read while the windows take `window`; `None` to read nothing.
    #[inline]
    pub(super) fn bytes_to_read(self, window: usize, is_end_possible: bool) -> Option<usize> {
        let room = self.max.saturating_sub(self.held);
        if window == 0 {
            return is_end_possible.then_some(END_BYTES);
        }
        if self.is_full() {
            let is_possible = self.is_stuck || is_end_possible;
            return is_possible.then_some(STEP_BYTES.min(window));
        }
        // Half of the share is for whole pieces: a small window that opens often would cause short reads and short
        // frames.
        let is_ample = self.held < self.max / 2;
        Some(if is_ample { room } else { room.min(window) })
    }

    #[inline]
    pub(super) fn is_full(self) -> bool {
        self.max.saturating_sub(self.held) < FRAME_BYTES.min(self.max)
    }
}

impl<P: Multiplexed, O: Outcome> Stream<P, O> {
    /// Returns the time since which the stream holds bytes that the peer does not read.
    fn holds_since(&self) -> Option<Instant> {
        self.stalled.filter(|_| self.held > 0 || self.response.pinned_bytes() > 0)
    }
}

/// Memory of a connection's streams, with a share of `max`, or less while memory `is_tight`.
impl<P: Multiplexed, O: Outcome> Streams<P, O> {
    /// Returns the body bytes held for the peer: read-ahead, and bodies in memory that have no other use.
    pub(super) fn held_for_peer(&self) -> usize {
        self.held_bytes() + self.iter().map(|stream| stream.response.pinned_bytes()).sum::<usize>()
    }

    /// Returns the time since which any stream holds bytes that the peer does not read.
    pub(super) fn holds_since(&self) -> Option<Instant> {
        self.iter().filter_map(Stream::holds_since).min()
    }

    /// Returns the streams that have held unread bytes for at least `stalled`: the peer requested more than it reads.
    pub(super) fn to_shed(&self, stalled: Duration, now: Instant) -> Vec<P::Id> {
        let is_slow = |since: Instant| now.saturating_duration_since(since) >= stalled;
        let slow = self.iter().filter(|stream| stream.holds_since().is_some_and(is_slow));
        slow.map(|stream| stream.id).collect()
    }

    /// Returns the bytes that a stream may read ahead.
    pub(super) fn share_of(&mut self, id: P::Id, max: usize, is_tight: bool) -> Share {
        let own = self.get(id).map_or(0, |stream| stream.held);
        self.share_beside(self.held_bytes().saturating_sub(own), max, is_tight)
    }

    /// Returns true if a stream without held bytes may read ahead.
    pub(super) fn has_share(&self, max: usize, is_tight: bool) -> bool {
        self.share_beside(self.held_bytes(), max, is_tight).bytes_to_read(1, false).is_some()
    }

    fn share_beside(&self, held: usize, max: usize, is_tight: bool) -> Share {
        let max = if is_tight { FRAME_BYTES.min(max) } else { max };
        let share = Share { max, held, is_stuck: false };
        Share { is_stuck: share.is_full() && self.holds_since().is_some(), ..share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pieces_are_read_while_little_is_held_and_then_what_the_window_takes() {
        let share = |held| Share { max: 100_000, held, is_stuck: false };
        assert_eq!(share(0).bytes_to_read(1, false), Some(100_000));
        assert_eq!(share(49_999).bytes_to_read(1, false), Some(50_001));
        assert_eq!(share(50_000).bytes_to_read(7, false), Some(7));
        assert_eq!(share(50_000).bytes_to_read(1 << 20, false), Some(50_000));
        assert_eq!(share(90_000).bytes_to_read(1 << 20, false), None);
        assert_eq!(share(200_000).bytes_to_read(1 << 20, false), None);
    }

    #[test]
    fn without_a_window_no_more_is_read_than_shows_an_end() {
        for held in [0, 90_000] {
            let share = Share { max: 100_000, held, is_stuck: false };
            assert_eq!(share.bytes_to_read(0, false), None);
            assert_eq!(share.bytes_to_read(0, true), Some(END_BYTES));
        }
    }

    #[test]
    fn beside_streams_that_stall_others_go_on_in_small_steps() {
        let share = |held| Share { max: 100_000, held, is_stuck: true };
        assert_eq!(share(90_000).bytes_to_read(1 << 20, false), Some(STEP_BYTES));
        assert_eq!(share(200_000).bytes_to_read(7, false), Some(7));
        assert_eq!(share(200_000).bytes_to_read(0, false), None);
    }

    #[test]
    fn a_share_of_less_than_a_frame_lets_one_stream_go_on() {
        let share = Share { max: 1_000, held: 0, is_stuck: false };
        assert_eq!((share.bytes_to_read(5, false), share.bytes_to_read(5_000, false)), (Some(1_000), Some(1_000)));
        assert_eq!(Share { max: 1_000, held: 1, is_stuck: false }.bytes_to_read(5, false), None);
    }
}
