//! Streams of one connection, and the order of their turns.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::Instant;

use super::Outcome;
use super::inbound::{Broken, InboundSender};
use super::response::{Halt, Response};
use super::under_way::UnderWay;
use super::wakes::Wakes;

/// Protocol with many streams per connection.
pub(super) trait Multiplexed {
    /// Stream number.
    type Id: Copy + Ord + Send + Sync + 'static;
    /// Incomplete request.
    type Upload;
    /// Protocol-specific state of a stream.
    type Own;
}

/// Request with bytes still to receive or to send.
pub(super) struct Stream<P: Multiplexed, O> {
    pub(super) id: P::Id,
    pub(super) response: Response<O>,
    pub(super) own: P::Own,
    /// Unreceived part of the request.
    pub(super) upload: Option<P::Upload>,
    /// The connection's end of the request body; kept after the last byte.
    pub(super) filler: Option<InboundSender>,
    /// Body bytes held for the peer, as counted last.
    pub(super) held: usize,
    /// Wakes the connection for this stream.
    pub(super) waker: Option<Waker>,
    /// True if the stream is queued for a turn.
    pub(super) queued: bool,
    /// True if the stream is queued for a resource shared by the connection's streams.
    pub(super) parked: bool,
    /// Time since which the peer does not read the stream's bytes.
    pub(super) stalled: Option<Instant>,
    /// Time since which the reader of the request body waits.
    pub(super) hungry: Option<Instant>,
}

impl<P: Multiplexed, O> Stream<P, O> {
    pub(super) const fn with(id: P::Id, response: Response<O>, own: P::Own) -> Self {
        Self {
            id,
            response,
            own,
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

/// Streams of one connection, sorted by number.
pub(super) struct Streams<P: Multiplexed, O> {
    /// Boxed, so that removal from the middle moves little. Streams are rare: small answers of HTTP/2 need none.
    list: Vec<Box<Stream<P, O>>>,
    /// Streams with bytes to send or futures to poll, in the order of their turns.
    turns: VecDeque<P::Id>,
    /// Streams waiting for a shared resource, in the order of their turns.
    parked: VecDeque<P::Id>,
    /// Body bytes held for the peer by all streams.
    held: usize,
    wakes: Wakes<P::Id>,
}

impl<P: Multiplexed, O> Streams<P, O> {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new(), turns: VecDeque::new(), parked: VecDeque::new(), held: 0, wakes: Wakes::new() }
    }

    /// Returns the body bytes held for the peer by all streams.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held
    }

    /// Updates the held bytes of a stream.
    pub(super) fn count_held(&mut self, id: P::Id) {
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

    fn find(&self, id: P::Id) -> Result<usize, usize> {
        // Most frames belong to the newest stream, or the list is short.
        match self.list.last() {
            Some(last) if last.id == id => Ok(self.list.len() - 1),
            Some(last) if last.id > id => self.list.binary_search_by_key(&id, |stream| stream.id),
            _ => Err(self.list.len()),
        }
    }

    pub(super) fn get(&mut self, id: P::Id) -> Option<&mut Stream<P, O>> {
        let index = self.find(id).ok()?;
        self.list.get_mut(index).map(|stream| &mut **stream)
    }

    pub(super) fn contains(&self, id: P::Id) -> bool {
        self.find(id).is_ok()
    }

    /// Returns true if a part of the stream's request is still to be received.
    pub(super) fn is_receiving(&mut self, id: P::Id) -> bool {
        self.get(id).is_some_and(|stream| stream.upload.is_some())
    }

    /// Adds a stream and queues it.
    pub(super) fn add(&mut self, stream: Stream<P, O>) {
        let id = stream.id;
        if let Err(index) = self.find(id) {
            self.list.insert(index, Box::new(stream));
            self.queue(id);
        }
    }

    /// Removes a stream.
    pub(super) fn remove(&mut self, id: P::Id) -> Option<Box<Stream<P, O>>> {
        let index = self.find(id).ok()?;
        let stream = self.list.remove(index);
        self.held = self.held.saturating_sub(stream.held);
        if stream.queued {
            self.turns.retain(|queued| *queued != id);
            self.parked.retain(|parked| *parked != id);
        }
        Some(stream)
    }

    /// Drops all streams and notifies the readers of request bodies.
    pub(super) fn abandon(&mut self) {
        for stream in std::mem::take(&mut self.list) {
            if let Some(filler) = &stream.filler {
                filler.fail(Broken::Gone);
            }
        }
        *self = Self::new();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream<P, O>> {
        self.list.iter().map(|stream| &**stream)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream<P, O>> {
        self.list.iter_mut().map(|stream| &mut **stream)
    }

    /// Queues a stream, unless already queued.
    pub(super) fn queue(&mut self, id: P::Id) {
        let Ok(index) = self.find(id) else { return };
        if let Some(stream) = self.list.get_mut(index)
            && !stream.queued
        {
            stream.queued = true;
            self.turns.push_back(id);
        }
    }

    /// Removes the next stream from the queue. While the shared resource is available, parked streams come first, each
    /// in turn: a window of a few bytes is not offered to all of them.
    pub(super) fn next_turn(&mut self, for_parked: bool) -> Option<P::Id> {
        let parked = if for_parked { self.parked.pop_front() } else { None };
        let id = parked.or_else(|| self.turns.pop_front())?;
        if let Some(stream) = self.get(id) {
            (stream.queued, stream.parked) = (false, false);
        }
        Some(id)
    }

    /// Parks a stream until a shared resource is available: the share of read-ahead, or the window of the connection.
    pub(super) fn park(&mut self, id: P::Id) {
        let Ok(index) = self.find(id) else { return };
        if let Some(stream) = self.list.get_mut(index)
            && !stream.queued
        {
            (stream.queued, stream.parked) = (true, true);
            self.parked.push_back(id);
        }
    }

    /// Marks a stream as stalled: the peer does not read the stream's bytes.
    pub(super) fn stall(&mut self, id: P::Id, now: Instant) {
        if let Some(stream) = self.get(id) {
            stream.stalled.get_or_insert(now);
        }
    }

    /// Marks a stream as progressing, or as waiting for something else than the peer.
    pub(super) fn unstall(&mut self, id: P::Id) {
        if let Some(stream) = self.get(id) {
            stream.stalled = None;
        }
    }

    /// Frees memory while the connection has no streams.
    pub(super) fn rest(&mut self) {
        if self.list.is_empty() && self.list.capacity() > 0 {
            *self = Self::new();
        }
    }

    /// Returns the waker of a stream.
    pub(super) fn waker(&mut self, id: P::Id) -> Waker {
        self.wakes.waker(id)
    }

    /// Returns the waker of a stream with a future to poll.
    pub(super) fn waker_to_poll(&mut self, id: P::Id) -> Option<Waker> {
        let stream = self.get(id)?;
        if !stream.response.is_polled() {
            return None;
        }
        if let Some(waker) = &stream.waker {
            return Some(waker.clone());
        }
        let waker = self.waker(id);
        self.get(id)?.waker = Some(waker.clone());
        Some(waker)
    }

    /// Queues the woken streams, and stores the task for the next wakes. Returns the stream numbers.
    #[inline]
    pub(super) fn take_woken(&mut self, task: &Waker) -> Vec<P::Id> {
        let woken = self.wakes.take(task);
        for id in &woken {
            self.queue(*id);
        }
        woken
    }

    /// Polls the awaited responses of the queued streams outside of their turns: each stream keeps the place in the
    /// queue, unless the response is pending. Returns the stream numbers, each with true if the response is valid.
    pub(super) fn poll_awaited(&mut self) -> Vec<(P::Id, bool)> {
        let mut polled = Vec::new();
        // Excludes streams that only wait for a shared resource.
        for _ in 0..self.turns.len() {
            let Some(id) = self.next_turn(false) else { break };
            let waker = self.waker_to_poll(id);
            let Some(stream) = self.get(id) else { continue };
            let waker = waker.as_ref().unwrap_or(Waker::noop());
            let halt = stream.response.poll_answering(&mut Context::from_waker(waker)).err();
            if halt.is_none() {
                self.queue(id);
            }
            polled.push((id, halt != Some(Halt::Failed)));
        }
        polled
    }

    /// Returns the heap bytes, including the bytes that `own` counts per stream.
    #[cfg(test)]
    pub(super) fn memory(&self, own: impl Fn(&Stream<P, O>) -> usize) -> usize {
        let bodies = |stream: &Stream<P, O>| stream.filler.as_ref().map_or(0, InboundSender::held_bytes) + own(stream);
        self.list.capacity() * size_of::<usize>()
            + self.iter().map(|stream| size_of::<Stream<P, O>>() + bodies(stream)).sum::<usize>()
            + (self.turns.capacity() + self.parked.capacity()) * size_of::<P::Id>()
    }
}

impl<P: Multiplexed, O: Outcome> Streams<P, O> {
    /// Removes a stream after the last byte of the response.
    pub(super) fn complete(&mut self, id: P::Id, now: Instant) -> Option<Box<Stream<P, O>>> {
        let mut stream = self.remove(id)?;
        if let Some(outcome) = &mut stream.response.outcome {
            outcome.complete(now);
        }
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;

    impl Multiplexed for Plain {
        type Id = u32;
        type Upload = ();
        type Own = ();
    }

    fn stream(id: u32) -> Stream<Plain, ()> {
        Stream::with(id, Response::new(false), ())
    }

    fn three() -> Streams<Plain, ()> {
        let mut streams = Streams::new();
        // Streams of HTTP/3 begin in any order.
        for id in [7, 3, 9] {
            streams.add(stream(id));
        }
        streams
    }

    fn turns(streams: &mut Streams<Plain, ()>, for_parked: bool) -> Vec<u32> {
        std::iter::from_fn(|| streams.next_turn(for_parked)).collect()
    }

    #[test]
    fn streams_take_turns_in_the_order_in_which_they_came_in_line_and_once_each() {
        let mut streams = three();
        streams.queue(3);
        assert_eq!(turns(&mut streams, true), [7, 3, 9]);
        for id in [9, 3, 9, 5, 3] {
            streams.queue(id);
        }
        assert_eq!(turns(&mut streams, true), [9, 3]);
        streams.add(stream(5));
        assert!([3, 5, 7, 9].iter().all(|id| streams.contains(*id) && streams.get(*id).unwrap().id == *id));
        assert!([1, 4, 11].iter().all(|id| !streams.contains(*id) && streams.get(*id).is_none()));
    }

    #[test]
    fn streams_that_are_parked_come_first_once_there_is_what_they_wait_for() {
        let (mut streams, now) = (three(), Instant::now());
        assert_eq!((streams.next_turn(true), streams.next_turn(true)), (Some(7), Some(3)));
        for id in [7, 3, 7] {
            streams.stall(id, now);
            streams.park(id);
        }
        streams.queue(7);
        let all_stalled = |streams: &Streams<Plain, ()>| streams.iter().all(|stream| stream.stalled.is_some());
        assert!(!all_stalled(&streams));
        assert_eq!(turns(&mut streams, false), [9]);
        streams.stall(9, now);
        assert!(all_stalled(&streams));
        streams.queue(9);
        assert_eq!(turns(&mut streams, true), [7, 3, 9]);
        streams.unstall(3);
        streams.unstall(3);
        assert!(!all_stalled(&streams));
    }

    #[test]
    fn a_stream_that_is_gone_leaves_nothing_in_any_line() {
        let mut streams = three();
        assert_eq!(streams.next_turn(true), Some(7));
        streams.park(7);
        assert_eq!((streams.remove(7).unwrap().id, streams.remove(9).unwrap().id), (7, 9));
        assert!(streams.remove(9).is_none());
        assert_eq!((turns(&mut streams, true), streams.len()), (vec![3], 1));
        streams.remove(3);
        streams.rest();
        assert_eq!((streams.memory(|_| 0), streams.held_bytes(), streams.is_empty()), (0, 0, true));
    }
}
