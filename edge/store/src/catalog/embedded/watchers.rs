//! The watchers of the catalog, and the commits still to be announced: each commit is announced once it is on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::file::CatalogFile;
use crate::catalog::{Change, Committed, Error, Revision};

/// Upper bound of commits that a watcher may lag behind before it has to read again.
const WATCH_COMMITS_MAX: usize = 1_024;

/// The watchers of a catalog.
pub(super) struct Watchers {
    pub(super) committed: broadcast::Sender<Committed>,
    /// The revision of the last announced commit in the file.
    pub(super) last: AtomicU64,
    /// The changes of the next commit, if the outcome of that commit is unknown.
    open: Mutex<Option<Arc<[Change]>>>,
}

impl Watchers {
    pub(super) fn new(last: Revision) -> Self {
        Self {
            committed: broadcast::Sender::new(WATCH_COMMITS_MAX),
            last: AtomicU64::new(last),
            open: Mutex::default(),
        }
    }

    /// Sends a commit to all watchers; called in the order of revisions.
    pub(super) fn announce(&self, committed: Committed) {
        self.last.store(committed.revision, Ordering::Release);
        // No watcher is no error.
        drop(self.committed.send(committed));
    }

    /// Records the changes of a commit with an unknown outcome.
    pub(super) fn leave_open(&self, changes: Arc<[Change]>) {
        *self.open.lock() = Some(changes);
    }

    /// Finds out the outcome of that commit, and announces the commit if it was made. Must not run concurrently with a
    /// commit.
    ///
    /// # Errors
    /// An error while the file can neither be read nor be written.
    pub(super) fn settle(&self, file: &CatalogFile) -> Result<(), Error> {
        let mut open = self.open.lock();
        let Some(changes) = open.as_ref() else { return Ok(()) };
        let revision = self.last.load(Ordering::Acquire).saturating_add(1);
        let found = file.revision()?;
        // While the disk cannot be written, readers see the commit in the file, if it was made: the served state is the
        // readable state, even if a restart finds the commit lost with the disk.
        if !file.is_unwritten() {
            file.write_again()?;
        }
        if found == revision {
            self.announce(Committed { revision, changes: Arc::clone(changes) });
        }
        *open = None;
        Ok(())
    }
}
