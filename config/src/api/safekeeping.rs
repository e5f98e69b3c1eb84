//! Stored files: damage, repairs, and backups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::access::Secret;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// Result of a check of the catalog's pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatalogPages {
    /// A page differs from the written content.
    Damaged,
    /// The pages were not read, or not readable.
    #[default]
    Unchecked,
    /// Every page equals the written content.
    Whole,
}

impl CatalogPages {
    /// Returns true if a page is damaged.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged)
    }
}

/// `POST /v1/verify`: the checked files, and the damage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Versions with checked files.
    pub versions: u64,
    /// Checked files, each once: blobs, manifests, variants and deltas.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Versions with damaged or missing files.
    pub damaged: Vec<DamagedVersion>,
    /// Damaged variants and deltas. The edge sets these aside and makes them again, so no version lacks a file.
    pub derived: u64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// Versions with an intact file on this node that the nodes' bucket lacks, or holds with another length or, if the
    /// objects were read, with other bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bucket: Vec<DamagedVersion>,
    /// Paths of files wanted from a backup, and damaged in the backup too; a folder of backups quarantines these files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_in_backup: Vec<String>,
    /// Files restored by a repair.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// Pages of the catalog; unread in a check of a single app.
    #[serde(default)]
    pub catalog: CatalogPages,
}

impl VerifyReport {
    /// Returns true if all damage was repaired, or the edge remakes the damaged files automatically.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.bucket.is_empty() && !self.catalog.is_damaged()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Version with damaged or missing files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedVersion {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: VersionId,
    /// Environments in which the version is live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live_in: Vec<PlaceName>,
    /// True for a deleted, restorable version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// True if the manifest is damaged or missing, so the version's files are unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manifest: bool,
    /// Number of damaged or missing files.
    pub count: u64,
    /// Paths of these files, a hundred at most.
    pub files: Vec<String>,
}

/// `POST /v1/repair`: the subject and the source of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairRequest {
    /// App to repair; all apps if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// True to read and compare the objects of the nodes' bucket; false to compare lengths alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_bucket: bool,
    /// Folder of backups, or `s3://BUCKET/PREFIX`, as source for damaged files; available only through the socket in
    /// the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Environment variables with the access to an S3 store; if empty, the edge's environment applies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Secret>,
}

/// `POST /v1/backup`: the target of a backup; available only through the socket in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Absolute path of the folder, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// Number of backups to keep, including the new backup; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// True to include the keys that seal secrets.
    #[serde(default)]
    pub with_key: bool,
    /// Environment variables with the access to an S3 store; if empty, the edge's environment applies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Secret>,
}

/// Written backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// Name: the time, in UTC.
    pub name: String,
    /// Revision of the catalog.
    pub revision: u64,
    /// Versions in the backup.
    pub versions: u64,
    /// Files referenced by the backup.
    pub files: u64,
    /// Files newly copied.
    pub copied_files: u64,
    /// Bytes of the copied files.
    pub copied_bytes: u64,
    /// Versions with damaged or missing files, incomplete in the backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedVersion>,
    /// Names of earlier backups with a damaged description, damaged records or a damaged manifest. Unreadable backups
    /// stay, and may keep older backups from removal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Names of earlier, removed backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// True if the backup includes the keys that seal secrets.
    pub with_key: bool,
    /// Pages of the catalog behind the copied records. A record of a damaged page may differ from the written content.
    #[serde(default)]
    pub catalog: CatalogPages,
}
