//! Restores a backup into a data folder without a catalog: files first, records last. No edge starts before the records
//! are present, and an interrupted restoration starts again.

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

/// Returns the named or the newest backup, with its description.
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

/// Returns the newest backup. An unreadable newest backup is not silently replaced by an older backup, which would lose
/// later changes.
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

/// Files of one backup.
pub(super) struct Parts<'p> {
    pub(super) backup: &'p dyn BackupStore,
    pub(super) name: &'p str,
    pub(super) description: &'p Description,
}

impl Parts<'_> {
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
