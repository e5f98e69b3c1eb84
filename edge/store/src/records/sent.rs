//! Records of blobs that pushes have uploaded and no version holds yet, with the keys. `docs/storage.md` is the
//! reference.

use devanture_config::{AppName, Digest};
use serde::{Deserialize, Serialize};

/// The prefix of the uploads of all pushes of all apps.
pub const SENT_PREFIX: &str = "sent/";
/// Upper bound of blobs in one record.
pub const SENT_BLOBS_MAX: usize = 256;

/// `sent/{app}/{push}/{batch}`: uploaded blobs of a push; never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRecord {
    /// A time no later than the put of any of the blobs, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The blobs.
    pub blobs: Vec<Digest>,
}

/// Returns the prefix of the uploads of an app's pushes.
#[must_use]
pub fn sent_prefix(app: &AppName) -> String {
    format!("{SENT_PREFIX}{app}/")
}

/// Returns the key of a batch of a push's uploads.
#[must_use]
pub fn sent_key(app: &AppName, push: &str, batch: u64) -> String {
    format!("{SENT_PREFIX}{app}/{push}/{batch:016}")
}
