//! Why a manifest is refused.

use super::{BadServerFolder, FORMAT};
use crate::digest::Digest;
use crate::path::BundlePath;

/// Says why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// One path with two entries.
    #[error("`{0}` is named twice")]
    Twice(BundlePath),
    /// Two paths that some file systems, and careless people, take for one.
    #[error("`{0}` is both a file and a folder")]
    FileAndFolder(BundlePath),
    /// A bundle without a file.
    #[error("the bundle holds no file")]
    Empty,
    /// A format that this program does not know.
    #[error("the manifest has format {0}; this program knows {FORMAT}")]
    Format(u32),
    /// Not JSON of the manifest's shape.
    #[error("the manifest cannot be read: {0}")]
    Json(String),
    /// A smoke check that cannot be asked.
    #[error("the smoke check of `{path}`: `{key}` {message}")]
    Smoke {
        /// Its path, as far as it is shown.
        path: String,
        /// The key.
        key: &'static str,
        /// The error.
        message: String,
    },
    /// A route or a pool that cannot be used.
    #[error("{what}: `{key}` {message}")]
    Backend {
        /// The name.
        what: String,
        /// The key.
        key: &'static str,
        /// The error.
        message: String,
    },
    /// The backend's folder cannot be used.
    #[error(transparent)]
    Server(#[from] BadServerFolder),
    /// The definition of the backend cannot be used.
    #[error("[server]: `{key}` {message}")]
    ServerTable {
        /// The key.
        key: &'static str,
        /// The error.
        message: String,
    },
    /// A media type that cannot stand in a header.
    #[error("`{0}` has a media type that is not one")]
    MediaType(BundlePath),
    /// Settings, and links of the backend's folder, that are too long together.
    #[error("the manifest's settings have {bytes} bytes; {bytes_max} are allowed")]
    Settings {
        /// Their length.
        bytes: u64,
        /// The most that is allowed.
        bytes_max: u64,
    },
    /// Too many tables of environments.
    #[error("the manifest has {count} tables of environments; {count_max} are allowed")]
    Tables {
        /// The number.
        count: usize,
        /// The most that are allowed.
        count_max: usize,
    },
    /// Two lengths for the same bytes.
    #[error("{0}")]
    Sizes(Box<TwoSizes>),
}

/// Two files with one hash, and so the same bytes, that are given two lengths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` has {} bytes and `{}` has {}, but both have the hash {hash}", one.0, one.1, other.0, other.1)]
pub struct TwoSizes {
    /// The hash of both.
    pub hash: Digest,
    /// The first file, with its size.
    pub one: (BundlePath, u64),
    /// The second file, with its size.
    pub other: (BundlePath, u64),
}
