//! The gates of the leases on all nodes, closed while a collection takes files.

use devanture_config::Digest;

use crate::cluster::{self, GatesClosed};
use crate::ledger::{Closed, Error};
use crate::retention::Retention;
use devanture_store::blobs::Key;

/// The gates, closed: nobody takes a lease on any node while this lives.
pub(super) struct Gates<'l> {
    here: Closed<'l>,
    /// `None` of an edge that is alone.
    elsewhere: Option<GatesClosed>,
}

impl Gates<'_> {
    /// Whether somebody relies on `key`.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.here.holds(key) || self.elsewhere.as_ref().is_some_and(|gates| gates.holds(key))
    }

    /// The second since 1970 from which on everything that was put is held, where there is one.
    pub(super) fn held_since_s(&self) -> Option<u64> {
        let elsewhere = self.elsewhere.as_ref().and_then(GatesClosed::held_since_s);
        [self.here.held_since_s(), elsewhere].into_iter().flatten().min()
    }

    /// Whether they are still closed for sure.
    pub(super) fn are_closed(&self) -> bool {
        self.elsewhere.as_ref().is_none_or(GatesClosed::are_closed)
    }

    /// Takes something for as long as they are closed for sure; `None` if it took longer, and may be gone or not.
    pub(super) async fn while_closed<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        match &self.elsewhere {
            Some(gates) => gates.while_closed(taking).await,
            None => Some(taking.await),
        }
    }

    /// Says to other nodes what went, and opens the gates.
    pub(super) async fn open(self, gone: &[Digest]) {
        if let Some(gates) = self.elsewhere {
            gates.open(gone).await;
        }
    }
}

impl Retention {
    /// Closes the gates for files that may go.
    ///
    /// # Errors
    /// Where a node lives and does not answer.
    pub(super) async fn close_gates(&self, keys: &[Key]) -> Result<Gates<'_>, Error> {
        let here = self.ledger.leases.closed().await;
        let elsewhere = match &self.nodes {
            Some(nodes) => Some(nodes.close_gates(keys).await.map_err(cluster::Error::into_problem)?),
            None => None,
        };
        Ok(Gates { here, elsewhere })
    }
}
