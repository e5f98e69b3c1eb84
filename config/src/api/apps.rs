//! List of apps, with the live version of each environment, and its time and author.

use serde::{Deserialize, Serialize};

use super::CanaryShare;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// `GET /v1/apps`: a page of the apps readable with the token, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppList {
    /// The apps.
    pub apps: Vec<AppInfo>,
    /// Sums over all pages.
    pub totals: AppTotals,
    /// `after` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Sums over all apps that are readable with the token and match the search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppTotals {
    /// Apps.
    pub apps: u64,
    /// Environments with a live version.
    pub environments: u64,
    /// Custom hostnames of these environments.
    pub hostnames: u64,
}

/// App of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInfo {
    /// Name.
    pub app: AppName,
    /// Creation time, in milliseconds since 1970 UTC; absent if the record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<u64>,
    /// Name of the token behind the creation; absent if the record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Number of stored versions; absent for a token of a single environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<u64>,
    /// Number of environments with a live version.
    pub environments_total: u64,
    /// Environments with a live version, `prod` first; cut to the first few of a long list.
    pub environments: Vec<AppEnvironment>,
}

/// Environment of an app of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEnvironment {
    /// Name.
    pub name: PlaceName,
    /// Live version; absent if the record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Time since which the version is live, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Name of the token or account behind the switch, if the history still has the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// URL for visitors.
    pub url: String,
    /// Number of custom hostnames.
    pub hostnames: u64,
    /// True if the live version has a backend run by the edge; absent while the version is not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<bool>,
    /// True if the environment is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// True if the environment is locked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// True if the live version fails to load, or has damaged or missing files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// Running canary, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShare>,
}
