//! Turns to have long manifests in memory: few are out at a time, however much work wants them, and the lanes that want
//! them take turns (law 11).

use std::path::Path;
use std::sync::Arc;

use devanture_config::VersionId;
use tokio::task::JoinError;

use super::{Blobs, Error, Key, Lane, Turn, Turns};
use crate::durable::failed;

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

    /// Has `then` make what is wanted of the manifest of a version, as it is stored, in the turn of a lane. What is made
    /// of a long one is made on a thread that may block, and the turn is over with it: nothing else is waited for in it.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        blobs: &dyn Blobs,
        (lane, version): (Lane, VersionId),
        then: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.take(blobs, lane, &[version]).await?;
        let canonical = blobs.get(Key::Manifest(version)).await?;
        let Some(turn) = turn else { return Ok(then(&canonical)) };
        // The turn goes along: also where nobody waits for it any more, it is over when the work is.
        let work = move || {
            let made = then(&canonical);
            drop(turn);
            made
        };
        tokio::task::spawn_blocking(work).await.map_err(lost)
    }

    /// Work that waits for a turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting()
    }
}

fn lost(panicked: JoinError) -> Error {
    Error::Disk(failed("reading", Path::new("a manifest"))(std::io::Error::other(panicked)))
}
