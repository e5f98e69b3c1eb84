//! Restores a backup into a data folder that has no catalog: files first, the records last. Until then the edge does
//! not start over it, and a restore that was interrupted is begun again.

use std::path::Path;

use devanture_config::api::DamagedVersion;
use devanture_config::problem::{Code, Problem};

use super::fetch::Fetcher;
use super::layout::{CATALOG, Description, KEYS, TLS, bad, in_snapshot, not_read};
use super::location::Location;
use super::open::{open_blobs, open_catalog};
use super::progress::{FileProgress, Report};
use super::references;
use super::store::{self, BackupStore};
use crate::ledger::Error;
use devanture_base::durable;
use devanture_store::s3::Variables;

/// The records while their files are copied.
const RESTORING: &str = "restoring.redb";
/// The end of the name of a file while it was not compared with its hash.
const UNCHECKED: &str = ".unchecked";

/// A backup that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its name: its time.
    pub name: String,
    /// Versions.
    pub versions: u64,
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions whose files the backup lacks.
    pub damaged: Vec<DamagedVersion>,
    /// Whether the keys that seal secrets were written; not where the file of keys is there already, or the backup has
    /// none.
    pub keys: bool,
    /// Whether its records were copied from a catalog with a damaged page: one may have other content than was written.
    pub catalog_damaged: bool,
}

/// Restores the newest backup in `from`, or the one that `name` names, into the folder `data_dir`. The variables say
/// how to reach a store; those of this process where there are none. `report` is called as files are copied.
///
/// # Errors
/// `bad_request` where there is no such backup or the folder has a catalog; errors of the disk and of the store.
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
        // Here nobody pushes, and nothing of the folder can be deleted by an edge.
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
    // The lock of the catalog to be: no edge starts meanwhile.
    let _lock = durable::lock(&data_dir.join(CATALOG).with_extension("lock"))?
        .map_err(|_holder| bad(format!("Another process has {} open.", data_dir.display()), "stop it first"))?;
    let records = data_dir.join(RESTORING);
    durable::remove_file(&records)?;
    let part = Parts { backup: &*backup, name: &name, description: &description };
    part.fetch(CATALOG, &records).await?;
    let blobs = open_blobs(data_dir).await?;
    let catalog = open_catalog(&records).await?;
    let mut fetcher = Fetcher::new(&*backup, &*blobs, report).await?;
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

/// The backup of that name, or the newest one, and what it says of itself.
pub(super) async fn find(backup: &dyn BackupStore, name: Option<&str>) -> Result<(String, Description), Error> {
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

/// The newest backup. Where that cannot be read, no older one takes its place unasked: what came after that would be
/// lost.
async fn newest(backup: &dyn BackupStore) -> Result<Option<(String, Description)>, Error> {
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

/// The files of one backup alone.
pub(super) struct Parts<'p> {
    pub(super) backup: &'p dyn BackupStore,
    pub(super) name: &'p str,
    pub(super) description: &'p Description,
}

impl Parts<'_> {
    /// Copies a file. One that is not what the backup says gets no name that anything reads, and does not stay.
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

    /// Copies the certificates, and the keys where `key_file` is not there yet. Returns whether the keys were copied.
    async fn fetch_all(&self, data_dir: &Path, key_file: Option<&Path>) -> Result<bool, Error> {
        let mut keys = false;
        // A link there would lead what is written to another place.
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
