//! The records of what is no longer there: versions that were deleted or collected, apps and environments that can
//! still be restored.

use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::apps::VersionRecord;
use super::live::LivePointer;

/// `gone/{app}/{id}`: a version that the app had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneVersion {
    /// When it went, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Whether a collection took it, and not somebody.
    #[serde(default)]
    pub collected: bool,
    /// Restorable until, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub until_ms: u64,
    /// The name of the token that deleted it.
    #[serde(default)]
    pub who: String,
    /// When it counts as stored, in milliseconds since 1970 UTC: what was withdrawn since then stays withdrawn where it
    /// is stored again. 0, before everything, where an earlier edge wrote this.
    #[serde(default)]
    pub stored_ms: u64,
    /// Its record, for as long as it can be restored. While it is here, the version's files stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<VersionRecord>,
}

impl GoneVersion {
    /// When it counts as stored, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn stored_since_ms(&self) -> u64 {
        self.record.as_ref().map_or(self.stored_ms, |record| record.stored_ms)
    }
}

/// `deleted/{app}`: that an app was deleted. Everything of it stays as it is, answers nothing and takes no change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedApp {
    /// Its hostnames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// The name of the token that deleted it.
    pub who: String,
}

/// `deleted-environments/{app}/{env}`: that an environment was deleted. Its live pointer is here and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedEnvironment {
    /// Its hostnames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// The name of the token that deleted it.
    pub who: String,
    /// Its live pointer.
    pub pointer: LivePointer,
}

/// The prefix of all versions that are gone.
pub const GONE_PREFIX: &str = "gone/";
/// The prefix of all apps that were deleted.
pub const DELETED_APPS_PREFIX: &str = "deleted/";
/// The prefix of all environments that were deleted.
pub const DELETED_ENVIRONMENTS_PREFIX: &str = "deleted-environments/";

/// The prefix of an app's versions that are gone.
#[must_use]
pub fn gone_prefix(app: &AppName) -> String {
    format!("{GONE_PREFIX}{app}/")
}

/// The key of a version that is gone.
#[must_use]
pub fn gone_key(app: &AppName, id: &VersionId) -> String {
    format!("{GONE_PREFIX}{app}/{id}")
}

/// The key of an app's deletion.
#[must_use]
pub fn deleted_app_key(app: &AppName) -> String {
    format!("{DELETED_APPS_PREFIX}{app}")
}

/// The prefix of an app's environments that were deleted.
#[must_use]
pub fn deleted_environments_prefix(app: &AppName) -> String {
    format!("{DELETED_ENVIRONMENTS_PREFIX}{app}/")
}

/// The key of an environment's deletion.
#[must_use]
pub fn deleted_environment_key(app: &AppName, environment: &PlaceName) -> String {
    format!("{DELETED_ENVIRONMENTS_PREFIX}{app}/{environment}")
}
