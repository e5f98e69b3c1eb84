//! Single encodings of bytes, and their verification. Pure and slow: never called on serving threads.

use std::cell::RefCell;
use std::io::{BufRead, Read as _};
use std::num::NonZeroU32;

use bytes::Bytes;
use devanture_config::Digest;
use metrics::counter;

use super::decoder::decoder;
use devanture_store::blobs::{Form, Quality};

/// Longest small file, compressed in batches with per-thread contexts.
pub(super) const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// Smallest saving of a kept variant, in hundredths of the file …
const SAVED_PERCENT_MIN: u64 = 3;
/// … or in bytes.
const SAVED_BYTES_MIN: u64 = 100;
/// Window required of zstd clients (RFC 9659 §3), as a power of two.
pub(super) const ZSTD_WINDOW_LOG_MAX: u32 = 23;

const QUICK_ZSTD_LEVEL: i32 = 3;
/// Smallest brotli window of the quick level. For smaller windows the encoder lacks a table of fitting size for the
/// level and allocates megabytes: a millisecond or more for a file of 800 bytes, instead of a tenth of a millisecond.
const QUICK_WINDOW_LOG_MIN: i32 = 17;

thread_local! {
    /// Quick compressors, one per thread: creating one costs more than compressing a small file.
    static QUICK_GZIP: RefCell<libdeflater::Compressor> =
        RefCell::new(libdeflater::Compressor::new(libdeflater::CompressionLvl::default()));
    static QUICK_ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        RefCell::new(zstd::bulk::Compressor::new(QUICK_ZSTD_LEVEL).ok());
}

/// Returns the forms of `bytes` worth keeping.
pub(super) fn encode_all(bytes: &Bytes, forms: &[Form], quality: Quality) -> Vec<(Form, Quality, Bytes)> {
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

pub(super) const fn label(quality: Quality) -> &'static str {
    match quality {
        Quality::Best => "best",
        Quality::Given => "given",
        Quality::Quick => "quick",
    }
}

pub(super) fn is_worth_keeping(size: usize, encoded: usize) -> bool {
    let (size, encoded) = (size as u64, encoded as u64);
    let saved = size.saturating_sub(encoded);
    saved >= SAVED_BYTES_MIN || (saved > 0 && saved.saturating_mul(100) >= size.saturating_mul(SAVED_PERCENT_MIN))
}

/// Returns an encoding; `None` if the encoder fails, which does not happen for bytes in memory.
pub(super) fn encode(bytes: &[u8], form: Form, quality: Quality) -> Option<Vec<u8>> {
    let best = quality == Quality::Best;
    match form {
        Form::Br | Form::BrQuick => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: if best { 11 } else { 5 },
                lgwin: if best { window_log(bytes.len()) } else { quick_window_log(bytes.len()) },
                size_hint: bytes.len(),
                ..Default::default()
            };
            let mut encoded = Vec::with_capacity(bytes.len() / 3);
            brotli::BrotliCompress(&mut &*bytes, &mut encoded, &params).ok()?;
            Some(encoded)
        }
        Form::Gz | Form::GzQuick => {
            if !best {
                return QUICK_GZIP.with_borrow_mut(|compressor| gzip(compressor, bytes));
            }
            let level = libdeflater::CompressionLvl::new(12).ok()?;
            gzip(&mut libdeflater::Compressor::new(level), bytes)
        }
        Form::Zst | Form::ZstQuick => {
            if !best && bytes.len() as u64 <= SMALL_BYTES_MAX {
                return QUICK_ZSTD.with_borrow_mut(|compressor| compressor.as_mut()?.compress(bytes).ok());
            }
            let mut compressor = zstd::bulk::Compressor::new(if best { 19 } else { QUICK_ZSTD_LEVEL }).ok()?;
            if bytes.len() > 1 << ZSTD_WINDOW_LOG_MAX {
                compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX)).ok()?;
            }
            compressor.compress(bytes).ok()
        }
    }
}

fn gzip(compressor: &mut libdeflater::Compressor, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoded = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut encoded).ok()?;
    encoded.truncate(length);
    Some(encoded)
}

/// Returns the smallest brotli window for the whole file (RFC 7932 §9.1 allows 10 to 24).
pub(super) fn window_log(length: usize) -> i32 {
    let length = NonZeroU32::new(u32::try_from(length.saturating_add(16)).unwrap_or(u32::MAX));
    let log = length.map_or(10, |length| 32 - length.leading_zeros());
    i32::try_from(log.clamp(10, 24)).unwrap_or(24)
}

/// As [`window_log`], for the quick level of brotli, 5.
pub(super) fn quick_window_log(length: usize) -> i32 {
    window_log(length).max(QUICK_WINDOW_LOG_MIN)
}

/// Returns the hash of the decoded `bytes`, if complete and of `size` bytes.
pub(super) fn decoded_digest(bytes: &[u8], form: Form, size: u64) -> Option<Digest> {
    decoded_digest_of(bytes, form, size)
}

/// As `decoded_digest`, for a reader.
pub(super) fn decoded_digest_of(bytes: impl BufRead, form: Form, size: u64) -> Option<Digest> {
    let mut decoder = decoder(bytes, form)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 64 * 1024];
    let mut total: u64 = 0;
    loop {
        let length = decoder.read(&mut piece).ok()?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        total = total.saturating_add(u64::try_from(length).ok()?);
        // Stops decompression bombs: no more is decoded than the file's length.
        if total > size {
            return None;
        }
        hasher.update(read);
    }
    (total == size).then(|| hasher.finalize().into())
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
        assert_eq!((quick_window_log(0), quick_window_log(1_000_000)), (QUICK_WINDOW_LOG_MIN, 20));
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
