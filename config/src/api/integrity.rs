//! What browsers reported about what pages load without a hash.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};
use crate::site_toml::Integrity;

/// `GET /v1/apps/{app}/environments/{env}/integrity`: the last distinct reports, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrityReports {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// What is live there, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveIntegrity>,
    /// The reports. Anybody can send one: they are signs, and no proof.
    pub reports: Vec<IntegrityReport>,
    /// Nodes of the cluster that did not answer: their reports are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// The hashes in the pages of a live version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveIntegrity {
    /// The version.
    pub version: VersionId,
    /// `integrity` of its `devanture.toml` in the environment.
    pub mode: Integrity,
    /// Its pages that are served with a policy; none of a version that was stored before it had the key.
    pub pages: u64,
}

/// What browsers reported of one file on one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrityReport {
    /// The address of what had no hash, without its query: a path, or a URL of another host.
    pub blocked: String,
    /// What it was to be: `script` or `style`.
    pub destination: String,
    /// The path of the page.
    pub page: String,
    /// Whether it was not loaded, by `enforce`.
    pub enforced: bool,
    /// How often it was reported.
    pub count: u64,
    /// When first, in milliseconds since 1970 UTC.
    pub first_ms: u64,
    /// When last, in milliseconds since 1970 UTC.
    pub last_ms: u64,
}
