//! The switcher of stored versions: checks, switch, watch.

use std::sync::Arc;

use devanture_base::fair::Shares;
use devanture_base::telemetry::AccessLog;
use devanture_config::edge_toml::Watch;
use devanture_serve::live::Loader;
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{Blobs, CacheUse};
use parking_lot::RwLock;
use tokio_util::task::TaskTracker;

use super::checks::FingerprintCache;
use super::smoke::Smoke;
use crate::cluster::Nodes;
use crate::encode::Background;
use crate::environments::Environments;
use crate::ledger::Ledger;

/// Makes stored versions live, for pushes and commands.
pub struct Switcher {
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) environments: Arc<Environments>,
    pub(crate) loader: Loader,
    pub(crate) fingerprints: FingerprintCache,
    /// Policy on upstream addresses.
    pub(crate) upstreams: Policy,
    pub(crate) smoke: Arc<dyn Smoke>,
    /// Makes slow variants in the background.
    pub background: Background,
    pub(crate) watcher: Watcher,
    /// Name of the node.
    pub(crate) node: String,
    /// Start of the node, in milliseconds since 1970 UTC.
    pub(crate) started_ms: u64,
    /// Other nodes; `None` on a standalone edge.
    pub(crate) nodes: Option<Nodes>,
    /// Local disk cache of a bucket; `None` if the disk is the store.
    pub(crate) cache: Option<CacheUse>,
    /// Shared with the publisher, whose end stops watches.
    pub(crate) tasks: TaskTracker,
}

// Dependencies of watches: access log, settings, limit of concurrent watches.

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
