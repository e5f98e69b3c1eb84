//! Received and unread pieces of a QUIC connection's streams: mainly pieces behind a gap, each of which needs a
//! separate entry, however small.

use std::time::Instant;

use quinn_proto::StreamId;

/// Memory of a piece besides its content: an entry in a heap whose capacity is up to twice its length.
const PIECE_BYTES: usize = 112;
/// Maximum number of pieces that QUIC keeps of one stream before merging the pieces, or ending the connection for its
/// gaps.
const PIECES_MAX: usize = 2_049;
/// Memory of pieces above which a peer that fills no gap counts as slow.
const MUCH_BYTES: usize = 64 * 1024;

/// Number of pieces by stream. QUIC does not report the number, so pieces are counted at arrival and at the read; a
/// duplicate piece counts until the end of its stream.
#[derive(Debug, Default)]
pub(super) struct Unread {
    streams: Vec<OfStream>,
}

#[derive(Debug)]
struct OfStream {
    id: StreamId,
    pieces: usize,
    /// Arrival of the first piece, or time of the last read.
    since: Instant,
}

impl Unread {
    /// Counts a received piece.
    pub(super) fn add(&mut self, id: StreamId, now: Instant) {
        match self.streams.iter_mut().find(|stream| stream.id == id) {
            Some(stream) => stream.pieces = PIECES_MAX.min(stream.pieces + 1),
            None => self.streams.push(OfStream { id, pieces: 1, since: now }),
        }
    }

    /// Counts read pieces.
    pub(super) fn take(&mut self, id: StreamId, pieces: usize, now: Instant) {
        if pieces == 0 {
            return;
        }
        if let Some(index) = self.streams.iter().position(|stream| stream.id == id)
            && let Some(stream) = self.streams.get_mut(index)
        {
            stream.pieces = stream.pieces.saturating_sub(pieces);
            stream.since = now;
            if stream.pieces == 0 {
                self.streams.swap_remove(index);
            }
        }
    }

    /// Removes a stream without remaining pieces.
    pub(super) fn remove(&mut self, id: StreamId) {
        self.streams.retain(|stream| stream.id != id);
        if self.streams.is_empty() && self.streams.capacity() > 0 {
            self.streams = Vec::new();
        }
    }

    /// Returns the memory of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.streams.iter().map(|stream| stream.pieces * PIECE_BYTES).sum()
    }

    /// Returns the time since which much memory has been unread; `None` otherwise.
    pub(super) fn since(&self) -> Option<Instant> {
        if self.bytes() < MUCH_BYTES {
            return None;
        }
        let mut resting: Vec<(Instant, usize)> =
            self.streams.iter().map(|stream| (stream.since, stream.pieces * PIECE_BYTES)).collect();
        resting.sort_unstable();
        let mut bytes = 0;
        let much = resting.into_iter().find(|(_, more)| {
            bytes += more;
            bytes >= MUCH_BYTES
        });
        much.map(|(since, _)| since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quinn_proto::{Dir, Side};

    use super::*;

    fn id(index: u64) -> StreamId {
        StreamId::new(Side::Client, Dir::Bi, index)
    }

    #[test]
    fn what_is_read_or_over_is_held_no_more() {
        let (mut unread, now) = (Unread::default(), Instant::now());
        for index in [0, 1, 1, 1] {
            unread.add(id(index), now);
        }
        assert_eq!(unread.bytes(), 4 * PIECE_BYTES);
        unread.take(id(1), 2, now);
        unread.take(id(2), 2, now);
        assert_eq!(unread.bytes(), 2 * PIECE_BYTES);
        // Merged pieces are read as fewer pieces, and the first piece of a stream was not counted.
        unread.take(id(1), 5, now);
        unread.remove(id(0));
        assert_eq!((unread.bytes(), unread.streams.capacity()), (0, 0));
    }

    #[test]
    fn a_stream_holds_no_more_pieces_than_quic_keeps() {
        let (mut unread, now) = (Unread::default(), Instant::now());
        (0..3 * PIECES_MAX).for_each(|_| unread.add(id(0), now));
        assert_eq!(unread.bytes(), PIECES_MAX * PIECE_BYTES);
    }

    #[test]
    fn a_peer_is_slow_that_fills_no_gap_in_front_of_much() {
        let (mut unread, began) = (Unread::default(), Instant::now());
        let later = began + Duration::from_secs(9);
        unread.add(id(0), began);
        assert_eq!(unread.since(), None, "a piece or two may be out of order");
        (0..1_000).for_each(|_| unread.add(id(0), later));
        assert_eq!(unread.since(), Some(began));
        // An active stream does not add to the unread memory of another stream.
        unread.add(id(1), began);
        unread.take(id(0), 1, later);
        assert_eq!(unread.since(), Some(later));
        unread.take(id(0), 999, later);
        assert_eq!(unread.since(), None);
    }
}
