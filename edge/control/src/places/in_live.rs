//! Cached result of a scan over all live environments, valid until a live environment changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::Instant;

use devanture_serve::live::Live;
use devanture_store::catalog::Revision;

/// Interval between scans: other nodes of a cluster may make a version live that this node cannot run.
const LOOK: Duration = Duration::from_secs(60);

/// Result of the latest scan over all environments.
pub(crate) struct FoundInLive<T>(Mutex<Option<CachedScan<T>>>);

struct CachedScan<T> {
    found: Arc<BTreeSet<T>>,
    /// Last commit visible to requests before the scan.
    revision: Revision,
    looked: Instant,
    /// Environments loaded since the scan.
    loaded: Receiver<(AppName, PlaceName)>,
}

impl<T> CachedScan<T> {
    /// Repeats the scan after a commit, after a load, or once the interval has passed.
    fn renew(&mut self, revision: Revision, look: impl FnOnce() -> BTreeSet<T>) {
        let is_loaded = self.take_loaded();
        if self.revision == revision && !is_loaded && self.looked.elapsed() < LOOK {
            return;
        }
        (self.found, self.revision, self.looked) = (Arc::new(look()), revision, Instant::now());
    }

    /// Returns true if an environment was loaded since the last call.
    fn take_loaded(&mut self) -> bool {
        let mut is_loaded = false;
        loop {
            match self.loaded.try_recv() {
                Ok(_) | Err(TryRecvError::Lagged(_)) => is_loaded = true,
                Err(TryRecvError::Closed | TryRecvError::Empty) => return is_loaded,
            }
        }
    }
}

impl<T> Default for FoundInLive<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> FoundInLive<T> {
    /// Returns the result of `look`, or the cached result if the live environments are unchanged.
    pub(crate) fn of(&self, live: &Live, look: impl FnOnce() -> BTreeSet<T>) -> Arc<BTreeSet<T>> {
        let mut known = self.0.lock();
        // Both values are read before the scan: a change during the scan leads to a further scan.
        let (revision, shown) = (live.revision(), known.is_none().then(|| live.shown()));
        if let Some(loaded) = shown {
            let (found, looked) = (Arc::new(look()), Instant::now());
            return Arc::clone(&known.insert(CachedScan { found, revision, looked, loaded }).found);
        }
        known.as_mut().map_or_else(Arc::default, |known| {
            known.renew(revision, look);
            Arc::clone(&known.found)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use devanture_serve::live::{Domains, Grace};

    #[tokio::test(start_paused = true)]
    async fn environments_are_looked_at_once_for_each_change_of_what_is_live() {
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        let (known, looks) = (FoundInLive::default(), Cell::new(0_usize));
        // Each scan finds one item more.
        let look = || {
            looks.set(looks.get() + 1);
            (0..looks.get()).collect()
        };
        let found = || (known.of(&live, look).len(), known.of(&live, look).len());
        assert_eq!(found(), (1, 1));
        live.follow_nothing();
        assert_eq!(found(), (2, 2), "something was committed");
        live.show(&"shop".parse().unwrap(), &PlaceName::prod());
        assert_eq!(found(), (3, 3), "a version was loaded");
        tokio::time::advance(LOOK).await;
        assert_eq!(found(), (4, 4), "a minute has gone by");
    }
}
