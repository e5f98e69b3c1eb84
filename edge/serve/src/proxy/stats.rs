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
    /// Current idle connections.
    pub idle: usize,
    /// Current requests in flight, including upgraded connections.
    pub in_use: usize,
    /// Requests sent again, after a dead idle connection or a failed backend.
    pub retried: u64,
    /// Requests sent on an idle connection.
    pub reused: u64,
    /// Upgraded connections.
    pub upgraded: u64,
    /// Bytes that clients sent on upgraded connections.
    pub upgraded_bytes_received: u64,
    /// Bytes that backends sent on upgraded connections.
    pub upgraded_bytes_sent: u64,
}
