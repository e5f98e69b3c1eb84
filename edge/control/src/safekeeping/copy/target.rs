//! Target of a copy: the folder of an edge, or a bucket. Each file is verified before getting its name.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;
use futures_util::StreamExt as _;

use super::files::Reading;
use crate::ledger::Error;
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::s3::{Bucket, LargeUpload};

/// Concurrent copies into a folder …
const PARALLEL_FOLDER: usize = 4;
/// … and into a bucket, each of which takes at most 8 MiB of memory.
const PARALLEL_BUCKET: usize = 16;

/// Target of copied files.
pub enum FileTarget {
    /// Bucket. The disks of its nodes fetch files on demand.
    Bucket(Bucket),
    /// Store of an edge in its data folder.
    Folder(Arc<dyn Blobs>),
}

impl FileTarget {
    pub(super) const fn parallel(&self) -> usize {
        match self {
            Self::Bucket(_) => PARALLEL_BUCKET,
            Self::Folder(_) => PARALLEL_FOLDER,
        }
    }

    /// Returns all present blobs and manifests.
    pub(super) async fn keys(&self) -> Result<HashSet<Key>, Error> {
        let mut keys = HashSet::new();
        match self {
            Self::Folder(blobs) => {
                for first in 0..=u8::MAX {
                    keys.extend(blobs.list_part(first).await?.into_iter().map(|(key, ..)| key));
                }
            }
            Self::Bucket(bucket) => {
                for folder in ["blobs", "manifests"] {
                    let mut listed = bucket.list(folder);
                    while let Some(entry) = listed.next().await {
                        keys.extend(Key::of_path(&entry?.path));
                    }
                }
            }
        }
        Ok(keys)
    }

    /// Writes a file. Returns its length in bytes; `None` if the bytes do not match the name, and nothing is written.
    pub(super) async fn put(&self, key: Key, from: Reading) -> Result<Option<u64>, Error> {
        match self {
            Self::Folder(blobs) => put_in_folder(&**blobs, key, from).await,
            Self::Bucket(bucket) => put_in_bucket(bucket, key, from).await,
        }
    }
}

async fn put_in_folder(blobs: &dyn Blobs, key: Key, mut from: Reading) -> Result<Option<u64>, Error> {
    let mut upload = blobs.upload(key).await?;
    while let Some(piece) = from.next().await? {
        upload.write(piece).await?;
    }
    match upload.finish().await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(blobs::Error::Mismatch { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn put_in_bucket(bucket: &Bucket, key: Key, mut from: Reading) -> Result<Option<u64>, Error> {
    let (Some(path), Key::Blob(expected) | Key::Manifest(expected)) = (key.path(), key) else { return Ok(None) };
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0_u64);
    if from.size < LargeUpload::BYTES_MIN {
        let mut pieces: Vec<Bytes> = Vec::new();
        // A file that grows while read does not match its name.
        while let Some(piece) = from.next().await?.filter(|_| size < LargeUpload::BYTES_MIN) {
            hasher.update(&piece);
            size = size.saturating_add(piece.len() as u64);
            pieces.push(piece);
        }
        if Digest::from(hasher.finalize()) != expected {
            return Ok(None);
        }
        bucket.write(&path, pieces).await?;
        return Ok(Some(size));
    }
    let mut upload = bucket.write_large(&path).await?;
    let sent = async {
        while let Some(piece) = from.next().await? {
            hasher.update(&piece);
            size = size.saturating_add(piece.len() as u64);
            upload.write(piece).await?;
        }
        Ok::<_, Error>(())
    };
    let sent = sent.await;
    if sent.is_ok() && Digest::from(hasher.finalize()) == expected {
        upload.finish().await?;
        return Ok(Some(size));
    }
    upload.abort().await;
    sent.map(|()| None)
}
