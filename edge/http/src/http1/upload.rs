//! The body of a request of HTTP/1.1 whose length its head announces, on its way to its reader.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::inbound::{Broken, Filler, Inbound};

/// Bytes that may wait for the reader. What has not been read of the socket, the kernel holds back.
pub(super) const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// A body of which bytes are still to come.
pub(super) struct Upload {
    filler: Filler,
    /// Bytes that are still to come.
    left: u64,
    /// Bytes that came, and wait for the reader.
    unread: usize,
    /// The time since which the reader waits.
    hungry_since: Option<Instant>,
    /// Nobody reads it any more.
    is_abandoned: bool,
}

impl Upload {
    /// Begins with a body of `length` bytes. `connection` is woken when it is read.
    pub(super) fn new(length: u64, connection: Waker) -> (Inbound, Self) {
        let (inbound, filler) = Inbound::new(Some(length), UNREAD_BYTES_MAX / 2, connection);
        let upload = Self { filler, left: length, unread: 0, hungry_since: None, is_abandoned: false };
        (inbound, upload)
    }

    /// Takes the bytes of the body at the beginning of `bytes`, and returns their number.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let never_read = self.filler.push(bytes.get(..count).unwrap_or_default());
        self.left = self.left.saturating_sub(count as u64);
        self.unread = (self.unread + count).saturating_sub(never_read);
        self.hungry_since = None;
        if self.left == 0 {
            self.filler.end(None);
        }
        count
    }

    /// Whether all of it came.
    pub(super) const fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Whether more of it is welcome.
    pub(super) const fn wants_input(&self) -> bool {
        self.unread < UNREAD_BYTES_MAX
    }

    /// Whether nobody reads the rest.
    pub(super) const fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Takes note of what the reader did. False once it has waited for `patience`, and reads an error.
    pub(super) fn tend(&mut self, now: Instant, patience: Duration) -> bool {
        let tended = self.filler.tend();
        self.unread = self.unread.saturating_sub(tended.read);
        self.is_abandoned = tended.is_abandoned;
        if !tended.is_awaited {
            self.hungry_since = None;
            return true;
        }
        let since = *self.hungry_since.get_or_insert(now);
        let is_in_time = now.saturating_duration_since(since) < patience;
        if !is_in_time {
            self.filler.fail(Broken::Slow);
        }
        is_in_time
    }

    /// The end of its reader's patience.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.hungry_since.map(|since| since + patience)
    }
}
