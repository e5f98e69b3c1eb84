//! Backup locations: the trait `BackupStore`, implemented by a folder and by a bucket of an S3 store, with the same
//! files at the same paths.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;

use super::location::{self, Location};
use super::location::{BackupDescription, DESCRIPTION, bad, in_snapshot};
use crate::ledger::Error;
use devanture_base::durable;
use devanture_store::blobs::{self, Blobs, Key, ReadAt};
use devanture_store::s3::Variables;
use folder::FolderStore;
use s3::S3Store;

#[cfg(test)]
mod conformance;
mod folder;
mod s3;

/// Lock of a location against other writers. Dropping releases the lock, at once or after a while.
#[async_trait]
pub(super) trait Held: Send {
    /// Releases the lock at once.
    async fn release(self: Box<Self>);
}

/// Backup location, with the paths of `layout`.
#[async_trait]
pub(super) trait BackupStore: Send + Sync {
    /// Returns the name for messages.
    fn shown(&self) -> String;

    /// Returns the number of concurrent copies, each of a file or of a batch of small files.
    fn parallel(&self) -> usize;

    /// Locks the location against other writers.
    async fn lock(&self) -> Result<Box<dyn Held>, Error>;

    /// Returns the names of all backups, including incomplete backups, by time.
    async fn snapshots(&self) -> Result<Vec<String>, Error>;

    /// Returns the paths of a backup's files, relative to its folder.
    async fn files(&self, name: &str) -> Result<Vec<String>, Error>;

    /// Reads a small file; `None` if absent.
    async fn read(&self, path: &str) -> Result<Option<Bytes>, Error>;

    /// Writes a small file atomically.
    async fn write(&self, path: &str, bytes: Bytes) -> Result<(), Error>;

    /// Writes a file of any length atomically.
    async fn store(&self, path: &str, from: &Path) -> Result<(), Error>;

    /// Copies a file of any length to `to` atomically.
    async fn fetch(&self, path: &str, to: &Path) -> Result<(), Error>;

    /// Deletes a backup, its description first, so that a partly deleted backup never passes for complete. Its blobs
    /// stay.
    async fn remove_snapshot(&self, name: &str) -> Result<(), Error>;

    /// Returns all blobs and manifests with their lengths in bytes.
    async fn sizes(&self) -> Result<HashMap<Key, u64>, Error>;

    /// Returns all blobs and manifests.
    async fn keys(&self) -> Result<HashSet<Key>, Error> {
        Ok(self.sizes().await?.into_keys().collect())
    }

    /// Reads blobs and manifests in order; `None` for each that is missing, damaged or longer than `bytes_max`. Never
    /// modifies the location.
    async fn read_all(&self, keys: &[Key], bytes_max: u64) -> Result<Vec<Option<Bytes>>, Error>;

    /// Verifies a blob or manifest. Returns its length in bytes; `None` if missing or damaged. Never modifies the
    /// location.
    async fn check(&self, key: Key) -> Result<Option<u64>, Error>;

    /// Writes a blob or manifest. Returns its length in bytes; `None` if the bytes do not match the name, and nothing
    /// is written.
    async fn put(&self, key: Key, file: Arc<dyn ReadAt>) -> Result<Option<u64>, Error>;

    /// Copies a blob or manifest into a store of an edge, which verifies the bytes. Returns the length in bytes; `None`
    /// if missing or damaged at the location.
    async fn copy_to(&self, key: Key, to: &dyn Blobs) -> Result<Option<u64>, Error>;

    /// Deletes blobs and manifests.
    async fn remove(&self, keys: Vec<Key>) -> Result<(), Error>;
}

/// Opens a location for writing backups of the data folder `data_dir`.
///
/// # Errors
/// `bad_request` for an unsuitable folder, errors of the store.
pub(super) async fn open_to_write(
    location: &Location,
    variables: &Variables,
    data_dir: &Path,
) -> Result<Arc<dyn BackupStore>, Error> {
    match location {
        Location::Folder(folder) => Ok(Arc::new(FolderStore::open_to_write(folder, data_dir).await?)),
        Location::S3(address) => {
            let (address, bucket) = location::bucket(address, variables)?;
            Ok(Arc::new(S3Store::open_to_write(&address, bucket, data_dir).await?))
        }
    }
}

/// Opens a location with a backup.
///
/// # Errors
/// `bad_request` without a backup, errors of the store.
pub(super) async fn open_to_read(location: &Location, variables: &Variables) -> Result<Arc<dyn BackupStore>, Error> {
    let store: Arc<dyn BackupStore> = match location {
        Location::Folder(folder) => Arc::new(FolderStore::open_to_read(folder)?),
        Location::S3(address) => {
            let (address, bucket) = location::bucket(address, variables)?;
            Arc::new(S3Store::open_to_read(&address, bucket))
        }
    };
    if finished(&*store).await?.is_empty() {
        return Err(none_in(location));
    }
    Ok(store)
}

fn none_in(location: &Location) -> Error {
    bad(format!("{location} holds no backup."), "name the place that `devanture-edge backup --to` named")
}

/// Returns the description of a backup; `None` for an incomplete backup.
pub(super) async fn description(store: &dyn BackupStore, name: &str) -> Result<Option<BackupDescription>, Error> {
    let text = store.read(&in_snapshot(name, DESCRIPTION)).await?;
    text.map(|text| BackupDescription::parse(name, &text)).transpose()
}

/// Complete backup.
pub(super) struct Finished {
    /// Name, the time of the backup.
    pub(super) name: String,
    /// Description; an error for a damaged description or an unknown layout.
    pub(super) description: Result<BackupDescription, Error>,
}

/// Returns the complete backups by time, including backups with an unreadable description: records and files may be
/// undamaged, so the backup must not count as interrupted.
pub(super) async fn finished(store: &dyn BackupStore) -> Result<Vec<Finished>, Error> {
    let mut found = Vec::new();
    for name in store.snapshots().await? {
        if let Some(text) = store.read(&in_snapshot(&name, DESCRIPTION)).await? {
            let description = BackupDescription::parse(&name, &text);
            found.push(Finished { name, description });
        }
    }
    Ok(found)
}

/// Returns the required hash of a blob or manifest.
const fn digest_of(key: Key) -> Option<Digest> {
    match key {
        Key::Blob(digest) | Key::Manifest(digest) => Some(digest),
        Key::Variant(..) | Key::Delta(..) => None,
    }
}

/// Returns true if `bytes` match the key of a blob or manifest.
fn is_of(key: Key, bytes: &[u8]) -> bool {
    digest_of(key).is_some_and(|digest| Digest::of(bytes) == digest)
}

/// Bytes per read of a stored file.
const PIECE_BYTES: usize = 256 * 1_024;

/// Reads a piece of a stored file; `None` if damaged.
async fn read_piece(file: &Arc<dyn ReadAt>, at: u64) -> Result<Option<Bytes>, blobs::Error> {
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || file.read_at(at, PIECE_BYTES)).await;
    match read.map_err(io::Error::other).flatten() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        // The file is shorter than before.
        Ok(piece) if piece.is_empty() => Ok(None),
        read => Ok(read.map(Some).map_err(durable::failed("reading", Path::new("a stored file")))?),
    }
}
