//! The folder of backups. It has the layout of a store of blobs and manifests, which all backups in it share, and one
//! folder for each backup below `snapshots/`:
//!
//! * `catalog.redb`: the records of one moment;
//! * `tls/`: the local authority, and what is kept of ACME;
//! * `secrets.key`: the keys that seal secrets, only where that was wanted;
//! * `snapshot.json`: what the backup is. It is written last: a backup without it is none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::blobs::{self, Blobs, Key, durable};
use crate::ledger::{Error, lost};

/// The folder of the backups in the folder of all.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// Of one backup: its records, …
pub(super) const CATALOG: &str = "catalog.redb";
/// … its keys, …
pub(super) const KEYS: &str = "secrets.key";
/// … its certificates, …
pub(super) const TLS: &str = "tls";
/// … and what it is.
const DESCRIPTION: &str = "snapshot.json";
/// The number of the layout.
const FORMAT: u32 = 1;
/// Bytes that are copied at once.
const PIECE_BYTES: usize = 256 * 1_024;
/// For the owner alone: hashes of tokens, and keys.
pub(super) const FILE_MODE: u32 = 0o600;

/// `snapshot.json`: what a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    /// The number of the layout.
    pub(super) format: u32,
    /// When it was begun, in milliseconds since 1970 UTC.
    pub(super) at_ms: u64,
    /// The program that wrote it.
    pub(super) program: String,
    /// The revision of the catalog.
    pub(super) revision: u64,
    /// Versions that it has.
    pub(super) versions: u64,
    /// Files that they refer to.
    pub(super) files: u64,
}

impl Description {
    pub(super) fn new(at_ms: u64, revision: u64, versions: u64, files: u64) -> Self {
        let program = concat!("devanture-edge ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { format: FORMAT, at_ms, program, revision, versions, files }
    }

    /// Writes it, by which the backup is complete.
    pub(super) fn write(&self, snapshot: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        Ok(durable::write_file(&snapshot.join(DESCRIPTION), &text, FILE_MODE)?)
    }

    /// What the backup in a folder says of itself; `None` if it is not complete.
    pub(super) fn read(snapshot: &Path) -> Result<Option<Self>, Error> {
        let Ok(text) = std::fs::read(snapshot.join(DESCRIPTION)) else { return Ok(None) };
        let name = snapshot.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let description: Self = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("The backup {name} cannot be read: {error}."), "take another one"))?;
        if description.format != FORMAT {
            let detail =
                format!("The backup {name} has the layout {}, and this program knows {FORMAT}.", description.format);
            return Err(bad(detail, "use a newer release"));
        }
        Ok(Some(description))
    }
}

/// A problem with a folder.
pub(super) fn bad(detail: impl Into<String>, hint: &str) -> Error {
    Problem::new(Code::BadRequest, detail).hint(hint).into()
}

/// The complete backups in a folder, by their names, which are in the order of their times.
pub(super) fn snapshots(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.join(SNAPSHOTS)).into_iter().flatten().flatten() {
        if Description::read(&entry.path()).is_ok_and(|description| description.is_some()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Opens the files of all backups in a folder, to read them.
pub(super) async fn open_for_reading(folder: &Path) -> Result<Arc<dyn Blobs>, Error> {
    let shown = folder.display().to_string();
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        if snapshots(&folder)?.is_empty() {
            return Err(bad(format!("{shown} holds no backup."), "name the folder of `devanture-edge backup --to`"));
        }
        Ok(blobs::open(folder)?)
    });
    opened.await.map_err(|error| lost(&error))?
}

/// Copies a file from one store to another, which checks what it writes. Returns its length.
pub(super) async fn copy(from: &dyn Blobs, to: &dyn Blobs, key: Key) -> Result<u64, blobs::Error> {
    let file = from.open(key).await?;
    let mut upload = to.upload(key).await?;
    let mut at = 0;
    while at < file.size() {
        let file = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || file.read_at(at, PIECE_BYTES)).await;
        let piece = read
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(durable::failed("reading", Path::new("a stored file")))?;
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        upload.write(piece).await?;
    }
    upload.finish().await
}
