//! Copies files of a backup into the store of an edge, small files in batches to share syncs of the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::progress::{FileProgress, Report};
use super::references::Look;
use super::store::BackupStore;
use crate::ledger::Error;
use devanture_store::blobs::{Blobs, Key};

/// Largest blob copied in a batch, and held in memory meanwhile.
const SMALL_BYTES_MAX: u64 = 2 * 1_024 * 1_024;
/// Blobs per batch …
const BATCH_BLOBS_MAX: usize = 512;
/// … and their bytes, held by each running batch.
const BATCH_BYTES_MAX: u64 = 8 * 1_024 * 1_024;
/// Damaged backup files listed by a report.
const DAMAGED_SHOWN_MAX: usize = 10_000;

/// Copies examined files missing from the store: manifests at once, blobs in [`Fetcher::finish`].
pub(super) struct Fetcher<'f> {
    from: &'f dyn BackupStore,
    to: &'f dyn Blobs,
    report: Report<'f>,
    /// Files of the backup, with their lengths.
    present: HashMap<Key, u64>,
    /// Examined blobs in order of their names, so that a batch spans few folders, each synced once.
    blobs: BTreeSet<Digest>,
    /// Blobs still missing from the store.
    lacking: HashSet<Digest>,
    /// Damaged manifests of the backup.
    damaged_manifests: Vec<Key>,
    progress: FileProgress,
}

/// Job of one call.
enum Job {
    Batch(Vec<Digest>),
    Large(Key),
}

/// Copied blobs with their lengths.
type Copied = Vec<(Digest, u64)>;

impl<'f> Fetcher<'f> {
    pub(super) async fn new(from: &'f dyn BackupStore, to: &'f dyn Blobs, report: Report<'f>) -> Result<Self, Error> {
        let present = from.sizes().await?;
        let (blobs, lacking, damaged_manifests) = Default::default();
        Ok(Self { from, to, report, present, blobs, lacking, damaged_manifests, progress: FileProgress::default() })
    }

    /// Returns the progress.
    pub(super) const fn progress(&self) -> FileProgress {
        self.progress
    }

    /// Copies all manifests, since names of manifests without a version still count.
    pub(super) async fn all_manifests(&mut self) -> Result<(), Error> {
        let manifests: Vec<Key> = self.present.keys().copied().filter(|key| matches!(key, Key::Manifest(_))).collect();
        for key in manifests {
            self.bring_manifest(key).await?;
        }
        Ok(())
    }

    /// Copies the examined blobs.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        let blobs: Vec<Digest> = std::mem::take(&mut self.blobs).into_iter().collect();
        let sizes = self.to.sizes(blobs.clone()).await?;
        let lacking: Vec<Digest> =
            blobs.into_iter().zip(sizes).filter(|(_, size)| size.is_none()).map(|(blob, _)| blob).collect();
        let jobs = self.jobs(&lacking);
        self.lacking.extend(lacking);
        (self.report)(self.progress);
        let (from, to) = (self.from, self.to);
        let jobs: Vec<BoxFuture<'_, _>> = jobs.into_iter().map(|job| run(job, from, to).boxed()).collect();
        let mut jobs = stream::iter(jobs).buffer_unordered(from.parallel());
        while let Some(copied) = jobs.next().await {
            for (blob, bytes) in copied? {
                self.lacking.remove(&blob);
                self.progress.add(bytes);
            }
            (self.report)(self.progress);
        }
        Ok(())
    }

    /// Plans the copies of missing blobs present in the backup.
    fn jobs(&mut self, lacking: &[Digest]) -> Vec<Job> {
        let (mut jobs, mut batch, mut batch_bytes) = (Vec::new(), Vec::new(), 0_u64);
        for blob in lacking {
            let Some(size) = self.present.get(&Key::Blob(*blob)).copied() else { continue };
            self.progress.expect(size);
            if size > SMALL_BYTES_MAX {
                jobs.push(Job::Large(Key::Blob(*blob)));
                continue;
            }
            if batch.len() >= BATCH_BLOBS_MAX || batch_bytes.saturating_add(size) > BATCH_BYTES_MAX {
                jobs.push(Job::Batch(std::mem::take(&mut batch)));
                batch_bytes = 0;
            }
            batch_bytes = batch_bytes.saturating_add(size);
            batch.push(*blob);
        }
        if !batch.is_empty() {
            jobs.push(Job::Batch(batch));
        }
        jobs
    }

    /// Copies a manifest missing from the store. Returns false if missing or damaged in the backup, too.
    async fn bring_manifest(&mut self, key: Key) -> Result<bool, Error> {
        if self.to.size(key).await?.is_some() {
            return Ok(true);
        }
        let Some(size) = self.present.get(&key) else { return Ok(false) };
        self.progress.expect(*size);
        let copied = self.from.copy_to(key, self.to).await?;
        match copied {
            Some(bytes) => self.progress.add(bytes),
            None => self.damaged_manifests.push(key),
        }
        (self.report)(self.progress);
        Ok(copied.is_some())
    }

    /// Returns the paths of files needed and damaged in the backup, sorted.
    pub(super) fn damaged(&self) -> Vec<String> {
        let blobs = self.lacking.iter().copied().map(Key::Blob).filter(|key| self.present.contains_key(key));
        let keys: BTreeSet<Key> = blobs.chain(self.damaged_manifests.iter().copied()).collect();
        keys.into_iter().filter_map(Key::path).take(DAMAGED_SHOWN_MAX).collect()
    }

    /// Returns a check of the store after the copy.
    pub(super) fn stored(&self) -> Stored<'_> {
        Stored { to: self.to, lacking: &self.lacking }
    }
}

async fn run(job: Job, from: &dyn BackupStore, to: &dyn Blobs) -> Result<Copied, Error> {
    let batch = match job {
        Job::Large(key) => {
            let (Key::Blob(blob), Some(bytes)) = (key, from.copy_to(key, to).await?) else { return Ok(Vec::new()) };
            return Ok(vec![(blob, bytes)]);
        }
        Job::Batch(batch) => batch,
    };
    let keys: Vec<Key> = batch.iter().copied().map(Key::Blob).collect();
    let read = from.read_all(&keys, SMALL_BYTES_MAX).await?;
    let (mut whole, mut copied): (BTreeMap<Digest, Bytes>, Copied) = Default::default();
    for (blob, bytes) in batch.into_iter().zip(read) {
        if let Some(bytes) = bytes {
            copied.push((blob, u64::try_from(bytes.len()).unwrap_or(u64::MAX)));
            whole.insert(blob, bytes);
        } else if let Some(bytes) = from.copy_to(Key::Blob(blob), to).await? {
            // `copy_to` sets a damaged file aside, and copies a file rewritten meanwhile.
            copied.push((blob, bytes));
        }
    }
    to.put_all(whole).await?;
    Ok(copied)
}

#[async_trait]
impl Look for Fetcher<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        match key {
            Key::Blob(blob) => {
                self.blobs.insert(blob);
                Ok(true)
            }
            Key::Manifest(_) => self.bring_manifest(key).await,
            Key::Variant(..) | Key::Delta(..) => Ok(false),
        }
    }
}

/// Checks for files in a store after a copy, when damaged files are already set aside.
pub(super) struct Stored<'s> {
    to: &'s dyn Blobs,
    lacking: &'s HashSet<Digest>,
}

#[async_trait]
impl Look for Stored<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        match key {
            Key::Blob(blob) => Ok(!self.lacking.contains(&blob)),
            _ => Ok(self.to.size(key).await?.is_some()),
        }
    }
}
