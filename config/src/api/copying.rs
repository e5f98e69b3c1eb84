//! Copies of a whole store: the records of a running edge, and the pause of all changes during the last copies.

use serde::{Deserialize, Serialize};

/// `GET /v1/records`: stored records in the order of their keys; available only through the socket in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsPage {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// `after` of the next page; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Stored record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// Key.
    pub key: String,
    /// Revision of the commit behind the record.
    pub revision: u64,
    /// JSON text, byte for byte as stored.
    pub value: String,
}

/// `POST /v1/pause`: pauses all changes on all nodes; available only through the socket in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesPauseRequest {
    /// Seconds until changes resume automatically, from 1 to 86,400.
    pub seconds: u64,
}

/// Response to [`ChangesPauseRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesPaused {
    /// Last revision of the catalog before the pause.
    pub revision: u64,
    /// Time at which changes resume automatically, in milliseconds since 1970 UTC.
    pub resumes_ms: u64,
}

/// Outcome of `devanture-edge copy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// True if the copy is complete, so an edge can start from the copy.
    pub finished: bool,
    /// Records present in both stores.
    pub records: u64,
    /// Number of records written; a record written twice counts twice.
    pub written_records: u64,
    /// Records removed from the target because the source no longer has the record.
    pub removed_records: u64,
    /// Records too large for the target; the next edge makes these records again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Versions.
    pub versions: u64,
    /// Files of these versions.
    pub files: u64,
    /// Files copied by this run.
    pub copied_files: u64,
    /// Bytes of the copied files.
    pub copied_bytes: u64,
    /// Versions with damaged or missing files in the source, incomplete in the copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<super::DamagedVersion>,
    /// Milliseconds from the pause of changes to the end of the copy; absent without a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
    /// Time at which the source accepts changes again unless stopped before, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes_ms: Option<u64>,
    /// Keys of secrets added to the file of the target.
    pub added_keys: u64,
    /// Files beside the stores left unchanged because the target's copy differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_files: Vec<String>,
    /// Notes for the operator, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
