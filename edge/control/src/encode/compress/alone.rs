//! Files pushed only in compressed form: the decoded file is stored as well, for clients without support of the
//! encoding. The manifest, and so the id, stays unchanged.

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;
use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest};
use devanture_site::precompressed::{SUFFIXES, compressed_path, plain_path};
use tokio::sync::mpsc;

use super::encode::decoder;
use super::large::stored;
use super::{Work, decodes_to};
use crate::ledger::Error;
use devanture_store::blobs::{self, Form, Key};
use devanture_store::records::DecodedFile;

/// Bytes decoded per step.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces queued for the disk.
const PIECES_MAX: usize = 4;

/// Returns the compressed files without a plain file, by the plain path, preferred form first.
fn candidates(manifest: &Manifest) -> BTreeMap<BundlePath, Vec<Form>> {
    let mut found: BTreeMap<BundlePath, Vec<Form>> = BTreeMap::new();
    for path in manifest.files.keys().filter(|path| !path.is_private()) {
        if let Some(plain) = plain_path(path).filter(|plain| plain == path || !manifest.files.contains_key(plain)) {
            found.entry(plain).or_default();
        }
    }
    for (plain, forms) in &mut found {
        let is_there = |form: &Form| sibling(manifest, plain, *form).is_some();
        let preferred =
            SUFFIXES.iter().filter_map(|suffix| Form::ALL.into_iter().find(|form| form.suffix() == *suffix));
        forms.extend(preferred.filter(is_there));
    }
    found
}

/// Returns the compressed file of the form next to a path.
fn sibling(manifest: &Manifest, plain: &BundlePath, form: Form) -> Option<(Digest, u64)> {
    let path = compressed_path(plain, form.suffix())?;
    manifest.files.get(&path).map(|file| (file.hash, file.size))
}

/// Files whose decoded size exceeds a limit, each with the limit.
type Beyond = Vec<(BundlePath, &'static str)>;

/// Decodes files pushed only in compressed form, and adds the available forms to `given`. Undecodable and oversized
/// files stay ordinary files; oversized files are also returned.
///
/// # Errors
/// Errors of the store.
pub(super) async fn decode_all(
    work: &Work<'_>,
    given: &mut BTreeMap<BundlePath, Vec<Form>>,
) -> Result<(BTreeMap<BundlePath, DecodedFile>, Beyond), Error> {
    let mut beyond = Beyond::new();
    let mut decoded: BTreeMap<BundlePath, DecodedFile> = BTreeMap::new();
    let mut left = work.decoded_bytes_max;
    for (plain, forms) in candidates(work.manifest) {
        for form in forms {
            let Some((encoded, size)) = sibling(work.manifest, &plain, form) else { continue };
            let is_one = match decoded.get(&plain) {
                Some(known) => decodes_to(work, (encoded, size), form, (known.hash, known.size)).await?,
                None => {
                    let bounds = [
                        (size.saturating_mul(work.decoded_ratio_max), "archive_ratio_max"),
                        (left, "bundle_bytes_max"),
                        (work.decoded_file_bytes_max, "file_bytes_max"),
                    ];
                    let (size_max, limit) = bounds.into_iter().min().unwrap_or_default();
                    match decode(work, encoded, form, size_max).await? {
                        DecodeOutcome::Whole(file) => {
                            left = left.saturating_sub(file.size);
                            decoded.insert(plain.clone(), file);
                            true
                        }
                        DecodeOutcome::Beyond => {
                            beyond.extend(compressed_path(&plain, form.suffix()).map(|path| (path, limit)));
                            false
                        }
                        DecodeOutcome::Other => false,
                    }
                }
            };
            if is_one {
                given.entry(plain.clone()).or_default().push(form);
            }
        }
    }
    Ok((decoded, beyond))
}

/// Outcome of decoding a file.
enum DecodeOutcome {
    /// Beyond the size limit.
    Beyond,
    /// Invalid encoding.
    Other,
    Whole(DecodedFile),
}

/// Stores the decoded content of a blob, of at most `size_max` bytes.
async fn decode(work: &Work<'_>, encoded: Digest, form: Form, size_max: u64) -> Result<DecodeOutcome, Error> {
    let file = work.blobs.open(Key::Blob(encoded)).await?;
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    // Ends when the receiver is dropped.
    let decoding = work.pool.run(file.size(), move || {
        let mut decoder = decoder(stored(file), form)?.take(size_max.saturating_add(1));
        let mut total = 0_u64;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let length = decoder.read(&mut piece).ok()?;
            if length == 0 {
                return Some(total <= size_max);
            }
            piece.truncate(length);
            total = total.saturating_add(u64::try_from(length).ok()?);
            sender.blocking_send(Bytes::from(piece)).ok()?;
        }
    });
    let blobs = work.blobs;
    // Owns the receiver, so that a full disk ends the decoding.
    let storing = async move {
        let mut upload = blobs.upload_unnamed().await?;
        while let Some(piece) = pieces.recv().await {
            upload.write(piece).await?;
        }
        Ok::<_, blobs::Error>(upload)
    };
    let (whole, upload) = tokio::join!(decoding, storing);
    match whole.flatten() {
        None => Ok(DecodeOutcome::Other),
        Some(false) => Ok(DecodeOutcome::Beyond),
        Some(true) => {
            let (hash, size) = upload?.finish().await?;
            Ok(DecodeOutcome::Whole(DecodedFile { hash, size }))
        }
    }
}
