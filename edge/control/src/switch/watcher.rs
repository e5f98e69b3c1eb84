//! Dependencies of watches: access log, settings, limit of concurrent watches.

use std::sync::Arc;

use devanture_config::edge_toml::Watch;
use parking_lot::RwLock;

use devanture_base::fair::Shares;
use devanture_base::telemetry::AccessLog;

/// Shared state of all watches.
pub(crate) struct Watcher {
    pub(crate) access_log: AccessLog,
    /// `[watch]` of `edge.toml`.
    settings: RwLock<Watch>,
    /// Permits of watched switches.
    pub(super) places: Arc<Shares>,
}

impl Watcher {
    pub(crate) fn new(access_log: AccessLog, settings: Watch, watches_max: u64) -> Self {
        Self { access_log, settings: RwLock::new(settings), places: Shares::new(watches_max) }
    }

    pub(super) fn settings(&self) -> Watch {
        *self.settings.read()
    }

    /// Changes the settings for future watches.
    pub(crate) fn set(&self, settings: Watch) {
        *self.settings.write() = settings;
    }
}
