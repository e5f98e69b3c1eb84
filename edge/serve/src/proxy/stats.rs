//! Counters of the client of one thread.

use std::cell::Cell;

/// Counters of a [`Client`](super::Client).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) connected: Cell<u64>,
    pub(super) in_use: Cell<usize>,
    pub(super) retried: Cell<u64>,
    pub(super) reused: Cell<u64>,
    pub(super) upgraded: Cell<u64>,
    pub(super) upgraded_bytes_received: Cell<u64>,
    pub(super) upgraded_bytes_sent: Cell<u64>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().wrapping_add(by));
}

/// Statistics of a [`Client`](super::Client).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections made.
    pub connected: u64,
    /// Connections that are idle now.
    pub idle: usize,
    /// Requests under way now, upgraded ones among them.
    pub in_use: usize,
    /// Requests sent once more, since their kept-alive connection turned out to be dead or their backend failed.
    pub retried: u64,
    /// Requests sent on a kept-alive connection.
    pub reused: u64,
    /// Connections upgraded.
    pub upgraded: u64,
    /// Bytes that clients sent on upgraded connections.
    pub upgraded_bytes_received: u64,
    /// Bytes that backends sent on upgraded connections.
    pub upgraded_bytes_sent: u64,
}
