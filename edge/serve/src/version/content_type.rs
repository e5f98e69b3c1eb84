//! The media type of a file in its head, with the charset if the bytes permit.

use std::sync::Arc;

use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_site::{charset, media};
use http::HeaderValue;

use super::Source;
use super::loader::text_value;
use devanture_store::blobs;

/// Bytes per read of a file that is not held in memory.
const PIECE_BYTES: usize = 256 * 1024;

/// The media type of a file in its head.
pub(super) async fn media_type(path: &BundlePath, entry: &FileEntry, body: &Source) -> HeaderValue {
    media_type_of(path, entry, is_utf8(path, body).await)
}

/// The media type of a file, with text in UTF-8 if `is_utf8`.
pub(super) fn media_type_of(path: &BundlePath, entry: &FileEntry, is_utf8: bool) -> HeaderValue {
    text_value(&match &entry.media_type {
        Some(declared) => media::with_charset(declared, is_utf8),
        None => media::content_type(path.as_str(), is_utf8),
    })
}

/// Returns true if a text may be labelled UTF-8: valid UTF-8 without a conflicting declaration.
async fn is_utf8(path: &BundlePath, body: &Source) -> bool {
    match body {
        Source::Memory(bytes) => charset::is_plain_utf8(path.as_str(), bytes),
        // The identity is the first encoding, in a file by itself.
        Source::Stored(file, _) => {
            let (file, path) = (Arc::clone(file), path.clone());
            tokio::task::spawn_blocking(move || stored_is_utf8(&path, &*file)).await.unwrap_or(false)
        }
    }
}

fn stored_is_utf8(path: &BundlePath, file: &dyn blobs::ReadAt) -> bool {
    let mut probe = charset::Utf8Probe::new(path.as_str());
    let mut offset = 0;
    while offset < file.size() && !probe.is_over() {
        let Ok(piece) = file.read_at(offset, PIECE_BYTES) else { return false };
        if piece.is_empty() {
            return false;
        }
        offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        probe.update(&piece);
    }
    probe.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use bytes::Bytes;

    /// A file of that many bytes, with an invalid first byte, that counts reads.
    struct Counted(u64, AtomicU64);

    impl blobs::ReadAt for Counted {
        fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let mut piece = vec![b'a'; len.min(usize::try_from(self.0 - offset).unwrap())];
            if offset == 0 {
                piece[0] = 0xff;
            }
            Ok(piece.into())
        }

        fn size(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_long_file_is_read_no_further_than_to_what_says_that_it_is_no_utf8() {
        let file = Counted(20 * u64::try_from(PIECE_BYTES).unwrap(), AtomicU64::new(0));
        assert!(!stored_is_utf8(&"a.txt".parse().unwrap(), &file));
        assert_eq!(file.1.into_inner(), 1);
    }
}
