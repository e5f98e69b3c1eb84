//! Requests for a look at damaged content, and the wait for the result of a later look.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Live;
use super::damage::Retries;
use super::follow::Follower;
use super::reloads::Reloads;

/// Longest wait for the result of a look; longer looks finish in the background.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Value of `known` while the catalog is not followed: no look is awaited.
const NOBODY_LOOKS: u64 = u64::MAX;

/// Numbers of the requested looks and of the known results.
pub(super) struct DamageChecks {
    /// Notifies that damaged content may be repaired.
    pub(super) again: Notify,
    /// Number of awaited looks so far.
    wanted: AtomicU64,
    /// Highest look number with a known result.
    known: watch::Sender<u64>,
}

impl Default for DamageChecks {
    fn default() -> Self {
        Self { again: Notify::new(), wanted: AtomicU64::new(0), known: watch::Sender::new(NOBODY_LOOKS) }
    }
}

impl DamageChecks {
    /// Starts answering looks.
    pub(super) fn begin(&self) {
        self.known.send_replace(0);
    }

    /// Stops answering looks.
    pub(super) fn end(&self) {
        self.known.send_replace(NOBODY_LOOKS);
    }

    /// The number of the last awaited look, which a look that begins now also answers.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }
}

impl Live {
    /// Requests another look at places with a failed version: the files may be repaired.
    pub fn look_again(&self) {
        self.0.looks.again.notify_one();
    }

    /// Requests a look as [`Self::look_again`] does, and waits until [`Self::damaged`] returns the result.
    pub async fn look_and_wait(&self) {
        let looks = &self.0.looks;
        let number = looks.wanted.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        self.look_again();
        let mut known = looks.known.subscribe();
        if timeout(WAIT_MAX, known.wait_for(|known| *known >= number)).await.is_err() {
            tracing::warn!("what was checked is not all known yet: versions are still being loaded again");
        }
    }
}

impl Follower {
    /// Reports the result of a look, once the versions that the look reloaded are served.
    pub(super) fn report_look(&self, retries: &mut Retries, reloads: &mut Reloads) {
        let is_settled = |retries: &Retries, reloads: &Reloads| retries.running.is_empty() && !reloads.are_due();
        if retries.reports.is_none() || !is_settled(retries, reloads) {
            return;
        }
        if retries.is_outdated(self.loader.blobs().damages()) {
            // The look itself found damage of opened files: their versions are reloaded without the files.
            self.retry(retries, reloads, false);
            if !is_settled(retries, reloads) {
                return;
            }
        }
        if let Some(number) = retries.reports.take() {
            self.live.0.looks.known.send_replace(number);
        }
    }
}
