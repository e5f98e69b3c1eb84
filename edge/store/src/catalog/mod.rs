//! Records with compare-and-swap and a watch: the trait `Catalog`, and its built-in store, `redb`.
//!
//! A record is a short text key and a JSON value. Only `publish` writes here, only by [`Catalog::commit`]; all other
//! code reads and watches. A record never holds bytes of a file.

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

/// The revision of a commit, greater than all earlier revisions. A record has the revision of the commit that wrote the
/// record.
pub type Revision = u64;

/// The prefix of the records of live versions: a follower in a cluster has these records at once, before its copy is on
/// stable storage.
pub const LIVE_PREFIX: &str = "live/";

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// JSON.
    pub value: Arc<[u8]>,
    /// The revision of the commit that wrote the record.
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
    /// Returns the check that the record at `key` still has `revision`, or, for `None`, that there is still no record.
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
    /// Removes the record, if present.
    Delete(String),
    /// Writes the record.
    Put(String, Arc<[u8]>),
}

/// Upper bound of changes in a commit, for every catalog: etcd's default (`--max-txn-ops`) less the reads in the same
/// transaction.
pub const COMMIT_CHANGES_MAX: usize = 126;

/// Checks and changes that are applied together or not at all.
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
    /// The changes of the commit.
    pub changes: Arc<[Change]>,
}

/// An error of a catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A check failed: another commit won the race. No record was changed.
    #[error("the record {key} was changed by somebody else")]
    Conflict {
        /// The key of the first failed check.
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
    /// The catalog's file is gone, or differs from the file that this process opened and wrote. No record was changed.
    #[error("{path} was moved or replaced while the edge runs")]
    Replaced {
        /// The file.
        path: String,
    },
    /// Another process of this node has the catalog now. No record was changed.
    #[error("a new edge takes over from this one")]
    HandedOver,
    /// Changes are paused while records are copied to another store. No record was changed.
    #[error("changes are paused while the edge moves to another store")]
    Paused,
    /// The process ends, and the work was not begun.
    #[error("the edge ends")]
    Ending,
    /// etcd refuses the user or the operation of the user. No record was changed.
    #[error("etcd refuses the catalog: {reason}")]
    Denied {
        /// The answer of etcd.
        reason: String,
    },
    /// The lease of the commit has run out. No record was changed.
    #[error("the lease has run out")]
    LeaseLost,
    /// The file mirrors a different etcd cluster or prefix from the configured one. No record was changed.
    #[error("{path} is the mirror of {found}, and the configured catalog is {expected}; delete it if that is meant")]
    OtherOrigin {
        /// The file.
        path: String,
        /// The mirrored cluster and prefix.
        found: String,
        /// The configured cluster and prefix.
        expected: String,
    },
    /// etcd has reached its space quota (alarm `NOSPACE`). No record was changed.
    #[error("etcd has reached its space quota (alarm NOSPACE)")]
    Quota,
    /// The commit exceeds a limit of the store. No record was changed.
    #[error("the commit is too large for the catalog: {reason}")]
    TooLarge {
        /// The exceeded limit.
        reason: String,
    },
    /// etcd cannot be reached, or has no quorum. No record was changed.
    #[error("etcd is not available: {reason}")]
    Unavailable {
        /// The reason, for a person.
        reason: String,
    },
    /// The store failed during the commit, or stopped answering: the outcome of the commit is not known yet. Either all
    /// changes were made or none; once the store works again, a read tells.
    #[error("the catalog stopped answering during the commit, which it may or may not have made: {reason}")]
    Undecided {
        /// The reason, for a person.
        reason: String,
    },
    /// A page of the catalog's file differs from the written page.
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
    /// The system does not allow the store to be written or opened: the disk failed, or was mounted read-only. No
    /// record was changed.
    #[error("the disk of the catalog cannot be used: {reason}")]
    Unwritable {
        /// The system's reason.
        reason: String,
    },
    /// The caller's rate limit of changes is reached. No record was changed.
    #[error("too many changes at once")]
    TooOften {
        /// Milliseconds until the next change is allowed.
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

    /// Returns the records at `keys`, in the same order; all from one moment if the store is able to.
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

    /// Returns at most `limit` records with the key prefix `prefix`, in the byte order of the keys, from the key after
    /// `after` (a whole key). With `newest_first` the order is reversed, from the key before `after`.
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

    /// Makes the changes if all checks hold. The changes are durable when the call returns.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Full`], [`Error::Store`], [`Error::TooLarge`], [`Error::Unavailable`],
    /// [`Error::Unwritable`], …; no record was changed then, except that [`Error::Undecided`] leaves the outcome open.
    async fn commit(&self, commit: Commit) -> Result<Revision, Error>;

    /// Like [`Catalog::commit`], for a commit that frees space on a full disk or stops a harmful site: the commit may
    /// use the reserved space.
    ///
    /// # Errors
    /// Like [`Catalog::commit`].
    async fn commit_reserved(&self, commit: Commit) -> Result<Revision, Error> {
        self.commit(commit).await
    }

    /// Checks that the store is still at the place of its opening, so that reads return the stored records.
    ///
    /// # Errors
    /// [`Error::Replaced`], [`Error::HandedOver`]; [`Error::Unwritable`] if the system does not tell.
    fn check_in_place(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Resumes writes to the store once its disk can be written again, and takes back the reserved space of
    /// [`Catalog::commit_reserved`]. Called every few seconds.
    ///
    /// # Errors
    /// [`Error::Unwritable`] and [`Error::Full`] until both are done.
    async fn look_after(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Releases the store, so that the next process of this node can open it, for stores that only one process can
    /// open. Reads go on from the records as of now and from [`Catalog::follow`]; commits are refused.
    ///
    /// # Errors
    /// An error if reads could not go on; the store was not released then.
    async fn hand_over(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes the store back from a process that ended before it served requests.
    ///
    /// # Errors
    /// [`Error::Locked`] while the other process has the store.
    async fn take_back(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Applies a commit of the process to which the store was handed over.
    ///
    /// # Errors
    /// [`Error::Store`].
    async fn follow(&self, _committed: Committed) -> Result<(), Error> {
        Ok(())
    }

    /// Copies the records of one moment into a new catalog in the file `path`, with their revisions, except records
    /// with a key prefix in `left_out`. Returns the revision of that moment.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    async fn copy_to(&self, path: &Path, _left_out: &'static [&'static str]) -> Result<Revision, Error> {
        Err(Error::Store(format!("this catalog cannot be copied to {}", path.display())))
    }

    /// Reads every page of the store, at most `bytes_per_second_max` bytes a second, and compares each page with its
    /// checksum. Commits wait for a moment. [`CatalogState::is_damaged`] has the result from then on.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Full`] if the disk has no room for a copy, [`Error::HandedOver`],
    /// [`Error::Replaced`] and [`Error::Store`] if the check could not be made.
    async fn check_pages(&self, _bytes_per_second_max: u64) -> Result<(), Error> {
        Ok(())
    }

    /// Every commit from now on. A watcher that lags by more than the channel holds gets an error from the channel.
    /// Followers of records use [`Follow`](crate::records::follow::Follow).
    fn watch(&self) -> broadcast::Receiver<Committed>;

    /// The revision that can be read here, and the connection through which newer ones arrive.
    fn state(&self) -> CatalogState;

    /// Waits until every commit that was acknowledged anywhere before the call can be read here. Returns the revision
    /// from then on. A catalog with only one writer does not wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    async fn refresh(&self) -> Result<Revision, Error> {
        Ok(self.state().revision)
    }

    /// Waits at most `at_most` for the commit `revision` to be readable here. Returns true if the commit is readable.
    async fn wait_for(&self, revision: Revision, _at_most: Duration) -> bool {
        self.state().revision >= revision
    }

    /// Returns a lease that runs out `ttl` after the last sign of life of this node; `ttl` is rounded up to a value
    /// that the store supports.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    async fn lease(&self, _ttl: Duration) -> Result<Lease, Error> {
        Ok(Lease::endless())
    }

    /// Like [`Catalog::commit`]; the new records vanish with the lease.
    ///
    /// # Errors
    /// Like [`Catalog::commit`], and [`Error::LeaseLost`].
    async fn commit_leased(&self, commit: Commit, _lease: &Lease) -> Result<Revision, Error> {
        self.commit(commit).await
    }
}

/// Opens the catalog in the file `path`; creates a missing file.
///
/// # Errors
/// [`Error::Locked`] if another process has the file open, [`Error::Store`].
pub fn open(path: &Path) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Arc::new(embedded::RedbCatalog::open(path)?))
}

/// Reads every page of `copy`, a copy of the catalog in the file `path`, and compares each page with its checksum. The
/// copy may be written to. Blocks on the disk.
///
/// # Errors
/// [`Error::Damaged`], with the name `path`, if a start over such a file would fail; [`Error::Store`].
pub fn check_copy(path: &Path, copy: &Path) -> Result<CopyState, Error> {
    let opened = durable::open_in_place(copy, durable::FILE_MODE).map_err(|error| Error::Store(error.to_string()))?;
    embedded::check_copy(path, opened)
}

/// Like [`open`], with some disk space reserved for [`Catalog::commit_reserved`].
///
/// # Errors
/// Like [`open`].
pub fn open_with_reserve(path: &Path) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Arc::new(embedded::RedbCatalog::open_with_reserve(path)?))
}

/// Opens the catalog in etcd, with its mirror in the file `path`, which only one process of this node has open.
///
/// With a mirror from an earlier start the call waits for etcd at most a second, and reads go on from the mirror.
/// Without a mirror the call waits for the first snapshot. The tasks that follow etcd, commit and keep leases alive run
/// on the calling runtime until the catalog is dropped; the catalog itself may be used from any runtime.
///
/// # Errors
/// [`Error::Locked`] if another process has the mirror open, [`Error::OtherOrigin`] if the mirror is of a different
/// cluster or prefix; without a mirror [`Error::Unavailable`] and [`Error::Denied`]; [`Error::Store`].
pub async fn open_etcd(path: &Path, settings: EtcdSettings) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Arc::new(etcd::EtcdCatalog::open(path, settings).await?))
}
