//! The bytes of files: held in memory if room permits, otherwise read from the store while being sent.

use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::manifest::FileEntry;
use devanture_site::negotiate::Coding;

use super::loader::{AtHand, Error, Loader};
use super::{Representation, ServedFile, Source, bytes_of};
use devanture_store::blobs::{self, Form, Key};

/// Encodings of a file up to this length together are held as one piece: the holder of a piece takes some 200 bytes.
const TOGETHER_BYTES_MAX: u64 = 16 * 1024;
/// Context for deriving the key of a joint piece, so that no file has the same hash.
const TOGETHER_CONTEXT: &str = "devanture 2026-11-27 encodings of one file that are held together";

impl Loader<'_> {
    /// The bytes of a file, and all its encodings with their bytes, identity first.
    pub(super) async fn loaded(
        &self,
        path: &str,
        entry: &FileEntry,
        encodings: Vec<AtHand>,
    ) -> Result<(Source, Vec<(AtHand, Source)>), Error> {
        let key = Key::Blob(entry.hash);
        let identity = AtHand { coding: Coding::Identity, size: entry.size, hash: entry.hash, key };
        let known = self.known(path).filter(|_| self.takes_over);
        let body = self.body(&identity, known).await?;
        let mut loaded = vec![(identity, body.clone())];
        if let Some(together) = self.together(entry.hash, &encodings, known).await? {
            loaded.extend(encodings.into_iter().zip(together));
            return Ok((body, loaded));
        }
        for at_hand in encodings {
            match self.body(&at_hand, known).await {
                Ok(body) => loaded.push((at_hand, body)),
                // A variant can be made again: the file is served without the variant rather than not at all.
                Err(
                    error @ (Error::Blobs(
                        blobs::Error::Corrupt { .. } | blobs::Error::Missing(_) | blobs::Error::Remote(_),
                    )
                    | Error::Size { .. }),
                ) => {
                    tracing::warn!(path, coding = at_hand.coding.as_str(), %error, "a variant is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((body, loaded))
    }

    /// The bytes of an encoding, with the length that the response heads announce.
    async fn body(&self, at_hand: &AtHand, known: Option<&ServedFile>) -> Result<Source, Error> {
        let (body, found) = self.stored_body(at_hand, known).await?;
        if found == at_hand.size {
            return Ok(body);
        }
        Err(Error::Size { key: at_hand.key, announced: at_hand.size, found })
    }

    /// The bytes of an encoding, and their number.
    async fn stored_body(&self, at_hand: &AtHand, known: Option<&ServedFile>) -> Result<(Source, u64), blobs::Error> {
        let held = |bytes: Bytes| {
            let length = bytes_of(bytes.len());
            (Source::Memory(bytes), length)
        };
        if let Some(bytes) = self.memory.share(at_hand.hash) {
            return Ok(held(bytes));
        }
        let is_short = at_hand.size <= self.request.memory_file_bytes_max;
        if let Some(room) = is_short.then(|| self.memory.room_in(self.request.fill, at_hand.size)).flatten() {
            let prefetched = self.prefetched.lock().take_bytes_of(&at_hand.hash);
            let bytes = match prefetched {
                Some(bytes) => bytes,
                None => self.blobs.get(at_hand.key).await?,
            };
            return Ok(held(self.memory.hold(at_hand.hash, bytes, room)));
        }
        if let Some(opened) = known.and_then(|known| opened_before(known, at_hand)) {
            return Ok((opened, at_hand.size));
        }
        let file = self.blobs.open(at_hand.key).await?;
        let size = file.size();
        Ok((Source::Stored(file, 0), size))
    }

    /// The bytes of all encodings of one file as a piece, if short; `None` if each must be loaded alone, for example an
    /// encoding from the bundle, which shares the bytes of its file.
    async fn together(
        &self,
        blob: Digest,
        encodings: &[AtHand],
        known: Option<&ServedFile>,
    ) -> Result<Option<Vec<Source>>, Error> {
        let size = encodings.iter().fold(0, |sum: u64, at_hand| sum.saturating_add(at_hand.size));
        let came = encodings.iter().any(|at_hand| matches!(at_hand.key, Key::Blob(_)));
        if came || encodings.len() < 2 || size > TOGETHER_BYTES_MAX {
            return Ok(None);
        }
        if size <= self.request.memory_file_bytes_max
            && let Some(held) = self.held_together(encodings, size).await
        {
            return Ok(Some(held));
        }
        let opened = |at_hand: &AtHand| opened_before(known?, at_hand);
        if let Some(opened) = encodings.iter().map(opened).collect::<Option<Vec<_>>>() {
            return Ok(Some(opened));
        }
        let sought = encodings.iter().map(|at_hand| Some((form_of(at_hand)?, at_hand.hash)));
        let Some(sought) = sought.collect() else { return Ok(None) };
        let opened = self.blobs.open_together(blob, sought).await?;
        Ok(opened
            .map(|(file, begins)| begins.into_iter().map(|begin| Source::Stored(Arc::clone(&file), begin)).collect()))
    }

    /// The bytes of one file's encodings in one piece, if room permits.
    async fn held_together(&self, encodings: &[AtHand], size: u64) -> Option<Vec<Source>> {
        let name = name_of(encodings);
        if let Some(piece) = self.memory.share(name) {
            return parts_of(&piece, encodings);
        }
        let room = self.memory.room_in(self.request.fill, size)?;
        let mut piece = Vec::with_capacity(usize::try_from(size).ok()?);
        for at_hand in encodings {
            let prefetched = self.prefetched.lock().take_bytes_of(&at_hand.hash);
            let bytes = match prefetched {
                Some(bytes) => bytes,
                None => self.blobs.get(at_hand.key).await.ok()?,
            };
            // A wrong length is an error of the single encoding alone.
            if bytes_of(bytes.len()) != at_hand.size {
                return None;
            }
            piece.extend_from_slice(&bytes);
        }
        parts_of(&self.memory.hold(name, piece.into(), room), encodings)
    }
}

/// The source of an encoding from the previous load of the version, if the bytes are the same.
fn opened_before(known: &ServedFile, at_hand: &AtHand) -> Option<Source> {
    let is_it = |one: &&Representation| one.head.is_of(&at_hand.hash, at_hand.coding, at_hand.size);
    let source = &known.representations.iter().find(is_it)?.bytes;
    matches!(source, Source::Stored(..)).then(|| source.clone())
}

/// The variant form of an encoding.
const fn form_of(at_hand: &AtHand) -> Option<Form> {
    match at_hand.key {
        Key::Variant(_, form) => Some(form),
        Key::Blob(_) | Key::Manifest(_) | Key::Delta(..) => None,
    }
}

/// The key of a piece with the bytes of `encodings`.
fn name_of(encodings: &[AtHand]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(TOGETHER_CONTEXT);
    for at_hand in encodings {
        hasher.update(at_hand.hash.as_bytes());
    }
    hasher.finalize().into()
}

/// The bytes of each encoding within their piece.
fn parts_of(piece: &Bytes, encodings: &[AtHand]) -> Option<Vec<Source>> {
    let mut begin: usize = 0;
    let parts = encodings.iter().map(|at_hand| {
        let end = usize::try_from(at_hand.size).ok().and_then(|size| begin.checked_add(size))?;
        let part = (end <= piece.len()).then(|| Source::Memory(piece.slice(begin..end)));
        begin = end;
        part
    });
    parts.collect()
}
