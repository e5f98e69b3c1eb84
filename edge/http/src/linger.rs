//! Request bodies that outlast their responses (RFC 9113 §8.1, RFC 9114 §4.1).
//!
//! A RST_STREAM that asks a client to stop sending can reach it before it has read the response: some, such as curl
//! before its release 8, then report a stream error and drop the response. So the rest of the body is received and
//! discarded for a while, within limits, as HTTP/1.1 does before it closes a connection (RFC 9112 §9.6); only then is
//! the stream reset, or, in HTTP/3, the client asked to stop sending. Such a stream is still open to its client, and
//! counts as one of its concurrent streams.

use std::time::Instant;

/// A stream whose response is complete, and whose request is not.
#[derive(Debug)]
pub(super) struct Linger<I, W> {
    pub(super) id: I,
    /// Its response was more than an answer at hand.
    pub(super) is_begun: bool,
    /// What the peer may still send of it, where the protocol counts that.
    pub(super) window: W,
    pub(super) discarded: u64,
    pub(super) until: Instant,
}

/// All of them of one connection. Rare, so that a connection without one holds no more than a word for them.
#[derive(Debug)]
pub(super) struct Lingering<I, W>(Option<Box<Several<I, W>>>);

#[derive(Debug)]
struct Several<I, W> {
    /// By their numbers.
    list: Vec<Linger<I, W>>,
    /// Bytes that those in the list have sent since their responses.
    discarded: u64,
}

impl<I: Copy + Ord, W> Lingering<I, W> {
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

    fn iter(&self) -> impl Iterator<Item = &Linger<I, W>> {
        self.0.iter().flat_map(|several| &several.list)
    }

    pub(super) fn contains(&self, id: I) -> bool {
        self.0.as_ref().is_some_and(|several| several.find(id).is_ok())
    }

    pub(super) fn add(&mut self, linger: Linger<I, W>) {
        let several = self.0.get_or_insert_with(|| Box::new(Several { list: Vec::new(), discarded: 0 }));
        if let Err(index) = several.find(linger.id) {
            several.list.insert(index, linger);
        }
    }

    /// Removes a stream; `Some` says whether its response was more than an answer at hand.
    pub(super) fn remove(&mut self, id: I) -> Option<bool> {
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
    pub(super) fn count(&mut self, id: I, length: usize) -> Option<(u64, &mut W)> {
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

    pub(super) fn over(&self, now: Instant) -> Vec<I> {
        self.iter().filter(|linger| linger.until <= now).map(|linger| linger.id).collect()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |several| size_of::<Several<I, W>>() + several.list.capacity() * size_of::<Linger<I, W>>())
    }
}

impl<I: Copy + Ord, W> Several<I, W> {
    fn find(&self, id: I) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |linger| linger.id)
    }
}
