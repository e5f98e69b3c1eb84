//! Where backups lie: the trait `BackupStore`, and what is behind it, a folder and a bucket of an S3 store. Both have
//! the same files at the same paths.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;

use super::layout::{DESCRIPTION, Description, bad, in_snapshot};
use super::location::{self, Location};
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

/// What keeps others from writing backups to a place. Dropped, it does so no longer, or not for long.
#[async_trait]
pub(super) trait Held: Send {
    /// Lets others write at once.
    async fn release(self: Box<Self>);
}

/// A place for backups. Paths are those of `layout`.
#[async_trait]
pub(super) trait BackupStore: Send + Sync {
    /// Its name for messages.
    fn shown(&self) -> String;

    /// Copies of files, or of many small ones together, that go on at the same time.
    fn parallel(&self) -> usize;

    /// Keeps others from writing backups here.
    async fn lock(&self) -> Result<Box<dyn Held>, Error>;

    /// Names of the backups here, those that are not complete among them, in the order of their times.
    async fn snapshots(&self) -> Result<Vec<String>, Error>;

    /// Paths of the files of a backup, relative to its own folder.
    async fn files(&self, name: &str) -> Result<Vec<String>, Error>;

    /// Reads a small file; `None` if there is none.
    async fn read(&self, path: &str) -> Result<Option<Bytes>, Error>;

    /// Writes a small file as a whole.
    async fn write(&self, path: &str, bytes: Bytes) -> Result<(), Error>;

    /// Writes a file of any length as a whole.
    async fn store(&self, path: &str, from: &Path) -> Result<(), Error>;

    /// Copies a file of any length to `to`, as a whole.
    async fn fetch(&self, path: &str, to: &Path) -> Result<(), Error>;

    /// Removes a backup: first what makes it one, so that a part of it never passes for all. Its blobs stay.
    async fn remove_snapshot(&self, name: &str) -> Result<(), Error>;

    /// All blobs and manifests that are here, with their lengths in bytes.
    async fn sizes(&self) -> Result<HashMap<Key, u64>, Error>;

    /// All blobs and manifests that are here.
    async fn keys(&self) -> Result<HashSet<Key>, Error> {
        Ok(self.sizes().await?.into_keys().collect())
    }

    /// Reads blobs and manifests, in their order; `None` for each that is missing, damaged or longer than `bytes_max`.
    /// Nothing is changed here.
    async fn read_all(&self, keys: &[Key], bytes_max: u64) -> Result<Vec<Option<Bytes>>, Error>;

    /// Reads a blob or manifest and compares it with its name. Returns its length in bytes; `None` if it is missing or
    /// damaged. Nothing is changed here.
    async fn check(&self, key: Key) -> Result<Option<u64>, Error>;

    /// Writes a blob or manifest. Returns its length in bytes; `None` if the bytes are not those of its name, which
    /// leaves nothing.
    async fn put(&self, key: Key, file: Arc<dyn ReadAt>) -> Result<Option<u64>, Error>;

    /// Copies a blob or manifest into a store of an edge, which compares it with its name. Returns its length in bytes;
    /// `None` if it is missing or damaged here.
    async fn copy_to(&self, key: Key, to: &dyn Blobs) -> Result<Option<u64>, Error>;

    /// Removes blobs and manifests.
    async fn remove(&self, keys: Vec<Key>) -> Result<(), Error>;
}

/// Opens a place to write backups to; `data_dir` is the data folder that they are of.
///
/// # Errors
/// `bad_request` for a folder that cannot be one of backups, errors of the store.
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

/// Opens a place that has a backup.
///
/// # Errors
/// `bad_request` if it has none, errors of the store.
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

/// What a backup says of itself; `None` if it is not complete.
pub(super) async fn description(store: &dyn BackupStore, name: &str) -> Result<Option<Description>, Error> {
    let text = store.read(&in_snapshot(name, DESCRIPTION)).await?;
    text.map(|text| Description::parse(name, &text)).transpose()
}

/// A backup that came to its end.
pub(super) struct Finished {
    /// Its name: its time.
    pub(super) name: String,
    /// Its description; an error where that is damaged, or has a layout that this program does not know.
    pub(super) description: Result<Description, Error>,
}

/// The backups that came to their end, in the order of their times. One whose description cannot be read is among them:
/// its records and files may be whole, so nothing may take it for one that was interrupted.
pub(super) async fn finished(store: &dyn BackupStore) -> Result<Vec<Finished>, Error> {
    let mut found = Vec::new();
    for name in store.snapshots().await? {
        if let Some(text) = store.read(&in_snapshot(&name, DESCRIPTION)).await? {
            let description = Description::parse(&name, &text);
            found.push(Finished { name, description });
        }
    }
    Ok(found)
}

/// The hash that a blob or manifest must have.
const fn digest_of(key: Key) -> Option<Digest> {
    match key {
        Key::Blob(digest) | Key::Manifest(digest) => Some(digest),
        Key::Variant(..) | Key::Delta(..) => None,
    }
}

/// Whether `bytes` are those of a blob or manifest.
fn is_of(key: Key, bytes: &[u8]) -> bool {
    digest_of(key).is_some_and(|digest| Digest::of(bytes) == digest)
}

/// Bytes of a stored file that are read at once.
const PIECE_BYTES: usize = 256 * 1_024;

/// Reads a piece of a stored file; `None` if it is damaged.
async fn read_piece(file: &Arc<dyn ReadAt>, at: u64) -> Result<Option<Bytes>, blobs::Error> {
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || file.read_at(at, PIECE_BYTES)).await;
    match read.map_err(io::Error::other).flatten() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        // It is shorter than it was.
        Ok(piece) if piece.is_empty() => Ok(None),
        read => Ok(read.map(Some).map_err(durable::failed("reading", Path::new("a stored file")))?),
    }
}
