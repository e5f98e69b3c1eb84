//! The names of stored bytes.

use std::fmt;

use devanture_config::Digest;

/// An encoding of a variant. `identity` is the blob itself and never a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Brotli (RFC 7932).
    Br,
    /// Gzip (RFC 1952).
    Gz,
    /// Zstandard (RFC 8878).
    Zst,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Br, Self::Gz, Self::Zst];

    /// The ending of its file's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Gz => "gz",
            Self::Zst => "zst",
        }
    }
}

/// An encoding of a delta: of a blob, by means of a dictionary that the client has (RFC 9842 §4 and §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeltaForm {
    /// Brotli with a dictionary.
    Dcb,
    /// Zstandard with a dictionary.
    Dcz,
}

impl DeltaForm {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::Dcb, Self::Dcz];

    /// The ending of its file's name, which is also its name as a content coding.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Dcb => "dcb",
            Self::Dcz => "dcz",
        }
    }

    /// What its bytes begin with, before the SHA-256 of its dictionary (RFC 9842 §4 and §5). To a decoder of Zstandard
    /// the two together are a frame that is skipped.
    #[must_use]
    pub const fn magic(self) -> &'static [u8] {
        match self {
            Self::Dcb => &[0xff, 0x44, 0x43, 0x42],
            Self::Dcz => &[0x5e, 0x2a, 0x4d, 0x18, 0x20, 0x00, 0x00, 0x00],
        }
    }
}

/// The name of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A file of a bundle, by the BLAKE3 of its bytes.
    Blob(Digest),
    /// A canonical manifest, by its BLAKE3: the version's id.
    Manifest(Digest),
    /// An encoding of a blob; the digest is the blob's.
    Variant(Digest, Form),
    /// A delta: the digest of the blob that it decodes to, that of the dictionary, and how it is encoded.
    Delta(Digest, Digest, DeltaForm),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(blob) => write!(f, "blob {}", blob.short()),
            Self::Manifest(version) => write!(f, "manifest {}", version.short()),
            Self::Variant(blob, form) => write!(f, "blob {} as {}", blob.short(), form.suffix()),
            Self::Delta(blob, dictionary, form) => {
                write!(f, "blob {} as {} by {}", blob.short(), form.suffix(), dictionary.short())
            }
        }
    }
}
