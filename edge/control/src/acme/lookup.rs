//! Look-up of proofs of other cluster nodes: an authority may contact any node.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::store::Proof;
use super::store::shared::SharedRecords;

/// Concurrent look-ups in etcd: anyone may request a proof, while an authority requests from a handful of places.
const LOOKUPS_MAX: usize = 32;
/// Shortest interval of etcd requests for proofs not yet known locally.
const REFRESH_EVERY: Duration = Duration::from_millis(200);
/// Longest wait for etcd.
const REFRESH_MAX: Duration = Duration::from_secs(2);

/// Looks up proofs in the catalog.
pub(crate) struct Lookup {
    shared: SharedRecords,
    permits: Arc<Semaphore>,
    /// Time of the last etcd request.
    refreshed: Mutex<Option<Instant>>,
}

impl Lookup {
    pub(crate) fn new(shared: SharedRecords) -> Self {
        Self { shared, permits: Arc::new(Semaphore::new(LOOKUPS_MAX)), refreshed: Mutex::default() }
    }

    /// Returns a look-up without free permits.
    #[cfg(test)]
    pub(super) fn busy(shared: SharedRecords) -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), ..Self::new(shared) }
    }

    /// Returns the `wanted` proof for `name`; `None` if no node presents one.
    pub(crate) async fn find(&self, name: &str, wanted: impl Fn(&Proof) -> bool) -> Option<Proof> {
        // Without a permit, which strangers could exhaust: local knowledge costs no etcd request.
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

    /// Waits until all commits acknowledged before `asked` are readable locally. Concurrent callers share a request.
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
