//! Restores a backup into a data folder without a catalog: files first, records last. No edge starts before the records
//! are present, and an interrupted restoration starts again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_base::durable;
use devanture_config::Digest;
use devanture_config::api::{DamagedVersion, VerifyReport};
use devanture_config::problem::{Code, Problem};
use devanture_store::blobs::{Blobs, Key};
use devanture_store::catalog::Catalog;
use devanture_store::s3::Variables;
use devanture_store::{blobs, catalog};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::location::{BackupDescription, CATALOG, KEYS, Location, TLS, bad, in_snapshot, not_read};
use super::progress::{FileProgress, Report, unreported};
use super::references::Look;
use super::store::BackupStore;
use super::verify::{Found, VerifyOptions, look_through};
use super::{references, store};
use crate::ledger::{Error, lost};

/// Records while their files are copied.
const RESTORING: &str = "restoring.redb";
/// Suffix of an unverified file.
const UNCHECKED: &str = ".unchecked";

/// Restored backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name, the time of the backup.
    pub name: String,
    /// Versions.
    pub versions: u64,
    /// Written files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions with files missing from the backup.
    pub damaged: Vec<DamagedVersion>,
    /// True if the keys that encrypt secrets were written; false if the key file exists, or the backup has no keys.
    pub keys: bool,
    /// True if the records were copied from a catalog with a damaged page: a record may differ from its written
    /// content.
    pub catalog_damaged: bool,
}

/// Restores the newest backup in `from`, or the backup `name`, into the folder `data_dir`. The variables configure the
/// access to a store; by default the variables of the process apply. `report` is called as files are copied.
///
/// # Errors
/// `bad_request` for an unknown backup, or a folder with a catalog; errors of the disk and of the store.
pub async fn restore(
    from: &Location,
    variables: &Variables,
    name: Option<&str>,
    data_dir: &Path,
    key_file: Option<&Path>,
    report: Report<'_>,
) -> Result<Restored, Error> {
    let restored = restore_into(from, variables, name, data_dir, key_file, report).await;
    restored.map_err(|error| match error {
        // The general hints about pushes and deletions by an edge do not apply here.
        Error(problem) if problem.code == Code::DiskFull => {
            let detail = format!("No room is left in {} for what the backup has.", data_dir.display());
            let hint = "make room on its disk, or name another folder in edge.toml, then restore again: files that are \
                        there are not copied again";
            Problem::new(Code::DiskFull, detail).hint(hint).into()
        }
        other => other,
    })
}

async fn restore_into(
    from: &Location,
    variables: &Variables,
    name: Option<&str>,
    data_dir: &Path,
    key_file: Option<&Path>,
    report: Report<'_>,
) -> Result<Restored, Error> {
    let backup = store::open_to_read(from, variables).await?;
    let (name, description) = find(&*backup, name).await?;
    if data_dir.join(CATALOG).exists() {
        let detail = format!("{} has a catalog already.", data_dir.display());
        return Err(bad(detail, "restore into an empty folder: move this one away first"));
    }
    durable::make_folder(data_dir)?;
    // The lock of the future catalog prevents the start of an edge meanwhile.
    let _lock = durable::lock(&data_dir.join(CATALOG).with_extension("lock"))?
        .map_err(|_holder| bad(format!("Another process has {} open.", data_dir.display()), "stop it first"))?;
    let records = data_dir.join(RESTORING);
    durable::remove_file(&records)?;
    let part = BackupParts { backup: &*backup, name: &name, description: &description };
    part.fetch(CATALOG, &records).await?;
    let blobs = open_blobs(data_dir).await?;
    let catalog = open_catalog(&records).await?;
    let mut fetcher = BackupFetcher::new(&*backup, &*blobs, report).await?;
    references::go_through(&*catalog, &*blobs, None, &mut fetcher).await?;
    fetcher.all_manifests().await?;
    fetcher.finish().await?;
    let gone = references::go_through(&*catalog, &*blobs, None, &mut fetcher.stored()).await?;
    drop(catalog);
    durable::remove_file(&records.with_extension("lock"))?;
    let keys = part.fetch_all(data_dir, key_file).await?;
    durable::move_file(&records, &data_dir.join(CATALOG))?;
    let FileProgress { files, bytes, .. } = fetcher.progress();
    let catalog_damaged = description.catalog_damaged;
    Ok(Restored { name, versions: gone.versions, files, bytes, damaged: gone.damaged, keys, catalog_damaged })
}

/// Returns the named or the newest backup, with its description.
pub(super) async fn find(backup: &dyn BackupStore, name: Option<&str>) -> Result<(String, BackupDescription), Error> {
    let found = match name {
        None => newest(backup).await?,
        Some(name) if name.contains('/') => None,
        Some(name) => store::description(backup, name).await?.map(|description| (name.to_owned(), description)),
    };
    let missing = || {
        let detail = format!("{} does not hold the backup {}.", backup.shown(), name.unwrap_or_default());
        bad(detail, "its folder `snapshots` lists those that it holds")
    };
    found.ok_or_else(missing)
}

/// Returns the newest backup. An unreadable newest backup is not silently replaced by an older backup, which would lose
/// later changes.
async fn newest(backup: &dyn BackupStore) -> Result<Option<(String, BackupDescription)>, Error> {
    let mut finished = store::finished(backup).await?;
    let Some(newest) = finished.pop() else { return Ok(None) };
    match newest.description {
        Ok(description) => Ok(Some((newest.name, description))),
        Err(Error(mut problem)) => {
            let earlier = finished.iter().rev().find(|earlier| earlier.description.is_ok());
            let next = earlier.map_or_else(
                || "no other one there can be read".to_owned(),
                |earlier| format!("`--at {}` takes the newest one that can be read", earlier.name),
            );
            problem.hint = Some(problem.hint.take().into_iter().chain([next]).collect::<Vec<_>>().join("; "));
            Err(Error(problem))
        }
    }
}

/// Files of one backup.
pub(super) struct BackupParts<'p> {
    pub(super) backup: &'p dyn BackupStore,
    pub(super) name: &'p str,
    pub(super) description: &'p BackupDescription,
}

impl BackupParts<'_> {
    /// Copies a file. A file that differs from the description gets no final name, and is deleted.
    async fn fetch(&self, file: &str, to: &Path) -> Result<(), Error> {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(UNCHECKED);
        let unchecked = to.with_file_name(name);
        let mut fetched = self.backup.fetch(&in_snapshot(self.name, file), &unchecked).await;
        if fetched.is_ok() {
            fetched = self.description.check(self.name, file, &unchecked).await;
        }
        if fetched.is_ok() {
            fetched = durable::move_file(&unchecked, to).map(drop).map_err(Error::from);
        }
        if fetched.is_err() {
            drop(durable::remove_file(&unchecked));
        }
        fetched
    }

    /// Copies the certificates, and the keys unless `key_file` exists. Returns true if the keys were copied.
    async fn fetch_all(&self, data_dir: &Path, key_file: Option<&Path>) -> Result<bool, Error> {
        let mut keys = false;
        // A link in place of the folder would redirect the writes.
        durable::Guarded::open(data_dir)?.files(TLS).map_err(not_read)?;
        for file in self.backup.files(self.name).await? {
            if file == KEYS {
                if let Some(to) = key_file.filter(|to| !to.exists()) {
                    self.fetch(&file, to).await?;
                    keys = true;
                }
            } else if file.strip_prefix(TLS).is_some_and(|rest| rest.starts_with('/')) && !file.contains("..") {
                self.fetch(&file, &data_dir.join(&file)).await?;
            }
        }
        Ok(keys)
    }
}

// Copies files of a backup into the store of an edge, small files in batches to share syncs of the disk.

/// Largest blob copied in a batch, and held in memory meanwhile.
const SMALL_BYTES_MAX: u64 = 2 * 1_024 * 1_024;
/// Blobs per batch …
const BATCH_BLOBS_MAX: usize = 512;
/// … and their bytes, held by each running batch.
const BATCH_BYTES_MAX: u64 = 8 * 1_024 * 1_024;
/// Damaged backup files listed by a report.
const DAMAGED_SHOWN_MAX: usize = 10_000;

/// Copies examined files missing from the store: manifests at once, blobs in [`BackupFetcher::finish`].
pub(super) struct BackupFetcher<'f> {
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
enum FetchJob {
    Batch(Vec<Digest>),
    Large(Key),
}

/// Copied blobs with their lengths.
type FetchedBlobs = Vec<(Digest, u64)>;

impl<'f> BackupFetcher<'f> {
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
    fn jobs(&mut self, lacking: &[Digest]) -> Vec<FetchJob> {
        let (mut jobs, mut batch, mut batch_bytes) = (Vec::new(), Vec::new(), 0_u64);
        for blob in lacking {
            let Some(size) = self.present.get(&Key::Blob(*blob)).copied() else { continue };
            self.progress.expect(size);
            if size > SMALL_BYTES_MAX {
                jobs.push(FetchJob::Large(Key::Blob(*blob)));
                continue;
            }
            if batch.len() >= BATCH_BLOBS_MAX || batch_bytes.saturating_add(size) > BATCH_BYTES_MAX {
                jobs.push(FetchJob::Batch(std::mem::take(&mut batch)));
                batch_bytes = 0;
            }
            batch_bytes = batch_bytes.saturating_add(size);
            batch.push(*blob);
        }
        if !batch.is_empty() {
            jobs.push(FetchJob::Batch(batch));
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
    pub(super) fn stored(&self) -> StoredFilesOf<'_> {
        StoredFilesOf { to: self.to, lacking: &self.lacking }
    }
}

async fn run(job: FetchJob, from: &dyn BackupStore, to: &dyn Blobs) -> Result<FetchedBlobs, Error> {
    let batch = match job {
        FetchJob::Large(key) => {
            let (Key::Blob(blob), Some(bytes)) = (key, from.copy_to(key, to).await?) else { return Ok(Vec::new()) };
            return Ok(vec![(blob, bytes)]);
        }
        FetchJob::Batch(batch) => batch,
    };
    let keys: Vec<Key> = batch.iter().copied().map(Key::Blob).collect();
    let read = from.read_all(&keys, SMALL_BYTES_MAX).await?;
    let (mut whole, mut copied): (BTreeMap<Digest, Bytes>, FetchedBlobs) = Default::default();
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
impl Look for BackupFetcher<'_> {
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
pub(super) struct StoredFilesOf<'s> {
    to: &'s dyn Blobs,
    lacking: &'s HashSet<Digest>,
}

#[async_trait]
impl Look for StoredFilesOf<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        match key {
            Key::Blob(blob) => Ok(!self.lacking.contains(&blob)),
            _ => Ok(self.to.size(key).await?.is_some()),
        }
    }
}

// Repairs stored files: replaces damaged or missing files from a backup.

/// Reads all files as [`verify`](super::verify) does, restores bucket objects lost or changed from the local copy,
/// takes damaged or missing files from the backups in `from`, if given, and reports the remaining damage.
///
/// # Errors
/// Errors of a store; `bad_request` if `from` has no backup.
pub async fn repair(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
    from: Option<(&Location, &Variables)>,
) -> Result<VerifyReport, Error> {
    // A missing backup must be reported even without damage.
    let backup = match from {
        Some((from, variables)) => Some(store::open_to_read(from, variables).await?),
        None => None,
    };
    let Found { mut report, lost } = look_through(catalog, blobs, options).await?;
    for key in lost {
        // Another node may have won the race.
        if blobs.mend(key, options.bucket_rate()).await? {
            report.repaired = report.repaired.saturating_add(1);
        }
    }
    let Some(backup) = backup.filter(|_| !report.damaged.is_empty()) else { return Ok(report) };
    blobs.make_folders().await?;
    let mut fetcher = BackupFetcher::new(&*backup, blobs, &unreported).await?;
    references::go_through(catalog, blobs, options.app.as_ref(), &mut fetcher).await?;
    fetcher.finish().await?;
    let gone = references::go_through(catalog, blobs, options.app.as_ref(), &mut fetcher.stored()).await?;
    report.damaged = gone.damaged;
    report.damaged_in_backup = fetcher.damaged();
    report.repaired = report.repaired.saturating_add(fetcher.progress().files);
    Ok(report)
}

// Opens the stores of a backup and of a restored data folder; files are read on blocking threads.

pub(super) async fn open_blobs(folder: &Path) -> Result<Arc<dyn Blobs>, Error> {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || blobs::open(folder)).await;
    Ok(opened.map_err(|error| lost(&error))??)
}

pub(super) async fn open_catalog(path: &Path) -> Result<Arc<dyn Catalog>, Error> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || catalog::open(&path)).await;
    Ok(opened.map_err(|error| lost(&error))??)
}
