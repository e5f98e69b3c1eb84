//! The times of a drain.

use std::time::Duration;

use devanture_config::edge_toml::EdgeFile;
use tokio::time::Instant;

use crate::listen::DrainOrder;

/// Time of a drain, by what is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct DrainTimes {
    pub(super) requests: Duration,
    uploads: Duration,
    downloads: Duration,
    event_streams: Duration,
    pub(super) tunnels: Duration,
    pub(super) deploys: Duration,
    pub(super) runs: Duration,
}

impl DrainTimes {
    pub(super) fn of(file: &EdgeFile) -> Self {
        let ms = Duration::from_millis;
        Self {
            requests: ms(file.drain_timeout_ms),
            uploads: ms(file.drain.uploads_ms),
            downloads: ms(file.drain.downloads_ms),
            event_streams: ms(file.drain.event_streams_ms),
            tunnels: ms(file.drain.tunnels_ms),
            deploys: ms(file.drain.deploys_ms),
            runs: ms(file.drain.runs_ms),
        }
    }

    /// The order to drain from `now` on.
    pub(super) fn order(&self, now: Instant, has_successor: bool) -> DrainOrder {
        DrainOrder {
            requests: now + self.requests,
            uploads: now + self.uploads,
            downloads: now + self.downloads,
            event_streams: now + self.event_streams,
            tunnels: now + self.tunnels,
            deploys: now + self.deploys,
            has_successor,
        }
    }
}
