//! Duty of ordering certificates for all nodes of a cluster.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::Acme;
use super::account::Accounts;
use super::follow::CertificateFollower;
use super::store::Store;
use crate::cluster::Nodes;
use crate::ledger::Duty;
use devanture_store::records::follow::FollowStep;

/// Time without a holder of the duty, before a node that cannot decrypt all certificates takes the duty and orders
/// these again.
const VACANT_MIN: Duration = Duration::from_secs(600);
/// Interval of attempts to decrypt certificates whose key was missing.
const LOCKED_AGAIN: Duration = Duration::from_secs(10);

/// Dependencies of orders.
pub(super) struct Ordering {
    pub(super) accounts: Accounts,
    pub(super) store: Arc<dyn Store>,
}

/// Nodes, one of which orders, and the shared certificates.
pub(crate) struct Cluster {
    nodes: Nodes,
    pub(super) follow: CertificateFollower,
    duty: String,
    /// Start of the time without a holder of the duty.
    vacant_since: Option<Instant>,
    opened_at: Instant,
}

impl Ordering {
    pub(super) fn new(acme: &Acme, store: Arc<dyn Store>) -> Self {
        Self { accounts: Accounts::new(acme.authority.clone(), Arc::clone(&store)), store }
    }
}

impl Cluster {
    pub(crate) fn new(nodes: Nodes, follow: CertificateFollower, acme: &Acme) -> Self {
        let duty = format!("acme-{}", acme.authority_name());
        Self { nodes, follow, duty, vacant_since: None, opened_at: Instant::now() }
    }

    /// Takes the duty of ordering if vacant, after reading all state of the previous holder.
    pub(super) async fn take_duty(&mut self, acme: &Acme) -> Result<Option<Duty>, String> {
        if self.nodes.is_duty_taken(&self.duty).await.map_err(|error| error.to_string())? {
            self.vacant_since = None;
            return Ok(None);
        }
        let since = *self.vacant_since.get_or_insert_with(Instant::now);
        if self.follow.lacks_keys() && since.elapsed() < VACANT_MIN {
            return Ok(None);
        }
        let Some(duty) = self.nodes.take_duty(&self.duty).await.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        self.follow.shared.records.catch_up().await.map_err(|error| error.to_string())?;
        self.follow.read_all(acme).await.map_err(|error| error.to_string())?;
        Ok(Some(duty))
    }

    /// Tries again to decrypt unreadable certificates.
    pub(super) async fn open_locked(&mut self, acme: &Acme) {
        if self.follow.lacks_keys() && self.opened_at.elapsed() >= LOCKED_AGAIN {
            self.opened_at = Instant::now();
            if let Err(error) = self.follow.read_all(acme).await {
                debug!(%error, "the certificates that nodes share cannot be read");
            }
        }
    }
}

/// The next step of the follower of certificates; never, of an edge that is alone.
pub(super) async fn next_step(cluster: Option<&mut Cluster>) -> FollowStep {
    match cluster {
        Some(cluster) => cluster.follow.next().await,
        None => std::future::pending().await,
    }
}

/// Waits until another node may order.
pub(super) async fn lost(ordering: Option<&Ordering>) {
    match ordering {
        Some(ordering) => ordering.store.lost().await,
        None => std::future::pending().await,
    }
}
