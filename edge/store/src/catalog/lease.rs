//! Leases: records that vanish when the node that holds the lease is gone.

use tokio::sync::{oneshot, watch};

/// A lease of a catalog. It is kept alive until it is ended, dropped or lost.
///
/// The records of [`Catalog::commit_leased`](super::Catalog::commit_leased) vanish with it. In a catalog on this
/// machine a lease is never lost, and its records stay: with one process, nobody is left who could see them vanish.
#[derive(Debug)]
pub struct Lease {
    pub(super) id: i64,
    lost: watch::Receiver<bool>,
    /// Ends the task that keeps it alive. What is sent here is informed when the lease was revoked.
    ending: Option<oneshot::Sender<oneshot::Sender<()>>>,
    /// Held by a lease that is never lost: without its sender, a lease counts as lost.
    _never_lost: Option<watch::Sender<bool>>,
}

impl Lease {
    /// A lease that is never lost.
    pub(super) fn endless() -> Self {
        let (sender, lost) = watch::channel(false);
        Self { id: 0, lost, ending: None, _never_lost: Some(sender) }
    }

    /// The lease `id`. A task keeps it alive, which sets `lost` to true when it is lost, and revokes it once `ending`
    /// brings something or is dropped.
    pub(super) const fn kept_alive(
        id: i64,
        lost: watch::Receiver<bool>,
        ending: oneshot::Sender<oneshot::Sender<()>>,
    ) -> Self {
        Self { id, lost, ending: Some(ending), _never_lost: None }
    }

    /// Whether it ran out, so that its records are gone or about to go.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow() || self.lost.has_changed().is_err()
    }

    /// Waits until it is lost; for ever, where that does not happen.
    pub async fn lost(&self) {
        // An error is the end of the task that kept it alive.
        drop(self.lost.clone().wait_for(|is_lost| *is_lost).await);
    }

    /// Ends it; its records are gone when this returns, or once it runs out where etcd cannot be reached.
    pub async fn end(mut self) {
        let Some(ending) = self.ending.take() else { return };
        let (done, ended) = oneshot::channel();
        if ending.send(done).is_ok() {
            drop(ended.await);
        }
    }
}
