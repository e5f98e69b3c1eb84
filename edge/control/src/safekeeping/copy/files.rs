//! Files of a copied store, read while edges serve the store: blobs and manifests never change, so a folder
//! or a bucket is read in place.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::super::references::Manifests;
use crate::ledger::{Error, lost};
use devanture_base::durable::{failed, open_file};
use devanture_store::blobs::Key;
use devanture_store::s3::{self, Bucket};

/// Bytes per read of a file.
const PIECE_BYTES: usize = 1_024 * 1_024;
/// Folder of manifests, in a data folder and in a bucket.
const MANIFESTS: &str = "manifests";

/// Location of the files.
pub enum StoredFiles {
    /// Bucket shared by nodes.
    Bucket(Bucket),
    /// Data folder of an edge.
    Folder(PathBuf),
}

/// File being read.
pub(super) struct Reading {
    /// Length in bytes.
    pub(super) size: u64,
    pieces: Pieces,
}

enum Pieces {
    Local { file: Option<File>, path: PathBuf },
    Remote(BoxStream<'static, Result<Bytes, s3::Error>>),
}

impl StoredFiles {
    /// Opens a file; `None` if absent.
    pub(super) async fn open(&self, key: Key) -> Result<Option<Reading>, Error> {
        let Some(path) = key.path() else { return Ok(None) };
        match self {
            Self::Folder(folder) => {
                let path = folder.join(path);
                let opened = blocking(move || open(&path)).await?;
                Ok(opened.map(|(file, path, size)| Reading { size, pieces: Pieces::Local { file: Some(file), path } }))
            }
            Self::Bucket(bucket) => {
                let opened = bucket.open(&path).await?;
                Ok(opened.map(|found| Reading { size: found.entry.size, pieces: Pieces::Remote(found.pieces) }))
            }
        }
    }

    /// Returns all manifests, including those of gone versions, whose names still count.
    pub(super) async fn manifests(&self) -> Result<Vec<Key>, Error> {
        match self {
            Self::Folder(folder) => {
                let root = folder.clone();
                blocking(move || manifests_below(&root)).await
            }
            Self::Bucket(bucket) => {
                let (mut listed, mut found) = (bucket.list(MANIFESTS), Vec::new());
                while let Some(entry) = listed.next().await {
                    found.extend(Key::of_path(&entry?.path));
                }
                Ok(found)
            }
        }
    }
}

impl Reading {
    /// Returns the next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.pieces {
            Pieces::Remote(pieces) => Ok(pieces.next().await.transpose()?),
            Pieces::Local { file, path } => {
                let Some(mut opened) = file.take() else { return Ok(None) };
                let path = path.clone();
                let (piece, opened) = blocking(move || {
                    let mut piece = Vec::new();
                    let read = (&mut opened).take(PIECE_BYTES as u64).read_to_end(&mut piece);
                    read.map_err(failed("reading", &path))?;
                    Ok((Bytes::from(piece), opened))
                })
                .await?;
                if piece.is_empty() {
                    return Ok(None);
                }
                *file = Some(opened);
                Ok(Some(piece))
            }
        }
    }
}

#[async_trait]
impl Manifests for StoredFiles {
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error> {
        let Some(mut reading) = self.open(key).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(piece) = reading.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let (Key::Blob(expected) | Key::Manifest(expected)) = key else { return Ok(None) };
        Ok((Digest::of(&bytes) == expected).then(|| bytes.into()))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| lost(&error))?
}

fn open(path: &Path) -> Result<Option<(File, PathBuf, u64)>, Error> {
    let file = match open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path)(error).into()),
    };
    let size = file.metadata().map_err(failed("reading", path))?.len();
    Ok(Some((file, path.to_owned(), size)))
}

fn manifests_below(root: &Path) -> Result<Vec<Key>, Error> {
    let (mut folders, mut found) = (vec![root.join(MANIFESTS)], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // An edge without stored files.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("reading", &folder)(error).into()),
        };
        for entry in entries {
            let path = entry.map_err(failed("reading", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                found.extend(Key::of_path(path));
            }
        }
    }
    Ok(found)
}
