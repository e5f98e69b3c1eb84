//! Sends the blobs that the edge lacks: small ones in batches if the edge supports that, others one by one.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::{BlobBatchLimits, BlobsStored, DeployBegun};
use devanture_config::problem::Code;
use devanture_config::text::counted;
use devanture_config::{Digest, blob_batch};
use devanture_project::beneath::FilePath;
use devanture_project::bundle::Blob;
use futures_util::future::Either;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};

use super::client::{self, Edge, Refusal};
use super::deploy::{BlobError, STALL_TIME_MAX};
use super::taken::UploadProgress;
use crate::output::exit::Failure;
use crate::output::progress::Sent;
use crate::output::report::byte_text;

/// Upper bound of a blob's length in a batch: a separate request would cost more than the bytes.
const SMALL_BYTES_MAX: u64 = 128 * 1024;
/// Bytes of a batch that are handed to the connection at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A blob to send.
type Named<'b> = (Digest, &'b Blob);

/// Splits the blobs: large blobs to be sent alone, largest first, and batches in the order of names: equal beginnings
/// share a folder of the edge's disk.
fn divided<'b>(missing: &[Named<'b>], limits: Option<BlobBatchLimits>) -> (Vec<Named<'b>>, Vec<Vec<Named<'b>>>) {
    let Some(BlobBatchLimits { blobs_max, bytes_max }) = limits else { return (missing.to_vec(), Vec::new()) };
    let small_max = SMALL_BYTES_MAX.min(bytes_max);
    let (mut small, mut large): (Vec<_>, Vec<_>) = missing.iter().partition(|(_, blob)| blob.bytes <= small_max);
    large.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.bytes));
    small.sort_by_key(|(digest, _)| *digest);
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (digest, blob) in small {
        if batch.len() as u64 >= blobs_max || bytes + blob.bytes > bytes_max {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += blob.bytes;
        batch.push((digest, blob));
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    (large, batches)
}

/// The body of a request with many blobs. Blocks on the disk.
fn read_all(blobs: &[(Digest, FilePath, u64)]) -> Result<Vec<u8>, BlobError> {
    let lengths = blobs.iter().map(|(_, _, bytes)| usize::try_from(*bytes).unwrap_or(0) + blob_batch::HEAD_BYTES);
    let mut body = Vec::with_capacity(lengths.sum());
    for (digest, path, bytes) in blobs {
        let changed = || BlobError::Changed(path.path());
        body.extend_from_slice(&blob_batch::head(digest, u32::try_from(*bytes).map_err(|_too_long| changed())?));
        let start = body.len();
        // The file existed at the hashing. A surplus byte tells that the file grew.
        let file = path.open().map_err(|_error| changed())?;
        let read = file.take(bytes + 1).read_to_end(&mut body).map_err(|_error| changed())?;
        if read as u64 != *bytes || Digest::of(body.get(start..).unwrap_or_default()) != *digest {
            return Err(changed());
        }
    }
    Ok(body)
}

impl Edge {
    /// Sends the blobs that a push lacks, with a bounded number of concurrent requests. The first failure ends the
    /// others: arrived blobs need not be sent again.
    ///
    /// # Errors
    /// A [`BlobError`].
    pub(crate) async fn put_missing(
        &self,
        begun: &DeployBegun,
        missing: &[Named<'_>],
        jobs: usize,
        sent: &Arc<Sent>,
    ) -> Result<(), BlobError> {
        let (alone, batches) = divided(missing, begun.batch);
        let deploy = begun.deploy.as_str();
        let alone = alone.into_iter().map(|(digest, blob)| {
            Either::Left(async move {
                self.put_blob(deploy, digest, blob, sent).await?;
                self.have_arrived(&[(digest, blob)], sent);
                Ok(())
            })
        });
        let batches = batches.into_iter().map(|batch| {
            Either::Right(async move {
                self.put_batch(deploy, &batch, sent).await?;
                self.have_arrived(&batch, sent);
                Ok(())
            })
        });
        stream::iter(alone.chain(batches)).buffer_unordered(jobs).try_collect().await
    }

    fn have_arrived(&self, blobs: &[Named<'_>], sent: &Sent) {
        sent.add_files(blobs.iter().map(|(_, blob)| blob.files).sum());
        if self.progress().is_verbose() {
            for (_, blob) in blobs {
                let text = format!("{}  {}", blob.path.path().display(), byte_text(blob.bytes));
                self.progress().detail("sent", &text);
            }
        }
    }

    /// Sends many blobs in one request.
    async fn put_batch(&self, deploy: &str, batch: &[Named<'_>], sent: &Sent) -> Result<(), BlobError> {
        let files: Vec<_> = batch.iter().map(|(digest, blob)| (*digest, blob.path.clone(), blob.bytes)).collect();
        let read = tokio::task::spawn_blocking(move || read_all(&files)).await;
        let lost =
            |error| BlobError::Failed(Failure::new(Code::Internal, format!("Files could not be read: {error}.")));
        let body = Bytes::from(read.map_err(lost)??);
        let attempt = async || {
            let out = self.taken();
            let request = self
                .request(Method::POST, &["blobs"], &[("deploy", deploy)])
                .header(CONTENT_TYPE, blob_batch::MEDIA_TYPE)
                .header(CONTENT_LENGTH, body.len())
                .header(ACCEPT, "application/json, application/problem+json")
                .body(reqwest::Body::wrap_stream(in_chunks(body.clone(), out.clone())));
            let response = self.send_watched(request, &out, STALL_TIME_MAX).await?;
            let BlobsStored { stored } = self.read_json(response).await?;
            if stored.len() == batch.len() {
                return Ok(());
            }
            let all = counted(batch.len(), "blob");
            let message = format!("The edge stored {} of {all}, and does not say why.", stored.len());
            Err(Refusal::Final(Failure::new(Code::Internal, message)))
        };
        client::repeat(self.waits(), client::BLOB_TRIES_MAX, attempt).await.map_err(BlobError::Failed)?;
        let bytes: u64 = batch.iter().map(|(_, blob)| blob.bytes).sum();
        sent.add_bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// Splits a body into pieces; `out` counts the bytes taken by the network.
fn in_chunks(
    mut body: Bytes,
    out: UploadProgress,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::iter(std::iter::from_fn(move || {
        let chunk = body.split_to(body.len().min(CHUNK_BYTES));
        out.add(chunk.len());
        (!chunk.is_empty()).then_some(Ok(chunk))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_project::beneath::Folder;
    use std::path::Path;

    /// The file `file` in `folder`.
    fn file_in(folder: &Path) -> FilePath {
        FilePath::new(&Folder::open(&std::fs::canonicalize(folder).unwrap()).unwrap(), "file".into())
    }

    fn blob(bytes: u64) -> Blob {
        let folder = tempfile::tempdir().unwrap();
        Blob { path: file_in(folder.path()), bytes, files: 1 }
    }

    #[test]
    fn small_blobs_travel_together_within_the_limits() {
        let blobs: Vec<(Digest, Blob)> = (1..=7_u64)
            .map(|number| (Digest::of(&number.to_le_bytes()), blob(number * 10)))
            .chain([
                (Digest::of(b"large"), blob(SMALL_BYTES_MAX + 1)),
                (Digest::of(b"larger"), blob(SMALL_BYTES_MAX * 2)),
            ])
            .collect();
        let missing: Vec<Named<'_>> = blobs.iter().map(|(digest, blob)| (*digest, blob)).collect();
        let (alone, batches) = divided(&missing, None);
        assert_eq!((alone.len(), batches.len()), (9, 0));
        let limits = BlobBatchLimits { blobs_max: 3, bytes_max: 90 };
        let (alone, batches) = divided(&missing, Some(limits));
        let sizes: Vec<u64> = alone.iter().map(|(_, blob)| blob.bytes).collect();
        assert_eq!(sizes, [SMALL_BYTES_MAX * 2, SMALL_BYTES_MAX + 1], "the largest first");
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 7);
        for batch in &batches {
            assert!(batch.len() <= 3 && batch.iter().map(|(_, blob)| blob.bytes).sum::<u64>() <= 90);
        }
        assert!(batches.concat().is_sorted_by_key(|(digest, _)| *digest));
    }

    #[test]
    fn a_file_that_is_not_what_it_was_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let write = |text: &str| {
            let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        write("text");
        let wanted = [(Digest::of(b"text"), file_in(folder.path()), 4)];
        let body = read_all(&wanted).unwrap();
        assert_eq!(body, [&blob_batch::head(&wanted[0].0, 4)[..], b"text"].concat());
        for changed in ["tex", "texts", "tent"] {
            write(changed);
            assert!(matches!(read_all(&wanted), Err(BlobError::Changed(_))), "{changed}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_all(&wanted), Err(BlobError::Changed(_))), "it has gone, as where a build replaces it");
    }
}
