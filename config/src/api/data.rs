//! The folder that stays for an environment, its files and its snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::text::text_form;

/// Most characters of the name of a snapshot.
pub const SNAPSHOT_NAME_CHARACTERS_MAX: usize = 63;
/// The prefix of snapshots that the edge makes itself, before a release or before data is replaced.
pub const AUTOMATIC_SNAPSHOT: &str = "before-";
/// Most files that a listing names.
pub const DATA_LIST_MAX: u64 = 10_000;
/// Files that a listing names by default.
pub const DATA_LIST_DEFAULT: u64 = 1_000;
/// The media type of archives of data: a tar, compressed by zstd.
pub const DATA_ARCHIVE_TYPE: &str = "application/zstd";

/// The name of a snapshot: 1 to 63 characters of `a-z`, `0-9` and `-`, without `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

/// Why a text is no name of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a snapshot has 1 to 63 characters of a-z, 0-9 and `-`, and no `-` at its ends")]
pub struct BadSnapshotName;

impl SnapshotName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the edge made the snapshot itself, and removes it again by itself.
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

/// The kind of an entry of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, which is archived as a link and never followed.
    Link,
    /// A pipe, a socket or a device, which is in no archive.
    Special,
}

/// An entry of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataEntry {
    /// Its path below the folder; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What it is.
    pub kind: DataKind,
    /// Bytes of a file; 0 for everything else.
    pub bytes: u64,
    /// The time of its last change, in milliseconds since 1970 UTC.
    pub modified_ms: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: SnapshotName,
    /// Bytes of its archive.
    pub bytes: u64,
    /// The time at which it was made, in milliseconds since 1970 UTC.
    pub made_ms: u64,
    /// Whether the edge made it itself, and removes it again by itself.
    pub is_automatic: bool,
}

/// The folder that stays on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataList {
    /// The node.
    pub node: String,
    /// Files, folders and links that there are.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The first entries, each folder before what it holds.
    pub entries: Vec<DataEntry>,
    /// Whether there are more entries than are listed.
    pub is_partial: bool,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotInfo>,
}

/// The rest of an archive whose download broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRest {
    /// Bytes that have come.
    pub from: u64,
    /// Their BLAKE3.
    pub digest: Digest,
}

/// Makes a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Its name; by default the current time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SnapshotName>,
}

/// The outcome of a change of the folder, or of its snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// The node.
    pub node: String,
    /// Files, folders and links that were archived or put in place.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Databases of SQLite that were copied by its online backup.
    pub databases: u64,
    /// Pipes, sockets and devices that were left out.
    pub skipped: u64,
    /// The snapshot that was made, of what was there before where data was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotName>,
    /// Snapshots that were removed, since they were made by the edge and are old or too many.
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
