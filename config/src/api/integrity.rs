//! Browsers' reports about page resources without a hash.

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
    /// Live version's hashes, if a version is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveIntegrity>,
    /// Reports. Reports are hints, not proof: any client can send a report.
    pub reports: Vec<IntegrityReport>,
    /// Silent nodes of the cluster, with missing reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Hashes in the pages of a live version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveIntegrity {
    /// The version.
    pub version: VersionId,
    /// `integrity` in the version's `devanture.toml` for the environment.
    pub mode: Integrity,
    /// Number of pages served with a policy; 0 for a version stored before the key existed.
    pub pages: u64,
}

/// Browsers' reports about one file on one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrityReport {
    /// Address of the resource without a hash and without query: a path, or a URL of another host.
    pub blocked: String,
    /// Destination: `script` or `style`.
    pub destination: String,
    /// Path of the page.
    pub page: String,
    /// True if `enforce` kept the browser from loading the resource.
    pub enforced: bool,
    /// Number of reports.
    pub count: u64,
    /// Time of the first report, in milliseconds since 1970 UTC.
    pub first_ms: u64,
    /// Time of the last report, in milliseconds since 1970 UTC.
    pub last_ms: u64,
}
