//! Backups in a folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::problem::{Code, Problem};
use tokio::sync::OnceCell;

use super::{BackupStore, Held, digest_of, is_of, read_piece};
use crate::ledger::{Error, lost};
use crate::safekeeping::location::{
    CATALOG, DESCRIPTION, FILE_MODE, LOCK, SMALL_FILE_BYTES_MAX, SNAPSHOTS, bad, not_read,
};
use devanture_base::durable::{self, Draft, Guarded};
use devanture_store::blobs::{self, Blobs, Key, ReadAt};

/// Bytes per copy step.
const PIECE_BYTES: usize = 256 * 1_024;
/// Concurrent copies: while one syncs to stable storage, others read and hash.
const PARALLEL: usize = 4;
/// Small files per batch read.
const PART_FILES: usize = 64;

/// Folder of backups. Its store is opened at the first write or copy, so that reading a backup changes nothing and
/// needs no write access.
pub(super) struct FolderStore {
    root: PathBuf,
    blobs: OnceCell<Arc<dyn Blobs>>,
}

impl FolderStore {
    /// Opens the folder, created if missing.
    pub(super) async fn open_to_write(root: &Path, data_dir: &Path) -> Result<Self, Error> {
        check_folder(root, data_dir)?;
        durable::make_folder(root).map_err(|error| unusable(root, error))?;
        let store = Self { root: root.to_owned(), blobs: OnceCell::new() };
        store.blobs().await?;
        Ok(store)
    }

    pub(super) fn open_to_read(root: &Path) -> Result<Self, Error> {
        let listed = std::fs::read_dir(root.join(SNAPSHOTS));
        if let Err(error) = listed.as_ref()
            && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        {
            let hint = "a running edge reads it as its own user, and without one this command as the user who calls it";
            return Err(bad(format!("{} cannot be read: {error}.", root.display()), hint));
        }
        if listed.is_err() {
            let detail = match root.is_dir() {
                true => format!("{} holds no backup.", root.display()),
                false => format!("There is no folder {}.", root.display()),
            };
            return Err(bad(detail, "name the place that `devanture-edge backup --to` named"));
        }
        Ok(Self { root: root.to_owned(), blobs: OnceCell::new() })
    }

    async fn blobs(&self) -> Result<&dyn Blobs, Error> {
        Ok(&**self.blobs.get_or_try_init(|| self.open_blobs()).await?)
    }

    async fn open_blobs(&self) -> Result<Arc<dyn Blobs>, Error> {
        let folder = self.root.clone();
        let opened = blocking(move || Ok(blobs::open(folder))).await?;
        opened.map_err(|error| unusable(&self.root, error))
    }
}

/// Error of a failed write. A lack of space concerns the backup folder rather than the data folder.
fn not_written(root: &Path, error: impl Into<blobs::Error>) -> Error {
    match error.into() {
        blobs::Error::Disk(durable::Error::Full { .. }) => {
            let detail = format!("No room is left in {} for the backup.", root.display());
            let hint = "make room on its disk: what was copied there is used by the next backup";
            Problem::new(Code::DiskFull, detail).hint(hint).into()
        }
        other => other.into(),
    }
}

/// Error of an unsuitable folder: a file of the same name, or no permission to write.
fn unusable(root: &Path, error: impl Into<blobs::Error>) -> Error {
    match error.into() {
        blobs::Error::Disk(error @ durable::Error::Io { .. }) => bad(
            format!("Backups cannot be written to {}: {error}.", root.display()),
            "name a folder that the user of the edge may write to",
        ),
        other => not_written(root, other),
    }
}

fn check_folder(root: &Path, data_dir: &Path) -> Result<(), Error> {
    let shown = root.display();
    if !root.is_absolute() {
        return Err(bad(format!("{shown} is not the path of a folder from the root on."), "name it in full"));
    }
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (folder, data) = (real(root), real(data_dir));
    if folder.starts_with(&data) || data.starts_with(&folder) {
        let detail = format!("{shown} and the data folder lie in each other.");
        return Err(bad(detail, "name a folder elsewhere, best on another disk"));
    }
    if root.join(CATALOG).exists() {
        return Err(bad(format!("{shown} is the data folder of an edge."), "name another folder"));
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| lost(&error))?
}

/// Opens the folder of a backup file, and returns the file's name there. Other users may write to a backup location;
/// backup files must belong to the owner of the location.
fn holder<'p>(root: &Path, path: &'p str) -> Result<(Guarded, &'p str), durable::Error> {
    let below = path.strip_prefix(SNAPSHOTS).and_then(|rest| rest.strip_prefix('/'));
    let root = Guarded::open(root)?;
    match below.and_then(|below| below.split_once('/')) {
        Some((name, file)) => Ok((root.folder(&format!("{SNAPSHOTS}/{name}"))?, file)),
        None => Ok((root, path)),
    }
}

/// Reads a blob or manifest of at most `bytes_max` bytes; `None` if missing or damaged.
fn read_stored(root: &Path, key: Key, bytes_max: u64) -> Result<Option<Bytes>, Error> {
    let Some(path) = key.path().map(|path| root.join(path)) else { return Ok(None) };
    let mut bytes = Vec::new();
    let read =
        durable::open_file(&path).and_then(|file| file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Ok(read) => {
            let is_small = u64::try_from(read).is_ok_and(|read| read <= bytes_max);
            Ok((is_small && is_of(key, &bytes)).then(|| bytes.into()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_read(durable::failed("reading", &path)(error))),
    }
}

/// Verifies a blob or manifest. Returns its length; `None` if missing or damaged, for example by an unreadable sector.
fn check_stored(root: &Path, key: Key) -> Result<Option<u64>, Error> {
    let Some(path) = key.path().map(|path| root.join(path)) else { return Ok(None) };
    match hash_stored(&path) {
        Ok((bytes, found)) => Ok((digest_of(key) == Some(found)).then_some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(not_read(durable::failed("reading", &path)(error)))
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of a backup cannot be read");
            Ok(None)
        }
    }
}

/// Returns the length and the hash of a file.
fn hash_stored(path: &Path) -> std::io::Result<(u64, Digest)> {
    let mut file = durable::open_file(path)?;
    let (mut hasher, mut piece, mut bytes) = (blake3::Hasher::new(), vec![0; PIECE_BYTES], 0_u64);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((bytes, Digest::from(hasher.finalize())));
        }
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        hasher.update(piece.get(..read).unwrap_or_default());
    }
}

/// Returns the blobs and manifests of a folder, with their lengths.
fn sizes_in(root: &Path) -> Result<HashMap<Key, u64>, Error> {
    let listed = |folder: &str| -> Result<Vec<std::fs::DirEntry>, Error> {
        let path = root.join(folder);
        match std::fs::read_dir(&path).and_then(Iterator::collect) {
            Ok(entries) => Ok(entries),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
            Err(error) => Err(durable::failed("listing", &path)(error).into()),
        }
    };
    let mut sizes = HashMap::new();
    for kind in ["blobs", "manifests"] {
        for shard in listed(kind)? {
            let Ok(shard) = shard.file_name().into_string() else { continue };
            for file in listed(&format!("{kind}/{shard}"))? {
                let path = file.file_name().into_string().map(|name| format!("{kind}/{shard}/{name}"));
                let key = path.ok().and_then(|path| Key::of_path(&path));
                // Files may be deleted concurrently.
                sizes.extend(key.and_then(|key| Some((key, file.metadata().ok()?.len()))));
            }
        }
    }
    Ok(sizes)
}

/// Copies a file of any length.
fn copy_file(mut file: File, from: &Path, to: &Path) -> Result<(), durable::Error> {
    let folder = to.parent().unwrap_or(to);
    durable::make_folder(folder)?;
    let (mut draft, mut piece) = (Draft::create(folder)?, vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece).map_err(durable::failed("reading", from))?;
        if read == 0 {
            return draft.persist(to);
        }
        draft.write(piece.get(..read).unwrap_or_default())?;
    }
}

/// Copies a file between stores; the target verifies the bytes. Returns the length; `None` for a damaged file.
async fn copy(file: Arc<dyn ReadAt>, to: &dyn Blobs, key: Key) -> Result<Option<u64>, blobs::Error> {
    let mut upload = to.upload(key).await?;
    let mut at = 0;
    while at < file.size() {
        let Some(piece) = read_piece(&file, at).await? else { return Ok(None) };
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        upload.write(piece).await?;
    }
    match upload.finish().await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(blobs::Error::Mismatch { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Held for durable::Lock {
    async fn release(self: Box<Self>) {}
}

#[async_trait]
impl BackupStore for FolderStore {
    fn shown(&self) -> String {
        self.root.display().to_string()
    }

    fn parallel(&self) -> usize {
        PARALLEL
    }

    async fn lock(&self) -> Result<Box<dyn Held>, Error> {
        let lock = durable::lock(&self.root.join(LOCK)).map_err(|error| unusable(&self.root, error))?;
        let lock = lock.map_err(|_holder| {
            bad(format!("Another backup is being written to {}.", self.shown()), "try again when it has ended")
        })?;
        Ok(Box::new(lock))
    }

    async fn snapshots(&self) -> Result<Vec<String>, Error> {
        let entries = std::fs::read_dir(self.root.join(SNAPSHOTS)).into_iter().flatten().flatten();
        // A link, for example `latest`, is not a backup of its own.
        let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    async fn files(&self, name: &str) -> Result<Vec<String>, Error> {
        let folder = Guarded::open(&self.root)?.folder(&format!("{SNAPSHOTS}/{name}"));
        folder.and_then(|folder| folder.files("")).map_err(not_read)
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, Error> {
        let read = holder(&self.root, path).and_then(|(folder, name)| folder.read(name, SMALL_FILE_BYTES_MAX));
        match read {
            Ok(bytes) => Ok(Some(bytes.into())),
            // The name may be invalid as a file name.
            Err(durable::Error::Io { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) =>
            {
                Ok(None)
            }
            Err(error) => Err(not_read(error)),
        }
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        let path = self.root.join(path);
        durable::make_folder(path.parent().unwrap_or(&self.root)).map_err(|error| unusable(&self.root, error))?;
        durable::write_file(&path, &bytes, FILE_MODE).map_err(|error| not_written(&self.root, error))
    }

    async fn store(&self, path: &str, from: &Path) -> Result<(), Error> {
        let (from, to, root) = (from.to_owned(), self.root.join(path), self.root.clone());
        blocking(move || {
            let file = durable::open_file(&from).map_err(durable::failed("opening", &from)).map_err(not_read)?;
            copy_file(file, &from, &to).map_err(|error| not_written(&root, error))
        })
        .await
    }

    async fn fetch(&self, path: &str, to: &Path) -> Result<(), Error> {
        let (root, path, to) = (self.root.clone(), path.to_owned(), to.to_owned());
        blocking(move || {
            let file = holder(&root, &path).and_then(|(folder, name)| folder.file(name)).map_err(not_read)?;
            Ok(copy_file(file, &root.join(&path), &to)?)
        })
        .await
    }

    async fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        let folder = self.root.join(SNAPSHOTS).join(name);
        durable::remove_file(&folder.join(DESCRIPTION))?;
        durable::remove_folder(&folder)?;
        Ok(())
    }

    async fn sizes(&self) -> Result<HashMap<Key, u64>, Error> {
        let root = self.root.clone();
        blocking(move || sizes_in(&root)).await
    }

    async fn read_all(&self, keys: &[Key], bytes_max: u64) -> Result<Vec<Option<Bytes>>, Error> {
        let mut all = Vec::with_capacity(keys.len());
        for part in keys.chunks(PART_FILES) {
            let (root, part) = (self.root.clone(), part.to_vec());
            let read = move || part.iter().map(|key| read_stored(&root, *key, bytes_max)).collect();
            all.extend(blocking::<Vec<_>>(read).await?);
        }
        Ok(all)
    }

    async fn check(&self, key: Key) -> Result<Option<u64>, Error> {
        let root = self.root.clone();
        blocking(move || check_stored(&root, key)).await
    }

    async fn put(&self, key: Key, file: Arc<dyn ReadAt>) -> Result<Option<u64>, Error> {
        copy(file, self.blobs().await?, key).await.map_err(|error| not_written(&self.root, error))
    }

    async fn copy_to(&self, key: Key, to: &dyn Blobs) -> Result<Option<u64>, Error> {
        let copied = match self.blobs().await?.open(key).await {
            Ok(file) => copy(file, to, key).await,
            Err(error) => Err(error),
        };
        match copied {
            Ok(copied) => Ok(copied),
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(not_read(error)),
        }
    }

    async fn remove(&self, keys: Vec<Key>) -> Result<(), Error> {
        for key in keys {
            self.blobs().await?.delete(key).await?;
        }
        Ok(())
    }
}
