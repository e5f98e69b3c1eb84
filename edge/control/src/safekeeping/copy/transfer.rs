//! Copies missing files referenced by records, several at a time.

use std::collections::HashSet;

use async_trait::async_trait;
use devanture_config::api::DamagedVersion;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::super::references::{self, Look};
use super::files::StoredFiles;
use super::target::FileTarget;
use crate::ledger::Error;
use devanture_store::blobs::Key;
use devanture_store::catalog::Catalog;

/// Progress of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Copied files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reports progress.
pub(crate) type Report<'r> = &'r (dyn Fn(Progress) + Send + Sync);

/// Copied file with its length; `None` for a missing or damaged file.
type Done = (Key, Option<u64>);

/// Copies files from one store to another.
pub struct Transfer<'t> {
    from: &'t StoredFiles,
    to: &'t FileTarget,
    report: Report<'t>,
    /// Files present or being copied.
    present: HashSet<Key>,
    /// Files examined by the pass.
    looked: HashSet<Key>,
    /// Files found missing or damaged by the pass.
    damaged: HashSet<Key>,
    under_way: FuturesUnordered<BoxFuture<'t, Result<Done, Error>>>,
    progress: Progress,
}

/// Files of all versions, after a pass.
pub struct Pass {
    /// Versions.
    pub versions: u64,
    /// Their files, and manifests kept for their names.
    pub files: u64,
    /// Versions with missing files.
    pub damaged: Vec<DamagedVersion>,
}

impl<'t> Transfer<'t> {
    /// Lists the present files.
    ///
    /// # Errors
    /// Errors of the target.
    pub async fn begin(from: &'t StoredFiles, to: &'t FileTarget, report: Report<'t>) -> Result<Self, Error> {
        Ok(Self {
            from,
            to,
            report,
            present: to.keys().await?,
            looked: HashSet::new(),
            damaged: HashSet::new(),
            under_way: FuturesUnordered::new(),
            progress: Progress::default(),
        })
    }

    /// Returns the progress.
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Copies all files referenced by the records of `catalog`. Damaged or missing files are not copied, and their
    /// versions are reported.
    ///
    /// # Errors
    /// Errors of both stores.
    pub async fn pass(&mut self, catalog: &dyn Catalog) -> Result<Pass, Error> {
        // Files may have been repaired or pushed again.
        self.damaged.clear();
        self.looked.clear();
        let from = self.from;
        let mut gone = references::go_through(catalog, from, None, self).await?;
        for key in from.manifests().await? {
            self.look(key).await?;
        }
        self.finish().await?;
        let files = u64::try_from(self.looked.len()).unwrap_or(u64::MAX);
        if !self.damaged.is_empty() {
            // Some files were found damaged only during the copy: a second pass finds their versions.
            gone = references::go_through(catalog, from, None, self).await?;
            self.finish().await?;
        }
        Ok(Pass { versions: gone.versions, files, damaged: gone.damaged })
    }

    async fn finish(&mut self) -> Result<(), Error> {
        while self.wait().await? {}
        Ok(())
    }

    /// Waits for a file. Returns false if none is running.
    async fn wait(&mut self) -> Result<bool, Error> {
        let Some((key, copied)) = self.under_way.next().await.transpose()? else { return Ok(false) };
        if let Some(bytes) = copied {
            self.progress.files = self.progress.files.saturating_add(1);
            self.progress.bytes = self.progress.bytes.saturating_add(bytes);
            (self.report)(self.progress);
        } else {
            self.present.remove(&key);
            self.damaged.insert(key);
        }
        Ok(true)
    }
}

#[async_trait]
impl Look for Transfer<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        self.looked.insert(key);
        if self.present.contains(&key) {
            return Ok(true);
        }
        if self.damaged.contains(&key) {
            return Ok(false);
        }
        while self.under_way.len() >= self.to.parallel() {
            self.wait().await?;
        }
        let (from, to) = (self.from, self.to);
        self.present.insert(key);
        self.under_way.push(Box::pin(async move {
            let Some(reading) = from.open(key).await? else { return Ok((key, None)) };
            Ok((key, to.put(key, reading).await?))
        }));
        Ok(true)
    }
}
