//! Records with compare-and-swap and a watch: the trait `Catalog`, and the store behind it that is built in, `redb`.
//!
//! A record is a short text key and a JSON value. Only `publish` writes here, only by [`Catalog::commit`]; everybody
//! else reads and watches. No byte of a file is ever in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use devanture_base::durable;

#[cfg(test)]
mod conformance;
mod embedded;
mod etcd;
mod in_place;
mod lease;
#[cfg(any(test, feature = "testing"))]
pub mod overtaken;
pub mod scan;
mod state;

pub use etcd::EtcdSettings;
pub use in_place::watch_in_place;
pub use lease::Lease;
pub use state::{CatalogState, CopyState};

/// A revision: every commit has one, greater than all before it. A record has that of the commit that wrote it.
pub type Revision = u64;

/// The prefix of the records that say what is live: a follower of a cluster has them at once, before its copy is on
/// stable storage.
pub const LIVE_PREFIX: &str = "live/";

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// JSON.
    pub value: Arc<[u8]>,
    /// The commit that wrote it.
    pub revision: Revision,
}

/// A precondition of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// No record is at the key.
    Absent(String),
    /// The record at the key has this revision.
    At(String, Revision),
}

impl Check {
    /// That the record at `key` still has `revision`, or that there still is none.
    #[must_use]
    pub fn of(key: impl Into<String>, revision: Option<Revision>) -> Self {
        match revision {
            Some(revision) => Self::At(key.into(), revision),
            None => Self::Absent(key.into()),
        }
    }

    /// The key of the record.
    #[must_use]
    pub fn key(&self) -> &str {
        let (Self::Absent(key) | Self::At(key, _)) = self;
        key
    }
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Removes the record, if it is there.
    Delete(String),
    /// Writes the record.
    Put(String, Arc<[u8]>),
}

/// Most changes of a commit that every catalog takes: etcd's default (`--max-txn-ops`) less what is read beside them.
pub const COMMIT_CHANGES_MAX: usize = 126;

/// Checks and changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Preconditions.
    pub checks: Vec<Check>,
    /// Changes.
    pub changes: Vec<Change>,
}

/// An event for watchers, sent after the commit is durable and in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The commit.
    pub revision: Revision,
    /// Its changes.
    pub changes: Arc<[Change]>,
}

/// An error of a catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A check did not hold: somebody else was first. Nothing was changed.
    #[error("the record {key} was changed by somebody else")]
    Conflict {
        /// The first key whose check failed.
        key: String,
    },
    /// No room is left on the disk.
    #[error("no room is left on the disk of the catalog")]
    Full,
    /// Another process has the catalog open.
    #[error("another process has {path} open{}", .holder.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    Locked {
        /// The file.
        path: String,
        /// The process, if known.
        holder: Option<u32>,
    },
    /// The catalog's file is gone, or is not as this process opened and wrote it. Nothing was changed.
    #[error("{path} was moved or replaced while the edge runs")]
    Replaced {
        /// The file.
        path: String,
    },
    /// Another process of this node has the catalog now. Nothing was changed.
    #[error("a new edge takes over from this one")]
    HandedOver,
    /// Changes are paused while records are copied to another store. Nothing was changed.
    #[error("changes are paused while the edge moves to another store")]
    Paused,
    /// The process ends, and the work was not begun.
    #[error("the edge ends")]
    Ending,
    /// etcd refuses the user, or what the user wants to do. Nothing was changed.
    #[error("etcd refuses the catalog: {reason}")]
    Denied {
        /// What it answered.
        reason: String,
    },
    /// The lease of the commit has run out. Nothing was changed.
    #[error("the lease has run out")]
    LeaseLost,
    /// The file mirrors another etcd cluster or another prefix than the configured one. Nothing was changed.
    #[error("{path} is the mirror of {found}, and the configured catalog is {expected}; delete it if that is meant")]
    OtherOrigin {
        /// The file.
        path: String,
        /// What it mirrors.
        found: String,
        /// What it should mirror.
        expected: String,
    },
    /// etcd has reached its space quota (alarm `NOSPACE`). Nothing was changed.
    #[error("etcd has reached its space quota (alarm NOSPACE)")]
    Quota,
    /// The commit is larger than the store takes at once. Nothing was changed.
    #[error("the commit is too large for the catalog: {reason}")]
    TooLarge {
        /// What is too large, and the limit.
        reason: String,
    },
    /// etcd cannot be reached, or has no quorum. Nothing was changed.
    #[error("etcd is not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The store failed during the commit, or stopped answering: whether it was made is not known yet. All of it was
    /// made or nothing, and what is read tells which once the store works again.
    #[error("the catalog stopped answering during the commit, which it may or may not have made: {reason}")]
    Undecided {
        /// Why.
        reason: String,
    },
    /// A page of the catalog's file is not as it was written.
    #[error("a page of {path} is damaged")]
    Damaged {
        /// The file.
        path: String,
    },
    /// The system does not let records be read: the disk failed, or a right is missing.
    #[error("the catalog cannot be read: {reason}")]
    Unreadable {
        /// The system's reason.
        reason: String,
    },
    /// The system does not let the store be written, or opened: its disk failed, or was mounted read-only. Nothing was
    /// changed.
    #[error("the disk of the catalog cannot be used: {reason}")]
    Unwritable {
        /// The system's reason.
        reason: String,
    },
    /// The caller's rate limit of changes is reached. Nothing was changed.
    #[error("too many changes at once")]
    TooOften {
        /// Milliseconds until they may again.
        wait_ms: u64,
    },
    /// The store failed.
    #[error("the catalog failed: {0}")]
    Store(String),
}

/// Records with compare-and-swap.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The record at `key`.
    ///
    /// # Errors
    /// [`Error::Store`].
    async fn get(&self, key: &str) -> Result<Option<Record>, Error>;

    /// The records at `keys`, each in its place; all of one moment where the store can.
    ///
    /// # Errors
    /// [`Error::Store`].
    async fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Record>>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(key).await?);
        }
        Ok(found)
    }

    /// Records whose keys begin with `prefix`, in the order of their keys' bytes, from the one after `after` (a whole
    /// key) on, `limit` at most; backwards with `newest_first`, and then from the one before `after` on.
    ///
    /// # Errors
    /// [`Error::Store`].
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Error>;

    /// Makes the changes if all checks hold; durable when it returns.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Full`], [`Error::Store`], [`Error::TooLarge`], [`Error::Unavailable`],
    /// [`Error::Unwritable`], …; nothing was changed then, except that [`Error::Undecided`] leaves it open.
    async fn commit(&self, commit: Commit) -> Result<Revision, Error>;

    /// As [`Catalog::commit`], for a commit by which a full disk is freed, or a site that does harm ended: it may use
    /// space that is held back for these.
    ///
    /// # Errors
    /// As [`Catalog::commit`].
    async fn commit_reserved(&self, commit: Commit) -> Result<Revision, Error> {
        self.commit(commit).await
    }

    /// Checks that the store still is where it was opened, so that what is read is what is stored there.
    ///
    /// # Errors
    /// [`Error::Replaced`], [`Error::HandedOver`]; [`Error::Unwritable`] where the system does not say.
    fn check_in_place(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Goes on in the store itself where its disk can be written again, and takes the space back that is held back for
    /// [`Catalog::commit_reserved`]. Called every few seconds.
    ///
    /// # Errors
    /// [`Error::Unwritable`] and [`Error::Full`] for as long as that is not so.
    async fn look_after(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Releases the store, so that the next process of this node can open it, where only one can have it. Reads go on
    /// from what is stored now and what [`Catalog::follow`] brings; commits are refused.
    ///
    /// # Errors
    /// Where reads could not go on; nothing was released then.
    async fn hand_over(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes the store back from a process that ended before it served.
    ///
    /// # Errors
    /// [`Error::Locked`] while the other process has it.
    async fn take_back(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes note of a commit that the process made to which the store was handed over.
    ///
    /// # Errors
    /// [`Error::Store`].
    async fn follow(&self, _committed: Committed) -> Result<(), Error> {
        Ok(())
    }

    /// Copies the records of one moment into a new catalog in the file `path`, with their revisions, but for those
    /// whose keys begin with one of `left_out`. Returns the revision of that moment.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    async fn copy_to(&self, path: &Path, _left_out: &'static [&'static str]) -> Result<Revision, Error> {
        Err(Error::Store(format!("this catalog cannot be copied to {}", path.display())))
    }

    /// Reads every page of the store, with at most so many bytes in a second, and compares it with its checksum.
    /// Commits wait for a moment. [`CatalogState::is_damaged`] has from then on what was found.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Full`] where the disk has no room for a copy, [`Error::HandedOver`],
    /// [`Error::Replaced`] and [`Error::Store`], where nothing was found out.
    async fn check_pages(&self, _bytes_per_second_max: u64) -> Result<(), Error> {
        Ok(())
    }

    /// Every commit from now on. A watcher that lags by more than the channel holds gets an error from the channel and
    /// reads again.
    fn watch(&self) -> broadcast::Receiver<Committed>;

    /// The revision that can be read here, and the connection by which newer ones arrive.
    fn state(&self) -> CatalogState;

    /// Waits until every commit can be read here that was acknowledged anywhere before the call; returns a revision
    /// from then on. Without waiting in a catalog that nobody else writes to.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    async fn refresh(&self) -> Result<Revision, Error> {
        Ok(self.state().revision)
    }

    /// Waits for the commit `revision` to be readable here, for `at_most`. Returns whether it is.
    async fn wait_for(&self, revision: Revision, _at_most: Duration) -> bool {
        self.state().revision >= revision
    }

    /// A lease that runs out when nothing was heard of this node for `ttl`, which is rounded up to what the store can.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    async fn lease(&self, _ttl: Duration) -> Result<Lease, Error> {
        Ok(Lease::endless())
    }

    /// As [`Catalog::commit`]; the records that it puts vanish with the lease.
    ///
    /// # Errors
    /// As [`Catalog::commit`], and [`Error::LeaseLost`].
    async fn commit_leased(&self, commit: Commit, _lease: &Lease) -> Result<Revision, Error> {
        self.commit(commit).await
    }
}

/// Opens the catalog in the file `path`, making it where it is missing.
///
/// # Errors
/// [`Error::Locked`] where another process has it open, [`Error::Store`].
pub fn open(path: &Path) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Arc::new(embedded::RedbCatalog::open(path)?))
}

/// Reads every page of `copy`, a copy of the catalog in the file `path`, and compares it with its checksum. The copy
/// may be written to. Blocks on the disk.
///
/// # Errors
/// [`Error::Damaged`], which names `path`, where a start over such a file would fail; [`Error::Store`].
pub fn check_copy(path: &Path, copy: &Path) -> Result<CopyState, Error> {
    let opened = durable::open_in_place(copy, durable::FILE_MODE).map_err(|error| Error::Store(error.to_string()))?;
    embedded::check_copy(path, opened)
}

/// As [`open`], with some disk space held back for [`Catalog::commit_reserved`].
///
/// # Errors
/// As [`open`].
pub fn open_with_reserve(path: &Path) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Arc::new(embedded::RedbCatalog::open_with_reserve(path)?))
}

/// Opens the catalog in etcd, with its mirror in the file `path`, which only one process of this node has open.
///
/// With a mirror from an earlier start this waits for etcd no longer than a second, and reads go on from there. Without
/// one it waits for the first snapshot. The tasks that follow etcd, commit and keep leases alive run on the runtime
/// that this is called on, until the catalog is dropped; the catalog itself may be used from any.
///
/// # Errors
/// [`Error::Locked`] where another process has the mirror open, [`Error::OtherOrigin`] where it is of another cluster
/// or prefix; without a mirror [`Error::Unavailable`] and [`Error::Denied`]; [`Error::Store`].
pub async fn open_etcd(path: &Path, settings: EtcdSettings) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Arc::new(etcd::EtcdCatalog::open(path, settings).await?))
}
