//! Streams that are not answered yet (RFC 9113 §5.1), and in what order they take their turns.
//!
//! A request whose answer is at hand and small is never a stream here: its answer waits in a queue, and is put whole.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use super::super::Outcome;
use super::super::inbound::Filler;
use super::super::response::Response;
use super::super::under_way::UnderWay;
use super::super::wakes::Wakes;
use super::flow::{ReceiveWindow, SendWindow};

/// A stream.
pub(super) struct Stream<O> {
    pub(super) id: u32,
    pub(super) response: Response<O>,
    pub(super) window: SendWindow,
    /// The part of the request that is still to come.
    pub(super) upload: Option<Upload>,
    /// The connection's end of the request's body, also when all of it came.
    pub(super) filler: Option<Filler>,
    /// Bytes of the body that it holds for its peer, as they were counted last.
    held: usize,
    /// Wakes the connection for this stream.
    pub(super) waker: Option<Waker>,
    /// It is in line for a turn.
    pub(super) queued: bool,
    /// It waits for the window of the connection alone.
    pub(super) parked: bool,
    /// The time since which it has bytes without a window.
    pub(super) stalled: Option<Instant>,
    /// The time since which the reader of its request's body waits.
    pub(super) hungry: Option<Instant>,
}

/// A request that is not whole.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) window: ReceiveWindow,
}

impl<O> Stream<O> {
    pub(super) fn new(id: u32, response: Response<O>, window: u32) -> Self {
        Self {
            id,
            response,
            window: SendWindow::new(window),
            upload: None,
            filler: None,
            held: 0,
            waker: None,
            queued: false,
            parked: false,
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

/// The streams of one connection, by their numbers, which only rise.
pub(super) struct Streams<O> {
    /// Boxed, so that little is moved when one in the midst ends. Rare ones: small answers never come here.
    list: Vec<Box<Stream<O>>>,
    /// Those that have something to send or to poll, in the order of their turns.
    turns: VecDeque<u32>,
    /// Those that wait for the window of the connection alone, in the order of their turns.
    parked: VecDeque<u32>,
    /// Bytes of bodies that all of them hold for the peer.
    held: usize,
    wakes: Wakes<u32>,
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
    pub(super) fn held_by_others(&mut self, id: u32) -> usize {
        let own = self.get(id).map_or(0, |stream| stream.held);
        self.held.saturating_sub(own)
    }

    /// Counts what a stream holds now.
    pub(super) fn count_held(&mut self, id: u32) {
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

    /// Whether all of them have bytes and no window.
    #[cfg(test)]
    pub(super) fn all_stalled(&self) -> bool {
        self.iter().all(|stream| stream.stalled.is_some())
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        // Most frames are for the newest stream, or there are only a few.
        match self.list.last() {
            Some(last) if last.id == id => Ok(self.list.len() - 1),
            Some(last) if last.id > id => self.list.binary_search_by_key(&id, |stream| stream.id),
            _ => Err(self.list.len()),
        }
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream<O>> {
        let index = self.find(id).ok()?;
        self.list.get_mut(index).map(|stream| &mut **stream)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
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
    pub(super) fn remove(&mut self, id: u32) -> Option<Box<Stream<O>>> {
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
    pub(super) fn queue(&mut self, id: u32) {
        let Ok(index) = self.find(id) else { return };
        if let Some(stream) = self.list.get_mut(index)
            && !stream.queued
        {
            stream.queued = true;
            self.turns.push_back(id);
        }
    }

    /// The stream whose turn it is; it is in line no more. While the connection has a window, those that have waited
    /// for it come first, each as it is their turn: a window of a few bytes is not offered to all of them.
    pub(super) fn next_turn(&mut self, has_window: bool) -> Option<u32> {
        let parked = if has_window { self.parked.pop_front() } else { None };
        let id = parked.or_else(|| self.turns.pop_front())?;
        if let Some(stream) = self.get(id) {
            (stream.queued, stream.parked) = (false, false);
        }
        Some(id)
    }

    /// A stream has bytes and waits for a window, `by_connection` for that of the connection.
    pub(super) fn stall(&mut self, id: u32, by_connection: bool, now: Instant) {
        let Ok(index) = self.find(id) else { return };
        let Some(stream) = self.list.get_mut(index) else { return };
        stream.stalled.get_or_insert(now);
        if by_connection {
            (stream.queued, stream.parked) = (true, true);
            self.parked.push_back(id);
        }
    }

    /// A stream's own window has opened: it is in line, and stalled no more. One that waits for the window of the
    /// connection as well goes on waiting in its place, with its clock.
    pub(super) fn opened(&mut self, id: u32) {
        if self.get(id).is_some_and(|stream| !stream.parked) {
            self.unstall(id);
            self.queue(id);
        }
    }

    /// A stream's bytes go on.
    pub(super) fn unstall(&mut self, id: u32) {
        if let Some(stream) = self.get(id) {
            stream.stalled = None;
        }
    }

    /// Frees what is not needed while there is no stream.
    pub(super) fn rest(&mut self) {
        if self.list.is_empty() && self.list.capacity() > 0 {
            (self.list, self.turns, self.parked) = (Vec::new(), VecDeque::new(), VecDeque::new());
            self.wakes = Wakes::new();
        }
    }

    /// The waker of one stream.
    pub(super) fn waker(&mut self, id: u32) -> Waker {
        self.wakes.waker(id)
    }

    /// Streams in line, without those that only wait for the window of the connection.
    pub(super) fn in_line(&self) -> usize {
        self.turns.len()
    }

    /// Puts the streams in line that were woken, and remembers the task for the next ones. Gives their numbers.
    pub(super) fn take_woken(&mut self, task: &Waker) -> Vec<u32> {
        let woken = self.wakes.take(task);
        for id in &woken {
            self.queue(*id);
        }
        woken
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let bodies = |stream: &Stream<O>| stream.filler.as_ref().map_or(0, Filler::held_bytes);
        self.list.capacity() * size_of::<usize>()
            + self.iter().map(|stream| size_of::<Stream<O>>() + bodies(stream)).sum::<usize>()
            + (self.turns.capacity() + self.parked.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: u32) -> Stream<()> {
        Stream::new(id, Response::new(false), 0)
    }

    fn three() -> Streams<()> {
        let mut streams = Streams::new();
        for id in [3, 7, 9] {
            streams.add(stream(id));
        }
        streams
    }

    fn turns(streams: &mut Streams<()>, has_window: bool) -> Vec<u32> {
        std::iter::from_fn(|| streams.next_turn(has_window)).collect()
    }

    #[test]
    fn streams_take_turns_in_the_order_in_which_they_came_in_line_and_once_each() {
        let mut streams = three();
        streams.queue(3);
        assert_eq!(turns(&mut streams, true), [3, 7, 9]);
        for id in [9, 3, 9, 5, 3] {
            streams.queue(id);
        }
        assert_eq!(turns(&mut streams, true), [9, 3]);
        streams.add(stream(5));
        assert!([3, 5, 7, 9].iter().all(|id| streams.contains(*id) && streams.get(*id).unwrap().id == *id));
        assert!([1, 4, 11].iter().all(|id| !streams.contains(*id) && streams.get(*id).is_none()));
    }

    #[test]
    fn streams_that_wait_for_the_connection_come_first_once_it_has_a_window() {
        let (mut streams, now) = (three(), Instant::now());
        assert_eq!((streams.next_turn(true), streams.next_turn(true)), (Some(3), Some(7)));
        streams.stall(3, true, now);
        streams.stall(7, true, now);
        streams.queue(3);
        assert!(!streams.all_stalled());
        assert_eq!(turns(&mut streams, false), [9]);
        streams.stall(9, false, now);
        assert!(streams.all_stalled());
        streams.queue(9);
        assert_eq!(turns(&mut streams, true), [3, 7, 9]);
        streams.unstall(7);
        streams.unstall(7);
        assert!(!streams.all_stalled());
    }

    #[test]
    fn a_stream_that_is_gone_leaves_nothing_in_any_line() {
        let (mut streams, now) = (three(), Instant::now());
        assert_eq!(streams.next_turn(true), Some(3));
        streams.stall(3, true, now);
        assert_eq!(streams.remove(3).unwrap().id, 3);
        assert_eq!(streams.remove(9).unwrap().id, 9);
        assert!(streams.remove(9).is_none());
        assert_eq!((turns(&mut streams, true), streams.len(), streams.all_stalled()), (vec![7], 1, false));
        streams.remove(7);
        streams.rest();
        assert_eq!((streams.memory(), streams.held_bytes(), streams.is_empty()), (0, 0, true));
    }
}
