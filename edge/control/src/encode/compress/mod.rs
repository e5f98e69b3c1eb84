//! Makes variants: quickly before a switch, at the best level afterwards. Ids do not depend on variants.

mod alone;
mod background;
pub(crate) mod delta;
mod encode;
mod large;
mod pool;
mod small;
#[cfg(test)]
mod tests;

pub use background::{Background, BackgroundParts};
pub(crate) use pool::{Pool, length_of};

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest, VersionId};
use devanture_site::media;
use futures_util::future::Either;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::broadcast;

use crate::ledger::Error;
use devanture_store::blobs::{Blobs, Form, Key, Quality};
use devanture_store::records::DecodedFile;
use devanture_store::records::integrity_pages::IntegrityPages;
use encode::{SMALL_BYTES_MAX, decoded_digest, encode_all};
use large::LARGE_BYTES_MIN;

/// Shortest compressed file: shorter files fit one packet uncompressed.
const FILE_BYTES_MIN: u64 = 100;
/// Longest file that fits one packet uncompressed, with its response head: compression would not speed its arrival.
const TINY_BYTES_MAX: u64 = 1_000;
/// Most such files compressed before a switch; with more, all are left to the background pass.
const TINY_FILES_MAX: usize = 2_000;
/// Files examined concurrently, more than threads, to keep the disk busy.
const FILES_AT_ONCE: usize = 8;

/// Input of the quick pass.
pub(crate) struct Work<'w> {
    /// Store.
    pub(crate) blobs: &'w dyn Blobs,
    /// Bundle.
    pub(crate) manifest: &'w Manifest,
    /// Files in no stored version of the app; all other files were tried before.
    pub(crate) fresh: &'w HashSet<Digest>,
    /// Thread pool.
    pub(crate) pool: &'w Pool,
    /// Longest compressed file.
    pub(crate) file_bytes_max: u64,
    /// Most decoded bytes of files pushed only in compressed form: per file …
    pub(crate) decoded_file_bytes_max: u64,
    /// … in total …
    pub(crate) decoded_bytes_max: u64,
    /// … and per encoded byte.
    pub(crate) decoded_ratio_max: u64,
}

/// Encodings included in a bundle.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Forms included next to their plain file, by its path.
    pub(crate) forms: BTreeMap<BundlePath, Vec<Form>>,
    /// Plain files derived from included forms.
    pub(crate) decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Oversized compressed files without a plain file, with the limit: served only under their own names.
    pub(crate) beyond: Vec<(BundlePath, &'static str)>,
    /// Pages with integrity hashes.
    pub(crate) integrity: Vec<IntegrityPages>,
    /// True until the background pass at the best level.
    pub(crate) is_quick: bool,
}

/// Result of the quick pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Files with new variants.
    pub(crate) files: usize,
    /// New variants.
    pub(crate) variants: usize,
    /// Compressible files beyond the length limit.
    pub(crate) too_large: usize,
    /// Files left to the background pass.
    pub(crate) later: usize,
}

/// Makes quick variants of files without variants, and finds included encodings.
///
/// # Errors
/// Errors of the store. Incompressible files stay unchanged.
pub(crate) async fn quick(work: &Work<'_>) -> Result<(Given, Made), Error> {
    let mut given: BTreeMap<BundlePath, Vec<Form>> = BTreeMap::new();
    for (path, file) in &work.manifest.files {
        for form in Form::ALL {
            let sibling: Option<BundlePath> = format!("{path}.{}", form.suffix()).parse().ok();
            let Some(encoded) = sibling.and_then(|sibling| work.manifest.files.get(&sibling)) else { continue };
            if encoded.size <= work.file_bytes_max.saturating_mul(4)
                && decodes_to(work, (encoded.hash, encoded.size), form, (file.hash, file.size)).await?
            {
                given.entry(path.clone()).or_default().push(form);
            }
        }
    }
    let (decoded, beyond) = alone::decode_all(work, &mut given).await?;
    let mut wanted = lacking_forms(work.manifest, &given, |digest| work.fresh.contains(digest));
    let before = wanted.len();
    wanted.retain(|_, (size, _)| *size <= work.file_bytes_max);
    let too_large = before.saturating_sub(wanted.len());
    let later = leave_tiny(&mut wanted);
    let (small, mut large): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, (size, _))| *size <= SMALL_BYTES_MAX);
    // Largest first: a large file at the end would occupy one thread while all others are idle.
    large.sort_by_key(|(_, (size, _))| std::cmp::Reverse(*size));
    let (blobs, pool) = (work.blobs, work.pool);
    let large = large
        .into_iter()
        .map(|(digest, wanted)| Either::Left(async move { Ok(vec![quick_file(blobs, pool, digest, wanted).await?]) }));
    let small = small::groups(small).into_iter().map(|group| Either::Right(small::quick(blobs, pool, group)));
    // Collected before running: a closure in the stream would make the future `!Send`.
    let files: Vec<_> = large.chain(small).collect();
    let made: Vec<Vec<usize>> = stream::iter(files).buffer_unordered(FILES_AT_ONCE).try_collect().await?;
    let made: Vec<usize> = made.into_iter().flatten().filter(|variants| *variants > 0).collect();
    let made = Made { files: made.len(), variants: made.iter().sum(), too_large, later };
    Ok((Given { forms: given, decoded, beyond, integrity: Vec::new(), is_quick: true }, made))
}

/// Removes files that fit one packet, if too many for a push to wait for. Returns their number.
fn leave_tiny(wanted: &mut BTreeMap<Digest, (u64, Vec<Form>)>) -> usize {
    let is_tiny = |size: u64| size <= TINY_BYTES_MAX;
    let tiny = wanted.values().filter(|(size, _)| is_tiny(*size)).count();
    if tiny <= TINY_FILES_MAX {
        return 0;
    }
    wanted.retain(|_, (size, _)| !is_tiny(*size));
    tiny
}

/// Returns the length of each file, and the forms worth trying, except included forms.
fn lacking_forms(
    manifest: &Manifest,
    given: &BTreeMap<BundlePath, Vec<Form>>,
    is_sought: impl Fn(&Digest) -> bool,
) -> BTreeMap<Digest, (u64, Vec<Form>)> {
    let mut wanted: BTreeMap<Digest, (u64, Vec<Form>)> = BTreeMap::new();
    for (path, file) in manifest.files.iter().filter(|(path, file)| !path.is_private() && is_sought(&file.hash)) {
        let came = given.get(path).map_or(&[][..], Vec::as_slice);
        let forms: Vec<Form> = Form::ALL.into_iter().filter(|form| !came.contains(form)).collect();
        if !forms.is_empty() && worth_trying(path, file.media_type.as_deref(), file.size) {
            wanted.insert(file.hash, (file.size, forms));
        }
    }
    wanted
}

/// Returns the best variants of bytes outside all versions. Slow: only for the pool.
pub(crate) fn best(bytes: &bytes::Bytes) -> Vec<(Form, Quality, bytes::Bytes)> {
    encode_all(bytes, &[Form::Br, Form::Gz, Form::Zst], Quality::Best)
}

/// Makes missing best variants of every file of a small bundle.
///
/// # Errors
/// Errors of the store.
pub(crate) async fn best_of_all(blobs: &dyn Blobs, pool: &Pool, manifest: &Manifest) -> Result<(), Error> {
    for (digest, (size, forms)) in lacking_forms(manifest, &BTreeMap::new(), |_| true) {
        let known = blobs.variants(digest).await?;
        let is_known = |form: &Form| known.iter().any(|variant| variant.form == *form);
        let forms: Vec<Form> = forms.into_iter().filter(|form| !is_known(form)).collect();
        if forms.is_empty() {
            continue;
        }
        let bytes = blobs.get(Key::Blob(digest)).await?;
        let made = pool.run(size, move || encode_all(&bytes, &forms, Quality::Best)).await.unwrap_or_default();
        if !made.is_empty() {
            blobs.put_variants(digest, made).await?;
        }
    }
    Ok(())
}

/// Returns true for compressible file types; media files are never tried.
pub(crate) fn worth_trying(path: &BundlePath, declared: Option<&str>, size: u64) -> bool {
    let derived = declared.map_or_else(|| media::content_type(path.as_str(), true), Cow::from);
    let is_encoded = Form::ALL.into_iter().any(|form| path.as_str().ends_with(&format!(".{}", form.suffix())));
    size >= FILE_BYTES_MIN && !is_encoded && media::is_compressible(&derived)
}

/// Makes quick variants of a file. Returns the number worth keeping.
async fn quick_file(
    blobs: &dyn Blobs,
    pool: &Pool,
    digest: Digest,
    (size, forms): (u64, Vec<Form>),
) -> Result<usize, Error> {
    if size > LARGE_BYTES_MIN {
        return Ok(large::quick(blobs, pool, (digest, size), forms).await?);
    }
    let bytes = blobs.get(Key::Blob(digest)).await?;
    // Compressed even if another app's push has already done so: neither the result nor the duration must reveal other
    // apps.
    let made = pool.run(size, move || encode_all(&bytes, &forms, Quality::Quick)).await.unwrap_or_default();
    let count = made.len();
    if !made.is_empty() {
        blobs.put_first_variants([(digest, made)].into()).await?;
    }
    Ok(count)
}

/// Returns true if the blob `encoded` is `form` of the blob `plain`.
async fn decodes_to(
    work: &Work<'_>,
    (encoded, length): (Digest, u64),
    form: Form,
    (plain, size): (Digest, u64),
) -> Result<bool, Error> {
    if length > LARGE_BYTES_MIN {
        return Ok(large::decodes_to(work.blobs, work.pool, (encoded, form), (plain, size)).await?);
    }
    let bytes = work.blobs.get(Key::Blob(encoded)).await?;
    Ok(work.pool.run(length, move || decoded_digest(&bytes, form, size) == Some(plain)).await.unwrap_or_default())
}

/// Channel on which [`Background`] reports improved versions.
#[must_use]
pub fn remade_channel() -> broadcast::Sender<VersionId> {
    broadcast::Sender::new(1_024)
}
