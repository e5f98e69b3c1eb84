//! What watches need: the access log, their settings, and a bound on how many there are at once.

use std::sync::Arc;

use devanture_config::edge_toml::Watch;

use crate::ledger::Shares;
use crate::telemetry::AccessLog;

/// What watches switches.
pub(crate) struct Watcher {
    pub(super) access_log: AccessLog,
    /// `[watch]` of `edge.toml`.
    pub(super) settings: Watch,
    /// One for each switch that may be watched at once.
    pub(super) places: Arc<Shares>,
}

impl Watcher {
    pub(super) fn new(access_log: AccessLog, settings: Watch, watches_max: u64) -> Self {
        Self { access_log, settings, places: Shares::new(watches_max) }
    }
}
