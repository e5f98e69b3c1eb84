//! The names of stored bytes.

use std::fmt;

use devanture_config::Digest;

/// The encoding of a variant. `identity` is the blob itself and never a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Brotli (RFC 7932).
    Br,
    /// Gzip (RFC 1952).
    Gz,
    /// Zstandard (RFC 8878).
    Zst,
    /// Brotli at the quick level, kept beside a better variant.
    BrQuick,
    /// Gzip at the quick level, kept beside a better variant.
    GzQuick,
    /// Zstandard at the quick level, kept beside a better variant.
    ZstQuick,
}

impl Form {
    /// Every encoding.
    pub const ALL: [Self; 3] = [Self::Br, Self::Gz, Self::Zst];
    /// Every form in which a variant may be stored.
    pub const STORED: [Self; 6] = [Self::Br, Self::Gz, Self::Zst, Self::BrQuick, Self::GzQuick, Self::ZstQuick];

    /// The suffix of the file name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Gz => "gz",
            Self::Zst => "zst",
            Self::BrQuick => "br.quick",
            Self::GzQuick => "gz.quick",
            Self::ZstQuick => "zst.quick",
        }
    }

    /// The form of the same encoding at the quick level, kept beside a better variant. An app without its own
    /// compression of the file at the best level serves this form, where other apps have the best level.
    #[must_use]
    pub const fn kept_quick(self) -> Self {
        match self {
            Self::Br | Self::BrQuick => Self::BrQuick,
            Self::Gz | Self::GzQuick => Self::GzQuick,
            Self::Zst | Self::ZstQuick => Self::ZstQuick,
        }
    }

    /// The form of the same encoding at the best level.
    #[must_use]
    pub const fn encoding(self) -> Self {
        match self {
            Self::Br | Self::BrQuick => Self::Br,
            Self::Gz | Self::GzQuick => Self::Gz,
            Self::Zst | Self::ZstQuick => Self::Zst,
        }
    }

    /// Returns true if the form is kept beside a better variant.
    #[must_use]
    pub const fn is_kept_quick(self) -> bool {
        matches!(self, Self::BrQuick | Self::GzQuick | Self::ZstQuick)
    }
}

/// The encoding of a delta of a blob, by a dictionary of the client (RFC 9842 §4 and §5).
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

    /// The suffix of the file name, which is also the name of the content coding.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Dcb => "dcb",
            Self::Dcz => "dcz",
        }
    }

    /// The first bytes of a delta, before the SHA-256 of the dictionary (RFC 9842 §4 and §5). A decoder of Zstandard
    /// sees both together as a skippable frame.
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
    /// A file of a bundle, by the BLAKE3 of the bytes.
    Blob(Digest),
    /// A canonical manifest, by the BLAKE3, which is the version's id.
    Manifest(Digest),
    /// An encoding of a blob; the digest is the blob's.
    Variant(Digest, Form),
    /// A delta: the digest of the decoded blob, the digest of the dictionary, and the encoding.
    Delta(Digest, Digest, DeltaForm),
}

impl Key {
    /// The path of a blob or manifest below the root of a data folder, a backup or a bucket; `None` for variants and
    /// deltas, with different places in the three.
    #[must_use]
    pub fn path(self) -> Option<String> {
        let (folder, name, ending) = match self {
            Self::Blob(digest) => ("blobs", digest.to_string(), ""),
            Self::Manifest(digest) => ("manifests", digest.to_string(), ".json"),
            Self::Variant(..) | Self::Delta(..) => return None,
        };
        Some(format!("{folder}/{}/{name}{ending}", name.get(..2)?))
    }

    /// Returns the blob or manifest with the path `path`.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        let key = match name.strip_suffix(".json") {
            Some(name) => Self::Manifest(name.parse().ok()?),
            None => Self::Blob(name.parse().ok()?),
        };
        (key.path()? == path).then_some(key)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_key_and_no_other_path_does() {
        for key in [Key::Blob(Digest::of(b"a")), Key::Manifest(Digest::of(b"b"))] {
            let path = key.path().unwrap();
            assert_eq!(Key::of_path(&path), Some(key), "{path}");
            assert_eq!(Key::of_path(&path.replacen("s/", "s/0", 1)), None);
            assert_eq!(Key::of_path(&format!("x/{path}")), None);
        }
        assert_eq!(Key::of_path("blobs/ab/notes.txt"), None);
    }
}
