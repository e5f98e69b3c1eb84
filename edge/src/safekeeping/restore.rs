//! Restores a backup into a data folder that has no catalog: files first, the records last. Until then the edge does not
//! start over it, and a restore that was interrupted is begun again.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use async_trait::async_trait;
use devanture_config::api::DamagedVersion;

use super::backup::{copy_file, copy_folder, open_catalog, open_store};
use super::folder::{self, CATALOG, Description, KEYS, SNAPSHOTS, TLS, bad};
use super::references::{self, Look};
use crate::blobs::durable::{self, Draft};
use crate::blobs::{self, Blobs, Key};
use crate::ledger::Error;

/// The records while their files are copied.
const RESTORING: &str = "restoring.redb";
/// Bytes that are copied at once.
const PIECE_BYTES: usize = 1_024 * 1_024;

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
}

/// Restores the newest backup in `from`, or the one that `name` names, into the folder `data_dir`.
///
/// # Errors
/// `bad_request` where there is no such backup or the folder has a catalog; errors of the disk.
pub async fn restore(
    from: &Path,
    name: Option<&str>,
    data_dir: &Path,
    key_file: Option<&Path>,
) -> Result<Restored, Error> {
    if !from.join(SNAPSHOTS).is_dir() {
        let detail = match from.is_dir() {
            true => format!("{} holds no backup.", from.display()),
            false => format!("There is no folder {}.", from.display()),
        };
        return Err(bad(detail, "name the folder of `devanture-edge backup --to`"));
    }
    let snapshot = match name {
        Some(name) => from.join(SNAPSHOTS).join(name),
        None => folder::snapshots(from)?.pop().unwrap_or_default(),
    };
    if Description::read(&snapshot)?.is_none() {
        let what = name.map_or_else(|| "a backup".to_owned(), |name| format!("the backup {name}"));
        return Err(bad(
            format!("{} does not hold {what}.", from.display()),
            "its folder `snapshots` lists those that it holds",
        ));
    }
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
    copy_large(&snapshot.join(CATALOG), &records)?;
    let (backup, store) = (open_store(from).await?, open_store(data_dir).await?);
    let catalog = open_catalog(&records).await?;
    let mut copier = Copier { from: &*backup, to: &*store, files: 0, bytes: 0 };
    let gone = references::go_through(&*catalog, &*backup, None, &mut copier).await?;
    drop(catalog);
    durable::remove_file(&records.with_extension("lock"))?;
    for first in 0..=u8::MAX {
        let manifests = backup.list_part(first).await?.into_iter().filter(|(key, ..)| matches!(key, Key::Manifest(_)));
        for (key, ..) in manifests {
            copier.look(key).await?;
        }
    }
    copy_folder(&snapshot.join(TLS), &data_dir.join(TLS))?;
    let keys = key_file.filter(|file| !file.exists() && snapshot.join(KEYS).exists());
    if let Some(file) = keys {
        copy_file(&snapshot.join(KEYS), file)?;
    }
    durable::move_file(&records, &data_dir.join(CATALOG))?;
    Ok(Restored {
        name: snapshot.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        versions: gone.versions,
        files: copier.files,
        bytes: copier.bytes,
        damaged: gone.damaged,
        keys: keys.is_some(),
    })
}

fn copy_large(from: &Path, to: &Path) -> Result<(), Error> {
    let mut file = File::open(from).map_err(durable::failed("opening", from))?;
    let mut draft = Draft::create(to.parent().unwrap_or(to))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).map_err(durable::failed("reading", from))?;
        if read == 0 {
            return Ok(draft.persist(to)?);
        }
        draft.write(piece.get(..read).unwrap_or_default())?;
    }
}

struct Copier<'c> {
    from: &'c dyn Blobs,
    to: &'c dyn Blobs,
    files: u64,
    bytes: u64,
}

#[async_trait]
impl Look for Copier<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        if self.to.size(key).await?.is_some() {
            return Ok(true);
        }
        match folder::copy(self.from, self.to, key).await {
            Ok(bytes) => {
                self.files = self.files.saturating_add(1);
                self.bytes = self.bytes.saturating_add(bytes);
                Ok(true)
            }
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
