//! Retention: deletions and their restoration, withdrawn paths, and collections of unreferenced files.
//!
//! A deletion changes only records, so that the item can be restored for a while. A collection deletes records beyond
//! `[retention]`, and then files without references.

mod collect;
mod delete;
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

/// The edge's memory of uploads: running pushes, and blobs sent by each app. Collections and deletions remove parts.
pub(crate) trait Uploads: Send + Sync {
    /// Ends pushes idle beyond the limit.
    fn end_idle(&self);

    /// Ends the pushes of an app or environment.
    fn end_of(&self, app: &AppName, environment: Option<&PlaceName>);

    /// Forgets blobs no longer stored, for every app.
    fn forget_blobs(&self, gone: &[Digest]);

    /// Forgets blobs and deploys of an app. On return, no write of such a record is running.
    fn forget_app<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()>;

    /// Forgets blobs no longer in any version of the apps in `lost`, and blobs without a version sent by any app before
    /// `before_ms`: an app must not learn that another app still holds a blob.
    fn refresh<'a>(&'a self, lost: &'a HashSet<AppName>, before_ms: u64) -> BoxFuture<'a, Result<(), Error>>;
}

/// Deletions, withdrawals and collections.
pub struct Retention {
    blobs: Arc<dyn Blobs>,
    ledger: Arc<Ledger>,
    environments: Arc<Environments>,
    uploads: Arc<dyn Uploads>,
    access_log: AccessLog,
    /// Other nodes; `None` on a standalone edge.
    nodes: Option<Nodes>,
    /// `[retention]` of `edge.toml`.
    policy: RwLock<Policy>,
    /// Serializes collections.
    collecting: Arc<Mutex<()>>,
}

impl Retention {
    /// Applies `policy`.
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

    /// Applies another policy from here on, except its interval of automatic collections.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write() = policy;
    }

    fn policy(&self) -> Policy {
        self.policy.read().clone()
    }
}
