//! Gates of the leases on all nodes, closed while a collection deletes files.

use devanture_config::Digest;

use crate::cluster::{self, GatesClosed};
use crate::ledger::{Closed, Error};
use crate::retention::Retention;
use devanture_store::blobs::Key;

/// Closed gates: no node takes a lease during their lifetime.
pub(super) struct Gates<'l> {
    here: Closed<'l>,
    /// `None` on a standalone edge.
    elsewhere: Option<GatesClosed>,
}

impl Gates<'_> {
    /// Returns true if a lease protects `key`.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.here.holds(key) || self.elsewhere.as_ref().is_some_and(|gates| gates.holds(key))
    }

    /// Returns the second since 1970 from which on all stored files are leased, if any.
    pub(super) fn held_since_s(&self) -> Option<u64> {
        let elsewhere = self.elsewhere.as_ref().and_then(GatesClosed::held_since_s);
        [self.here.held_since_s(), elsewhere].into_iter().flatten().min()
    }

    /// Returns true while the gates are certainly closed.
    pub(super) fn are_closed(&self) -> bool {
        self.elsewhere.as_ref().is_none_or(GatesClosed::are_closed)
    }

    /// Runs `taking` while the gates are certainly closed; `None` after a timeout, with an unknown outcome.
    pub(super) async fn while_closed<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        match &self.elsewhere {
            Some(gates) => gates.while_closed(taking).await,
            None => Some(taking.await),
        }
    }

    /// Reports deleted files to other nodes, and opens the gates.
    pub(super) async fn open(self, gone: &[Digest]) {
        if let Some(gates) = self.elsewhere {
            gates.open(gone).await;
        }
    }
}

impl Retention {
    /// Closes the gates for files about to be deleted.
    ///
    /// # Errors
    /// A live node does not answer.
    pub(super) async fn close_gates(&self, keys: &[Key]) -> Result<Gates<'_>, Error> {
        let here = self.ledger.leases.closed().await;
        let elsewhere = match &self.nodes {
            Some(nodes) => Some(nodes.close_gates(keys).await.map_err(cluster::Error::into_problem)?),
            None => None,
        };
        Ok(Gates { here, elsewhere })
    }
}
