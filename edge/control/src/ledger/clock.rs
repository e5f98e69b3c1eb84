//! Clock that orders deploys and history entries.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Ledger;
use devanture_base::clock;
use devanture_store::records;

/// Clock of unique, increasing numbers.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Ledger {
    /// Returns the next number of the process' clock: microseconds since 1970, unique and increasing. Deploys and
    /// history entries are ordered by these numbers.
    pub(crate) fn tick(&self) -> u64 {
        let now = u64::try_from(clock::since_epoch().as_micros()).unwrap_or(u64::MAX);
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        match self.clock.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(last) | Err(last) => now.max(last.saturating_add(1)),
        }
    }

    /// Advances the clock beyond the last number of earlier processes, also after the machine's clock was set back: a
    /// new push is newer than the live version.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn continue_clock(&self) -> Result<(), devanture_store::catalog::Error> {
        for (key, record) in self.catalog.list(records::LIVE_PREFIX, None, false, usize::MAX).await? {
            // Unreadable records were logged on loading.
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

    /// Makes later calls of [`Ledger::tick`] exceed `number`: an earlier process may have had a faster clock.
    pub(super) fn not_before(&self, number: u64) {
        self.clock.0.fetch_max(number, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use devanture_config::VersionId;
    use devanture_config::limits::Limits;
    use devanture_serve::live::{Domains, Grace, Live};
    use devanture_store::catalog::{self, Change, Commit};

    fn ledger(folder: &tempfile::TempDir) -> Ledger {
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        Ledger::new(Arc::clone(&catalog), live, &Limits::default())
    }

    #[test]
    fn it_goes_with_the_time_and_gives_no_number_twice_or_one_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder);
        let now_us = || u64::try_from(clock::since_epoch().as_micros()).unwrap();
        let before = now_us();
        let ticks: Vec<u64> = (0..1_000).map(|_| ledger.tick()).collect();
        assert!(ticks.is_sorted_by(|one, next| one < next) && ticks[0] >= before);
        let ahead = now_us() + 3_600_000_000;
        ledger.not_before(ahead);
        assert_eq!([ledger.tick(), ledger.tick()], [ahead + 1, ahead + 2]);
    }

    #[tokio::test]
    async fn it_goes_on_behind_what_an_earlier_process_made_live_or_pointed_an_alias_at() {
        let live = json!({
            "version": VersionId::of(b""), "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": "",
        });
        let alias = json!({ "version": VersionId::of(b""), "switched_ms": 0, "begun": 0, "who": "" });
        for (key, mut record) in [("live/shop/prod", live), ("alias/shop/feature", alias)] {
            let folder = tempfile::tempdir().unwrap();
            let ledger = ledger(&folder);
            let begun = ledger.tick() + 3_600_000_000;
            record["begun"] = begun.into();
            let damaged = Change::Put("live/other/prod".to_owned(), b"{".as_slice().into());
            let put = Change::Put(key.to_owned(), records::write(&record).unwrap());
            ledger.catalog.commit(Commit { checks: Vec::new(), changes: vec![damaged, put] }).await.unwrap();
            ledger.continue_clock().await.unwrap();
            assert_eq!(ledger.tick(), begun + 1, "{key}");
        }
    }
}
