//! Reasons to reject a manifest.

use super::{BadServerFolder, FORMAT};
use crate::digest::Digest;
use crate::path::BundlePath;

/// Reason to reject a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// A path has two entries.
    #[error("`{0}` is named twice")]
    Twice(BundlePath),
    /// Two paths are the same on some file systems.
    #[error("`{0}` is both a file and a folder")]
    FileAndFolder(BundlePath),
    /// The bundle has no file.
    #[error("the bundle holds no file")]
    Empty,
    /// The format is unknown to this program.
    #[error("the manifest has format {0}; this program knows {FORMAT}")]
    Format(u32),
    /// The text is not JSON in the shape of a manifest.
    #[error("the manifest cannot be read: {0}")]
    Json(String),
    /// A smoke check is invalid.
    #[error("the smoke check of `{path}`: `{key}` {message}")]
    Smoke {
        /// Path, shortened for display.
        path: String,
        /// Key.
        key: &'static str,
        /// Error.
        message: String,
    },
    /// A route or a pool is invalid.
    #[error("{what}: `{key}` {message}")]
    Backend {
        /// Name.
        what: String,
        /// Key.
        key: &'static str,
        /// Error.
        message: String,
    },
    /// The backend's folder is invalid.
    #[error(transparent)]
    Server(#[from] BadServerFolder),
    /// The definition of the backend is invalid.
    #[error("[server]: `{key}` {message}")]
    ServerTable {
        /// Key.
        key: &'static str,
        /// Error.
        message: String,
    },
    /// A media type is invalid in a header.
    #[error("`{0}` has a media type that is not one")]
    MediaType(BundlePath),
    /// Settings and links of the backend's folder are too long together.
    #[error("the manifest's settings have {bytes} bytes; {bytes_max} are allowed")]
    Settings {
        /// Length.
        bytes: u64,
        /// Maximum.
        bytes_max: u64,
    },
    /// The manifest has too many tables of environments.
    #[error("the manifest has {count} tables of environments; {count_max} are allowed")]
    Tables {
        /// Number.
        count: usize,
        /// Maximum.
        count_max: usize,
    },
    /// Equal bytes have two lengths.
    #[error("{0}")]
    Sizes(Box<TwoSizes>),
}

/// Two files with the same hash, and so the same bytes, and different lengths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` has {} bytes and `{}` has {}, but both have the hash {hash}", one.0, one.1, other.0, other.1)]
pub struct TwoSizes {
    /// Hash of both.
    pub hash: Digest,
    /// First file, with its size.
    pub one: (BundlePath, u64),
    /// Second file, with its size.
    pub other: (BundlePath, u64),
}
