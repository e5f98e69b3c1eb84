//! The predecessor of an edge during the predecessor's drain.

use tokio_util::sync::CancellationToken;

/// The predecessor's state, and requests to the predecessor. Clones refer to the same edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct PredecessorHandle {
    ended: CancellationToken,
    sooner: CancellationToken,
}

impl PredecessorHandle {
    /// Creates the state of an edge without a predecessor.
    pub(super) fn none() -> Self {
        let before = Self::default();
        before.has_ended();
        before
    }

    /// Records the end of the predecessor.
    pub(super) fn has_ended(&self) {
        self.ended.cancel();
    }

    /// Returns a token cancelled at the end of the predecessor.
    pub(super) const fn end(&self) -> &CancellationToken {
        &self.ended
    }

    /// Waits for the end of the predecessor.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Shortens the predecessor's drain to the times of an edge without a successor.
    pub(crate) fn end_sooner(&self) {
        self.sooner.cancel();
    }

    /// Waits for a request to shorten the drain.
    pub(crate) async fn is_to_end_sooner(&self) {
        self.sooner.cancelled().await;
    }
}
