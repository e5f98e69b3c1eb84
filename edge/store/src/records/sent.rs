//! The records of what pushes have sent that no version holds yet, with their keys. `docs/storage.md` is the reference.

use devanture_config::{AppName, Digest};
use serde::{Deserialize, Serialize};

/// The prefix of what any push of any app has sent.
pub const SENT_PREFIX: &str = "sent/";
/// Most blobs that one record names.
pub const SENT_BLOBS_MAX: usize = 256;

/// `sent/{app}/{push}/{batch}`: blobs that came in for a push; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRecord {
    /// No later than any of them was put, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The blobs.
    pub blobs: Vec<Digest>,
}

/// The prefix of what the pushes of an app have sent.
#[must_use]
pub fn sent_prefix(app: &AppName) -> String {
    format!("{SENT_PREFIX}{app}/")
}

/// The key of a part of what a push has sent.
#[must_use]
pub fn sent_key(app: &AppName, push: &str, batch: u64) -> String {
    format!("{SENT_PREFIX}{app}/{push}/{batch:016}")
}
