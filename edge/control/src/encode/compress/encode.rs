//! Single encodings of bytes, their verification, and decoders. Pure and slow: never called on serving threads.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::num::NonZeroU32;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::Bytes;
use devanture_config::Digest;
use devanture_store::blobs::{Form, Quality};
use flate2::bufread::GzDecoder;
use metrics::counter;

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

// Decoders of pushed encodings, as strict as browsers: any accepted encoding is accepted by browsers. Pure and slow.

/// Returns a decoder of `bytes`.
pub(super) fn decoder<'b>(bytes: impl BufRead + 'b, form: Form) -> Option<Box<dyn Read + 'b>> {
    Some(match form {
        Form::Br | Form::BrQuick => Box::new(StrictBrotli::new(bytes)),
        Form::Gz | Form::GzQuick => Box::new(OneMember(GzDecoder::new(bytes))),
        Form::Zst | Form::ZstQuick => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
            Box::new(decoder)
        }
    })
}

/// Gzip with a single member. RFC 1952 §2.2 allows several, but browsers decode only the first, and curl refuses more.
struct OneMember<R>(GzDecoder<R>);

impl<R: BufRead> Read for OneMember<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 if !into.is_empty() => end(self.0.get_mut()),
            read => Ok(read),
        }
    }
}

/// Brotli without large windows, an extension of RFC 7932: browsers refuse large windows, which take up to a gigabyte
/// of memory instead of 16 MiB.
struct StrictBrotli<R> {
    from: R,
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    is_over: bool,
}

impl<R> StrictBrotli<R> {
    fn new(from: R) -> Self {
        let alloc = StandardAlloc::default;
        Self { from, state: BrotliState::new_strict(alloc(), alloc(), alloc()), is_over: false }
    }
}

impl<R: BufRead> Read for StrictBrotli<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while !self.is_over {
            let bytes = self.from.fill_buf()?;
            let (is_cut, mut unread, mut read) = (bytes.is_empty(), bytes.len(), 0);
            let (mut room, mut length, mut total) = (into.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut unread,
                &mut read,
                bytes,
                &mut room,
                &mut length,
                into,
                &mut total,
                &mut self.state,
            );
            self.from.consume(read);
            match result {
                BrotliResult::ResultSuccess => self.is_over = true,
                BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
                BrotliResult::NeedsMoreInput if is_cut && length == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            }
            if length > 0 {
                return Ok(length);
            }
        }
        end(&mut self.from)
    }
}

/// Checks that no bytes follow the end of the stream.
fn end(from: &mut impl BufRead) -> io::Result<usize> {
    if from.fill_buf()?.is_empty() { Ok(0) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    fn decodes(encoded: &[u8], form: Form, plain: &[u8]) -> bool {
        decoded_digest(encoded, form, plain.len() as u64) == Some(Digest::of(plain))
    }

    #[test]
    fn a_gzip_of_several_members_is_none_of_the_file_as_browsers_read_the_first_alone() {
        let plain = b"hello ".repeat(100);
        let member = |bytes: &[u8]| encode(bytes, Form::Gz, Quality::Quick).unwrap();
        let (one, other) = plain.split_at(300);
        assert!(decodes(&member(&plain), Form::Gz, &plain));
        for (first, rest) in [(member(one), member(other)), (member(&plain), member(b"")), (member(&plain), vec![0])] {
            assert!(!decodes(&[first, rest].concat(), Form::Gz, &plain));
        }
    }

    #[test]
    fn law_11_a_brotli_with_a_window_beyond_the_standard_is_not_decoded() {
        let plain = b"hello ".repeat(100);
        let encoded = |large_window: bool| {
            let lgwin = if large_window { 25 } else { 24 };
            let params = brotli::enc::BrotliEncoderParams { quality: 5, lgwin, large_window, ..Default::default() };
            let mut encoded = Vec::new();
            brotli::BrotliCompress(&mut &*plain, &mut encoded, &params).unwrap();
            encoded
        };
        assert!(decodes(&encoded(false), Form::Br, &plain));
        assert!(!decodes(&encoded(true), Form::Br, &plain));
        assert!(!decodes(&[encoded(false), vec![0]].concat(), Form::Br, &plain), "something follows its end");
    }

    /// Yields its bytes in small pieces.
    struct Pieces<'b>(&'b [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(into.len());
            self.0.read(into.get_mut(..length).unwrap_or_default())
        }
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_the_same_in_any_pieces(
            plain in proptest::collection::vec(0_u8..8, 1..4_000),
            pieces in 1_usize..50,
            room in 1_usize..200,
            cut in 1_usize..20,
        ) {
            for form in Form::ALL {
                let encoded = encode(&plain, form, Quality::Quick).unwrap();
                let decoded = |encoded: &[u8]| {
                    let mut decoder = decoder(io::BufReader::with_capacity(64, Pieces(encoded, pieces)), form).unwrap();
                    let (mut decoded, mut buffer) = (Vec::new(), vec![0; room]);
                    loop {
                        match decoder.read(&mut buffer) {
                            Ok(0) => return Some(decoded),
                            Ok(read) => decoded.extend_from_slice(&buffer[..read]),
                            Err(_) => return None,
                        }
                    }
                };
                prop_assert_eq!(decoded(&encoded), Some(plain.clone()), "{:?}", form);
                let cut = encoded.len().saturating_sub(cut);
                prop_assert_ne!(decoded(&encoded[..cut]), Some(plain.clone()), "{:?}", form);
            }
        }
    }
}
