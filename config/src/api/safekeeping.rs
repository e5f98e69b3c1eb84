//! Stored files: what is damaged, what repairs it, and backups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::access::Secret;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// What was found of the pages of the catalog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatalogPages {
    /// One of them is not as it was written.
    Damaged,
    /// Nothing: they were not read, or could not be.
    #[default]
    Unchecked,
    /// All are as they were written.
    Whole,
}

impl CatalogPages {
    /// Whether one is damaged.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged)
    }
}

/// `POST /v1/verify`: what was read, and what of it is damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Versions whose files were read.
    pub versions: u64,
    /// Files that were read, each once: blobs, manifests, variants and deltas.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions that lack something.
    pub damaged: Vec<DamagedVersion>,
    /// Damaged variants and deltas: they were set aside, and are made again, so that no version lacks them.
    pub derived: u64,
    /// Files that lie in quarantine.
    pub quarantined: u64,
    /// Versions with files of which this node has a copy that is whole, and the bucket that nodes share has none, or
    /// one of another length or, where its objects were read, of other bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bucket: Vec<DamagedVersion>,
    /// Paths of files that were to be taken from a backup, and are damaged there, too; a folder of backups has them in
    /// its quarantine then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_in_backup: Vec<String>,
    /// Files that a repair brought back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// The pages of the catalog; they are not read where one app alone is looked at.
    #[serde(default)]
    pub catalog: CatalogPages,
}

impl VerifyReport {
    /// Whether all damage was repaired, or the edge makes the damaged files again by itself.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.bucket.is_empty() && !self.catalog.is_damaged()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A version with damaged or missing files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedVersion {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: VersionId,
    /// Environments in which it is live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live_in: Vec<PlaceName>,
    /// Whether it was deleted and can be restored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Whether its manifest is damaged or missing, so that none of its files is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manifest: bool,
    /// Number of its files that are damaged or missing.
    pub count: u64,
    /// Paths of these files, a hundred at most.
    pub files: Vec<String>,
}

/// `POST /v1/repair`: what is to be repaired, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairRequest {
    /// This app alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Whether the objects of a bucket that nodes share are read and compared, and not their lengths alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_bucket: bool,
    /// The folder of backups, or `s3://BUCKET/PREFIX`, that damaged files are taken from; only by the socket in the
    /// data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Environment variables that say how to reach an S3 store; without any, those of the edge count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Secret>,
}

/// `POST /v1/backup`: where a backup is to be written; only by the socket in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The folder, from the root on, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// How many backups stay there, this one among them; all of them where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// Whether the keys that seal secrets are written, too.
    #[serde(default)]
    pub with_key: bool,
    /// Environment variables that say how to reach an S3 store; without any, those of the edge count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Secret>,
}

/// A backup that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// Its name: the time, in UTC.
    pub name: String,
    /// The revision of the catalog.
    pub revision: u64,
    /// Versions that it has.
    pub versions: u64,
    /// Files that it refers to.
    pub files: u64,
    /// Of these, those that were not there yet.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Versions whose files are damaged or missing, and are not whole in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedVersion>,
    /// Names of earlier backups that cannot be read, as their description, their records or a manifest is damaged. They
    /// stay, and may keep older ones from being removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Names of earlier backups that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Whether the keys that seal secrets are in it.
    pub with_key: bool,
    /// The pages of the catalog that its records were copied from. Of a damaged one, a record may have other content
    /// than was written.
    #[serde(default)]
    pub catalog: CatalogPages,
}
