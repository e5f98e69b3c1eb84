//! What makes a stored version live: the checks before it, the switch, and the watch after it.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::fingerprints::Fingerprints;
use super::smoke::Smoke;
use super::watcher::Watcher;
use crate::cluster::Nodes;
use crate::encode::Background;
use crate::environments::Environments;
use crate::ledger::Ledger;
use devanture_serve::live::Loader;
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{Blobs, CacheUse};

/// Makes stored versions live, for pushes and for commands.
pub struct Switcher {
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) environments: Arc<Environments>,
    pub(crate) loader: Loader,
    pub(crate) fingerprints: Fingerprints,
    /// Where upstreams may point.
    pub(crate) upstreams: Policy,
    pub(crate) smoke: Arc<dyn Smoke>,
    /// Makes the variants that were not worth waiting for.
    pub background: Background,
    pub(crate) watcher: Watcher,
    /// What this node is called.
    pub(crate) node: String,
    /// When it started, in milliseconds since 1970 UTC.
    pub(crate) started_ms: u64,
    /// The other nodes; `None` of an edge that is alone.
    pub(crate) nodes: Option<Nodes>,
    /// The local disk in front of a bucket; `None` where the disk is the store.
    pub(crate) cache: Option<CacheUse>,
    /// Those of the publisher, whose end ends watches.
    pub(crate) tasks: TaskTracker,
}
