//! Makes variants: quickly before a switch, at the best level behind it. Ids do not depend on any of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest, VersionId};
use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tokio::sync::{Semaphore, broadcast, mpsc};

use super::Error;
use crate::blobs::{self, Blobs, Form, Key, Quality};
use crate::site::media;

/// Files beyond this length are not compressed: what a browser loads is not of that kind, and memory is bounded.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A variant is kept if it saves this share of the file, in hundredths …
const SAVED_PERCENT_MIN: u64 = 3;
/// … or this many bytes.
const SAVED_BYTES_MIN: u64 = 100;
/// The window that a zstd client must be able to hold (RFC 9659 §3), as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Files that are looked at at once: more than are compressed, so that the disk is busy meanwhile.
const FILES_AT_ONCE: usize = 8;
/// Files that may wait for the background pass; more are found again at the next start.
const QUEUE: usize = 1_024;

/// What the quick pass works on.
pub struct Work<'w> {
    /// The store.
    pub blobs: &'w dyn Blobs,
    /// The bundle.
    pub manifest: &'w Manifest,
    /// What no stored version of the app holds yet; everything else was tried before, and is never tried twice.
    pub fresh: &'w HashSet<Digest>,
    /// One for each file that may be compressed at once.
    pub permits: &'w Semaphore,
}

/// What the quick pass made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Files that got variants.
    pub files: usize,
    /// Their variants.
    pub variants: usize,
}

/// Makes quick variants of what has none, and finds the siblings that are encodings of their file already.
///
/// # Errors
/// Where the store fails. What cannot be compressed stays as it is.
pub async fn quick(work: &Work<'_>) -> Result<(BTreeMap<BundlePath, Vec<Form>>, Made), Error> {
    let mut given: BTreeMap<BundlePath, Vec<Form>> = BTreeMap::new();
    for (path, file) in &work.manifest.files {
        for form in Form::ALL {
            let sibling: Option<BundlePath> = format!("{path}.{}", form.suffix()).parse().ok();
            let Some(encoded) = sibling.and_then(|sibling| work.manifest.files.get(&sibling)) else { continue };
            if encoded.size <= FILE_BYTES_MAX.saturating_mul(4)
                && decodes_to(work, encoded.hash, form, file.hash, file.size).await?
            {
                given.entry(path.clone()).or_default().push(form);
            }
        }
    }
    let mut wanted: BTreeMap<Digest, Vec<Form>> = BTreeMap::new();
    for (path, file) in work.manifest.files.iter().filter(|(path, _)| !path.is_private()) {
        let came = given.get(path).map_or(&[][..], Vec::as_slice);
        let forms: Vec<Form> = Form::ALL.into_iter().filter(|form| !came.contains(form)).collect();
        let wants = work.fresh.contains(&file.hash) && !forms.is_empty();
        if wants && worth_trying(path, file.media_type.as_deref(), file.size) {
            wanted.insert(file.hash, forms);
        }
    }
    let files: Vec<_> = wanted.into_iter().map(|(digest, forms)| quick_file(work, digest, forms)).collect();
    let made: Vec<usize> = stream::iter(files).buffer_unordered(FILES_AT_ONCE).try_collect().await?;
    let files = made.iter().filter(|variants| **variants > 0).count();
    Ok((given, Made { files, variants: made.iter().sum() }))
}

/// Whether a file's kind compresses at all; media that does not is never tried.
fn worth_trying(path: &BundlePath, said: Option<&str>, size: u64) -> bool {
    let derived = said.map_or_else(|| media::content_type(path.as_str(), true), Cow::from);
    (1..=FILE_BYTES_MAX).contains(&size) && media::is_compressible(&derived)
}

async fn quick_file(work: &Work<'_>, digest: Digest, forms: Vec<Form>) -> Result<usize, Error> {
    // The semaphore is never closed.
    let _permit = work.permits.acquire().await.ok();
    let bytes = work.blobs.get(Key::Blob(digest)).await?;
    // Made also where another app's push has left them: neither what is said nor how long it takes may show that.
    let mut made = spawn(move || encode_all(&bytes, &forms, Quality::Quick)).await;
    let count = made.len();
    let known = work.blobs.variants(digest).await?;
    made.retain(|(form, ..)| known.iter().all(|variant| variant.form != *form));
    if !made.is_empty() {
        work.blobs.put_variants(digest, made).await?;
    }
    Ok(count)
}

async fn spawn<T: Send + 'static + Default>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(%error, "a file could not be compressed and is served as it is");
            T::default()
        }
    }
}

/// The forms of `bytes` that are worth keeping.
fn encode_all(bytes: &Bytes, forms: &[Form], quality: Quality) -> Vec<(Form, Quality, Bytes)> {
    let mut made = Vec::with_capacity(forms.len());
    for form in forms {
        if let Some(encoded) = encode(bytes, *form, quality)
            && is_worth_keeping(bytes.len(), encoded.len())
        {
            counter!("devanture_variants_made_total", "form" => form.suffix(), "quality" => label(quality))
                .increment(1);
            made.push((*form, quality, encoded.into()));
        }
    }
    made
}

const fn label(quality: Quality) -> &'static str {
    match quality {
        Quality::Best => "best",
        Quality::Given => "given",
        Quality::Quick => "quick",
    }
}

fn is_worth_keeping(size: usize, encoded: usize) -> bool {
    let (size, encoded) = (size as u64, encoded as u64);
    let saved = size.saturating_sub(encoded);
    saved >= SAVED_BYTES_MIN || (saved > 0 && saved.saturating_mul(100) >= size.saturating_mul(SAVED_PERCENT_MIN))
}

/// One encoding; `None` where the encoder fails, which none of them does on bytes in memory.
fn encode(bytes: &[u8], form: Form, quality: Quality) -> Option<Vec<u8>> {
    let best = quality == Quality::Best;
    match form {
        Form::Br => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: if best { 11 } else { 5 },
                lgwin: window_log(bytes.len()),
                size_hint: bytes.len(),
                ..Default::default()
            };
            let mut encoded = Vec::with_capacity(bytes.len() / 3);
            brotli::BrotliCompress(&mut &*bytes, &mut encoded, &params).ok()?;
            Some(encoded)
        }
        Form::Gz => {
            let level = libdeflater::CompressionLvl::new(if best { 12 } else { 6 }).ok()?;
            let mut compressor = libdeflater::Compressor::new(level);
            let mut encoded = vec![0; compressor.gzip_compress_bound(bytes.len())];
            let length = compressor.gzip_compress(bytes, &mut encoded).ok()?;
            encoded.truncate(length);
            Some(encoded)
        }
        Form::Zst => {
            let mut compressor = zstd::bulk::Compressor::new(if best { 19 } else { 3 }).ok()?;
            if bytes.len() > 1 << ZSTD_WINDOW_LOG_MAX {
                compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX)).ok()?;
            }
            compressor.compress(bytes).ok()
        }
    }
}

/// The smallest brotli window that holds the whole file (RFC 7932 §9.1 allows 10 to 24).
fn window_log(length: usize) -> i32 {
    let length = NonZeroU32::new(u32::try_from(length.saturating_add(16)).unwrap_or(u32::MAX));
    let log = length.map_or(10, |length| 32 - length.leading_zeros());
    i32::try_from(log.clamp(10, 24)).unwrap_or(24)
}

/// Whether the blob `encoded` is `form` of the blob `plain`.
async fn decodes_to(work: &Work<'_>, encoded: Digest, form: Form, plain: Digest, size: u64) -> Result<bool, Error> {
    let bytes = work.blobs.get(Key::Blob(encoded)).await?;
    Ok(spawn(move || decoded_digest(&bytes, form, size) == Some(plain)).await)
}

/// The hash of what `bytes` decode to, if that is whole and has `size` bytes.
fn decoded_digest(bytes: &[u8], form: Form, size: u64) -> Option<Digest> {
    let mut decoder: Box<dyn std::io::Read + '_> = match form {
        Form::Br => Box::new(brotli::Decompressor::new(bytes, 64 * 1024)),
        Form::Gz => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Form::Zst => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
            Box::new(decoder)
        }
    };
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 64 * 1024];
    let mut total: u64 = 0;
    loop {
        let length = decoder.read(&mut piece).ok()?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        total = total.saturating_add(u64::try_from(length).ok()?);
        // A bomb is found out here: no more is decoded than the file is long.
        if total > size {
            return None;
        }
        hasher.update(read);
    }
    (total == size).then(|| hasher.finalize().into())
}

/// The pass that remakes variants at the best level, behind the switch, on threads of its own.
#[derive(Clone)]
pub struct Background(Option<mpsc::Sender<VersionId>>);

impl Background {
    /// Remakes nothing: the first variants stay.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the pass with `threads` threads of low priority. `remade` is told of every version that got better.
    #[must_use]
    pub fn start(blobs: Arc<dyn Blobs>, threads: usize, remade: broadcast::Sender<VersionId>) -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let pool = Arc::new(Pool::new(threads));
        tokio::spawn(async move {
            while let Some(version) = receiver.recv().await {
                match remake(&*blobs, &pool, version).await {
                    Ok(0) => {}
                    Ok(variants) => {
                        tracing::info!(version = %version, variants, "variants were remade at the best level");
                        // Nobody listens while the edge ends.
                        remade.send(version).ok();
                    }
                    Err(error) => {
                        tracing::warn!(version = %version, %error, "variants were not remade; the first ones stay");
                    }
                }
            }
        });
        Self(Some(sender))
    }

    /// Has the variants of a version remade when its turn comes.
    pub fn enqueue(&self, version: VersionId) {
        if let Some(sender) = &self.0
            && sender.try_send(version).is_err()
        {
            tracing::warn!(version = %version, "the queue of the background pass is full; it is found again at the next start");
        }
    }
}

async fn remake(blobs: &dyn Blobs, pool: &Pool, version: VersionId) -> Result<usize, blobs::Error> {
    let canonical = blobs.get(Key::Manifest(version)).await?;
    let Ok(manifest) = Manifest::parse(&canonical) else { return Ok(0) };
    let digests: std::collections::BTreeSet<Digest> = manifest.files.values().map(|file| file.hash).collect();
    let files: Vec<_> = digests.into_iter().map(|digest| remake_file(blobs, pool, digest)).collect();
    let made: Vec<usize> = stream::iter(files).buffer_unordered(pool.threads).try_collect().await?;
    Ok(made.iter().sum())
}

async fn remake_file(blobs: &dyn Blobs, pool: &Pool, digest: Digest) -> Result<usize, blobs::Error> {
    let quick: Vec<_> = blobs.variants(digest).await?.into_iter().filter(|v| v.quality == Quality::Quick).collect();
    if quick.is_empty() {
        return Ok(0);
    }
    let bytes = blobs.get(Key::Blob(digest)).await?;
    let mut made = Vec::with_capacity(quick.len());
    for variant in quick {
        let plain = bytes.clone();
        let encoded = pool.run(move || encode(&plain, variant.form, Quality::Best)).await.flatten();
        let smaller = encoded.filter(|encoded| (encoded.len() as u64) < variant.size);
        let bytes = match smaller {
            Some(encoded) => encoded.into(),
            // The quick one was the better: it stays, and is not tried again.
            None => blobs.get(Key::Variant(digest, variant.form)).await?,
        };
        counter!("devanture_variants_made_total", "form" => variant.form.suffix(), "quality" => "best").increment(1);
        made.push((variant.form, Quality::Best, bytes));
    }
    let count = made.len();
    blobs.put_variants(digest, made).await?;
    Ok(count)
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads of the lowest priority: what they do never takes a processor from a request.
struct Pool {
    jobs: std::sync::mpsc::Sender<Job>,
    threads: usize,
}

impl Pool {
    fn new(threads: usize) -> Self {
        let (jobs, receiver) = std::sync::mpsc::channel::<Job>();
        let receiver = Arc::new(std::sync::Mutex::new(receiver));
        for number in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            let work = move || {
                lower_priority();
                loop {
                    let job = receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            if let Err(error) = std::thread::Builder::new().name(format!("compress-{number}")).spawn(work) {
                tracing::error!(%error, "a thread of the background pass could not be started");
            }
        }
        Self { jobs, threads: threads.max(1) }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            sender.send(work()).ok();
        });
        self.jobs.send(job).ok()?;
        receiver.await.ok()
    }
}

/// On Linux the priority belongs to the thread that asks, and every thread may lower its own.
fn lower_priority() {
    const LOWEST: i32 = 19;
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::warn!(%error, "the background pass runs at the priority of everything else");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_saves_little_is_not_kept() {
        assert!(is_worth_keeping(1_000, 970) && !is_worth_keeping(1_000, 971));
        assert!(is_worth_keeping(1_000_000, 999_900) && !is_worth_keeping(1_000_000, 999_901));
        assert!(!is_worth_keeping(0, 0) && !is_worth_keeping(10, 20));
    }

    #[test]
    fn the_brotli_window_holds_the_file_and_no_more() {
        assert_eq!((window_log(0), window_log(1_000), window_log(100_000), window_log(1 << 30)), (10, 10, 17, 24));
    }

    #[test]
    fn a_cut_or_longer_encoding_does_not_decode_to_the_file() {
        let plain = b"hello hello hello hello hello hello".repeat(50);
        for form in Form::ALL {
            let encoded = encode(&plain, form, Quality::Quick).unwrap();
            let size = plain.len() as u64;
            assert_eq!(decoded_digest(&encoded, form, size), Some(Digest::of(&plain)), "{form:?}");
            assert_eq!(decoded_digest(&encoded, form, size - 1), None, "{form:?}");
            assert_ne!(decoded_digest(&encoded[..encoded.len() / 2], form, size), Some(Digest::of(&plain)), "{form:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(plain in proptest::collection::vec(0u8..8, 0..4_000)) {
            for form in Form::ALL {
                for quality in [Quality::Quick, Quality::Best] {
                    let encoded = encode(&plain, form, quality).unwrap();
                    let digest = decoded_digest(&encoded, form, plain.len() as u64);
                    prop_assert_eq!(digest, Some(Digest::of(&plain)));
                }
            }
        }
    }
}
