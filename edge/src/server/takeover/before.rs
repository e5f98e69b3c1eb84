//! The edge that this one took over from, while that one drains.

use tokio_util::sync::CancellationToken;

/// What is known of it, and what it can be asked for. Clones are of the same edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    ended: CancellationToken,
    sooner: CancellationToken,
}

impl Before {
    /// Of an edge that took over from none.
    pub(super) fn none() -> Self {
        let before = Self::default();
        before.has_ended();
        before
    }

    /// Notes that it has ended.
    pub(super) fn has_ended(&self) {
        self.ended.cancel();
    }

    /// Cancelled when it has ended.
    pub(super) const fn end(&self) -> &CancellationToken {
        &self.ended
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Has it end as soon as an edge does that nobody takes over from.
    pub(crate) fn end_sooner(&self) {
        self.sooner.cancel();
    }

    /// Waits until it is to end sooner.
    pub(crate) async fn is_to_end_sooner(&self) {
        self.sooner.cancelled().await;
    }
}
