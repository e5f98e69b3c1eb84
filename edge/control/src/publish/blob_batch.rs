//! Many small blobs of a push in one request: blobs are verified on arrival and stored together.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::{BlobBatchLimits, Scope};
use devanture_config::blob_batch::{BadBatch, Reader};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest};

use super::publisher::Publisher;
use super::pushes::Push;
use crate::ledger::{Actor, Error};
use devanture_base::clock;
use devanture_base::fair::Share;
use devanture_base::telemetry;

/// Incoming blobs of a batch. A batch dropped before [`BlobBatch::store`] stores nothing.
pub struct BlobBatch {
    publisher: Arc<Publisher>,
    push: Arc<Push>,
    reader: Reader,
    limits: BlobBatchLimits,
    blobs: BTreeMap<Digest, Bytes>,
    /// Order of arrival.
    order: Vec<Digest>,
    bytes: u64,
    /// Arrival of the first blob, in milliseconds since 1970; never after any file is stored.
    came_ms: u64,
    /// Permit of a concurrent batch.
    _share: Share,
}

impl Publisher {
    /// Returns the limits of a batch request.
    pub(super) fn batch_limits(&self) -> BlobBatchLimits {
        let limits = self.ledger.limits();
        BlobBatchLimits { blobs_max: limits.blob_batch_blobs_max, bytes_max: limits.blob_batch_bytes_max }
    }

    /// Starts a batch of blobs for a push.
    ///
    /// # Errors
    /// `not_found` for an unknown push, `forbidden` for an environment outside the actor's rights, `busy` beyond the
    /// limit of concurrent batches.
    pub fn batch(self: &Arc<Self>, actor: &Actor, app: &AppName, deploy: &str) -> Result<BlobBatch, Error> {
        let push = self.uploads.pushes.find(app, deploy)?;
        actor.may(Scope::Push, app, Some(&push.environment))?;
        push.check_owner(actor)?;
        let share = self.uploads.batches.take_in(app, push.environment.as_str()).ok_or_else(|| {
            Problem::new(Code::Busy, format!("The edge takes no more requests with many blobs of the app {app} now."))
                .hint("try again in a moment; `blob_batches_max` in edge.toml is the limit, and half of it for one environment")
        })?;
        let limits = self.batch_limits();
        Ok(BlobBatch {
            publisher: Arc::clone(self),
            push,
            reader: Reader::new(limits.bytes_max),
            limits,
            blobs: BTreeMap::new(),
            order: Vec::new(),
            bytes: 0,
            came_ms: clock::now_ms(),
            _share: share,
        })
    }
}

impl BlobBatch {
    /// Adds bytes of the request.
    ///
    /// # Errors
    /// `blob_mismatch` if the bytes of a blob do not match its name or the size in the manifest; `bad_request` for a
    /// blob outside the manifest; `too_large` beyond the limits.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.reader.push(bytes);
        while let Some((digest, bytes)) = self.reader.next_blob().map_err(unreadable)? {
            self.add(digest, bytes.into())?;
        }
        Ok(())
    }

    /// Checks that the request ends at the end of a blob.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn end(&self) -> Result<(), Error> {
        self.reader.end().map_err(unreadable)
    }

    fn add(&mut self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(size) = self.push.size_of(&digest) else {
            let detail = format!("The manifest of this push does not name the blob {digest}.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        };
        if length != size {
            let detail = format!("The blob {digest} was promised with {size} bytes, but {length} came.");
            return Err(Problem::new(Code::BlobMismatch, detail).hint("send it again").into());
        }
        let found = Digest::of(&bytes);
        if found != digest {
            let detail = format!("The bytes put under {digest} have the hash {found}.");
            return Err(Problem::new(Code::BlobMismatch, detail).hint("send it again").into());
        }
        let BlobBatchLimits { blobs_max, bytes_max } = self.limits;
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > bytes_max || self.order.len() as u64 >= blobs_max {
            let detail = format!("The request holds more than {blobs_max} blobs or {bytes_max} bytes of them.");
            return Err(Problem::new(Code::TooLarge, detail)
                .hint(
                    "send fewer at once; `blob_batch_blobs_max` and `blob_batch_bytes_max` in edge.toml are the limits",
                )
                .into());
        }
        // A repeated digest carries equal bytes.
        self.blobs.insert(digest, bytes);
        self.order.push(digest);
        Ok(())
    }

    /// Stores the batch, and returns the digests in order of arrival.
    ///
    /// # Errors
    /// `disk_full`; some blobs may have been stored.
    pub async fn store(self) -> Result<Vec<Digest>, Error> {
        let Self { publisher, push, blobs, order, came_ms, .. } = self;
        if blobs.is_empty() {
            return Ok(order);
        }
        let sizes: Vec<(Digest, u64)> =
            blobs.iter().map(|(digest, bytes)| (*digest, u64::try_from(bytes.len()).unwrap_or(u64::MAX))).collect();
        publisher.blobs_of(&push.app).put_all(blobs).await?;
        publisher.arrived(&push.app, &push.id, &sizes, came_ms).await?;
        Ok(order)
    }
}

impl Publisher {
    /// Records stored blobs for the app and the push.
    pub(super) async fn arrived(
        &self,
        app: &AppName,
        deploy: &str,
        blobs: &[(Digest, u64)],
        came_ms: u64,
    ) -> Result<(), Error> {
        // Looked up first: after a deletion of the app, its name may belong to a new owner, who must learn nothing.
        let push = self.uploads.pushes.find(app, deploy)?;
        self.uploads.owned.add(app, blobs.iter().copied()).await?;
        let (new, bytes) = {
            let mut received = push.received.lock();
            let new: Vec<(Digest, u64)> =
                blobs.iter().filter(|(digest, _)| received.blobs.insert(*digest)).copied().collect();
            let bytes = new.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
            received.bytes = received.bytes.saturating_add(bytes);
            (new, bytes)
        };
        if !new.is_empty() {
            telemetry::count_in_app("devanture_push_bytes_total", app.as_str(), &[], bytes);
            self.uploads.note_sent(&push, &new, came_ms).await;
        }
        Ok(())
    }
}

fn unreadable(error: BadBatch) -> Error {
    let code = match error {
        BadBatch::CutOff => Code::BadRequest,
        BadBatch::TooLong { .. } => Code::TooLarge,
    };
    Problem::new(code, format!("The blobs cannot be read: {error}.")).into()
}
