//! What is kept and what goes: deletions and their undoing, withdrawn paths, and collections of what nothing refers to.
//!
//! A deletion changes records alone, so that it can be undone for a while; a collection removes records that are beyond
//! `[retention]`, and then the files that no record refers to.

mod collect;
mod delete;
mod delete_places;
#[cfg(test)]
mod tests;
mod undelete;
mod withdraw;

use std::collections::HashSet;
use std::sync::Arc;

use devanture_config::edge_toml::Retention as Policy;
use devanture_config::{AppName, Digest, PlaceName};
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use tokio::sync::Mutex;

use crate::cluster::Nodes;
use crate::environments::Environments;
use crate::ledger::{Error, Ledger};
use devanture_base::telemetry::AccessLog;
use devanture_store::blobs::Blobs;

pub use collect::{CollectOptions, Paused};

/// What the edge remembers of uploads: pushes under way, and which blobs each app has sent. A collection and a deletion
/// end parts of it.
pub(crate) trait Uploads: Send + Sync {
    /// Ends pushes that rested for too long, with what they hold.
    fn end_idle(&self);

    /// Ends the pushes of an app, or of one environment of it.
    fn end_of(&self, app: &AppName, environment: Option<&PlaceName>);

    /// Forgets blobs that are no longer stored, for every app.
    fn forget_blobs(&self, gone: &[Digest]);

    /// Forgets what an app has sent and deployed. When this returns, no record of it is being written.
    fn forget_app<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()>;

    /// Forgets what no version of the apps in `lost` holds any more, and what any app sent before `before_ms` that
    /// became no version: an app does not learn that another one still has it.
    fn refresh<'a>(&'a self, lost: &'a HashSet<AppName>, before_ms: u64) -> BoxFuture<'a, Result<(), Error>>;
}

/// Deletions, withdrawals and collections.
pub struct Retention {
    blobs: Arc<dyn Blobs>,
    ledger: Arc<Ledger>,
    environments: Arc<Environments>,
    uploads: Arc<dyn Uploads>,
    access_log: AccessLog,
    /// The other nodes; `None` of an edge that is alone.
    nodes: Option<Nodes>,
    /// `[retention]` of `edge.toml`.
    policy: RwLock<Policy>,
    /// One collection at a time.
    collecting: Arc<Mutex<()>>,
}

impl Retention {
    /// Keeps and removes by `policy`.
    pub(crate) fn new(
        blobs: Arc<dyn Blobs>,
        ledger: Arc<Ledger>,
        environments: Arc<Environments>,
        uploads: Arc<dyn Uploads>,
        access_log: AccessLog,
        policy: Policy,
        nodes: Option<Nodes>,
    ) -> Self {
        Self {
            blobs,
            ledger,
            environments,
            uploads,
            access_log,
            nodes,
            policy: RwLock::new(policy),
            collecting: Arc::default(),
        }
    }

    /// Keeps and removes by another policy from here on, except for how often it collects by itself.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write() = policy;
    }

    fn policy(&self) -> Policy {
        self.policy.read().clone()
    }
}
