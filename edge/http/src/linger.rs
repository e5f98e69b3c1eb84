//! Request bodies that outlast their responses (RFC 9113 §8.1, RFC 9114 §4.1).
//!
//! A RST_STREAM that asks a client to stop sending can arrive before the client has read the response: some clients,
//! such as curl before release 8, then report a stream error and drop the response. So the rest of the body is received
//! and discarded for a limited time and size, as HTTP/1.1 does before closing a connection (RFC 9112 §9.6); only then
//! the stream is reset, or, in HTTP/3, the client is asked to stop sending. A lingering stream is still open for the
//! client and counts as a concurrent stream.

use std::time::Instant;

/// Stream with a complete response and an incomplete request.
#[derive(Debug)]
pub(super) struct Linger<I, W> {
    pub(super) id: I,
    /// True if the response was deferred, not an answer in memory.
    pub(super) is_begun: bool,
    /// Bytes that the peer may still send, if the protocol counts them.
    pub(super) window: W,
    pub(super) discarded: u64,
    pub(super) until: Instant,
}

/// Lingering streams of one connection. Lingering is rare, so a connection without lingering streams holds one word.
#[derive(Debug)]
pub(super) struct Lingering<I, W>(Option<Box<LingerList<I, W>>>);

#[derive(Debug)]
struct LingerList<I, W> {
    /// Sorted by stream number.
    list: Vec<Linger<I, W>>,
    /// Bytes sent by the listed streams since their responses.
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

    /// Returns the bytes sent by all lingering streams since their responses.
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
        let several = self.0.get_or_insert_with(|| Box::new(LingerList { list: Vec::new(), discarded: 0 }));
        if let Err(index) = several.find(linger.id) {
            several.list.insert(index, linger);
        }
    }

    /// Removes a stream; `Some(true)` if the response was deferred.
    pub(super) fn remove(&mut self, id: I) -> Option<bool> {
        let several = self.0.as_mut()?;
        let linger = several.list.remove(several.find(id).ok()?);
        several.discarded -= linger.discarded;
        if several.list.is_empty() {
            self.0 = None;
        }
        Some(linger.is_begun)
    }

    /// Counts bytes that a stream has sent since the response, for the stream and for the connection. Returns the
    /// connection's sum and the stream's window.
    pub(super) fn count(&mut self, id: I, length: usize) -> Option<(u64, &mut W)> {
        let LingerList { list, discarded } = self.0.as_deref_mut()?;
        let index = list.binary_search_by_key(&id, |linger| linger.id).ok()?;
        let linger = list.get_mut(index)?;
        let count = u64::try_from(length).unwrap_or(u64::MAX);
        (linger.discarded, *discarded) = (linger.discarded.saturating_add(count), discarded.saturating_add(count));
        Some((*discarded, &mut linger.window))
    }

    /// Returns the earliest deadline.
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
            .map_or(0, |several| size_of::<LingerList<I, W>>() + several.list.capacity() * size_of::<Linger<I, W>>())
    }
}

impl<I: Copy + Ord, W> LingerList<I, W> {
    fn find(&self, id: I) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |linger| linger.id)
    }
}
