//! What watches need: the access log, their settings, and a bound on how many there are at once.

use std::sync::Arc;

use devanture_config::edge_toml::Watch;
use parking_lot::RwLock;

use devanture_base::fair::Shares;
use devanture_base::telemetry::AccessLog;

/// What watches switches.
pub(crate) struct Watcher {
    pub(crate) access_log: AccessLog,
    /// `[watch]` of `edge.toml`.
    settings: RwLock<Watch>,
    /// One for each switch that may be watched at once.
    pub(super) places: Arc<Shares>,
}

impl Watcher {
    pub(crate) fn new(access_log: AccessLog, settings: Watch, watches_max: u64) -> Self {
        Self { access_log, settings: RwLock::new(settings), places: Shares::new(watches_max) }
    }

    pub(super) fn settings(&self) -> Watch {
        *self.settings.read()
    }

    /// Watches by other settings from the next switch on.
    pub(crate) fn set(&self, settings: Watch) {
        *self.settings.write() = settings;
    }
}
