//! Records of removed objects: deleted or collected versions, and apps and environments that can still be restored.

use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::apps::VersionRecord;
use super::live::LivePointer;

/// `gone/{app}/{id}`: a former version of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneVersion {
    /// Time of the removal, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Set if a collection removed the version, and not a person.
    #[serde(default)]
    pub collected: bool,
    /// Restorable until, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub until_ms: u64,
    /// The name of the deleting token.
    #[serde(default)]
    pub who: String,
    /// Time of storing, in milliseconds since 1970 UTC: paths withdrawn since then stay withdrawn if the version is
    /// stored again. 0, before all times, in records of earlier releases.
    #[serde(default)]
    pub stored_ms: u64,
    /// The record of the version, as long as it can be restored. While the record is present, the version's files stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<VersionRecord>,
}

impl GoneVersion {
    /// Returns the time of storing, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn stored_since_ms(&self) -> u64 {
        self.record.as_ref().map_or(self.stored_ms, |record| record.stored_ms)
    }
}

/// `deleted/{app}`: a deleted app. All its records stay unchanged, answer no request and take no change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedApp {
    /// The hostnames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// Time of the deletion, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// The name of the deleting token.
    pub who: String,
}

/// `deleted-environments/{app}/{env}`: a deleted environment. The live pointer is stored only here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedEnvironment {
    /// The hostnames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// Time of the deletion, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// The name of the deleting token.
    pub who: String,
    /// The live pointer.
    pub pointer: LivePointer,
}

/// The prefix of all removed versions.
pub const GONE_PREFIX: &str = "gone/";
/// The prefix of all deleted apps.
pub const DELETED_APPS_PREFIX: &str = "deleted/";
/// The prefix of all deleted environments.
pub const DELETED_ENVIRONMENTS_PREFIX: &str = "deleted-environments/";

/// Returns the prefix of an app's removed versions.
#[must_use]
pub fn gone_prefix(app: &AppName) -> String {
    format!("{GONE_PREFIX}{app}/")
}

/// Returns the key of a removed version.
#[must_use]
pub fn gone_key(app: &AppName, id: &VersionId) -> String {
    format!("{GONE_PREFIX}{app}/{id}")
}

/// The key of an app's deletion.
#[must_use]
pub fn deleted_app_key(app: &AppName) -> String {
    format!("{DELETED_APPS_PREFIX}{app}")
}

/// Returns the prefix of an app's deleted environments.
#[must_use]
pub fn deleted_environments_prefix(app: &AppName) -> String {
    format!("{DELETED_ENVIRONMENTS_PREFIX}{app}/")
}

/// The key of an environment's deletion.
#[must_use]
pub fn deleted_environment_key(app: &AppName, environment: &PlaceName) -> String {
    format!("{DELETED_ENVIRONMENTS_PREFIX}{app}/{environment}")
}
