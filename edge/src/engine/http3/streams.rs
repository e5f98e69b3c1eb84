//! Requests of which something is still to come or to be sent, and in what order they take their turns.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::super::Outcome;
use super::super::inbound::Filler;
use super::super::response::Response;
use super::super::under_way::UnderWay;
use super::super::wakes::Wakes;
use super::reader::FrameReader;

/// A request of which something is still to come or to be sent.
#[expect(clippy::struct_excessive_bools, reason = "each says something else, and all of them can be together")]
pub(super) struct Stream<O> {
    pub(super) id: u64,
    pub(super) response: Response<O>,
    /// The part of the request that is still to come.
    pub(super) upload: Option<Upload>,
    /// The connection's end of the request's body, also when all of it came.
    pub(super) filler: Option<Filler>,
    /// Bytes of the request's body that wait for their reader.
    pub(super) unread: usize,
    /// Bytes of it that came and were not read: what nobody will read is not asked for again.
    pub(super) unreturned: usize,
    /// It was given no more bytes for that.
    pub(super) held_back: bool,
    /// What is to be sent before the next byte of the body: frames of fields, and the head of a frame of DATA.
    pub(super) unsent: Bytes,
    /// The body's bytes have the head of their frame.
    pub(super) is_framed: bool,
    /// Nothing follows what is unsent, and the body's bytes.
    pub(super) is_last: bool,
    /// Bytes of the body that it holds for its peer, as they were counted last.
    held: usize,
    /// Wakes the connection for this stream.
    pub(super) waker: Option<Waker>,
    /// It is in line for a turn.
    pub(super) queued: bool,
    /// The time since which it has bytes that the peer does not take.
    pub(super) stalled: Option<Instant>,
    /// The time since which the reader of its request's body waits.
    pub(super) hungry: Option<Instant>,
}

/// What comes next of a request after its head (RFC 9114 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// DATA, or trailers.
    Body,
    /// Its end.
    End,
}

/// A request that is not whole.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) reader: FrameReader,
    pub(super) next: Next,
    /// When a frame began that is not whole, and is no DATA.
    pub(super) since: Option<Instant>,
}

/// A request whose head is not whole.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: u64,
    pub(super) reader: FrameReader,
    /// When its first byte came.
    pub(super) since: Instant,
    /// It was given no more bytes, since others have begun before it and hold much.
    pub(super) held_back: bool,
}

impl<O> Stream<O> {
    pub(super) const fn new(id: u64, response: Response<O>) -> Self {
        Self {
            id,
            response,
            upload: None,
            filler: None,
            unread: 0,
            unreturned: 0,
            held_back: false,
            unsent: Bytes::new(),
            is_framed: false,
            is_last: false,
            held: 0,
            waker: None,
            queued: false,
            stalled: None,
            hungry: None,
        }
    }

    pub(super) const fn under_way(&self) -> UnderWay {
        self.response.under_way(self.upload.is_some())
    }
}

impl<O: Outcome> Stream<O> {
    /// The time since which it holds bytes that its peer does not take.
    pub(super) fn holds_since(&self) -> Option<Instant> {
        self.stalled.filter(|_| self.held > 0 || self.response.pinned_bytes() > 0)
    }
}

/// The streams of one connection, by their numbers.
pub(super) struct Streams<O> {
    list: Vec<Box<Stream<O>>>,
    /// Those that have something to send or to poll, in the order of their turns.
    turns: VecDeque<u64>,
    /// Those that wait for the share of the connection, in the order of their turns.
    parked: VecDeque<u64>,
    /// Bytes of bodies that all of them hold for the peer.
    held: usize,
    wakes: Wakes<u64>,
}

impl<O> Streams<O> {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new(), turns: VecDeque::new(), parked: VecDeque::new(), held: 0, wakes: Wakes::new() }
    }

    /// Bytes of bodies that all of them hold for the peer.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held
    }

    /// The same without those of one stream.
    pub(super) fn held_by_others(&mut self, id: u64) -> usize {
        let own = self.get(id).map_or(0, |stream| stream.held);
        self.held.saturating_sub(own)
    }

    /// Counts what a stream holds now.
    pub(super) fn count_held(&mut self, id: u64) {
        let Some(stream) = self.get(id) else { return };
        let held = stream.response.held_bytes();
        let before = std::mem::replace(&mut stream.held, held);
        self.held = (self.held + held).saturating_sub(before);
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Streams begin in any order, as their first packets come.
    fn find(&self, id: u64) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |stream| stream.id)
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Stream<O>> {
        let index = self.find(id).ok()?;
        self.list.get_mut(index).map(|stream| &mut **stream)
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.find(id).is_ok()
    }

    /// Adds a stream, which is in line at once.
    pub(super) fn add(&mut self, stream: Stream<O>) {
        let id = stream.id;
        if let Err(index) = self.find(id) {
            self.list.insert(index, Box::new(stream));
            self.queue(id);
        }
    }

    /// Takes a stream out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Box<Stream<O>>> {
        let index = self.find(id).ok()?;
        let stream = self.list.remove(index);
        self.held = self.held.saturating_sub(stream.held);
        if stream.queued {
            self.turns.retain(|queued| *queued != id);
            self.parked.retain(|parked| *parked != id);
        }
        Some(stream)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream<O>> {
        self.list.iter().map(|stream| &**stream)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream<O>> {
        self.list.iter_mut().map(|stream| &mut **stream)
    }

    /// Puts a stream at the end of the line, unless it is in it.
    pub(super) fn queue(&mut self, id: u64) {
        let Ok(index) = self.find(id) else { return };
        if let Some(stream) = self.list.get_mut(index)
            && !stream.queued
        {
            stream.queued = true;
            self.turns.push_back(id);
        }
    }

    /// The stream whose turn it is; it is in line no more. While the connection has a share left, those that have waited
    /// for it come first.
    pub(super) fn next_turn(&mut self, has_share: bool) -> Option<u64> {
        let parked = if has_share { self.parked.pop_front() } else { None };
        let id = parked.or_else(|| self.turns.pop_front())?;
        if let Some(stream) = self.get(id) {
            stream.queued = false;
        }
        Some(id)
    }

    /// A stream waits for the share of the connection.
    pub(super) fn park(&mut self, id: u64) {
        if let Some(stream) = self.get(id)
            && !stream.queued
        {
            stream.queued = true;
            self.parked.push_back(id);
        }
    }

    /// Frees what is not needed while there is no stream.
    pub(super) fn rest(&mut self) {
        if self.list.is_empty() && self.list.capacity() > 0 {
            *self = Self::new();
        }
    }

    /// The waker of one stream.
    pub(super) fn waker(&mut self, id: u64) -> Waker {
        self.wakes.waker(id)
    }

    /// Streams in line, without those that only wait for the share of the connection.
    pub(super) fn in_line(&self) -> usize {
        self.turns.len()
    }

    /// Puts the streams in line that were woken, and remembers the task for the next ones. Gives their numbers.
    pub(super) fn take_woken(&mut self, task: &Waker) -> Vec<u64> {
        let woken = self.wakes.take(task);
        for id in &woken {
            self.queue(*id);
        }
        woken
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let parts = |stream: &Stream<O>| {
            stream.filler.as_ref().map_or(0, Filler::held_bytes)
                + stream.upload.as_ref().map_or(0, |upload| upload.reader.held_bytes())
                + stream.unsent.len()
        };
        self.list.capacity() * size_of::<usize>()
            + self.iter().map(|stream| size_of::<Stream<O>>() + parts(stream)).sum::<usize>()
            + (self.turns.capacity() + self.parked.capacity()) * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Streams<()> {
        let mut streams = Streams::new();
        for id in [8, 0, 4] {
            streams.add(Stream::new(id, Response::new(false)));
        }
        streams
    }

    fn turns(streams: &mut Streams<()>) -> Vec<u64> {
        std::iter::from_fn(|| streams.next_turn(false)).collect()
    }

    #[test]
    fn streams_take_turns_in_the_order_in_which_they_came_in_line_and_once_each() {
        let mut streams = three();
        streams.queue(0);
        assert_eq!(turns(&mut streams), [8, 0, 4]);
        for id in [4, 8, 4, 12, 8] {
            streams.queue(id);
        }
        assert_eq!(turns(&mut streams), [4, 8]);
        assert!([0, 4, 8].iter().all(|id| streams.contains(*id) && streams.get(*id).unwrap().id == *id));
        assert!(!streams.contains(12));
    }

    #[test]
    fn streams_that_wait_for_a_share_come_first_once_there_is_one() {
        let mut streams = three();
        assert_eq!((streams.next_turn(true), streams.next_turn(true)), (Some(8), Some(0)));
        streams.park(0);
        streams.park(0);
        streams.queue(8);
        streams.queue(0);
        assert_eq!(turns(&mut streams), [4, 8]);
        assert_eq!((streams.next_turn(true), streams.next_turn(true)), (Some(0), None));
    }

    #[test]
    fn a_stream_that_is_gone_leaves_nothing_in_the_line() {
        let mut streams = three();
        assert_eq!(streams.next_turn(false), Some(8));
        streams.park(8);
        assert_eq!(streams.remove(0).unwrap().id, 0);
        assert!(streams.remove(0).is_none());
        assert_eq!((turns(&mut streams), streams.len()), (vec![4], 2));
        assert!(streams.remove(4).is_some() && streams.remove(8).is_some());
        assert_eq!(streams.next_turn(true), None);
        streams.rest();
        assert_eq!((streams.memory(), streams.held_bytes(), streams.is_empty()), (0, 0, true));
    }
}
