//! What makes a stored version live: the checks before it, the switch, and the watch after it.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::fingerprints::Fingerprints;
use super::smoke::Smoke;
use super::watcher::Watcher;
use crate::blobs::{Blobs, CacheUse};
use crate::cluster::Nodes;
use crate::encode::Background;
use crate::environments::Environments;
use crate::ledger::Ledger;
use crate::live::Loader;
use crate::proxy::address::Policy;

/// Makes stored versions live, for pushes and for commands.
pub(crate) struct Switcher {
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) environments: Arc<Environments>,
    pub(super) loader: Loader,
    pub(super) fingerprints: Fingerprints,
    /// Where upstreams may point.
    pub(super) upstreams: Policy,
    pub(super) smoke: Arc<dyn Smoke>,
    /// Makes the variants that were not worth waiting for.
    pub(super) background: Background,
    pub(super) watcher: Watcher,
    /// What this node is called.
    pub(super) node: String,
    /// When it started, in milliseconds since 1970 UTC.
    pub(super) started_ms: u64,
    /// The other nodes; `None` of an edge that is alone.
    pub(super) nodes: Option<Nodes>,
    /// The local disk in front of a bucket; `None` where the disk is the store.
    pub(super) cache: Option<CacheUse>,
    /// Those of the publisher, whose end ends watches.
    pub(super) tasks: TaskTracker,
}
