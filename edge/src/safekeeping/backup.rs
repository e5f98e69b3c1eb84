//! Writes a backup while the edge serves: first the records of one moment, then what they refer to. No collection runs
//! meanwhile, so that all of it is still there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use devanture_config::api::{BackupReport, BackupRequest};
use devanture_config::text::date_time;

use super::folder::{self, CATALOG, Description, FILE_MODE, KEYS, SNAPSHOTS, TLS, bad};
use super::references::{self, Look};
use crate::blobs::{self, Blobs, Key, durable};
use crate::catalog::{self, Catalog, sent};
use crate::ledger::{Error, lost};
use crate::telemetry;

/// The lock of the folder: one backup at a time.
const LOCK: &str = "backup.lock";
/// Records that say nothing without the files of pushes that are under way.
const LEFT_OUT: &[&str] = &[sent::SENT_PREFIX];

/// What a backup is made of.
pub struct BackupSource<'b> {
    /// The records.
    pub catalog: &'b dyn Catalog,
    /// The files.
    pub blobs: &'b dyn Blobs,
    /// The data folder.
    pub data_dir: &'b Path,
    /// The file of the keys that seal secrets.
    pub key_file: Option<&'b Path>,
}

/// Writes a backup into a folder, which may hold earlier ones: files that are there already are not copied again. The
/// caller keeps collections from running meanwhile.
///
/// # Errors
/// `bad_request` where the folder cannot be one of backups, `busy` while another backup is written to it, `disk_full`;
/// earlier backups stay as they are.
pub async fn back_up(source: &BackupSource<'_>, request: &BackupRequest) -> Result<BackupReport, Error> {
    let to = PathBuf::from(&request.to);
    check_folder(&to, source.data_dir)?;
    let unusable = |error| unusable(&to, error);
    durable::make_folder(&to).map_err(unusable)?;
    let _lock = durable::lock(&to.join(LOCK)).map_err(unusable)?.map_err(|_holder| {
        bad(format!("Another backup is being written to {}.", to.display()), "try again when it has ended")
    })?;
    remove_incomplete(&to)?;
    let at_ms = telemetry::now_ms();
    let snapshot = free_name(&to.join(SNAPSHOTS), at_ms);
    durable::make_folder(&snapshot).map_err(unusable)?;
    let written = write(source, &to, &snapshot, at_ms, request.with_key).await;
    if written.is_err() {
        drop(durable::remove_folder(&snapshot));
    }
    let mut report = written?;
    if let Some(keep) = request.keep {
        report.removed = prune(&to, usize::try_from(keep.max(1)).unwrap_or(usize::MAX)).await?;
    }
    Ok(report)
}

/// The folder cannot hold backups: its name is one of a file, or the edge may not write there.
fn unusable(to: &Path, error: blobs::Error) -> Error {
    match error {
        blobs::Error::Io { .. } => bad(
            format!("Backups cannot be written to {}: {error}.", to.display()),
            "name a folder that the user of the edge may write to",
        ),
        other => other.into(),
    }
}

fn check_folder(to: &Path, data_dir: &Path) -> Result<(), Error> {
    let shown = to.display();
    if !to.is_absolute() {
        return Err(bad(format!("{shown} is not the path of a folder from the root on."), "name it in full"));
    }
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (folder, data) = (real(to), real(data_dir));
    if folder.starts_with(&data) || data.starts_with(&folder) {
        let detail = format!("{shown} and the data folder lie in each other.");
        return Err(bad(detail, "name a folder elsewhere, best on another disk"));
    }
    if to.join(CATALOG).exists() {
        return Err(bad(format!("{shown} is the data folder of an edge."), "name another folder"));
    }
    Ok(())
}

/// Removes what backups left that did not come to their end.
fn remove_incomplete(to: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(to.join(SNAPSHOTS)).into_iter().flatten().flatten() {
        if Description::read(&entry.path())?.is_none() {
            durable::remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

/// The folder of a new backup: its time, such as `20260131T120000Z`, and a number where there is one of that second.
fn free_name(snapshots: &Path, at_ms: u64) -> PathBuf {
    let digits: String = date_time(at_ms).chars().filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    let name = format!("{date}T{time}Z");
    let numbered = (2_u32..).map(|number| snapshots.join(format!("{name}-{number}")));
    std::iter::once(snapshots.join(&name)).chain(numbered).find(|path| !path.exists()).unwrap_or_default()
}

async fn write(
    source: &BackupSource<'_>,
    to: &Path,
    snapshot: &Path,
    at_ms: u64,
    with_key: bool,
) -> Result<BackupReport, Error> {
    let target = open_store(to).await?;
    let records = snapshot.join(CATALOG);
    let revision = source.catalog.copy_to(&records, LEFT_OUT).await?;
    let copied = open_catalog(&records).await?;
    let mut copier = Copier { from: source.blobs, to: &*target, files: 0, copied_files: 0, copied_bytes: 0 };
    let gone = references::go_through(&*copied, source.blobs, None, &mut copier).await?;
    // Also those of versions whose names still count, although their files are gone.
    for first in 0..=u8::MAX {
        for (key, ..) in source.blobs.list_part(first).await?.into_iter().filter(|(key, ..)| is_manifest(*key)) {
            if target.size(key).await?.is_none() {
                copier.look(key).await?;
            }
        }
    }
    drop(copied);
    durable::remove_file(&records.with_extension("lock"))?;
    copy_folder(&source.data_dir.join(TLS), &snapshot.join(TLS))?;
    let key = source.key_file.filter(|_| with_key).filter(|key| key.exists());
    if let Some(key) = key {
        copy_file(key, &snapshot.join(KEYS))?;
    }
    Description::new(at_ms, revision, gone.versions, copier.files).write(snapshot)?;
    Ok(BackupReport {
        name: snapshot.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        revision,
        versions: gone.versions,
        files: copier.files,
        copied_files: copier.copied_files,
        copied_bytes: copier.copied_bytes,
        damaged: gone.damaged,
        removed: Vec::new(),
        with_key: key.is_some(),
    })
}

const fn is_manifest(key: Key) -> bool {
    matches!(key, Key::Manifest(_))
}

pub(super) async fn open_store(folder: &Path) -> Result<std::sync::Arc<dyn Blobs>, Error> {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || blobs::open(folder)).await;
    Ok(opened.map_err(|error| lost(&error))??)
}

pub(super) async fn open_catalog(path: &Path) -> Result<std::sync::Arc<dyn Catalog>, Error> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || catalog::open(&path)).await;
    Ok(opened.map_err(|error| lost(&error))??)
}

/// Copies a small file.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let bytes = std::fs::read(from).map_err(durable::failed("reading", from))?;
    Ok(durable::write_file(to, &bytes, FILE_MODE)?)
}

/// Copies a folder of small files; one that is not there leaves nothing.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&from) else { continue };
        durable::make_folder(&to)?;
        for entry in entries {
            let entry = entry.map_err(durable::failed("reading", &from))?;
            let (path, inner) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                folders.push((path, inner));
            } else {
                copy_file(&path, &inner)?;
            }
        }
    }
    Ok(())
}

struct Copier<'c> {
    from: &'c dyn Blobs,
    to: &'c dyn Blobs,
    files: u64,
    copied_files: u64,
    copied_bytes: u64,
}

#[async_trait]
impl Look for Copier<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        let is_there = self.to.size(key).await?.is_some();
        if !is_there {
            match folder::copy(self.from, self.to, key).await {
                Ok(bytes) => {
                    self.copied_files = self.copied_files.saturating_add(1);
                    self.copied_bytes = self.copied_bytes.saturating_add(bytes);
                }
                Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.files = self.files.saturating_add(1);
        Ok(true)
    }
}

/// Removes the oldest backups beyond `keep`, and the files that none of the others refers to. Returns their names.
async fn prune(to: &Path, keep: usize) -> Result<Vec<String>, Error> {
    let all = folder::snapshots(to)?;
    let (old, kept) = all.split_at(all.len().saturating_sub(keep));
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let store = open_store(to).await?;
    let mut marker = Marker(HashSet::new());
    for snapshot in kept {
        let path = snapshot.join(CATALOG);
        let records = open_catalog(&path).await?;
        let gone = references::go_through(&*records, &*store, None, &mut marker).await?;
        drop(records);
        durable::remove_file(&path.with_extension("lock"))?;
        if gone.damaged.iter().any(|damaged| damaged.manifest) {
            // What such a version refers to is not known, so nothing goes.
            tracing::warn!(backup = %snapshot.display(), "a manifest of a backup is missing: no earlier backup is removed");
            return Ok(Vec::new());
        }
    }
    for snapshot in old {
        durable::remove_folder(snapshot)?;
    }
    for first in 0..=u8::MAX {
        for (key, ..) in store.list_part(first).await? {
            if !is_manifest(key) && !marker.0.contains(&key) {
                store.delete(key).await?;
            }
        }
    }
    Ok(old.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// Notes what is referred to.
struct Marker(HashSet<Key>);

#[async_trait]
impl Look for Marker {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        self.0.insert(key);
        Ok(true)
    }
}
