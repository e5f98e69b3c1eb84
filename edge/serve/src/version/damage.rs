//! Files of a version with damaged or missing stored bytes: restored from an encoding that decodes to the same bytes,
//! and otherwise left out, so that the rest of the version is served.

use std::io::Read;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_site::negotiate::Coding;
use devanture_site::{cache, fingerprint};
use http::header::CONTENT_TYPE;
use tokio::sync::{Semaphore, mpsc};

use super::content_type::media_type_of;
use super::loader::{AtHand, Error, Loader};
use super::{Content, ServedFile, Source, Version};
use devanture_base::durable;
use devanture_store::blobs::{self, Blobs, Key};

/// Bytes decoded at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Decoded pieces that may wait to be written.
const PIECES_MAX: usize = 4;
/// Files restored at once. The decoding thread waits for the writing threads.
static RESTORES: Semaphore = Semaphore::const_new(4);
/// The window that a Zstandard encoding may need (RFC 9659 §3), as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Paths of one version in the log.
const LOGGED_MAX: usize = 10;

/// A public file of a version that cannot be served, since its stored bytes are damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// The path in the bundle.
    pub path: Box<str>,
    /// The content.
    pub blob: Digest,
}

/// Returns true if an error concerns the bytes of one file alone. An unreachable bucket counts too: a node prepares a
/// version only after fetching all of its files, so a file missing here was lost or evicted since.
pub(super) const fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Size { .. }
            | Error::Blobs(
                blobs::Error::Corrupt { .. }
                    | blobs::Error::Missing(_)
                    | blobs::Error::Disk(durable::Error::Io { .. })
                    | blobs::Error::Remote(_)
            )
    )
}

/// The left-out files among some files of a version.
pub(super) fn damaged<'f>(
    of: &'f [(BundlePath, FileEntry)],
    files: &'f [ServedFile],
) -> impl Iterator<Item = DamagedFile> + 'f {
    let left_out = of.iter().zip(files).filter(|(_, file)| file.representations.is_empty());
    left_out.map(|((path, entry), _)| DamagedFile { path: path.as_str().into(), blob: entry.hash })
}

/// Logs the files of a version that are not served.
pub(super) fn log(version: &Content) {
    if let Some(mistake) = &version.mistake {
        tracing::warn!(app = %version.app, version = %version.id, mistake = &**mistake,
            "today's checks refuse something of a version that an earlier release took: the rest of it is served");
    }
    if !version.lost_pages.is_empty() {
        tracing::error!(app = %version.app, version = %version.id, pages = version.lost_pages.len(),
            "pages with hashes are missing: they are served as they came, without a policy, until they are stored");
    }
    if version.damaged.is_empty() {
        return;
    }
    let paths: Vec<&str> = version.damaged.iter().take(LOGGED_MAX).map(|file| &*file.path).collect();
    tracing::error!(app = %version.app, version = %version.id, files = version.damaged.len(), paths = paths.join(", "),
        "files of a version are damaged or missing: their paths answer 503 until they are stored again");
}

impl ServedFile {
    /// Returns true if stored bytes of the file changed since being opened.
    fn has_rotted(&self) -> bool {
        let is_damaged = |source: &Source| matches!(source, Source::Stored(file, _) if file.is_damaged());
        self.representations.iter().any(|representation| is_damaged(&representation.bytes))
    }
}

impl Content {
    /// Returns true if all stored files are served, so that a reload is useless.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.lost_pages.is_empty()
    }
}

impl Version {
    /// Number of files with stored bytes that changed since being opened.
    pub(crate) fn rotted(&self) -> usize {
        self.files.iter().filter(|file| file.has_rotted()).count()
    }

    /// Returns true if the bytes of a file are readable: in memory, or on the disk unchanged since being opened; reads
    /// the whole file. `None` for an unknown path. Blocks on the disk.
    pub(crate) fn has_whole(&self, path: &str) -> Option<bool> {
        let is_it = |file: &&ServedFile| *file.path == *path;
        let found = self.indexes.paths.exact(path).and_then(|number| self.file(number)).filter(is_it);
        // Some files have no path for visitors.
        let file = found.or_else(|| self.files.iter().find(is_it))?;
        let Some(identity) = file.representations.first() else { return Some(false) };
        let Source::Stored(file, begin) = &identity.bytes else { return Some(true) };
        let mut at = *begin;
        while at < file.size() {
            match file.read_at(at, PIECE_BYTES) {
                Ok(piece) if !piece.is_empty() => at = at.saturating_add(piece.len() as u64),
                Ok(_) | Err(_) => return Some(false),
            }
        }
        Some(true)
    }

    /// Returns true if a damaged file, or a lost page, can be read again. Checks at most `files_max`, different ones at
    /// each `turn`.
    pub(crate) async fn is_repaired(&self, blobs: &dyn Blobs, files_max: usize, turn: usize) -> bool {
        let lost = self.damaged.iter().map(|file| &file.blob).chain(&self.lost_pages);
        let count = self.damaged.len().saturating_add(self.lost_pages.len());
        let first = turn.saturating_mul(files_max).checked_rem(count).unwrap_or_default();
        for blob in lost.cycle().skip(first).take(files_max.min(count)) {
            if blobs.open(Key::Blob(*blob)).await.is_ok() {
                return true;
            }
        }
        false
    }
}

impl Loader<'_> {
    /// The bytes of a file and its encodings, with damaged bytes restored from an encoding.
    pub(super) async fn bytes_of(
        &self,
        path: &BundlePath,
        entry: &FileEntry,
    ) -> Result<(Source, Vec<(AtHand, Source)>), Error> {
        let load = async || self.loaded(path.as_str(), entry, self.encodings(path, entry).await?).await;
        match load().await {
            Err(error) if is_damage(&error) && self.restore(path, entry).await => load().await,
            loaded => loaded,
        }
    }

    /// Stores the bytes of a file again, decoded from an encoding. Returns true on success.
    async fn restore(&self, path: &BundlePath, entry: &FileEntry) -> bool {
        // The semaphore is never closed.
        let _turn = RESTORES.acquire().await;
        let encodings = self.encodings(path, entry).await.unwrap_or_default();
        for at_hand in encodings {
            let Ok(encoded) = self.blobs.get(at_hand.key).await else { continue };
            match restore_from(self.blobs, encoded, at_hand.coding, entry).await {
                Ok(()) => {
                    let (blob, coding) = (entry.hash, at_hand.coding.as_str());
                    tracing::warn!(path = path.as_str(), %blob, coding, "a damaged file was restored from its encoding");
                    return true;
                }
                Err(error) => tracing::debug!(path = path.as_str(), %error, "an encoding does not restore a file"),
            }
        }
        false
    }

    /// A file without any bytes: its path answers 503.
    pub(super) fn without_bytes(&self, path: &BundlePath, entry: &FileEntry) -> ServedFile {
        let known = self.known(path.as_str()).map(|known| known.content_type.value().clone());
        let media_type = known.unwrap_or_else(|| media_type_of(path, entry, true));
        ServedFile {
            fingerprinted: fingerprint::is_fingerprinted(path.as_str()),
            is_page: cache::is_page(path.as_str(), media_type.as_bytes()),
            path: path.as_str().into(),
            content_type: self.fields.field(CONTENT_TYPE, media_type),
            map_hash: None,
            choices: 0,
            representations: Box::default(),
            dictionaries: None,
        }
    }
}

/// Stores the decoded bytes of `encoded` as the bytes of a file, if equal.
async fn restore_from(
    blobs: &dyn Blobs,
    encoded: Bytes,
    coding: Coding,
    entry: &FileEntry,
) -> Result<(), blobs::Error> {
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let size = entry.size;
    // The thread ends when the receiver is dropped.
    drop(tokio::task::spawn_blocking(move || decode(&encoded, coding, size, &sender)));
    let mut upload = blobs.upload(Key::Blob(entry.hash)).await?;
    while let Some(piece) = pieces.recv().await {
        upload.write(piece).await?;
    }
    // Truncated or oversized bytes have another hash.
    upload.finish().await.map(drop)
}

/// Sends the decoded bytes of `encoded`, hardly more than `size` bytes.
fn decode(encoded: &[u8], coding: Coding, size: u64, pieces: &mpsc::Sender<Bytes>) -> Option<()> {
    let decoder: Box<dyn Read + '_> = match coding {
        Coding::Br => Box::new(brotli::Decompressor::new(encoded, PIECE_BYTES)),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(encoded)),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(encoded).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
            Box::new(decoder)
        }
        Coding::Dcb | Coding::Dcz | Coding::Identity => return None,
    };
    let mut decoder = decoder.take(size.saturating_add(1));
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let length = decoder.read(&mut piece).ok()?;
        if length == 0 {
            return Some(());
        }
        piece.truncate(length);
        pieces.blocking_send(piece.into()).ok()?;
    }
}
