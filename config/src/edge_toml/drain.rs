//! `[drain]`: time limits of active work when the edge ends, by kind.

use crate::parsing::reader::Table;

/// Time limits beside `drain_timeout_ms`, the limit of requests and the default of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Milliseconds for accepted deploys and switches.
    pub deploys_ms: u64,
    /// Milliseconds for responses under way. `None` by default: [`Self::takeover_ms`] after a takeover by another edge,
    /// otherwise `drain_timeout_ms`.
    pub downloads_ms: Option<u64>,
    /// Milliseconds for event streams (`text/event-stream`).
    pub event_streams_ms: u64,
    /// Milliseconds for commands of `devanture run`.
    pub runs_ms: u64,
    /// Milliseconds for uploads and downloads after a takeover by another edge, without a specific limit.
    pub takeover_ms: u64,
    /// Milliseconds for upgraded connections, for example WebSockets.
    pub tunnels_ms: u64,
    /// Milliseconds for requests whose bodies are still arriving. `None` as for [`Self::downloads_ms`].
    pub uploads_ms: Option<u64>,
}

impl Drain {
    /// Returns the limits of an empty table, with this `drain_timeout_ms`.
    #[must_use]
    pub const fn of(ms: u64) -> Self {
        Self {
            deploys_ms: ms,
            downloads_ms: None,
            event_streams_ms: ms,
            runs_ms: ms,
            takeover_ms: TAKEOVER_MS,
            tunnels_ms: ms,
            uploads_ms: None,
        }
    }
}

/// Default of `takeover_ms`: acceptable time for a transfer over a slow line.
const TAKEOVER_MS: u64 = 3_600_000;
/// Maximum time, in milliseconds.
pub(super) const DRAIN_MS_MAX: u64 = 3_600_000;

/// Reads `[drain]`.
pub(super) fn drain(root: &Table<'_, '_>, default_ms: u64) -> Drain {
    let Some(table) = root.table("drain") else { return Drain::of(default_ms) };
    let drain = Drain {
        deploys_ms: table.integer("deploys_ms", 0..=DRAIN_MS_MAX).unwrap_or(default_ms),
        downloads_ms: table.integer("downloads_ms", 0..=DRAIN_MS_MAX),
        event_streams_ms: table.integer("event_streams_ms", 0..=DRAIN_MS_MAX).unwrap_or(default_ms),
        runs_ms: table.integer("runs_ms", 0..=DRAIN_MS_MAX).unwrap_or(default_ms),
        takeover_ms: table.integer("takeover_ms", 0..=DRAIN_MS_MAX).unwrap_or(TAKEOVER_MS),
        tunnels_ms: table.integer("tunnels_ms", 0..=DRAIN_MS_MAX).unwrap_or(default_ms),
        uploads_ms: table.integer("uploads_ms", 0..=DRAIN_MS_MAX),
    };
    table.finish();
    drain
}
