//! The list of apps: what is live in their environments, since when, and by whom.

use serde::{Deserialize, Serialize};

use super::CanaryShare;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// `GET /v1/apps`: a page of the apps that the token may read, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppList {
    /// The apps.
    pub apps: Vec<AppInfo>,
    /// Sums over all pages.
    pub totals: AppTotals,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Sums over every app that the token may read and the search finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppTotals {
    /// Apps.
    pub apps: u64,
    /// Their environments in which a version is live.
    pub environments: u64,
    /// Hostnames of these environments' own.
    pub hostnames: u64,
}

/// One app of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInfo {
    /// Its name.
    pub app: AppName,
    /// When it was made, in milliseconds since 1970 UTC; absent if its record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<u64>,
    /// The name of the token that made it; absent if its record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Number of its stored versions; absent for a token of one environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<u64>,
    /// Number of its environments in which a version is live.
    pub environments_total: u64,
    /// These environments, `prod` first; the first of them, where there are many.
    pub environments: Vec<AppEnvironment>,
}

/// One environment of an app of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEnvironment {
    /// Its name.
    pub name: PlaceName,
    /// The live version; absent if its record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The time since which it is live, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// The name of the token or account that made it live, as far as the history still has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Where visitors find it.
    pub url: String,
    /// Number of hostnames of its own.
    pub hostnames: u64,
    /// Whether the live version has a backend that the edge runs; absent while the version is not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<bool>,
    /// Whether it is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Whether it is locked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// Whether files of the live version are damaged or missing, or it cannot be loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// The canary beside the live version, where one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShare>,
}
