//! The clock that orders deploys and entries of histories.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Ledger;
use crate::catalog::records;
use crate::telemetry;

/// A clock that never gives a number twice and never goes back.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Ledger {
    /// The next number of this process' clock: microseconds since 1970, but never the same twice and never back.
    /// Deploys and entries of the history are ordered by it.
    pub(crate) fn tick(&self) -> u64 {
        let now = u64::try_from(telemetry::since_epoch().as_micros()).unwrap_or(u64::MAX);
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        match self.clock.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(last) | Err(last) => now.max(last.saturating_add(1)),
        }
    }

    /// Lets the clock go on from where an earlier process stopped, also when the machine's was set back since: a push
    /// that begins now is newer than what is live.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub(crate) async fn continue_clock(&self) -> Result<(), crate::catalog::Error> {
        for (key, record) in self.catalog.list(records::LIVE_PREFIX, None, false, usize::MAX).await? {
            // Unreadable records were logged when they were loaded.
            if let Ok(pointer) = records::read::<records::LivePointer>(&key, &record) {
                self.not_before(pointer.begun);
            }
        }
        for (key, record) in self.catalog.list(records::ALIASES_PREFIX, None, false, usize::MAX).await? {
            if let Ok(alias) = records::read::<records::AliasRecord>(&key, &record) {
                self.not_before(alias.begun);
            }
        }
        Ok(())
    }

    /// Lets no later [`Ledger::tick`] give `number` or less: an earlier process may have had a faster clock.
    pub(super) fn not_before(&self, number: u64) {
        self.clock.0.fetch_max(number, Ordering::AcqRel);
    }
}
