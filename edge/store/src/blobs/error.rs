//! The error of all stores.

use devanture_config::Digest;

use super::Key;
use crate::s3;
use devanture_base::durable;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored bytes do not match their name, and are never returned.
    #[error("the stored bytes of {key} do not match their hash; they are in {quarantined}")]
    Corrupt {
        /// The name.
        key: Key,
        /// The place of the bytes: a file that was set aside, or the object of a bucket.
        quarantined: String,
    },
    /// A file of the store could not be read, written or removed.
    #[error(transparent)]
    Disk(#[from] durable::Error),
    /// The caller's bytes do not have the promised hash or length.
    #[error("the bytes put under {expected} have the hash {found}")]
    Mismatch {
        /// The announced length or digest.
        expected: Digest,
        /// The actual hash.
        found: Digest,
    },
    /// No bytes are stored under that name.
    #[error("there is no {0}")]
    Missing(Key),
    /// A request to the bucket failed; the put is not acknowledged.
    #[error("{0}")]
    Remote(Box<s3::Error>),
    /// The disk has no room for more files, regardless of its free bytes.
    #[error("the disk of the data folder has room for {files_free} more files (inodes)")]
    OutOfFiles {
        /// Number of files that can still be created.
        files_free: u64,
    },
    /// The disk has no free space beyond the space to be left free.
    #[error("{free_bytes} bytes are free on the disk of the data folder, and {bytes_min} stay free")]
    Short {
        /// Free bytes.
        free_bytes: u64,
        /// Bytes to be left free.
        bytes_min: u64,
    },
}
