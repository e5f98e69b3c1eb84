//! What is made of blobs: variants, which are encodings of one, and deltas, which are encodings by the bytes of
//! another.

use bytes::Bytes;
use devanture_config::{Digest, Sha256};

use super::{DeltaForm, Form};

/// The quality of a variant; a remade one replaces one of lower quality.
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
    /// Its encoding.
    pub form: Form,
    /// Its length in bytes.
    pub size: u64,
    /// The BLAKE3 of its own bytes.
    pub hash: Digest,
    /// Its quality.
    pub quality: Quality,
}

/// A variant that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVariant {
    /// Its metadata.
    pub info: VariantInfo,
    /// Its bytes, compared with their hash; `None` if they have to be read.
    pub bytes: Option<Bytes>,
}

/// Metadata of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaInfo {
    /// Its encoding.
    pub form: DeltaForm,
    /// The BLAKE3 of the dictionary; the blob of that name may be gone meanwhile.
    pub dictionary: Digest,
    /// The SHA-256 of the dictionary, by which a client names it.
    pub sha256: Sha256,
    /// Its length in bytes.
    pub size: u64,
    /// The BLAKE3 of its own bytes.
    pub hash: Digest,
    /// Its quality: quick or at the best level.
    pub quality: Quality,
}

/// A delta to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelta {
    /// Its encoding.
    pub form: DeltaForm,
    /// The BLAKE3 of the dictionary.
    pub dictionary: Digest,
    /// The SHA-256 of the dictionary.
    pub sha256: Sha256,
    /// Its quality.
    pub quality: Quality,
    /// Its bytes, those that name its form and its dictionary first (RFC 9842 §4 and §5).
    pub bytes: Bytes,
}

/// Most dictionaries that one blob has deltas for; of more, those that were put last stay.
pub const DELTA_DICTIONARIES_MAX: usize = 16;
