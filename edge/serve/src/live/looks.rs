//! Requests for a look at what is damaged, and the wait until one that began afterwards is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Live;
use super::damage::Retries;
use super::follow::Follower;
use super::reloads::Reloads;

/// Longest wait for the result of a look; damage that takes longer is known later.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// What is known while nobody follows the catalog: no look is to be waited for.
const NOBODY_LOOKS: u64 = u64::MAX;

/// The looks that were requested, and those whose results are known.
pub(super) struct Looks {
    /// Notifies that something that was damaged may be whole again.
    pub(super) again: Notify,
    /// Number of looks that are waited for, so far.
    wanted: AtomicU64,
    /// The highest of these numbers whose result is known.
    known: watch::Sender<u64>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { again: Notify::new(), wanted: AtomicU64::new(0), known: watch::Sender::new(NOBODY_LOOKS) }
    }
}

impl Looks {
    /// Looks are answered from now on.
    pub(super) fn begin(&self) {
        self.known.send_replace(0);
    }

    /// No look is answered any more.
    pub(super) fn end(&self) {
        self.known.send_replace(NOBODY_LOOKS);
    }

    /// The number of the last look that is waited for. A look that begins now is one for it, too.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }
}

impl Live {
    /// Has places looked at again whose version could not be loaded: its files may be whole now.
    pub fn look_again(&self) {
        self.0.looks.again.notify_one();
    }

    /// As [`Self::look_again`], and waits until the result is what [`Self::damaged`] gives.
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
    /// Reports the result of a look, once the versions that it had loaded again are served.
    pub(super) fn report_look(&self, retries: &mut Retries, reloads: &mut Reloads) {
        let is_settled = |retries: &Retries, reloads: &Reloads| retries.running.is_empty() && !reloads.are_due();
        if retries.reports.is_none() || !is_settled(retries, reloads) {
            return;
        }
        if retries.is_outdated(self.loader.blobs().damages()) {
            // The look itself found opened files damaged: their versions are loaded again without them.
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
