//! The error of all stores.

use devanture_config::Digest;

use super::Key;
use crate::s3;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored bytes are not those of their name, and are never given out.
    #[error("the stored bytes of {key} do not match their hash; they are in {quarantined}")]
    Corrupt {
        /// The name.
        key: Key,
        /// Where the bytes are now: a file that was set aside, or the object of a bucket.
        quarantined: String,
    },
    /// No room is left; trying again without making room is useless.
    #[error("no room is left on the disk of {path}")]
    Full {
        /// The file that was being written.
        path: String,
    },
    /// The operating system said no.
    #[error("{doing} {path}: {source}")]
    Io {
        /// The operation, such as `writing`.
        doing: &'static str,
        /// To which file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The caller's bytes do not have the hash or the length that they were put under.
    #[error("the bytes put under {expected} have the hash {found}")]
    Mismatch {
        /// The announced length or digest.
        expected: Digest,
        /// The actual one.
        found: Digest,
    },
    /// Nothing is stored under that name.
    #[error("there is no {0}")]
    Missing(Key),
    /// A request to the bucket failed; what was to be put there is not acknowledged.
    #[error("{0}")]
    Remote(Box<s3::Error>),
    /// The disk has no more free than what is to stay free.
    #[error("{free_bytes} bytes are free on the disk of the data folder, and {bytes_min} stay free")]
    Short {
        /// Free bytes.
        free_bytes: u64,
        /// Bytes that stay free.
        bytes_min: u64,
    },
    /// The file or folder is gone, or is not the one that this process opened: nothing is written to it or removed.
    #[error("{path} was moved or replaced while the edge runs")]
    Replaced {
        /// The file or folder.
        path: String,
    },
}
