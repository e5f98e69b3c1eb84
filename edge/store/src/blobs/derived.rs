//! Bytes derived from blobs: variants, which are encodings of a blob, and deltas, which are encodings of a blob by the
//! bytes of a second blob.

use bytes::Bytes;
use devanture_config::{Digest, Sha256};

use super::{DeltaForm, Form};

/// The quality of a variant; a new variant replaces a variant of lower quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quality {
    /// Made at a quick level before the switch.
    Quick,
    /// Made at the best level in the background.
    Best,
    /// Came with the bundle, and is never remade.
    Given,
}

/// Metadata of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantInfo {
    /// The encoding.
    pub form: Form,
    /// The length in bytes.
    pub size: u64,
    /// The BLAKE3 of the variant's bytes.
    pub hash: Digest,
    /// The quality.
    pub quality: Quality,
}

/// A stored variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVariant {
    /// The metadata.
    pub info: VariantInfo,
    /// The bytes, compared with the hash; `None` if a read is needed.
    pub bytes: Option<Bytes>,
}

/// Metadata of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaInfo {
    /// The encoding.
    pub form: DeltaForm,
    /// The BLAKE3 of the dictionary; the blob of that name may be gone by now.
    pub dictionary: Digest,
    /// The SHA-256 of the dictionary, by which a client names the dictionary.
    pub sha256: Sha256,
    /// The length in bytes.
    pub size: u64,
    /// The BLAKE3 of the delta's bytes.
    pub hash: Digest,
    /// The quality: quick or the best level.
    pub quality: Quality,
}

/// A delta to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelta {
    /// The encoding.
    pub form: DeltaForm,
    /// The BLAKE3 of the dictionary.
    pub dictionary: Digest,
    /// The SHA-256 of the dictionary.
    pub sha256: Sha256,
    /// The quality.
    pub quality: Quality,
    /// The bytes, beginning with the form and the dictionary (RFC 9842 §4 and §5).
    pub bytes: Bytes,
}

/// Upper bound of dictionaries with deltas for one blob; beyond it the latest puts stay.
pub const DELTA_DICTIONARIES_MAX: usize = 16;
