//! Keeps leases alive, over whichever member is connected.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::fault::Fault;
use super::wire::{self, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest};
use crate::catalog::{Error, Lease};

/// Longest time to grant a lease, and to revoke one.
const LEASE_TIME_MAX: Duration = Duration::from_secs(10);
/// Number of renewals in the time of a lease, so that two renewals may fail.
const RENEWALS: u32 = 3;

/// Grants a lease and keeps the lease alive by a task.
pub(super) async fn grant(client: &Arc<Client>, ttl: Duration) -> Result<Lease, Error> {
    let seconds = i64::try_from(ttl.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX).max(1);
    let began = Instant::now();
    // A lease with a lost answer is not renewed, and runs out by itself.
    let granted = client.read::<wire::LeaseGrant>(&LeaseGrantRequest { ttl: seconds }, began + LEASE_TIME_MAX).await?;
    let ttl = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or(0));
    let (lost, is_lost) = watch::channel(false);
    let (ending, ended) = oneshot::channel();
    let kept = KeptLease { client: Arc::clone(client), id: granted.id, ttl };
    tokio::spawn(async move {
        // Counted from before the request: the member's clock began no earlier.
        if let Some(done) = kept.keep_alive(began + ttl, ended).await {
            kept.revoke().await;
            if let Some(Err(())) = done.map(|done| done.send(())) {
                tracing::debug!("nobody waits any more for the end of a lease");
            }
        }
        lost.send_replace(true);
    });
    Ok(Lease::kept_alive(granted.id, is_lost, ending))
}

struct KeptLease {
    client: Arc<Client>,
    id: i64,
    ttl: Duration,
}

/// The receiver of the news that the lease is revoked, if any.
type Done = Option<oneshot::Sender<()>>;

impl KeptLease {
    /// Renews the lease until the lease is lost or ended; an ended lease is then to be revoked. `until` is the time at
    /// which the lease runs out.
    async fn keep_alive(&self, mut until: Instant, mut ended: oneshot::Receiver<oneshot::Sender<()>>) -> Option<Done> {
        loop {
            let next = Instant::now() + self.ttl / RENEWALS;
            tokio::select! {
                done = &mut ended => return Some(done.ok()),
                () = sleep_until(next.min(until)) => {}
            }
            let began = Instant::now();
            let renewed = tokio::select! {
                done = &mut ended => return Some(done.ok()),
                renewed = self.renew(until) => renewed,
            };
            match renewed {
                Ok(true) => until = began + self.ttl,
                Ok(false) | Err(Fault::LeaseGone) => {
                    tracing::warn!(lease = self.id, "a lease of etcd has run out");
                    return None;
                }
                Err(fault) => {
                    tracing::warn!(lease = self.id, %fault, "a lease of etcd could not be renewed");
                    if Instant::now() >= until {
                        return None;
                    }
                }
            }
        }
    }

    /// Returns true if the lease still exists.
    async fn renew(&self, until: Instant) -> Result<bool, Fault> {
        let renewed = self.client.read::<wire::LeaseKeepAlive>(&LeaseKeepAliveRequest { id: self.id }, until).await?;
        Ok(renewed.ttl > 0)
    }

    async fn revoke(&self) {
        let request = LeaseRevokeRequest { id: self.id };
        match self.client.read::<wire::LeaseRevoke>(&request, Instant::now() + LEASE_TIME_MAX).await {
            Ok(_) | Err(Fault::LeaseGone) => {}
            Err(fault) => tracing::warn!(lease = self.id, %fault, "a lease of etcd was not revoked, and runs out"),
        }
    }
}
