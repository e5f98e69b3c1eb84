//! A single delta (RFC 9842): bytes encoded with a dictionary held by the client. Pure and slow: never called on
//! serving threads.
//!
//! Each delta is decoded again, as strictly as by the strictest browser, before any use.

#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::digest;
use brotli::enc::{BrotliEncoderParams, StandardAlloc};
use brotli::{
    BrotliCompressCustomIoCustomDict, BrotliDecompressStream, BrotliResult, BrotliState, IoReaderWrapper,
    IoWriterWrapper,
};
use devanture_config::Sha256;
use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_frame_content_size};

use super::encode::{quick_window_log, window_log};
use devanture_store::blobs::{DeltaForm, Quality};

/// Quick level of brotli.
const QUICK: i32 = 5;
/// Magic number of a Zstandard frame (RFC 8878 §3.1.1).
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Largest window of Brotli, minus the bytes out of reach of any distance (RFC 7932 §9.1).
const DCB_BYTES_MAX: usize = (1 << 24) - 16;
/// Longest sum of dictionary and file of a `dcz`, which determines the encoder's memory.
const DCZ_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Window supported by every client, as a power of two (RFC 9842 §5) …
const DCZ_WINDOW_LOG: u32 = 23;
/// … and the largest supported by any client.
const DCZ_WINDOW_LOG_MAX: u32 = 27;
/// Shortest dictionary for long-distance matching. Without long-distance matching, the quick level forgets most of a
/// 1.5 MB dictionary, and the delta is 16 times as long. Shorter dictionaries do not benefit.
const LONG_DISTANCE_BYTES_MIN: usize = 512 * 1024;
/// Largest size of a kept delta, in hundredths of the best plain variant.
const KEPT_PERCENT_MAX: u64 = 80;
/// Bytes per codec step.
const PIECE: usize = 64 * 1024;

/// Returns the SHA-256 by which clients name `bytes` as a dictionary.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    Sha256::from(out)
}

/// Returns true if a delta saves enough over the smallest variant available to every client.
pub(crate) fn is_worth_keeping(best_plain: u64, delta: u64) -> bool {
    delta.saturating_mul(100) <= best_plain.saturating_mul(KEPT_PERCENT_MAX)
}

/// Returns the delta from `dictionary`, with its SHA-256, to `bytes`. `None` if either is too long for the clients'
/// windows, or if no attempt decodes to the bytes.
pub(crate) fn encode(
    bytes: &[u8],
    dictionary: &[u8],
    sha256: Sha256,
    form: DeltaForm,
    quality: Quality,
) -> Option<Vec<u8>> {
    let is_best = quality == Quality::Best;
    let together = dictionary.len().saturating_add(bytes.len());
    let (most, levels): (usize, &[i32]) = match (form, is_best) {
        (DeltaForm::Dcb, true) => (DCB_BYTES_MAX, &[11, 9, QUICK]),
        (DeltaForm::Dcb, false) => (DCB_BYTES_MAX, &[QUICK, 9]),
        (DeltaForm::Dcz, true) => (DCZ_BYTES_MAX, &[19]),
        (DeltaForm::Dcz, false) => (DCZ_BYTES_MAX, &[3]),
    };
    if together > most {
        return None;
    }
    levels.iter().find_map(|level| {
        let encode = || match form {
            DeltaForm::Dcb => brotli(bytes, &with_an_end(bytes, dictionary), *level),
            DeltaForm::Dcz => zstandard(bytes, dictionary, *level),
        };
        // A file on which an encoder panics has no delta, and is served whole.
        let stream = catch_unwind(AssertUnwindSafe(encode)).ok().flatten()?;
        let delta = [form.magic(), sha256.as_bytes(), &stream].concat();
        (decode(&delta, dictionary, sha256, form, bytes.len()).as_deref() == Some(bytes)).then_some(delta)
    })
}

/// Decodes `delta` with `dictionary`, as the strictest client does; `None` unless the delta is complete, names the
/// dictionary, and decodes to at most `size_max` bytes.
pub(crate) fn decode(
    delta: &[u8],
    dictionary: &[u8],
    sha256: Sha256,
    form: DeltaForm,
    size_max: usize,
) -> Option<Vec<u8>> {
    let stream = delta.strip_prefix(form.magic())?.strip_prefix(sha256.as_bytes())?;
    match form {
        DeltaForm::Dcb => unbrotli(stream, dictionary, size_max),
        DeltaForm::Dcz => unzstandard(stream, dictionary, size_max),
    }
}

fn brotli(bytes: &[u8], dictionary: &[u8], quality: i32) -> Option<Vec<u8>> {
    let together = dictionary.len().saturating_add(bytes.len());
    let lgwin = if quality == QUICK { quick_window_log(together) } else { window_log(together) };
    let params = BrotliEncoderParams { quality, lgwin, size_hint: together, ..Default::default() };
    let mut encoded = Vec::new();
    BrotliCompressCustomIoCustomDict(
        &mut IoReaderWrapper(&mut &*bytes),
        &mut IoWriterWrapper(&mut encoded),
        &mut vec![0; PIECE],
        &mut vec![0; PIECE],
        &params,
        StandardAlloc::default(),
        &mut |_, _, _, _| (),
        dictionary,
        std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
    )
    .ok()?;
    Some(encoded)
}

/// Returns `dictionary` with a changed last byte, so that no copy crosses the end.
///
/// For the encoder, dictionary and file are one text, and a repetition may cross the boundary. Clients keep them apart,
/// and refuse a copy across the end of the dictionary. The changed last byte does not occur in the file, or never
/// next to the same neighbours there. Since a copy has at least two bytes, no copy can include the changed byte.
fn with_an_end(bytes: &[u8], dictionary: &[u8]) -> Vec<u8> {
    let mut ended = dictionary.to_vec();
    let (Some(first), [.., before, last]) = (bytes.first(), &mut ended[..]) else { return ended };
    // For each byte: occurrences after the same neighbour, and all occurrences.
    let mut seen = [(0_u32, 0_u32); 256];
    let mut count = |byte: u8, beside: u32| {
        if let Some((pairs, all)) = seen.get_mut(usize::from(byte)) {
            *pairs = pairs.saturating_add(beside);
            *all = all.saturating_add(1);
        }
    };
    for byte in bytes {
        count(*byte, 0);
    }
    for pair in bytes.array_windows() {
        let [left, right] = *pair;
        if left == *before {
            count(right, 1);
        }
        if right == *first {
            count(left, 1);
        }
    }
    let rarest = (0..=u8::MAX).zip(seen).min_by_key(|(_, seen)| *seen);
    *last = rarest.map_or(0, |(byte, _)| byte);
    ended
}

fn unbrotli(stream: &[u8], dictionary: &[u8], size_max: usize) -> Option<Vec<u8>> {
    let alloc = StandardAlloc::default;
    // Strict: without large windows, an extension of RFC 7932.
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    if !dictionary.is_empty() && !state.attach_dictionary(dictionary.to_vec().into()) {
        return None;
    }
    let (mut read, mut unread) = (0, stream.len());
    let mut decoded = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let (mut room, mut length, mut total) = (piece.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut unread,
            &mut read,
            stream,
            &mut room,
            &mut length,
            &mut piece,
            &mut total,
            &mut state,
        );
        decoded.extend_from_slice(piece.get(..length)?);
        if decoded.len() > size_max {
            return None;
        }
        match result {
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess => return (unread == 0).then_some(decoded),
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => return None,
        }
    }
}

/// Returns the largest window of a client with the dictionary (RFC 9842 §5).
fn dcz_window_max(dictionary: usize) -> u64 {
    let dictionary = u64::try_from(dictionary).unwrap_or(u64::MAX);
    let most = dictionary.saturating_add(dictionary / 4);
    most.clamp(1 << DCZ_WINDOW_LOG, 1 << DCZ_WINDOW_LOG_MAX)
}

fn zstandard(bytes: &[u8], dictionary: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    // The dictionary is reachable until a full window of the file has been decoded (RFC 8878 §5). A frame with the
    // file's length, like the present frame, has a window of that length.
    let window_max = dcz_window_max(dictionary.len());
    let length = u64::try_from(bytes.len()).ok()?;
    let window_log = if length > window_max { window_max.ilog2() } else { length.next_power_of_two().ilog2() };
    context.set_parameter(CParameter::WindowLog(window_log.clamp(10, DCZ_WINDOW_LOG_MAX))).ok()?;
    if dictionary.len() >= LONG_DISTANCE_BYTES_MIN {
        context.set_parameter(CParameter::EnableLongDistanceMatching(true)).ok()?;
    }
    context.ref_prefix(dictionary).ok()?;
    let mut encoded = Vec::with_capacity(compress_bound(bytes.len()));
    context.compress2(&mut encoded, bytes).ok()?;
    Some(encoded)
}

fn unzstandard(stream: &[u8], dictionary: &[u8], size_max: usize) -> Option<Vec<u8>> {
    let window_max = dcz_window_max(dictionary.len());
    if window_of(stream)? > window_max {
        return None;
    }
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(stream, dictionary).ok()?.single_frame();
    decoder.window_log_max(window_max.next_power_of_two().ilog2()).ok()?;
    let mut decoded = Vec::new();
    let most = u64::try_from(size_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.by_ref().take(most).read_to_end(&mut decoded).ok()?;
    (decoded.len() <= size_max && decoder.finish().is_empty()).then_some(decoded)
}

/// Returns the window required by a Zstandard frame (RFC 8878 §3.1.1.1.2).
fn window_of(frame: &[u8]) -> Option<u64> {
    let [descriptor, window, ..] = *frame.strip_prefix(ZSTD_MAGIC)? else { return None };
    if descriptor & 0x20 != 0 {
        return get_frame_content_size(frame).ok().flatten();
    }
    let base = 1_u64 << (10 + (window >> 3));
    Some(base + base / 8 * u64::from(window & 7))
}
