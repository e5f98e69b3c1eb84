//! The built-in catalog: one `redb` file beside the blobs.
//!
//! Every call goes to a blocking thread. Commits are made one after another; each is on stable storage, and sent to the
//! watchers, before the next begins. `redb` stops for good after any error of the disk, so the file is then closed and
//! reopened: reads go on from the last commit, and a later commit may find room, or a writable disk.

mod copy;
mod file;
mod handover;
mod header;
mod mirror;
mod pages;
mod panics;
mod reading;
mod reserve;
mod storage;
#[cfg(test)]
mod tests;
mod unwritten;
mod watchers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore, broadcast};

use super::{Catalog, CatalogState, Commit, Committed, Error, Record, Revision};
use file::{CatalogFile, whole};
pub(super) use mirror::{Snapshot, SnapshotPage};
pub(super) use pages::check_copy;
use reserve::Reserve;
use watchers::Watchers;

/// Concurrent reads: most come from memory, and each is a thread whose share of the allocator's memory stays.
const READS_AT_ONCE: usize = 8;

/// Pause between attempts to find out the unknown outcome of a commit.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// A catalog in a file.
pub(super) struct RedbCatalog {
    file: Arc<CatalogFile>,
    /// The turn to commit. Taken before a blocking thread, so that waiting callers hold no thread.
    turn: Arc<Mutex<()>>,
    readers: Semaphore,
    watchers: Arc<Watchers>,
    /// Set once a damaged page is known.
    damaged: Arc<AtomicBool>,
    reserve: Option<Arc<Reserve>>,
}

impl RedbCatalog {
    /// Opens the catalog in `path`; creates a missing file. Blocks on the disk.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = CatalogFile::open(path)?;
        let last = whole(path, || file.revision())?;
        Ok(Self::of(file, last))
    }

    /// Like [`RedbCatalog::open`], with a reserve for [`Catalog::commit_reserved`].
    pub(super) fn open_with_reserve(path: &Path) -> Result<Self, Error> {
        let opened = Self::open(path)?;
        Ok(Self { reserve: Some(Arc::new(Reserve::open(path.with_extension("reserve")))), ..opened })
    }

    fn of(file: CatalogFile, last: Revision) -> Self {
        Self {
            file: Arc::new(file),
            turn: Arc::default(),
            readers: Semaphore::new(READS_AT_ONCE),
            watchers: Arc::new(Watchers::new(last)),
            damaged: Arc::default(),
            reserve: None,
        }
    }

    /// Finds out the unknown outcome of a commit as soon as the disk works again.
    fn settle_soon(&self) {
        let (file, watchers, turn) = (Arc::clone(&self.file), Arc::clone(&self.watchers), Arc::clone(&self.turn));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SETTLE_AGAIN).await;
                let _turn = Arc::clone(&turn).lock_owned().await;
                let (file, watchers) = (Arc::clone(&file), Arc::clone(&watchers));
                let settled = tokio::task::spawn_blocking(move || whole(file.path(), || watchers.settle(&file)));
                match settled.await {
                    Ok(Err(Error::Full | Error::Store(_) | Error::Unreadable { .. } | Error::Unwritable { .. })) => {}
                    // The outcome is known, or a new process has the file.
                    Ok(_) | Err(_) => return,
                }
            }
        });
    }

    /// Reads on a blocking thread, when the turn comes.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&CatalogFile) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.readers.acquire().await.map_err(|closed| Error::Store(closed.to_string()))?;
        self.blocking(read).await
    }

    /// Runs `work` on a blocking thread, to completion even if the caller is dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CatalogFile) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = Arc::clone(&self.file);
        match tokio::task::spawn_blocking(move || whole(file.path(), || work(&file))).await {
            Ok(result) => {
                if matches!(result, Err(Error::Damaged { .. })) {
                    self.damaged.store(true, Ordering::Release);
                }
                result
            }
            // The runtime ended before the work began.
            Err(error) if error.is_cancelled() => Err(Error::Ending),
            Err(error) => Err(Error::Store(error.to_string())),
        }
    }
}

#[async_trait]
impl Catalog for RedbCatalog {
    async fn get(&self, key: &str) -> Result<Option<Record>, Error> {
        let key = key.to_owned();
        self.read(move |file| file.get(&key)).await
    }

    async fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Record>>, Error> {
        let keys = keys.to_vec();
        self.blocking(move |file| file.get_all(&keys)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Error> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |file| file.list(&prefix, after.as_deref(), newest_first, limit)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, Error> {
        let (watchers, reserve) = (Arc::clone(&self.watchers), self.reserve.clone());
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let committed = self.blocking(move |file| {
            watchers.settle(file)?;
            let committed = file.commit(&commit);
            if matches!(committed, Err(Error::Undecided { .. })) {
                watchers.leave_open(commit.changes.into());
                return committed;
            }
            let revision = committed?;
            watchers.announce(Committed { revision, changes: commit.changes.into() });
            // Here and not in the caller, which may be gone: the next commit is announced after this commit.
            drop(turn);
            if let Some(reserve) = reserve {
                reserve.refill();
            }
            Ok(revision)
        });
        let committed = committed.await;
        if matches!(committed, Err(Error::Undecided { .. })) {
            self.settle_soon();
        }
        committed
    }

    async fn commit_reserved(&self, commit: Commit) -> Result<Revision, Error> {
        loop {
            let committed = self.commit(commit.clone()).await;
            let (Err(Error::Full), Some(reserve)) = (&committed, self.reserve.clone()) else { return committed };
            if !self.blocking(move |_| Ok(reserve.release())).await? {
                return committed;
            }
        }
    }

    fn check_in_place(&self) -> Result<(), Error> {
        self.file.check_in_place()
    }

    async fn look_after(&self) -> Result<(), Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let reserve = self.reserve.clone();
        self.blocking(move |file| {
            let _turn = turn;
            file.return_to_file()?;
            if let Some(reserve) = reserve {
                reserve.refill();
            }
            Ok(())
        })
        .await
    }

    async fn hand_over(&self) -> Result<(), Error> {
        let _turn = Arc::clone(&self.turn).lock_owned().await;
        self.blocking(CatalogFile::hand_over).await
    }

    async fn take_back(&self) -> Result<(), Error> {
        let _turn = Arc::clone(&self.turn).lock_owned().await;
        let watchers = Arc::clone(&self.watchers);
        self.blocking(move |file| {
            // The last commits of the other process may not have arrived here.
            if let Some(missed) = file.take_back()? {
                watchers.announce(missed);
            }
            Ok(())
        })
        .await
    }

    async fn follow(&self, committed: Committed) -> Result<(), Error> {
        let watchers = Arc::clone(&self.watchers);
        self.blocking(move |file| {
            file.follow(&committed)?;
            watchers.announce(committed);
            Ok(())
        })
        .await
    }

    async fn copy_to(&self, path: &Path, left_out: &'static [&'static str]) -> Result<Revision, Error> {
        let path = path.to_owned();
        self.blocking(move |file| file.copy_to(&path, left_out)).await
    }

    async fn check_pages(&self, bytes_per_second_max: u64) -> Result<(), Error> {
        self.check_all_pages(bytes_per_second_max).await
    }

    fn watch(&self) -> broadcast::Receiver<Committed> {
        self.watchers.committed.subscribe()
    }

    fn state(&self) -> CatalogState {
        let is_damaged = self.damaged.load(Ordering::Acquire);
        let is_unwritable = self.file.is_unwritten();
        CatalogState { is_damaged, is_unwritable, ..CatalogState::local(self.watchers.last.load(Ordering::Acquire)) }
    }
}
