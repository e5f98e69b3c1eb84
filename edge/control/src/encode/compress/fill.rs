//! Makes missing variants of a live version again, for example after a restoration without variants.

use std::collections::BTreeMap;

use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest};
use futures_util::future::Either;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::encode::SMALL_BYTES_MAX;
use super::pool::Pool;
use super::{lacking_forms, quick_file, small};
use crate::ledger::Error;
use devanture_store::blobs::{Blobs, Form};

/// Makes quick variants of files with missing variants. Returns their number.
///
/// # Errors
/// Errors of the store. Damaged files are skipped.
pub(super) async fn fill(
    blobs: &dyn Blobs,
    pool: &Pool,
    manifest: Manifest,
    given: &BTreeMap<BundlePath, Vec<Form>>,
    file_bytes_max: u64,
) -> Result<usize, Error> {
    let mut files = lacking_forms(&manifest, given, |_| true);
    // Freed early: the work is long and does not need the manifest.
    drop(manifest);
    files.retain(|_, (size, _)| *size <= file_bytes_max);
    let lacking = blobs.lacking_variants(files.keys().copied().collect()).await?;
    let lacking = lacking.into_iter().filter_map(|digest| Some((digest, files.remove(&digest)?)));
    let (small, large): (Vec<_>, Vec<_>) = lacking.partition(|(_, (size, _))| *size <= SMALL_BYTES_MAX);
    let large = large.into_iter().map(|(digest, wanted)| Either::Left(make(blobs, pool, digest, wanted)));
    let small = small::groups(small).into_iter().map(|group| Either::Right(small::fill(blobs, pool, group)));
    let files: Vec<_> = large.chain(small).collect();
    let made: Vec<usize> = stream::iter(files).buffer_unordered(pool.threads()).try_collect().await?;
    Ok(made.iter().sum())
}

/// Makes the missing variants of a blob. Returns their number.
///
/// # Errors
/// As [`fill`].
pub(super) async fn fill_file(
    blobs: &dyn Blobs,
    pool: &Pool,
    digest: Digest,
    wanted: (u64, Vec<Form>),
) -> Result<usize, Error> {
    match blobs.lacks_variants(digest).await? {
        true => make(blobs, pool, digest, wanted).await,
        false => Ok(0),
    }
}

/// Makes the variants of a blob.
async fn make(blobs: &dyn Blobs, pool: &Pool, digest: Digest, wanted: (u64, Vec<Form>)) -> Result<usize, Error> {
    match quick_file(blobs, pool, digest, wanted).await {
        Ok(0) => {
            // Recorded as not worth keeping, to avoid further attempts at each start.
            blobs.put_variants(digest, Vec::new()).await?;
            Ok(0)
        }
        Ok(made) => Ok(made),
        Err(error) => {
            tracing::debug!(blob = %digest, %error, "a file whose variants are missing cannot be read");
            Ok(0)
        }
    }
}
