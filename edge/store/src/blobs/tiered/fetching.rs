//! Brings objects of the bucket to the local disk: a single object, or all objects of a version. Each object is
//! compared with its hash before it has a name on the disk (law 4), and fetched once for all concurrent callers.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use devanture_config::{Digest, VersionId};
use futures_util::{StreamExt as _, stream};

use super::claims::{Claim, Ending, Other};
use super::lookups::Search;
use super::remote::{Object, REQUESTS_AT_ONCE, SMALL_BYTES_MAX, path_of};
use super::store::TieredBlobs;
use crate::blobs::{Blobs as _, Error, FetchReport, Key};

/// Upper bound of small blobs, or of blobs with variants, that are put on the disk together, …
pub(super) const BATCH_OBJECTS: usize = 128;
/// … and of their bytes.
pub(super) const BATCH_BYTES: usize = 4 * 1_024 * 1_024;

/// The result of a fetch of several blobs.
#[derive(Default)]
pub(super) struct FetchSummary {
    pub(super) report: FetchReport,
    /// Blobs that are not in the bucket.
    pub(super) absent: Vec<Digest>,
    /// Blobs that could not be fetched, or with bytes that do not match the name.
    pub(super) failed: HashMap<Digest, Error>,
}

/// The result of the fetch of one object.
enum FetchOutcome {
    Absent,
    /// An earlier caller is fetching the object.
    Elsewhere(Other),
    /// The object is on the disk, after a read of so many bytes from the bucket.
    Here(Option<u64>),
    /// The object is small: the bytes match the name, and are still to be put on the disk.
    Small(Claim, Bytes),
}

impl TieredBlobs {
    /// Brings a blob or a manifest to the local disk. Returns false if the object is not in the bucket.
    pub(super) async fn bring(&self, key: Key) -> Result<bool, Error> {
        loop {
            match self.fetch_object(key).await? {
                FetchOutcome::Absent => return Ok(false),
                FetchOutcome::Here(_) => return Ok(true),
                FetchOutcome::Small(claim, bytes) => {
                    self.local.put(key, bytes).await?;
                    claim.end(Ending::Here);
                    return Ok(true);
                }
                FetchOutcome::Elsewhere(other) => match other.ended().await {
                    Some(Ending::Absent) => return Ok(false),
                    Some(Ending::Failed(error)) => return Err(error.into()),
                    Some(Ending::Here) => return Ok(true),
                    Some(Ending::Mismatch) => {
                        let quarantined = self.remote().bucket.shown(&path_of(key)?);
                        return Err(Error::Corrupt { key, quarantined });
                    }
                    // The fetching caller was dropped, or its disk failed: this caller tries.
                    None => {}
                },
            }
        }
    }

    /// Fetches an object unless an earlier caller is fetching it.
    async fn fetch_object(&self, key: Key) -> Result<FetchOutcome, Error> {
        let claim = match self.shared.claims.claim(key) {
            Ok(claim) => claim,
            Err(other) => return Ok(FetchOutcome::Elsewhere(other)),
        };
        // An earlier fetch may have ended since the caller looked.
        if self.local.size(key).await?.is_some() {
            claim.end(Ending::Here);
            return Ok(FetchOutcome::Here(None));
        }
        let path = path_of(key)?;
        let object = match self.remote().open(&path, self.lane).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                claim.end(Ending::Absent);
                return Ok(FetchOutcome::Absent);
            }
            Err(error) => {
                claim.end(Ending::Failed(error.clone()));
                return Err(error.into());
            }
        };
        let size = object.size;
        let read =
            if size <= SMALL_BYTES_MAX { self.read_small(key, object).await } else { self.copy(key, object).await };
        match read {
            Ok(Some(bytes)) => Ok(FetchOutcome::Small(claim, bytes)),
            Ok(None) => {
                claim.end(Ending::Here);
                Ok(FetchOutcome::Here(Some(size)))
            }
            Err(Error::Mismatch { .. }) => {
                claim.end(Ending::Mismatch);
                Err(self.mismatch(key, &path))
            }
            Err(Error::Remote(error)) => {
                claim.end(Ending::Failed(*error.clone()));
                Err(Error::Remote(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of a small object.
    async fn read_small(&self, key: Key, object: Object<'_>) -> Result<Option<Bytes>, Error> {
        let bytes = object.bytes().await?;
        let found = Digest::of(&bytes);
        match key {
            Key::Blob(expected) | Key::Manifest(expected) if found != expected => {
                Err(Error::Mismatch { expected, found })
            }
            _ => Ok(Some(bytes)),
        }
    }

    /// Copies an object to the disk, piece by piece; the disk refuses bytes that do not match.
    async fn copy(&self, key: Key, mut object: Object<'_>) -> Result<Option<Bytes>, Error> {
        let mut upload = self.local.upload(key).await?;
        while let Some(piece) = object.next().await? {
            upload.write(piece).await?;
        }
        upload.finish().await?;
        Ok(None)
    }

    /// Brings the blobs that the local disk lacks.
    pub(super) async fn bring_all(&self, blobs: &[Digest]) -> Result<FetchSummary, Error> {
        let mut brought = FetchSummary::default();
        let sizes = self.local.sizes(blobs.to_vec()).await?;
        let lacking: HashSet<Digest> =
            blobs.iter().zip(sizes).filter(|(_, size)| size.is_none()).map(|(blob, _)| *blob).collect();
        let jobs: Vec<_> = lacking.into_iter().map(|blob| self.fetch_blob(blob)).collect();
        let mut jobs = stream::iter(jobs).buffer_unordered(REQUESTS_AT_ONCE);
        let (mut batch, mut batch_bytes, mut elsewhere) = (Vec::new(), 0_usize, Vec::new());
        while let Some((blob, got)) = jobs.next().await {
            match got {
                Ok(FetchOutcome::Absent) => brought.absent.push(blob),
                Ok(FetchOutcome::Elsewhere(_)) => elsewhere.push(blob),
                Ok(FetchOutcome::Here(bytes)) => bytes.into_iter().for_each(|bytes| brought.report.add(bytes)),
                Ok(FetchOutcome::Small(claim, bytes)) => {
                    brought.report.add(bytes.len() as u64);
                    batch_bytes = batch_bytes.saturating_add(bytes.len());
                    batch.push((blob, claim, bytes));
                    if batch.len() >= BATCH_OBJECTS || batch_bytes >= BATCH_BYTES {
                        batch_bytes = 0;
                        self.keep(std::mem::take(&mut batch)).await?;
                    }
                }
                Err(error @ (Error::Remote(_) | Error::Corrupt { .. })) => drop(brought.failed.insert(blob, error)),
                Err(error) => return Err(error),
            }
        }
        self.keep(batch).await?;
        // Only now: the other callers may wait for objects fetched here.
        for blob in elsewhere {
            match self.bring(Key::Blob(blob)).await {
                Ok(true) => {}
                Ok(false) => brought.absent.push(blob),
                Err(error @ (Error::Remote(_) | Error::Corrupt { .. })) => drop(brought.failed.insert(blob, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(brought)
    }

    async fn fetch_blob(&self, blob: Digest) -> (Digest, Result<FetchOutcome, Error>) {
        (blob, self.fetch_object(Key::Blob(blob)).await)
    }

    /// Puts fetched blobs on the disk together.
    async fn keep(&self, batch: Vec<(Digest, Claim, Bytes)>) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        self.local.put_all(batch.iter().map(|(blob, _, bytes)| (*blob, bytes.clone())).collect()).await?;
        batch.into_iter().for_each(|(_, claim, _)| claim.end(Ending::Here));
        Ok(())
    }

    /// Brings a version to the local disk: the manifest, the blobs and their variants.
    pub(super) async fn fetch_version(&self, version: VersionId, blobs: Vec<Digest>) -> Result<FetchReport, Error> {
        let manifest = Key::Manifest(version);
        let mut report = FetchReport::default();
        if self.local.size(manifest).await?.is_none() {
            if !self.bring(manifest).await? {
                return Err(Error::Missing(manifest));
            }
            report.add(self.local.size(manifest).await?.unwrap_or_default());
        }
        let brought = self.bring_all(&blobs).await?;
        if let Some((_, error)) = brought.failed.into_iter().next() {
            return Err(error);
        }
        if let Some(absent) = brought.absent.first() {
            return Err(Error::Missing(Key::Blob(*absent)));
        }
        report.merge(brought.report);
        let lacking = self.local.lacking_variants(self.shared.lookups.due(&blobs)).await?;
        report.merge(self.bring_variants(lacking, Search::Seldom).await?);
        Ok(report)
    }
}
