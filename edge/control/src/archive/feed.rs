//! Channel from an asynchronous request to a blocking reader, and a meter that stops decompression bombs.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use devanture_config::limits::Limits;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::gate::archive_bytes_max;
use super::gate::{Refusal, bomb, too_large};

/// Chunks queued for the reader; a faster client waits.
const CHUNKS: usize = 4;
/// Bytes unpacked beyond the ratio before the whole archive has arrived: a bundle may begin with highly compressible
/// files.
const AHEAD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Sending end; `None` ends the archive. Dropped without `None`, the archive was aborted.
pub(crate) type Feed = mpsc::Sender<Option<Bytes>>;

/// Receiving end, for a blocking thread.
pub(crate) struct FeedReader {
    receiver: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    ended: bool,
    packed: Arc<AtomicU64>,
    slot: Slot,
}

/// Reason of a reader's refusal, and its end: intermediate crates pass only I/O errors.
#[derive(Clone, Default)]
pub(super) struct Slot {
    refusal: Arc<Mutex<Option<Refusal>>>,
    at_end: Arc<AtomicBool>,
}

impl Slot {
    fn refuse(&self, refusal: Refusal) -> io::Error {
        *self.refusal.lock() = Some(refusal);
        io::Error::other("unpacking was stopped")
    }

    /// Returns the reason, if any, or the conversion of the error by `otherwise`.
    pub(super) fn reason(&self, otherwise: impl FnOnce() -> Refusal) -> Refusal {
        self.refusal.lock().take().unwrap_or_else(otherwise)
    }

    /// Returns true if the unpacked data was at its end at the last read.
    pub(super) fn at_end(&self) -> bool {
        self.at_end.load(Ordering::Relaxed)
    }
}

/// Creates both ends.
pub(crate) fn feed() -> (Feed, FeedReader) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reader =
        FeedReader { receiver, chunk: Bytes::new(), ended: false, packed: Arc::default(), slot: Slot::default() };
    (sender, reader)
}

impl FeedReader {
    pub(super) fn slot(&self) -> Slot {
        self.slot.clone()
    }

    /// Returns the next chunk; empty at the end.
    pub(super) fn next_chunk(&mut self) -> io::Result<Bytes> {
        while self.chunk.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Some(chunk)) => {
                    self.packed.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    self.chunk = chunk;
                }
                Some(None) => self.ended = true,
                None => return Err(self.slot.refuse(Refusal::BrokenOff)),
            }
        }
        Ok(std::mem::take(&mut self.chunk))
    }
}

impl Read for FeedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut chunk = self.next_chunk()?;
        let length = chunk.len().min(into.len());
        chunk.copy_to_slice(into.get_mut(..length).unwrap_or_default());
        self.chunk = chunk;
        Ok(length)
    }
}

/// Counts unpacked bytes, and stops beyond the limit for the received bytes.
pub(super) struct Meter<R> {
    inner: R,
    packed: Arc<AtomicU64>,
    slot: Slot,
    unpacked: u64,
    unpacked_max: u64,
    ratio_max: u64,
    bundle_bytes_max: u64,
}

impl<R: Read> Meter<R> {
    /// Meters the output of `unpack` on a feed.
    pub(super) fn new(
        feed: FeedReader,
        limits: &Limits,
        unpack: impl FnOnce(FeedReader) -> io::Result<R>,
    ) -> io::Result<Self> {
        let (packed, slot) = (Arc::clone(&feed.packed), feed.slot());
        Ok(Self {
            inner: unpack(feed)?,
            packed,
            slot,
            unpacked: 0,
            unpacked_max: archive_bytes_max(limits),
            ratio_max: limits.archive_ratio_max,
            bundle_bytes_max: limits.bundle_bytes_max,
        })
    }

    /// Returns the received packed bytes.
    pub(super) fn packed(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.unpacked > self.unpacked_max {
            let detail = format!("The archive unpacks to more than {} bytes.", self.bundle_bytes_max);
            return Err(too_large(detail, "bundle_bytes_max").into());
        }
        let allowed = self.packed().saturating_mul(self.ratio_max).saturating_add(AHEAD_BYTES_MAX);
        if self.unpacked > allowed {
            let detail = format!(
                "The first {} bytes of the archive unpack to more than {} times as many.",
                self.packed(),
                self.ratio_max
            );
            return Err(bomb(detail).into());
        }
        Ok(())
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.slot.at_end.store(read == 0 && !into.is_empty(), Ordering::Relaxed);
        self.unpacked = self.unpacked.saturating_add(read as u64);
        self.check().map_err(|refusal| self.slot.refuse(refusal))?;
        Ok(read)
    }
}
