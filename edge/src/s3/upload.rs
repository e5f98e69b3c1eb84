//! An object that is written part by part, so that no more than a part of it is in memory.

use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload};

use super::error::{Context, Error};

/// Bytes of each part but the last; stores want 5 MiB at least, and take 10,000 parts.
const PART_BYTES: usize = 8 * 1_024 * 1_024;

/// A large object that is being written. It is there as a whole once [`LargeUpload::finish`] was awaited, and not at
/// all before. The parts of one that is not finished stay with the store, unless it was given up by
/// [`LargeUpload::abort`].
pub struct LargeUpload {
    parts: Box<dyn MultipartUpload>,
    path: String,
    context: Context,
    pieces: Vec<Bytes>,
    held_bytes: usize,
}

impl LargeUpload {
    /// Bytes from which on an object is written in this way.
    pub const BYTES_MIN: u64 = PART_BYTES as u64;

    pub(super) const fn new(parts: Box<dyn MultipartUpload>, path: String, context: Context) -> Self {
        Self { parts, path, context, pieces: Vec::new(), held_bytes: 0 }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error`]; the upload is of no use then.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while self.held_bytes.saturating_add(bytes.len()) >= PART_BYTES {
            // All parts but the last have one length, which some stores insist on.
            let piece = bytes.split_to(PART_BYTES.saturating_sub(self.held_bytes));
            self.pieces.push(piece);
            self.send().await?;
        }
        self.held_bytes = self.held_bytes.saturating_add(bytes.len());
        if !bytes.is_empty() {
            self.pieces.push(bytes);
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.held_bytes = 0;
        let payload: PutPayload = std::mem::take(&mut self.pieces).into_iter().collect();
        let sent = self.parts.put_part(payload).await;
        sent.map_err(|error| self.context.error("writing", &self.path, &error))
    }

    /// Makes the object of all that was written.
    ///
    /// # Errors
    /// [`Error`]; there is no object then.
    pub async fn finish(mut self) -> Result<(), Error> {
        let result = self.complete().await;
        if result.is_err() {
            self.abort().await;
        }
        result
    }

    async fn complete(&mut self) -> Result<(), Error> {
        if !self.pieces.is_empty() {
            self.send().await?;
        }
        let completed = self.parts.complete().await;
        completed.map(drop).map_err(|error| self.context.error("writing", &self.path, &error))
    }

    /// Gives up, and has the store remove the parts.
    pub async fn abort(mut self) {
        if let Err(error) = self.parts.abort().await {
            let error = self.context.error("removing parts of", &self.path, &error);
            tracing::warn!(%error, "parts of an unfinished object stay in the store");
        }
    }
}
