//! Leases: records that vanish when the holder node of the lease is gone.

use tokio::sync::{oneshot, watch};

/// A lease of a catalog, kept alive until it is ended, dropped or lost.
///
/// The records of [`Catalog::commit_leased`](super::Catalog::commit_leased) vanish with the lease. In a catalog on this
/// machine a lease is never lost, and the records stay: with a single process, no observer is left.
#[derive(Debug)]
pub struct Lease {
    pub(super) id: i64,
    lost: watch::Receiver<bool>,
    /// Ends the task that keeps the lease alive. The sent sender is informed when the lease was revoked.
    ending: Option<oneshot::Sender<oneshot::Sender<()>>>,
    /// Held by a lease that is never lost: without a sender, a lease counts as lost.
    _never_lost: Option<watch::Sender<bool>>,
}

impl Lease {
    /// Returns a lease that is never lost.
    pub(super) fn endless() -> Self {
        let (sender, lost) = watch::channel(false);
        Self { id: 0, lost, ending: None, _never_lost: Some(sender) }
    }

    /// Returns the lease `id`. A task keeps the lease alive, sets `lost` to true when the lease is lost, and revokes
    /// the lease once `ending` receives a message or is dropped.
    pub(super) const fn kept_alive(
        id: i64,
        lost: watch::Receiver<bool>,
        ending: oneshot::Sender<oneshot::Sender<()>>,
    ) -> Self {
        Self { id, lost, ending: Some(ending), _never_lost: None }
    }

    /// Returns true if the lease ran out, so that its records are gone or about to go.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow() || self.lost.has_changed().is_err()
    }

    /// Waits until the lease is lost; for ever if that does not happen.
    pub async fn lost(&self) {
        // An error is the end of the task that kept the lease alive.
        drop(self.lost.clone().wait_for(|is_lost| *is_lost).await);
    }

    /// Ends the lease; the records are gone when the call returns, or once the lease runs out if etcd cannot be
    /// reached.
    pub async fn end(mut self) {
        let Some(ending) = self.ending.take() else { return };
        let (done, ended) = oneshot::channel();
        if ending.send(done).is_ok() {
            drop(ended.await);
        }
    }
}
