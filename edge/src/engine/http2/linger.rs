//! Request bodies that outlast their responses (RFC 9113 §8.1).
//!
//! A RST_STREAM that asks a client to stop sending can reach it before it has read the response: some, such as curl before
//! its release 8, then report a stream error and drop the response. So the rest of the body is received and discarded for
//! a while, within limits, as HTTP/1.1 does before it closes a connection (RFC 9112 §9.6); only then is the stream reset.
//! Such a stream is still open to its client, and counts as one of its concurrent streams.

use std::time::Instant;

use super::super::Service;
use super::Connection;
use super::flow::{Exceeded, ReceiveWindow};
use super::frame::{Code, Fault, write_window};

/// A stream whose response is complete, and whose request is not.
#[derive(Debug)]
struct Linger {
    id: u32,
    /// Its response was more than an answer at hand.
    is_begun: bool,
    window: ReceiveWindow,
    discarded: u64,
    until: Instant,
}

/// All of them of one connection. Rare, so that a connection without one holds no more than a word for them.
#[derive(Debug, Default)]
pub(super) struct Lingering(Option<Box<Several>>);

#[derive(Debug, Default)]
struct Several {
    /// By their numbers.
    list: Vec<Linger>,
    /// Bytes that those in the list have sent since their responses.
    discarded: u64,
}

impl Lingering {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |several| several.list.len())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that all of them have sent since their responses.
    fn discarded(&self) -> u64 {
        self.0.as_ref().map_or(0, |several| several.discarded)
    }

    fn iter(&self) -> impl Iterator<Item = &Linger> {
        self.0.iter().flat_map(|several| &several.list)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.as_ref().is_some_and(|several| several.find(id).is_ok())
    }

    fn add(&mut self, linger: Linger) {
        let several = self.0.get_or_insert_default();
        if let Err(index) = several.find(linger.id) {
            several.list.insert(index, linger);
        }
    }

    /// Removes a stream; `Some` says whether its response was more than an answer at hand.
    pub(super) fn remove(&mut self, id: u32) -> Option<bool> {
        let several = self.0.as_mut()?;
        let linger = several.list.remove(several.find(id).ok()?);
        several.discarded -= linger.discarded;
        if several.list.is_empty() {
            self.0 = None;
        }
        Some(linger.is_begun)
    }

    /// When the first of them is over.
    fn deadline(&self) -> Option<Instant> {
        self.iter().map(|linger| linger.until).min()
    }

    fn over(&self, now: Instant) -> Vec<u32> {
        self.iter().filter(|linger| linger.until <= now).map(|linger| linger.id).collect()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |several| size_of::<Several>() + several.list.capacity() * size_of::<Linger>())
    }
}

impl Several {
    fn find(&self, id: u32) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |linger| linger.id)
    }
}

impl<S: Service> Connection<S> {
    /// Receives what is still to come of a request whose response was put to its last byte.
    pub(super) fn linger(&mut self, id: u32, mut window: ReceiveWindow, is_begun: bool, now: Instant) {
        if self.limits.linger.is_zero() || self.lingering.discarded() >= self.limits.linger_bytes {
            return self.reset(id, Code::None);
        }
        // Nothing of it waits for a reader any more.
        if let Some(increment) = window.give_all_back() {
            write_window(&mut self.control, id, increment);
        }
        let until = now + self.limits.linger;
        self.lingering.add(Linger { id, is_begun, window, discarded: 0, until });
        self.check_by(until);
    }

    /// Discards DATA of such a stream.
    pub(super) fn discard_data(&mut self, id: u32, length: usize, ends: bool) -> Result<(), Fault> {
        let Some(several) = &mut self.lingering.0 else { return Ok(()) };
        let Ok(index) = several.find(id) else { return Ok(()) };
        let Several { list, discarded } = &mut **several;
        let Some(linger) = list.get_mut(index) else { return Ok(()) };
        linger.window.receive(length).map_err(|Exceeded| Fault::Stream(id, Code::FlowControl))?;
        if ends {
            self.lingering.remove(id);
            return Ok(());
        }
        let count = u64::try_from(length).unwrap_or(u64::MAX);
        (linger.discarded, *discarded) = (linger.discarded.saturating_add(count), discarded.saturating_add(count));
        if *discarded >= self.limits.linger_bytes {
            self.end_linger(id);
        } else if let Some(increment) = linger.window.give_back(length) {
            write_window(&mut self.control, id, increment);
        }
        Ok(())
    }

    /// Asks the client to stop sending (§8.1).
    fn end_linger(&mut self, id: u32) {
        if self.lingering.remove(id).is_some() {
            self.reset(id, Code::None);
        }
    }

    /// Ends those that have had their time; gives when the next one will have.
    pub(super) fn check_lingering(&mut self, now: Instant) -> Option<Instant> {
        for id in self.lingering.over(now) {
            self.end_linger(id);
        }
        self.lingering.deadline()
    }
}
