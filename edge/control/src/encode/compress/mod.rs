//! Makes variants: quickly before a switch, at the best level behind it. Ids do not depend on any of it.

mod alone;
mod background;
mod decoder;
pub(crate) mod delta;
mod encode;
mod fill;
mod large;
mod pool;
mod queue;
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

/// Files below this length are not compressed: they fit one packet as they are.
const FILE_BYTES_MIN: u64 = 100;
/// Files up to this length fit one packet as they are, with the head of their response: compressed, they come no
/// sooner.
const TINY_BYTES_MAX: u64 = 1_000;
/// Such files that a push waits for. Those of a push with more are left to the pass behind the switch.
const TINY_FILES_MAX: usize = 2_000;
/// Files that are looked at at once: more than are compressed, so that the disk is busy meanwhile.
const FILES_AT_ONCE: usize = 8;

/// The input of the quick pass.
pub(crate) struct Work<'w> {
    /// The store.
    pub(crate) blobs: &'w dyn Blobs,
    /// The bundle.
    pub(crate) manifest: &'w Manifest,
    /// Files that no stored version of the app holds yet; the others were tried before, and are never tried twice.
    pub(crate) fresh: &'w HashSet<Digest>,
    /// Where it is done.
    pub(crate) pool: &'w Pool,
    /// Files above this length are not compressed.
    pub(crate) file_bytes_max: u64,
    /// Most bytes that files may decode to which came compressed alone: each one, …
    pub(crate) decoded_file_bytes_max: u64,
    /// … all of them, …
    pub(crate) decoded_bytes_max: u64,
    /// … and for each of their own bytes.
    pub(crate) decoded_ratio_max: u64,
}

/// Encodings that came with a bundle.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Forms that stand beside the path of their plain file.
    pub(crate) forms: BTreeMap<BundlePath, Vec<Form>>,
    /// Plain files that did not come: what their forms decode to.
    pub(crate) decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Compressed files that came alone and decode to more than is taken, with the limit: they have their own names
    /// alone.
    pub(crate) beyond: Vec<(BundlePath, &'static str)>,
    /// Pages with the hashes of what they load.
    pub(crate) integrity: Vec<IntegrityPages>,
    /// Whether files have not had their pass at the best level yet.
    pub(crate) is_quick: bool,
}

/// The result of the quick pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Files that got variants.
    pub(crate) files: usize,
    /// Their variants.
    pub(crate) variants: usize,
    /// Files that would be compressed if they were not too large.
    pub(crate) too_large: usize,
    /// Files that are left to the pass behind the switch.
    pub(crate) later: usize,
}

/// Makes quick variants of what has none, and finds the siblings that are encodings of their file already.
///
/// # Errors
/// Where the store fails. What cannot be compressed stays as it is.
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
    // The largest first: one that came last would keep a single thread busy while the others have nothing to do.
    large.sort_by_key(|(_, (size, _))| std::cmp::Reverse(*size));
    let (blobs, pool) = (work.blobs, work.pool);
    let large = large
        .into_iter()
        .map(|(digest, wanted)| Either::Left(async move { Ok(vec![quick_file(blobs, pool, digest, wanted).await?]) }));
    let small = small::groups(small).into_iter().map(|group| Either::Right(small::quick(blobs, pool, group)));
    // Collected before they run, as a closure in the stream would keep the future from being `Send`.
    let files: Vec<_> = large.chain(small).collect();
    let made: Vec<Vec<usize>> = stream::iter(files).buffer_unordered(FILES_AT_ONCE).try_collect().await?;
    let made: Vec<usize> = made.into_iter().flatten().filter(|variants| *variants > 0).collect();
    let made = Made { files: made.len(), variants: made.iter().sum(), too_large, later };
    Ok((Given { forms: given, decoded, beyond, integrity: Vec::new(), is_quick: true }, made))
}

/// Leaves files out that fit one packet, if they are so many that the push would wait for them. Returns their number.
fn leave_tiny(wanted: &mut BTreeMap<Digest, (u64, Vec<Form>)>) -> usize {
    let is_tiny = |size: u64| size <= TINY_BYTES_MAX;
    let tiny = wanted.values().filter(|(size, _)| is_tiny(*size)).count();
    if tiny <= TINY_FILES_MAX {
        return 0;
    }
    wanted.retain(|_, (size, _)| !is_tiny(*size));
    tiny
}

/// The length of each file that is sought, and the forms that are worth trying, without those that came with the
/// bundle.
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

/// The best variants of bytes that no version has as a file. Slow: for the pool alone.
pub(crate) fn best(bytes: &bytes::Bytes) -> Vec<(Form, Quality, bytes::Bytes)> {
    encode_all(bytes, &[Form::Br, Form::Gz, Form::Zst], Quality::Best)
}

/// Makes the best variants of every file of a small bundle that lacks some.
///
/// # Errors
/// Where the store fails.
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

/// Whether a file's kind compresses at all; media that does not is never tried.
pub(crate) fn worth_trying(path: &BundlePath, declared: Option<&str>, size: u64) -> bool {
    let derived = declared.map_or_else(|| media::content_type(path.as_str(), true), Cow::from);
    let is_encoded = Form::ALL.into_iter().any(|form| path.as_str().ends_with(&format!(".{}", form.suffix())));
    size >= FILE_BYTES_MIN && !is_encoded && media::is_compressible(&derived)
}

/// Makes quick variants of a file. Returns how many are worth keeping.
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
    // Made also where another app's push has left them: neither what is served nor how long it takes may show that.
    let made = pool.run(size, move || encode_all(&bytes, &forms, Quality::Quick)).await.unwrap_or_default();
    let count = made.len();
    if !made.is_empty() {
        blobs.put_first_variants([(digest, made)].into()).await?;
    }
    Ok(count)
}

/// Whether the blob `encoded` is `form` of the blob `plain`.
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

/// The channel on which [`Background`] tells which versions got better variants.
#[must_use]
pub fn remade_channel() -> broadcast::Sender<VersionId> {
    broadcast::Sender::new(1_024)
}
