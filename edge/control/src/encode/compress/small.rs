//! Small files: read, compressed and stored in batches, since the cost per file exceeds the cost of its bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use devanture_config::Digest;
use futures_util::{StreamExt as _, stream};

use super::encode::encode_all;
use super::pool::{Pool, length_of};
use crate::ledger::Error;
use devanture_store::blobs::{Blobs, Form, Quality};

/// Most files of a group, read and stored together …
const GROUP_FILES: usize = 512;
/// … and their bytes.
const GROUP_BYTES: u64 = 1024 * 1024;
/// Files per pool job, so that pushes alternate.
const JOB_FILES: usize = 32;

/// File, length, and forms to try.
pub(super) type Wanted = (Digest, (u64, Vec<Form>));

/// File with its bytes.
type File = (Digest, Vec<Form>, Bytes);

/// Variant to store.
type Variant = (Form, Quality, Bytes);

/// Groups the files by store folder, so that each folder is synced once.
pub(super) fn groups(mut files: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    files.sort_by_key(|(digest, _)| *digest);
    let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::<Wanted>::new(), 0_u64);
    for (digest, (size, forms)) in files {
        let shares_folder = group.last().is_none_or(|(other, _)| other.as_bytes().first() == digest.as_bytes().first());
        if !shares_folder || group.len() >= GROUP_FILES || bytes.saturating_add(size) > GROUP_BYTES {
            groups.extend(Some(std::mem::take(&mut group)).filter(|group| !group.is_empty()));
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        group.push((digest, (size, forms)));
    }
    groups.extend(Some(group).filter(|group| !group.is_empty()));
    groups
}

/// Makes quick variants of a group. Returns the number worth keeping, for each file with any.
///
/// Variants are made even if another app's push has already done so: neither the result nor the duration must reveal
/// other apps.
///
/// # Errors
/// Errors of the store.
pub(super) async fn quick(blobs: &dyn Blobs, pool: &Pool, group: Vec<Wanted>) -> Result<Vec<usize>, Error> {
    let contents = blobs.get_all(group.iter().map(|(digest, _)| *digest).collect()).await?;
    let mut files = Vec::with_capacity(group.len());
    for ((digest, (_, forms)), bytes) in group.into_iter().zip(contents) {
        files.push((digest, forms, bytes?));
    }
    let mut made = all_compressed(pool, files).await;
    made.retain(|_, variants| !variants.is_empty());
    let counts = made.values().map(Vec::len).collect();
    blobs.put_first_variants(made).await?;
    Ok(counts)
}

/// Makes the missing variants of a group. Returns their number. Unreadable files are skipped; files without a variant
/// worth keeping are recorded, to avoid further attempts at each start.
///
/// # Errors
/// Errors of the store.
pub(super) async fn fill(blobs: &dyn Blobs, pool: &Pool, group: Vec<Wanted>) -> Result<usize, Error> {
    let contents = blobs.get_all(group.iter().map(|(digest, _)| *digest).collect()).await?;
    let mut files = Vec::with_capacity(group.len());
    for ((digest, (_, forms)), bytes) in group.into_iter().zip(contents) {
        match bytes {
            Ok(bytes) => files.push((digest, forms, bytes)),
            Err(error) => tracing::debug!(blob = %digest, %error, "a file whose variants are missing cannot be read"),
        }
    }
    let made = all_compressed(pool, files).await;
    let count = made.values().map(Vec::len).sum();
    blobs.put_variants_all(made).await?;
    Ok(count)
}

/// Returns the variants of each file, except files of failed jobs.
async fn all_compressed(pool: &Pool, files: Vec<File>) -> BTreeMap<Digest, Vec<Variant>> {
    let jobs: Vec<_> = files
        .chunks(JOB_FILES)
        .map(<[File]>::to_vec)
        .map(|files| {
            let length = files.iter().map(|(_, _, bytes)| length_of(bytes)).sum();
            pool.run(length, move || files.iter().map(compressed).collect::<Vec<_>>())
        })
        .collect();
    let made: Vec<Vec<_>> = stream::iter(jobs).buffered(pool.threads()).filter_map(async |made| made).collect().await;
    made.into_iter().flatten().collect()
}

fn compressed((digest, forms, bytes): &File) -> (Digest, Vec<Variant>) {
    (*digest, encode_all(bytes, forms, Quality::Quick))
}
