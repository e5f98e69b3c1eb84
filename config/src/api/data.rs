//! Persistent folder of an environment, with files and snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::text::text_form;

/// Maximum number of characters of a snapshot name.
pub const SNAPSHOT_NAME_CHARACTERS_MAX: usize = 63;
/// Prefix of automatic snapshots, made before a release or before data is replaced.
pub const AUTOMATIC_SNAPSHOT: &str = "before-";
/// Maximum number of files in a listing.
pub const DATA_LIST_MAX: u64 = 10_000;
/// Default number of files in a listing.
pub const DATA_LIST_DEFAULT: u64 = 1_000;
/// Media type of data archives: a tar compressed by zstd.
pub const DATA_ARCHIVE_TYPE: &str = "application/zstd";

/// Name of a snapshot: 1 to 63 characters of `a-z`, `0-9` and `-`, without `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

/// Error for an invalid snapshot name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a snapshot has 1 to 63 characters of a-z, 0-9 and `-`, and no `-` at its ends")]
pub struct BadSnapshotName;

impl SnapshotName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the edge made the snapshot automatically and removes the snapshot automatically.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.0.starts_with(AUTOMATIC_SNAPSHOT)
    }
}

impl FromStr for SnapshotName {
    type Err = BadSnapshotName;

    fn from_str(text: &str) -> Result<Self, BadSnapshotName> {
        let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_length = (1..=SNAPSHOT_NAME_CHARACTERS_MAX).contains(&text.len());
        match is_length && text.bytes().all(is_known) && !text.starts_with('-') && !text.ends_with('-') {
            true => Ok(Self(text.to_owned())),
            false => Err(BadSnapshotName),
        }
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(SnapshotName, BadSnapshotName);

/// Kind of an entry of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, archived as a link and never followed.
    Link,
    /// A pipe, a socket or a device, left out of archives.
    Special,
}

/// Entry of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataEntry {
    /// Path below the folder; bytes outside UTF-8 are replaced.
    pub path: String,
    /// Kind.
    pub kind: DataKind,
    /// Bytes of a file; 0 for other kinds.
    pub bytes: u64,
    /// Time of the last change, in milliseconds since 1970 UTC.
    pub modified_ms: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Name.
    pub name: SnapshotName,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Time of the snapshot, in milliseconds since 1970 UTC.
    pub made_ms: u64,
    /// True if the edge made the snapshot automatically and removes the snapshot automatically.
    pub is_automatic: bool,
}

/// Persistent folder on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataList {
    /// The node.
    pub node: String,
    /// Number of files, folders and links.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// First entries, each folder before its content.
    pub entries: Vec<DataEntry>,
    /// True if the listing is cut.
    pub is_partial: bool,
    /// Snapshots, oldest first.
    pub snapshots: Vec<SnapshotInfo>,
}

/// Rest of an archive after an interrupted download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRest {
    /// Bytes received.
    pub from: u64,
    /// BLAKE3 of the received bytes.
    pub digest: Digest,
}

/// Makes a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Name; by default the current time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SnapshotName>,
}

/// Outcome of a change of the folder or its snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// The node.
    pub node: String,
    /// Files, folders and links archived or put in place.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// SQLite databases copied by SQLite's online backup.
    pub databases: u64,
    /// Pipes, sockets and devices left out.
    pub skipped: u64,
    /// New snapshot; if data was replaced, of the earlier data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotName>,
    /// Automatic snapshots removed by age or number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<SnapshotName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_a_name_that_is_safe_as_a_file() {
        for good in ["a", "before-release-1", "2026-11-25", &"a".repeat(63)] {
            assert!(good.parse::<SnapshotName>().is_ok(), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "A", "a.b", "../a", "a/b", "ä", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
        assert!("before-x".parse::<SnapshotName>().unwrap().is_automatic());
        assert!(!"mine".parse::<SnapshotName>().unwrap().is_automatic());
        assert!(serde_json::from_str::<SnapshotName>("\"../x\"").is_err());
    }
}
