//! `[drain]`: the time of what is under way when the edge ends, by kind.

use crate::parsing::reader::Table;

/// Times beside `drain_timeout_ms`, which is that of requests and the default of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Milliseconds for deploys and switches that were accepted.
    pub deploys_ms: u64,
    /// Milliseconds for upgraded connections, such as WebSockets.
    pub tunnels_ms: u64,
}

/// Longest time, in milliseconds.
pub(super) const DRAIN_MS_MAX: u64 = 3_600_000;

/// Reads `[drain]`.
pub(super) fn drain(root: &Table<'_, '_>, default_ms: u64) -> Drain {
    let default = Drain { deploys_ms: default_ms, tunnels_ms: default_ms };
    let Some(table) = root.table("drain") else { return default };
    let drain = Drain {
        deploys_ms: table.integer("deploys_ms", 0..=DRAIN_MS_MAX).unwrap_or(default.deploys_ms),
        tunnels_ms: table.integer("tunnels_ms", 0..=DRAIN_MS_MAX).unwrap_or(default.tunnels_ms),
    };
    table.finish();
    drain
}
