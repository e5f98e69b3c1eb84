//! Large files: compressed while read, one at a time, so that neither the file nor several encodings are in memory.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use devanture_config::Digest;
use metrics::counter;

use super::encode::{ZSTD_WINDOW_LOG_MAX, decoded_digest_of, is_worth_keeping, label, window_log};
use super::pool::Pool;
use devanture_base::fair::Turns;
use devanture_store::blobs::{self, Blobs, Form, Key, Quality, ReadAt};

/// Longest file that is not large.
pub(super) const LARGE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Bytes per read.
const PIECE_BYTES: usize = 256 * 1024;

/// Bytes of an encoding after which compression stops if less than a fiftieth was saved.
const FUTILE_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Serializes large files of all pushes; apps take turns.
static TURN: LazyLock<Arc<Turns>> = LazyLock::new(|| Turns::new(1));

/// Stored file read from its beginning. Blocks on the disk.
struct Stored {
    file: Arc<dyn ReadAt>,
    at: Rc<Cell<u64>>,
}

impl Read for Stored {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let at = self.at.get();
        let bytes = self.file.read_at(at, into.len().min(PIECE_BYTES))?;
        let Some(into) = into.get_mut(..bytes.len()) else { return Err(io::ErrorKind::InvalidData.into()) };
        into.copy_from_slice(&bytes);
        self.at.set(at.saturating_add(bytes.len() as u64));
        Ok(bytes.len())
    }
}

/// Opens a stored file for decoding. Blocks on the disk.
pub(super) fn stored(file: Arc<dyn ReadAt>) -> impl io::BufRead {
    io::BufReader::with_capacity(PIECE_BYTES, Stored { file, at: Rc::default() })
}

/// Accepts an encoding up to a number of bytes, and stops early for an incompressible file.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Bytes of the file read so far.
    read: Rc<Cell<u64>>,
}

impl Bounded {
    fn is_futile(&self, length: usize) -> bool {
        let length = length as u64;
        length >= FUTILE_BYTES_MIN && length.saturating_mul(50) > self.read.get().saturating_mul(49)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len().saturating_add(bytes.len());
        if length > self.bytes_max || self.is_futile(length) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns an encoding of a large file; `None` if not shorter than `bytes_max`, or if the file is unreadable.
pub(super) async fn encode(
    blobs: &dyn Blobs,
    pool: &Pool,
    digest: Digest,
    form: Form,
    (quality, bytes_max): (Quality, u64),
) -> Result<Option<Bytes>, blobs::Error> {
    let _turn = TURN.take(pool.lane(), 1).await;
    let file = blobs.open(Key::Blob(digest)).await?;
    let (size, bytes_max) = (file.size(), usize::try_from(bytes_max).unwrap_or(usize::MAX));
    let encode =
        move || encode_stored(Stored { file, at: Rc::default() }, form, quality == Quality::Best, bytes_max).ok();
    let encoded = pool.run(size, encode).await;
    Ok(encoded.flatten().map(Into::into))
}

fn encode_stored(mut from: Stored, form: Form, best: bool, bytes_max: usize) -> io::Result<Vec<u8>> {
    let size = from.file.size();
    let mut into = Bounded { bytes: Vec::new(), bytes_max, read: Rc::clone(&from.at) };
    match form {
        Form::Br | Form::BrQuick => {
            let length = usize::try_from(size).unwrap_or(usize::MAX);
            let params = brotli::enc::BrotliEncoderParams {
                // The best level would take a minute per 30 MB.
                quality: if best { 9 } else { 5 },
                lgwin: window_log(length),
                size_hint: length,
                ..Default::default()
            };
            brotli::BrotliCompress(&mut from, &mut into, &params)?;
        }
        Form::Gz | Form::GzQuick => {
            let level = flate2::Compression::new(if best { 9 } else { 6 });
            let mut encoder = flate2::write::GzEncoder::new(into, level);
            io::copy(&mut from, &mut encoder)?;
            into = encoder.finish()?;
        }
        Form::Zst | Form::ZstQuick => {
            let mut encoder = zstd::stream::write::Encoder::new(into, if best { 15 } else { 3 })?;
            encoder.window_log(ZSTD_WINDOW_LOG_MAX)?;
            encoder.set_pledged_src_size(Some(size))?;
            io::copy(&mut from, &mut encoder)?;
            into = encoder.finish()?;
        }
    }
    Ok(into.bytes)
}

/// Makes quick variants of a large file, storing each before the next. Returns their number.
pub(super) async fn quick(
    blobs: &dyn Blobs,
    pool: &Pool,
    (digest, size): (Digest, u64),
    forms: Vec<Form>,
) -> Result<usize, blobs::Error> {
    let mut made = 0;
    for form in forms {
        let Some(encoded) = encode(blobs, pool, digest, form, (Quality::Quick, size)).await? else { continue };
        let is_kept = usize::try_from(size).is_ok_and(|size| is_worth_keeping(size, encoded.len()));
        if is_kept {
            blobs.put_first_variants([(digest, vec![(form, Quality::Quick, encoded)])].into()).await?;
            counter!("devanture_variants_made_total", "form" => form.suffix(), "quality" => label(Quality::Quick))
                .increment(1);
        }
        made += usize::from(is_kept);
    }
    Ok(made)
}

/// Returns true if the blob `encoded` is `form` of the blob `plain`.
pub(super) async fn decodes_to(
    blobs: &dyn Blobs,
    pool: &Pool,
    (encoded, form): (Digest, Form),
    (plain, size): (Digest, u64),
) -> Result<bool, blobs::Error> {
    let file = blobs.open(Key::Blob(encoded)).await?;
    let length = file.size();
    let decode = move || decoded_digest_of(stored(file), form, size) == Some(plain);
    Ok(pool.run(length, decode).await.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::encode::decoded_digest;
    use super::*;
    use crate::encode::Priority;

    #[tokio::test]
    async fn a_file_that_is_compressed_as_it_is_read_decodes_to_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (store, pool) = (blobs::open(folder.path().to_owned()).unwrap(), Pool::new("test", 1, Priority::Low));
        let plain = Bytes::from("const greeting = 'hello';\n".repeat(40_000));
        let (digest, size) = (Digest::of(&plain), plain.len() as u64);
        store.put(Key::Blob(digest), plain).await.unwrap();
        for form in Form::ALL {
            for quality in [Quality::Quick, Quality::Best] {
                let encoded = encode(&*store, &pool, digest, form, (quality, size)).await.unwrap().unwrap();
                assert!(encoded.len() < 100_000);
                assert_eq!(decoded_digest(&encoded, form, size), Some(digest), "{form:?}");
                assert_eq!(encode(&*store, &pool, digest, form, (quality, 10)).await.unwrap(), None);
            }
        }
        assert_eq!(quick(&*store, &pool, (digest, size), Form::ALL.to_vec()).await.unwrap(), 3);
        assert_eq!(store.variants(digest).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_file_that_does_not_compress_is_given_up_early() {
        let folder = tempfile::tempdir().unwrap();
        let store = blobs::open(folder.path().to_owned()).unwrap();
        let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let noise = std::iter::successors(Some(7_u64), next).map(|state| (state >> 32) as u32);
        let noise: Vec<u8> = noise.take(6 << 20).flat_map(u32::to_le_bytes).collect();
        let (digest, size) = (Digest::of(&noise), noise.len());
        store.put(Key::Blob(digest), noise.into()).await.unwrap();
        for form in Form::ALL {
            let file = store.open(Key::Blob(digest)).await.unwrap();
            let read = Rc::new(Cell::new(0));
            let from = Stored { file, at: Rc::clone(&read) };
            assert!(encode_stored(from, form, false, 2 * size).is_err(), "{form:?}");
            assert!(read.get() < size as u64 / 2, "{form:?}: {}", read.get());
        }
    }
}
