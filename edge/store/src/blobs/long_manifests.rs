//! Permits to have long manifests in memory: few permits are out at a time, for any amount of work, and the lanes take
//! turns (law 11).

use std::path::Path;
use std::sync::Arc;

use devanture_config::VersionId;
use tokio::task::JoinError;

use super::{Blobs, Error, Key};
use devanture_base::durable::failed;
use devanture_base::fair::{Lane, Turn, Turns};

/// Bytes up to which manifests are read at once: longer manifests are read on a thread that may block, in turns.
pub const SHORT_MANIFEST_BYTES_MAX: u64 = 64 * 1_024;
/// Number of permits that are out at once.
pub const LONG_MANIFESTS_AT_ONCE: usize = 4;

/// The permits of one kind of work. The holder of a permit never waits for a second permit of the same kind.
#[derive(Clone)]
pub struct ManifestTurns(Arc<Turns>);

impl Default for ManifestTurns {
    fn default() -> Self {
        Self::new()
    }
}

impl ManifestTurns {
    /// Creates the permits of a kind of work, all of them free.
    #[must_use]
    pub fn new() -> Self {
        Self(Turns::new(LONG_MANIFESTS_AT_ONCE))
    }

    /// Waits for a permit of a lane to have the manifests of these versions in memory; `None` if the manifests are
    /// short together and need no permit.
    ///
    /// # Errors
    /// An error if the store fails.
    pub async fn take(&self, blobs: &dyn Blobs, lane: Lane, versions: &[VersionId]) -> Result<Option<Turn>, Error> {
        let mut bytes = 0_u64;
        for version in versions {
            bytes = bytes.saturating_add(blobs.size(Key::Manifest(*version)).await?.unwrap_or(0));
        }
        if bytes <= SHORT_MANIFEST_BYTES_MAX {
            return Ok(None);
        }
        Ok(Some(self.0.take(lane, bytes).await))
    }

    /// Calls `then` with the stored manifest of a version, under a permit of a lane. For a long manifest `then` runs on
    /// a thread that may block, and the permit ends with `then`: the work waits for nothing further under the permit.
    ///
    /// # Errors
    /// An error if the store fails.
    pub async fn read<T: Send + 'static>(
        &self,
        blobs: &dyn Blobs,
        (lane, version): (Lane, VersionId),
        then: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.take(blobs, lane, &[version]).await?;
        let canonical = blobs.get(Key::Manifest(version)).await?;
        let Some(turn) = turn else { return Ok(then(&canonical)) };
        // The permit moves into the work: even if the caller is dropped, the permit ends with the work.
        let work = move || {
            let made = then(&canonical);
            drop(turn);
            made
        };
        tokio::task::spawn_blocking(work).await.map_err(lost)
    }

    /// Returns the number of tasks that wait for a permit.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }
}

fn lost(panicked: JoinError) -> Error {
    Error::Disk(failed("reading", Path::new("a manifest"))(std::io::Error::other(panicked)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use devanture_config::Digest;

    use super::*;
    use crate::blobs;

    #[tokio::test]
    async fn a_long_manifest_is_worked_at_in_a_turn_that_is_over_with_the_work_and_holds_up_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (stored, turns, lane) = (blobs::open(folder.path().to_owned()).unwrap(), ManifestTurns::new(), Lane::EDGE);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let mut versions = Vec::new();
        for length in [SHORT_MANIFEST_BYTES_MAX, SHORT_MANIFEST_BYTES_MAX + 1] {
            let bytes = vec![b' '; usize::try_from(length).unwrap()];
            versions.push(Digest::of(&bytes));
            stored.put(Key::Manifest(Digest::of(&bytes)), bytes.into()).await.unwrap();
        }
        let [short, long] = versions[..] else { panic!("{versions:?}") };
        let (blobs, of_work) = (Arc::clone(&stored), turns.clone());
        let work = tokio::spawn(async move {
            let work = move |canonical: &[u8]| {
                begun.send(()).unwrap();
                ends.recv().unwrap();
                canonical.len() as u64
            };
            of_work.read(&*blobs, (lane, long), work).await.unwrap()
        });
        // The only thread of the runtime is free meanwhile.
        begins.await.unwrap();
        let take = || turns.0.take(lane, 1);
        let mut held = Vec::new();
        for _ in 1..LONG_MANIFESTS_AT_ONCE {
            held.push(take().await);
        }
        let mut last = Box::pin(take());
        assert!(futures_util::poll!(&mut last).is_pending(), "the work has its turn");
        let length = turns.read(&*stored, (lane, short), |canonical| canonical.len() as u64).await.unwrap();
        assert_eq!(length, SHORT_MANIFEST_BYTES_MAX);
        end.send(()).unwrap();
        assert_eq!(work.await.unwrap(), SHORT_MANIFEST_BYTES_MAX + 1);
        drop(last.await);
    }

    #[tokio::test]
    async fn law_11_a_turn_lasts_as_long_as_its_work_also_where_nobody_waits_for_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (stored, turns, lane) = (blobs::open(folder.path().to_owned()).unwrap(), ManifestTurns::new(), Lane::EDGE);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let bytes = vec![b' '; usize::try_from(SHORT_MANIFEST_BYTES_MAX).unwrap() + 1];
        let version = Digest::of(&bytes);
        stored.put(Key::Manifest(version), bytes.into()).await.unwrap();
        let of_work = turns.clone();
        let reader = tokio::spawn(async move {
            let work = move |_: &[u8]| {
                begun.send(()).unwrap();
                ends.recv().unwrap();
            };
            of_work.read(&*stored, (lane, version), work).await
        });
        begins.await.unwrap();
        reader.abort();
        assert!(reader.await.is_err_and(|error| error.is_cancelled()));
        let mut held = Vec::new();
        for _ in 1..LONG_MANIFESTS_AT_ONCE {
            held.push(turns.0.take(lane, 1).await);
        }
        let mut last = Box::pin(turns.0.take(lane, 1));
        assert!(futures_util::poll!(&mut last).is_pending(), "the manifest is still in memory");
        end.send(()).unwrap();
        drop(last.await);
    }
}
