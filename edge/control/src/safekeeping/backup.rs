//! Writes a backup while the edge serves: first the records of one moment, then their referenced files. Collections are
//! blocked meanwhile, so that all files stay present.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use devanture_base::{clock, durable};
use devanture_config::Digest;
use devanture_config::api::{BackupReport, BackupRequest};
use devanture_config::text::date_time;
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::catalog::Catalog;
use devanture_store::records::sent;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::location::{
    BackupDescription, CATALOG, DESCRIPTION, KEYS, LOCK, Location, SMALL_FILE_BYTES_MAX, TLS, bad, hash_of,
    in_snapshot, is_manifest, not_read,
};
use super::references::{Look, Manifests};
use super::restore::open_catalog;
use super::store::{BackupStore, Finished};
use super::verify::pages_of;
use super::{references, store};
use crate::ledger::{ACME_PREFIX, Error};

/// Folder in the data folder for the parts of a backup while written.
const WORK: &str = "backup";
/// Records left out: upload journals, useless without the files of running pushes, and certificates shared by nodes,
/// which a standalone edge keeps in files.
const LEFT_OUT: &[&str] = &[sent::SENT_PREFIX, ACME_PREFIX];
/// Last second with a name of the same form, since 1970 UTC: the end of the year 9999.
const END_S: u64 = 253_402_300_799;

/// Sources of a backup.
pub struct BackupSource<'b> {
    /// Records.
    pub catalog: &'b dyn Catalog,
    /// Files.
    pub blobs: &'b dyn Blobs,
    /// Data folder.
    pub data_dir: &'b Path,
    /// File of the keys that encrypt secrets.
    pub key_file: Option<&'b Path>,
}

/// Writes a backup to a location that may hold earlier backups, whose files are not copied again. The caller blocks
/// collections meanwhile.
///
/// # Errors
/// `bad_request` for an unsuitable location, or during another backup; `disk_full`; errors of the store. Earlier
/// backups stay unchanged.
pub async fn back_up(source: &BackupSource<'_>, request: &BackupRequest) -> Result<BackupReport, Error> {
    let location = Location::of(&request.to);
    let work = WorkFolder::begin(source.data_dir)?;
    let store = store::open_to_write(&location, &request.variables, source.data_dir).await?;
    let held = store.lock().await?;
    let result = back_up_to(source, request, &*store, &work.folder).await;
    held.release().await;
    result
}

/// Writes a backup to a locked location.
async fn back_up_to(
    source: &BackupSource<'_>,
    request: &BackupRequest,
    store: &dyn BackupStore,
    work: &Path,
) -> Result<BackupReport, Error> {
    let earlier = remove_incomplete(store).await?;
    let names: Vec<String> = earlier.iter().map(|earlier| earlier.name.clone()).collect();
    let at_ms = clock::now_ms();
    let name = free_name(&names, at_ms);
    let written = write(source, store, work, &name, at_ms, request.with_key).await;
    if written.is_err() {
        drop(store.remove_snapshot(&name).await);
    }
    let mut report = written?;
    // Earlier backups may be the last undamaged ones.
    if let Some(keep) = request.keep.filter(|_| !report.catalog.is_damaged()) {
        let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
        let PrunedBackups { removed, unreadable } = prune(store, source.blobs, work, keep).await?;
        (report.removed, report.unreadable) = (removed, unreadable.into_iter().collect());
    }
    let without_description = earlier.into_iter().filter(|earlier| earlier.description.is_err());
    report.unreadable.extend(without_description.map(|earlier| earlier.name));
    report.unreadable.retain(|name| !report.removed.contains(name));
    report.unreadable.sort();
    report.unreadable.dedup();
    Ok(report)
}

/// Work folder of a backup, deleted on drop; one per data folder at a time.
struct WorkFolder {
    folder: PathBuf,
    _lock: durable::Lock,
}

impl WorkFolder {
    fn begin(data_dir: &Path) -> Result<Self, Error> {
        let lock = durable::lock(&data_dir.join(LOCK))?
            .map_err(|_holder| bad("Another backup of this edge is being written.", "try again when it has ended"))?;
        let folder = data_dir.join(WORK);
        // Leftovers of a killed process.
        durable::remove_folder(&folder)?;
        durable::make_folder(&folder)?;
        Ok(Self { folder, _lock: lock })
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        drop(durable::remove_folder(&self.folder));
    }
}

/// Deletes incomplete backups, and returns the complete backups. An unreadable backup stays, and does not block a new
/// backup, which its operator then needs most.
async fn remove_incomplete(store: &dyn BackupStore) -> Result<Vec<Finished>, Error> {
    let names = store.snapshots().await?;
    let finished = store::finished(store).await?;
    for name in names {
        if !finished.iter().any(|finished| finished.name == name) {
            store.remove_snapshot(&name).await?;
        }
    }
    for Finished { name, description } in &finished {
        if let Err(error) = description {
            tracing::warn!(backup = name, %error, "an earlier backup cannot be read; it stays as it is");
        }
    }
    Ok(finished)
}

/// Returns the name of a new backup: its time, for example `20260131T120000Z`, or one second after the newest backup if
/// later. So `restore` and `--keep` choose the last written backups, whatever the clock was.
fn free_name(names: &[String], at_ms: u64) -> String {
    let name = name_of(at_ms / 1_000);
    let newest = names.iter().max().filter(|newest| name <= **newest);
    let Some(newest) = newest else { return name };
    // After a fast clock, or within the same second: names keep the order of writing.
    let (mut too_early_s, mut late_s) = (at_ms / 1_000, END_S);
    while late_s - too_early_s > 1 {
        let middle_s = too_early_s.midpoint(late_s);
        if name_of(middle_s) > *newest { late_s = middle_s } else { too_early_s = middle_s }
    }
    let name = name_of(late_s);
    if name > *newest && !names.contains(&name) { name } else { format!("{newest}-2") }
}

/// Returns the name of a backup begun at the second `at_s` after 1970 UTC.
fn name_of(at_s: u64) -> String {
    let digits: String = date_time(at_s.saturating_mul(1_000)).chars().filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    format!("{date}T{time}Z")
}

async fn write(
    source: &BackupSource<'_>,
    store: &dyn BackupStore,
    work: &Path,
    name: &str,
    at_ms: u64,
    with_key: bool,
) -> Result<BackupReport, Error> {
    // The copy gets fresh checksums, so only the catalog itself can reveal damage.
    let pages = pages_of(source.catalog, u64::MAX).await?;
    let records = work.join(CATALOG);
    let revision = source.catalog.copy_to(&records, LEFT_OUT).await?;
    // The edge's user may have replaced the file meanwhile, for example by a pipe that would block root.
    drop(durable::open_file(&records).map_err(durable::failed("opening", &records)).map_err(not_read)?);
    let copied = open_catalog(&records).await?;
    let mut copier = Copier::new(source.blobs, store).await?;
    let mut gone = references::go_through(&*copied, source.blobs, None, &mut copier).await?;
    // Includes manifests of versions whose names still count, although their files are gone.
    for first in 0..=u8::MAX {
        for (key, ..) in source.blobs.list_part(first).await?.into_iter().filter(|(key, ..)| is_manifest(*key)) {
            copier.begin(key).await?;
        }
    }
    if copier.finish().await? {
        // After files were found damaged during the copy.
        gone = references::go_through(&*copied, source.blobs, None, &mut copier).await?;
    }
    drop(copied);
    store.store(&in_snapshot(name, CATALOG), &records).await?;
    let mut hashes = BTreeMap::from([(CATALOG.to_owned(), hash_of(&records).await?)]);
    let key = source.key_file.filter(|_| with_key).filter(|key| is_there(key));
    // The folder is controlled by the edge's user, while root may write the backup.
    let data = durable::Guarded::open(source.data_dir)?;
    for file in data.files(TLS).map_err(not_read)?.into_iter().chain(key.map(|_key| KEYS.to_owned())) {
        let bytes = Bytes::from(match key.filter(|_key| file == KEYS) {
            Some(key) => read_keys(key, source.data_dir, &data)?,
            None => data.read(&file, SMALL_FILE_BYTES_MAX).map_err(not_read)?,
        });
        hashes.insert(file.clone(), Digest::of(&bytes));
        store.write(&in_snapshot(name, &file), bytes).await?;
    }
    let files = u64::try_from(copier.looked.len()).unwrap_or(u64::MAX);
    let description = BackupDescription {
        catalog_damaged: pages.is_damaged(),
        ..BackupDescription::new(at_ms, revision, gone.versions, files, hashes)
    };
    // The description completes the backup.
    store.write(&in_snapshot(name, DESCRIPTION), description.to_bytes()).await?;
    Ok(BackupReport {
        name: name.to_owned(),
        revision,
        versions: gone.versions,
        files,
        copied_files: copier.copied_files,
        copied_bytes: copier.copied_bytes,
        damaged: gone.damaged,
        unreadable: Vec::new(),
        removed: Vec::new(),
        with_key: key.is_some(),
        catalog: pages,
    })
}

/// Returns true if a file exists, even as a dangling link: an unreadable file must not be omitted silently.
fn is_there(key: &Path) -> bool {
    !key.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Reads the keys that encrypt secrets. In the data folder, the edge's user may have replaced the file by a link.
fn read_keys(key: &Path, data_dir: &Path, data: &durable::Guarded) -> Result<Vec<u8>, Error> {
    match in_folder(key, data_dir).as_deref().and_then(Path::to_str) {
        Some(name) => data.read(name, SMALL_FILE_BYTES_MAX).map_err(not_read),
        None => Ok(std::fs::read(key).map_err(durable::failed("reading", key))?),
    }
}

/// Returns the path of a file within a folder, also through links. `None` for a file outside.
fn in_folder(file: &Path, folder: &Path) -> Option<PathBuf> {
    let has_detours = |path: &Path| path.components().any(|part| part == Component::ParentDir);
    if let Some(within) = file.strip_prefix(folder).ok().filter(|within| !has_detours(within)) {
        return Some(within.to_owned());
    }
    let holder = file.parent()?.canonicalize().ok()?;
    let within = holder.strip_prefix(folder.canonicalize().ok()?).ok()?;
    Some(within.join(file.file_name()?))
}

/// Copied file with its length; `None` for a damaged file.
type CopiedFile = (Key, Option<u64>);

/// Copies files to a backup location, several at a time.
struct Copier<'c> {
    from: &'c dyn Blobs,
    to: &'c dyn BackupStore,
    /// Files present or being copied.
    present: HashSet<Key>,
    /// Files examined and present.
    looked: HashSet<Key>,
    under_way: FuturesUnordered<BoxFuture<'c, Result<CopiedFile, Error>>>,
    /// Files found damaged during the copy.
    damaged: HashSet<Key>,
    copied_files: u64,
    copied_bytes: u64,
}

impl<'c> Copier<'c> {
    async fn new(from: &'c dyn Blobs, to: &'c dyn BackupStore) -> Result<Self, Error> {
        Ok(Self {
            from,
            to,
            present: to.keys().await?,
            looked: HashSet::new(),
            under_way: FuturesUnordered::new(),
            damaged: HashSet::new(),
            copied_files: 0,
            copied_bytes: 0,
        })
    }

    /// Starts the copy of a file, unless present. Returns false if the local file is missing or damaged.
    async fn begin(&mut self, key: Key) -> Result<bool, Error> {
        if self.present.contains(&key) {
            return Ok(true);
        }
        if self.damaged.contains(&key) {
            return Ok(false);
        }
        let file = match self.from.open(key).await {
            Ok(file) => file,
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => return Ok(false),
            Err(error) => return Err(not_read(error)),
        };
        while self.under_way.len() >= self.to.parallel() {
            self.wait().await?;
        }
        let to = self.to;
        self.present.insert(key);
        self.under_way.push(Box::pin(async move { Ok((key, to.put(key, file).await?)) }));
        Ok(true)
    }

    /// Waits for a copy. Returns false if none is running.
    async fn wait(&mut self) -> Result<bool, Error> {
        let Some((key, copied)) = self.under_way.next().await.transpose()? else { return Ok(false) };
        if let Some(bytes) = copied {
            // Manifests without a version are copied too, but not counted.
            if self.looked.contains(&key) {
                self.copied_files = self.copied_files.saturating_add(1);
                self.copied_bytes = self.copied_bytes.saturating_add(bytes);
            }
        } else {
            self.present.remove(&key);
            self.looked.remove(&key);
            self.damaged.insert(key);
        }
        Ok(true)
    }

    /// Waits for all running copies. Returns true if a file was found damaged.
    async fn finish(&mut self) -> Result<bool, Error> {
        while self.wait().await? {}
        Ok(!self.damaged.is_empty())
    }
}

#[async_trait]
impl Look for Copier<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        let is_there = self.begin(key).await?;
        if is_there {
            self.looked.insert(key);
        }
        Ok(is_there)
    }
}

// Deletes the oldest backups, and the files referenced by no other backup.

/// Result of deleting the oldest backups.
#[derive(Default)]
pub(super) struct PrunedBackups {
    /// Names of the deleted backups.
    pub(super) removed: Vec<String>,
    /// Name of an unreadable backup that prevented all deletions.
    pub(super) unreadable: Option<String>,
}

/// Deletes the oldest readable backups beyond `keep`. The records of the remaining backups are read in the folder
/// `work`. Unknown references of a remaining backup prevent all deletions.
pub(super) async fn prune(
    store: &dyn BackupStore,
    local: &dyn Blobs,
    work: &Path,
    keep: usize,
) -> Result<PrunedBackups, Error> {
    let all = store::finished(store).await?;
    let mut newest = all.iter().enumerate().rev().filter(|(_, one)| one.description.is_ok());
    let first_kept = newest.nth(keep.saturating_sub(1)).map_or(0, |(index, _)| index);
    let (old, kept) = all.split_at(first_kept);
    if old.is_empty() {
        return Ok(PrunedBackups::default());
    }
    let mut marker = ReferencedKeys(HashSet::new());
    for one in kept {
        if let Err(reason) = mark(&EitherStore { local, store }, one, work, &mut marker).await? {
            tracing::warn!(backup = one.name, reason, "no earlier backup is removed, as one that stays cannot be read");
            return Ok(PrunedBackups { removed: Vec::new(), unreadable: Some(one.name.clone()) });
        }
    }
    let old: Vec<String> = old.iter().map(|old| old.name.clone()).collect();
    for name in &old {
        store.remove_snapshot(name).await?;
    }
    let keys = store.keys().await?;
    let unreferenced = keys.into_iter().filter(|key| !is_manifest(*key) && !marker.0.contains(key));
    store.remove(unreferenced.collect()).await?;
    Ok(PrunedBackups { removed: old, unreadable: None })
}

/// Marks the references of a backup, or returns the reason for unknown references, whose files would otherwise be
/// deleted.
async fn mark(
    stores: &EitherStore<'_>,
    backup: &Finished,
    work: &Path,
    marker: &mut ReferencedKeys,
) -> Result<Result<(), &'static str>, Error> {
    let Ok(description) = &backup.description else { return Ok(Err("its snapshot.json is damaged")) };
    let records = work.join(CATALOG);
    durable::remove_file(&records)?;
    stores.store.fetch(&in_snapshot(&backup.name, CATALOG), &records).await?;
    if !description.is_of(CATALOG, &records).await? {
        return Ok(Err("its records are damaged"));
    }
    let catalog = open_catalog(&records).await?;
    let gone = references::go_through(&*catalog, stores, None, marker).await?;
    Ok(match gone.damaged.iter().any(|damaged| damaged.manifest) {
        true => Err("a manifest of it is damaged or missing"),
        false => Ok(()),
    })
}

/// Manifests, equal in both stores: read from the edge's store, which is near, or else beside the backups.
struct EitherStore<'s> {
    local: &'s dyn Blobs,
    store: &'s dyn BackupStore,
}

#[async_trait]
impl Manifests for EitherStore<'_> {
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error> {
        match self.local.get(key).await {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(path) = key.path() else { return Ok(None) };
        let read = self.store.read(&path).await?;
        Ok(read.filter(|bytes| Key::Manifest(Digest::of(bytes)) == key))
    }
}

/// Records references.
struct ReferencedKeys(HashSet<Key>);

#[async_trait]
impl Look for ReferencedKeys {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        self.0.insert(key);
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
mod tests {
    use devanture_store::records::table::TABLE;

    use super::*;

    #[test]
    fn a_backup_leaves_out_what_the_table_of_records_says() {
        for kind in TABLE {
            let is_left_out = LEFT_OUT.iter().any(|prefix| kind.key.starts_with(prefix));
            assert_eq!(kind.in_backups, !is_left_out, "{}", kind.key);
        }
    }

    #[test]
    fn the_names_of_backups_are_in_the_order_in_which_they_were_written_whatever_the_clock_was() {
        const NOON_MS: u64 = 1_769_860_800_000;
        let mut names: Vec<String> = Vec::new();
        for (at_ms, expected) in [
            (NOON_MS, "20260131T120000Z"),
            (NOON_MS + 500, "20260131T120001Z"),
            (NOON_MS + 10_000, "20260131T120010Z"),
            (NOON_MS + 10 * 365 * 86_400_000, "20360129T120000Z"),
            (NOON_MS + 60_000, "20360129T120001Z"),
            (NOON_MS + 86_400_000, "20360129T120002Z"),
            (0, "20360129T120003Z"),
        ] {
            let name = free_name(&names, at_ms);
            names.push(name.clone());
            assert_eq!(name, expected);
            assert!(names.is_sorted());
        }
        for newest in ["99991231T235959Z", "20260131T120000Z-2", "zzz"] {
            assert!(*free_name(&[newest.to_owned()], NOON_MS) > *newest, "{newest}");
        }
    }

    #[test]
    fn a_file_is_in_a_folder_by_whichever_path_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (data, other) = (root.path().join("data"), root.path().join("other"));
        for folder in [&data, &data.join("keys"), &other] {
            std::fs::create_dir(folder).unwrap();
        }
        std::os::unix::fs::symlink(&data, other.join("link")).unwrap();
        for (file, expected) in [
            (data.join("secrets.key"), Some("secrets.key")),
            (data.join("keys/secrets.key"), Some("keys/secrets.key")),
            (other.join("../data/secrets.key"), Some("secrets.key")),
            (other.join("link/keys/secrets.key"), Some("keys/secrets.key")),
            (data.join("../data/secrets.key"), Some("secrets.key")),
            (data.join("../other/secrets.key"), None),
            (other.join("secrets.key"), None),
            (root.path().join("none/secrets.key"), None),
        ] {
            assert_eq!(in_folder(&file, &data).as_deref(), expected.map(Path::new), "{}", file.display());
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_something() {
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("secrets.key");
        assert!(!is_there(&key));
        std::os::unix::fs::symlink(root.path().join("none"), &key).unwrap();
        assert!(is_there(&key));
    }
}
