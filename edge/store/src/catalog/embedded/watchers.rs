//! Who watches the catalog, and what they have yet to hear: each commit is announced once it is on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::file::CatalogFile;
use crate::catalog::{Change, Committed, Error, Revision};

/// Most commits that a watcher may lag behind before it has to read again.
const WATCH_COMMITS_MAX: usize = 1_024;

/// The watchers of a catalog.
pub(super) struct Watchers {
    pub(super) committed: broadcast::Sender<Committed>,
    /// The revision of the last commit in the file that was announced.
    pub(super) last: AtomicU64,
    /// The changes of the commit after that, if it is not known whether it was made.
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

    /// Sends a commit to all of them; called in the order of revisions.
    pub(super) fn announce(&self, committed: Committed) {
        self.last.store(committed.revision, Ordering::Release);
        // It is no error that there may be none.
        drop(self.committed.send(committed));
    }

    /// Notes the changes of a commit whose outcome is not known.
    pub(super) fn leave_open(&self, changes: Arc<[Change]>) {
        *self.open.lock() = Some(changes);
    }

    /// Finds out what that commit came to, and announces it if it was made. Never called beside a commit.
    ///
    /// # Errors
    /// Where the file cannot be read, or neither be written nor read on, yet.
    pub(super) fn settle(&self, file: &CatalogFile) -> Result<(), Error> {
        let mut open = self.open.lock();
        let Some(changes) = open.as_ref() else { return Ok(()) };
        let revision = self.last.load(Ordering::Acquire).saturating_add(1);
        let found = file.revision()?;
        // While nothing can be written, readers see that commit, if it was made, as it lies there: what is served is
        // what they see, also if a restart finds it gone with the disk.
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
