//! Proofs that another node of the cluster has promised to an authority, which may ask any node for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::store::Proof;
use super::store::shared::SharedRecords;

/// Look-ups at once that wait for etcd: anyone can ask for a proof, and an authority asks from a handful of places.
const LOOKUPS_MAX: usize = 32;
/// Shortest time between two requests to etcd for what this node may not have heard of yet.
const REFRESH_EVERY: Duration = Duration::from_millis(200);
/// Longest wait for etcd.
const REFRESH_MAX: Duration = Duration::from_secs(2);

/// Finds them in the catalog.
pub(crate) struct Lookup {
    shared: SharedRecords,
    permits: Arc<Semaphore>,
    /// When etcd was asked last.
    refreshed: Mutex<Option<Instant>>,
}

impl Lookup {
    pub(crate) fn new(shared: SharedRecords) -> Self {
        Self { shared, permits: Arc::new(Semaphore::new(LOOKUPS_MAX)), refreshed: Mutex::default() }
    }

    /// One whose look-ups in etcd are all under way.
    #[cfg(test)]
    pub(super) fn busy(shared: SharedRecords) -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), ..Self::new(shared) }
    }

    /// The proof for `name` that is `wanted`; `None` where no node shows it.
    pub(crate) async fn find(&self, name: &str, wanted: impl Fn(&Proof) -> bool) -> Option<Proof> {
        // Without a permit, which anyone can take away: what this node knows costs no request to etcd.
        if let Some(proof) = self.known(name).await.filter(&wanted) {
            return Some(proof);
        }
        let _permit = self.permits.try_acquire().ok()?;
        self.catch_up(Instant::now()).await;
        self.known(name).await.filter(&wanted)
    }

    async fn known(&self, name: &str) -> Option<Proof> {
        self.shared.proof(name).await.inspect_err(|error| tracing::debug!(%error, "a proof cannot be read")).ok()?
    }

    /// Waits until what was acknowledged before `asked` can be read here. Callers that wait meanwhile share one
    /// request.
    async fn catch_up(&self, asked: Instant) {
        let mut refreshed = self.refreshed.lock().await;
        if let Some(last) = *refreshed {
            if last >= asked {
                return;
            }
            sleep_until(last + REFRESH_EVERY).await;
        }
        *refreshed = Some(Instant::now());
        if !matches!(timeout(REFRESH_MAX, self.shared.records.catch_up()).await, Ok(Ok(()))) {
            tracing::debug!("etcd does not answer: proofs of other nodes may be unknown");
        }
    }
}
