//! Verifies a backup in place, and lists versions with missing files. Each object is read once, and nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::api::DamagedVersion;
use devanture_config::{AppName, Digest};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde::Serialize;

use super::location::Location;
use super::location::{CATALOG, in_snapshot};
use super::progress::{FileProgress, Report};
use super::references::{self, Look, Manifests};
use super::restore::open_catalog;
use super::restore::{BackupParts, find};
use super::store::{self, BackupStore};
use crate::ledger::Error;
use devanture_base::durable;
use devanture_store::blobs::Key;
use devanture_store::catalog::Catalog;
use devanture_store::s3::Variables;

/// Bytes read between two pauses.
const UNPAUSED_BYTES_MAX: u64 = 256 * 1_024;
/// Largest manifest read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 * 1_024 * 1_024;
/// Damaged objects listed by a report.
const OBJECTS_SHOWN_MAX: usize = 10_000;

/// Extent and rate of a backup verification.
#[derive(Debug, Clone, Default)]
pub struct BackupCheck {
    /// Name; the newest backup by default.
    pub name: Option<String>,
    /// Restriction to the versions of one app.
    pub app: Option<AppName>,
    /// Bytes read per second at most.
    pub bytes_per_second_max: u64,
}

/// State of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BackupState {
    /// Name, the time of the backup.
    pub name: String,
    /// Versions.
    pub versions: u64,
    /// Undamaged objects.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions with missing files.
    pub damaged: Vec<DamagedVersion>,
    /// Number of damaged and missing objects.
    pub count: u64,
    /// Their paths in the location, sorted.
    pub objects: Vec<String>,
    /// True if the records were copied from a catalog with a damaged page: a record may differ from its written
    /// content.
    pub catalog_damaged: bool,
}

impl BackupState {
    /// Returns true if a restoration is complete.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.count == 0 && !self.catalog_damaged
    }
}

/// Verifies the newest backup in `from`, or the backup named by `check`. The variables configure the access to a store;
/// by default the variables of the process apply. `report` is called as files are read.
///
/// # Errors
/// `bad_request` for an unknown backup; errors of the disk and of the store, except damage.
pub async fn verify_backup(
    from: &Location,
    variables: &Variables,
    check: &BackupCheck,
    report: Report<'_>,
) -> Result<BackupState, Error> {
    let backup = store::open_to_read(from, variables).await?;
    let (name, description) = find(&*backup, check.name.as_deref()).await?;
    let part = BackupParts { backup: &*backup, name: &name, description: &description };
    let mut reader = Reader {
        backup: &*backup,
        rate: check.bytes_per_second_max.max(1),
        report,
        sizes: backup.sizes().await?,
        progress: FileProgress::default(),
        unpaused_bytes: 0,
        damaged: BTreeSet::new(),
        catalog_damaged: description.catalog_damaged,
    };
    for (file, expected) in description.hashes.iter().filter(|(file, _)| *file != CATALOG) {
        reader.part(&in_snapshot(&name, file), *expected).await?;
    }
    let Some(records) = Records::fetch(&part).await? else {
        reader.damaged.insert(in_snapshot(&name, CATALOG));
        return Ok(reader.state(name, 0, Vec::new()));
    };
    reader.progress.expect(records.bytes);
    reader.progress.add(records.bytes);
    let manifests = ReadManifests { backup: &*backup, read: Mutex::default() };
    let mut noted = Noted::default();
    let mut gone = references::go_through(&*records.catalog, &manifests, check.app.as_ref(), &mut noted).await?;
    let read = manifests.read.into_inner();
    let mut lost: HashSet<Key> = HashSet::new();
    for (key, bytes) in &read {
        reader.count(*key, *bytes, &mut lost).await;
    }
    // Manifests of versions whose names still count are restored, too.
    let others = reader.sizes.keys().filter(|key| matches!(key, Key::Manifest(_)) && !read.contains_key(key));
    let others: Vec<Key> = others.copied().filter(|_| check.app.is_none()).collect();
    reader.read(noted.0.into_iter().map(Key::Blob).chain(others).collect(), &mut lost).await?;
    if !lost.is_empty() {
        let manifests = ReadManifests { backup: &*backup, read: Mutex::default() };
        gone = references::go_through(&*records.catalog, &manifests, check.app.as_ref(), &mut NotAmong(&lost)).await?;
    }
    Ok(reader.state(name, gone.versions, gone.damaged))
}

/// Records of the backup, opened in an unlinked copy.
struct Records {
    catalog: Arc<dyn Catalog>,
    bytes: u64,
}

impl Records {
    /// `None` if damaged or missing in the backup.
    async fn fetch(part: &BackupParts<'_>) -> Result<Option<Self>, Error> {
        if !part.backup.files(part.name).await?.iter().any(|file| file == CATALOG) {
            return Ok(None);
        }
        let folder = std::env::temp_dir().join(format!("devanture-verify-{:016x}", rand::random::<u64>()));
        durable::make_folder(&folder)?;
        let opened = Self::open(part, &folder).await;
        // The records contain hashes of tokens; an open file needs no name.
        durable::remove_folder(&folder)?;
        opened
    }

    async fn open(part: &BackupParts<'_>, folder: &Path) -> Result<Option<Self>, Error> {
        let copy = folder.join(CATALOG);
        part.backup.fetch(&in_snapshot(part.name, CATALOG), &copy).await?;
        if !part.description.is_of(CATALOG, &copy).await? {
            return Ok(None);
        }
        let bytes = std::fs::metadata(&copy).map_err(durable::failed("reading", &copy))?.len();
        Ok(Some(Self { catalog: open_catalog(&copy).await?, bytes }))
    }
}

/// Reads manifests from a backup and records their lengths; `None` if damaged or missing.
struct ReadManifests<'m> {
    backup: &'m dyn BackupStore,
    read: Mutex<BTreeMap<Key, Option<u64>>>,
}

#[async_trait]
impl Manifests for ReadManifests<'_> {
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error> {
        let bytes = match self.backup.read_all(&[key], MANIFEST_BYTES_MAX).await {
            Ok(mut read) => read.pop().flatten(),
            // An unreadable sector counts as damage; an unresponsive store does not.
            Err(error) => match self.backup.check(key).await? {
                Some(_) => return Err(error),
                None => None,
            },
        };
        let length = bytes.as_ref().map(|bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.read.lock().insert(key, length);
        Ok(bytes)
    }
}

/// Records blobs referenced by versions, with manifests read by [`ReadManifests`].
#[derive(Default)]
struct Noted(BTreeSet<Digest>);

#[async_trait]
impl Look for Noted {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        if let Key::Blob(blob) = key {
            self.0.insert(blob);
        }
        Ok(true)
    }

    fn looks_at_derived(&self) -> bool {
        false
    }
}

/// Finds the versions of known lost files.
struct NotAmong<'l>(&'l HashSet<Key>);

#[async_trait]
impl Look for NotAmong<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        Ok(!self.0.contains(&key))
    }

    fn looks_at_derived(&self) -> bool {
        false
    }
}

/// Reads objects, and records damaged objects.
struct Reader<'r> {
    backup: &'r dyn BackupStore,
    rate: u64,
    report: Report<'r>,
    /// Objects of the location, with their lengths.
    sizes: HashMap<Key, u64>,
    progress: FileProgress,
    /// Bytes not yet compensated by a pause: a pause per small file would take longer than reading.
    unpaused_bytes: u64,
    /// Paths of damaged or missing objects.
    damaged: BTreeSet<String>,
    catalog_damaged: bool,
}

impl Reader<'_> {
    /// Verifies a small file of the backup, for example a certificate.
    async fn part(&mut self, path: &str, expected: Digest) -> Result<(), Error> {
        match self.backup.read(path).await? {
            Some(bytes) if Digest::of(&bytes) == expected => {
                let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.progress.expect(bytes);
                self.progress.add(bytes);
            }
            Some(_) | None => drop(self.damaged.insert(path.to_owned())),
        }
        Ok(())
    }

    /// Verifies blobs and manifests, several at a time.
    async fn read(&mut self, keys: Vec<Key>, lost: &mut HashSet<Key>) -> Result<(), Error> {
        for key in &keys {
            self.progress.expect(self.sizes.get(key).copied().unwrap_or_default());
        }
        (self.report)(self.progress);
        let backup = self.backup;
        let checks = stream::iter(keys).map(|key| async move { (key, backup.check(key).await) });
        let mut checks = checks.buffer_unordered(backup.parallel());
        while let Some((key, checked)) = checks.next().await {
            match checked? {
                Some(bytes) => self.done(bytes).await,
                None => self.lose(key, lost),
            }
        }
        Ok(())
    }

    /// Counts a verified object.
    async fn count(&mut self, key: Key, bytes: Option<u64>, lost: &mut HashSet<Key>) {
        match bytes {
            Some(bytes) => {
                self.progress.expect(bytes);
                self.done(bytes).await;
            }
            None => self.lose(key, lost),
        }
    }

    async fn done(&mut self, bytes: u64) {
        self.progress.add(bytes);
        (self.report)(self.progress);
        self.unpaused_bytes = self.unpaused_bytes.saturating_add(bytes);
        if self.unpaused_bytes > UNPAUSED_BYTES_MAX {
            let bytes = std::mem::take(&mut self.unpaused_bytes);
            let micros = bytes.saturating_mul(1_000_000).checked_div(self.rate).unwrap_or_default();
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    fn lose(&mut self, key: Key, lost: &mut HashSet<Key>) {
        self.damaged.extend(key.path());
        lost.insert(key);
    }

    fn state(self, name: String, versions: u64, damaged: Vec<DamagedVersion>) -> BackupState {
        let FileProgress { files, bytes, .. } = self.progress;
        let count = u64::try_from(self.damaged.len()).unwrap_or(u64::MAX);
        let objects = self.damaged.into_iter().take(OBJECTS_SHOWN_MAX).collect();
        let catalog_damaged = self.catalog_damaged;
        BackupState { name, versions, files, bytes, damaged, count, objects, catalog_damaged }
    }
}
