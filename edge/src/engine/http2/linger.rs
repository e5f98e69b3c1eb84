//! Request bodies that outlast their responses (RFC 9113 §8.1).
//!
//! A RST_STREAM that asks a client to stop sending can reach it before it has read the response: some, such as curl before
//! its release 8, then report a stream error and drop the response. So the rest of the body is received and discarded for
//! a while, within limits, as HTTP/1.1 does before it closes a connection (RFC 9112 §9.6); only then is the stream reset.
//! Such a stream is still open to its client, and counts as one of its concurrent streams.

use std::time::Instant;

use super::flow::ReceiveWindow;

/// A stream whose response is complete, and whose request is not.
#[derive(Debug)]
pub(super) struct Linger {
    pub(super) id: u32,
    /// Its response was more than an answer at hand.
    pub(super) is_begun: bool,
    pub(super) window: ReceiveWindow,
    pub(super) discarded: u64,
    pub(super) until: Instant,
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
    pub(super) fn discarded(&self) -> u64 {
        self.0.as_ref().map_or(0, |several| several.discarded)
    }

    fn iter(&self) -> impl Iterator<Item = &Linger> {
        self.0.iter().flat_map(|several| &several.list)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.as_ref().is_some_and(|several| several.find(id).is_ok())
    }

    pub(super) fn add(&mut self, linger: Linger) {
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

    /// Counts bytes that a stream has sent since its response, in its own sum and in that of all, which is returned
    /// with the stream's window.
    pub(super) fn count(&mut self, id: u32, length: usize) -> Option<(u64, &mut ReceiveWindow)> {
        let Several { list, discarded } = self.0.as_deref_mut()?;
        let index = list.binary_search_by_key(&id, |linger| linger.id).ok()?;
        let linger = list.get_mut(index)?;
        let count = u64::try_from(length).unwrap_or(u64::MAX);
        (linger.discarded, *discarded) = (linger.discarded.saturating_add(count), discarded.saturating_add(count));
        Some((*discarded, &mut linger.window))
    }

    /// When the first of them is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.iter().map(|linger| linger.until).min()
    }

    pub(super) fn over(&self, now: Instant) -> Vec<u32> {
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
