//! Copies of a whole store: the records of a running edge, and the pause of all changes while the last ones are copied.

use serde::{Deserialize, Serialize};

/// `GET /v1/records`: records as they are stored, in the order of their keys; only by the socket in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsPage {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// What `after` of the next page is; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// Its key.
    pub key: String,
    /// The revision of the commit that wrote it.
    pub revision: u64,
    /// Its JSON, as a text: byte for byte as it is stored.
    pub value: String,
}

/// `POST /v1/pause`: a pause of all changes, on all nodes; only by the socket in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesPauseRequest {
    /// Seconds after which changes go on by themselves, from 1 to 86,400.
    pub seconds: u64,
}

/// Changes are paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesPaused {
    /// The revision of the catalog from which on nothing else is committed.
    pub revision: u64,
    /// When changes go on by themselves, in milliseconds since 1970 UTC.
    pub resumes_ms: u64,
}

/// What `devanture-edge copy` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// Whether everything is copied, so that an edge can start over the copy.
    pub finished: bool,
    /// Records that both stores have.
    pub records: u64,
    /// Of these, those that were written, as often as they were.
    pub written_records: u64,
    /// Records that were removed, since the source did not have them any more.
    pub removed_records: u64,
    /// Records that the target does not take since they are too large for it: the next edge makes them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Versions.
    pub versions: u64,
    /// Files that they refer to.
    pub files: u64,
    /// Of these, those that were copied now.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Versions whose files are damaged or missing in the source, and are not whole in the copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<super::DamagedVersion>,
    /// Milliseconds from the pause of changes until everything was copied; absent where none was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
    /// When the source takes changes again unless it is stopped by then, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes_ms: Option<u64>,
    /// Keys of secrets that were added to the file of the target.
    pub added_keys: u64,
    /// Files beside the stores that the target has otherwise, and that were left as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_files: Vec<String>,
    /// What the operator should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
