//! Turns to have long manifests in memory: few are out at a time, however much work wants them, and the lanes that want
//! them take turns (law 11).

use std::sync::Arc;

use devanture_config::VersionId;

use super::{Blobs, Error, Key, Lane, Turn, Turns};

/// Longest manifests that are read at once, in bytes: longer ones are read on a thread that may block, in turns.
pub(crate) const SHORT_MANIFEST_BYTES_MAX: u64 = 64 * 1_024;
/// Turns that are out at once.
pub(crate) const LONG_MANIFESTS_AT_ONCE: usize = 4;

/// The turns of one kind of work. Who has one never waits for another one of the same kind.
#[derive(Clone)]
pub(crate) struct ManifestTurns(Arc<Turns>);

impl ManifestTurns {
    pub(crate) fn new() -> Self {
        Self(Turns::new(LONG_MANIFESTS_AT_ONCE))
    }

    /// Waits for the turn of a lane to have the manifests of these versions in memory; `None` where they are short
    /// together, and need none.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) async fn take(
        &self,
        blobs: &dyn Blobs,
        lane: Lane,
        versions: &[VersionId],
    ) -> Result<Option<Turn>, Error> {
        let mut bytes = 0_u64;
        for version in versions {
            bytes = bytes.saturating_add(blobs.size(Key::Manifest(*version)).await?.unwrap_or(0));
        }
        if bytes <= SHORT_MANIFEST_BYTES_MAX {
            return Ok(None);
        }
        Ok(Some(self.0.take(lane, bytes).await))
    }

    /// Work that waits for a turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting()
    }
}
