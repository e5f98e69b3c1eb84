//! Uploads: to the local disk, then to the bucket.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;

use super::remote::{Remote, path_of};
use super::store::TieredBlobs;
use crate::blobs::{Blobs as _, Error, Key, ReadAt, UnnamedUpload, Upload};
use crate::s3::LargeUpload;
use devanture_base::durable::failed;

/// Bytes of one read of a local file on its way to the bucket.
const PIECE_BYTES: usize = 1_024 * 1_024;
/// Bytes in memory during the write of a large object: a part, and the piece of the next part.
const LARGE_MEMORY_BYTES: u64 = LargeUpload::BYTES_MIN + PIECE_BYTES as u64;

impl TieredBlobs {
    pub(super) async fn begin_upload(&self, key: Key) -> Result<Box<dyn Upload>, Error> {
        let local = self.local.upload(key).await?;
        Ok(Box::new(Named { store: self.in_lane(self.lane), key, local }))
    }

    pub(super) async fn begin_unnamed_upload(&self) -> Result<Box<dyn UnnamedUpload>, Error> {
        let local = self.local.upload_unnamed().await?;
        Ok(Box::new(Unnamed { store: self.in_lane(self.lane), local }))
    }

    /// Writes an object from checked bytes that are on the local disk.
    pub(super) async fn store(&self, key: Key, bytes: Bytes) -> Result<(), Error> {
        if bytes.len() as u64 >= LargeUpload::BYTES_MIN {
            return self.store_from_disk(key).await;
        }
        self.remote().write(&path_of(key)?, vec![bytes], self.lane).await?;
        self.note_put(key);
        Ok(())
    }

    /// Writes the object of a file on the local disk, in parts if it is large.
    pub(super) async fn store_from_disk(&self, key: Key) -> Result<(), Error> {
        let path = path_of(key)?;
        let file = self.local.open(key).await?;
        if file.size() < LargeUpload::BYTES_MIN {
            let _memory = self.remote().memory(file.size()).await;
            let bytes = read(&file, 0, usize::try_from(file.size()).unwrap_or(usize::MAX), key).await?;
            self.remote().write(&path, vec![bytes], self.lane).await?;
        } else {
            let _memory = self.remote().memory(LARGE_MEMORY_BYTES).await;
            let _turn = self.remote().write_turn(file.size(), self.lane).await;
            let began = Instant::now();
            let upload = self.remote().write_large(&path).await;
            let mut upload = upload.inspect_err(|error| drop(Remote::wrote_large(Err(error.clone()), began)))?;
            match send(&file, &mut upload, key).await {
                Ok(()) => Remote::wrote_large(upload.finish().await.map(|()| file.size()), began)?,
                Err(error) => {
                    // The parts would stay, and cost money, until a rule of the bucket removes them.
                    upload.abort().await;
                    return match error {
                        Error::Remote(error) => Ok(Remote::wrote_large(Err(*error), began)?),
                        error => Err(error),
                    };
                }
            }
        }
        self.note_put(key);
        Ok(())
    }

    fn note_put(&self, key: Key) {
        // The node of the put also compresses the blob.
        if let Key::Blob(blob) = key {
            self.shared.lookups.note(blob);
        }
    }
}

/// Sends a file, part by part. Each piece is compared with the file's hash tree as it is read.
async fn send(file: &Arc<dyn ReadAt>, upload: &mut LargeUpload, key: Key) -> Result<(), Error> {
    let mut at = 0_u64;
    while at < file.size() {
        let piece = read(file, at, PIECE_BYTES, key).await?;
        at = at.saturating_add(piece.len() as u64);
        upload.write(piece).await?;
    }
    Ok(())
}

/// Reads a piece of a local file, or all of the file.
async fn read(file: &Arc<dyn ReadAt>, at: u64, len: usize, key: Key) -> Result<Bytes, Error> {
    let read = Arc::clone(file).read_in_turn(at, len).await;
    let piece = read.map_err(failed("reading", key.to_string().as_ref()))?;
    if piece.is_empty() && file.size() > 0 {
        let ended = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        return Err(failed("reading", key.to_string().as_ref())(ended).into());
    }
    Ok(piece)
}

struct Named {
    store: TieredBlobs,
    key: Key,
    local: Box<dyn Upload>,
}

#[async_trait]
impl Upload for Named {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.local.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<u64, Error> {
        let size = self.local.finish().await?;
        self.store.store_from_disk(self.key).await?;
        Ok(size)
    }
}

struct Unnamed {
    store: TieredBlobs,
    local: Box<dyn UnnamedUpload>,
}

#[async_trait]
impl UnnamedUpload for Unnamed {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.local.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<(Digest, u64), Error> {
        let (digest, size) = self.local.finish().await?;
        self.store.store_from_disk(Key::Blob(digest)).await?;
        Ok((digest, size))
    }
}
