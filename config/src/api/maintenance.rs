//! Maintenance: pauses of an environment, deletions of a version, withdrawals of a path.

use serde::{Deserialize, Serialize};

use super::retention::PurgeReport;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};
use crate::site_toml::RoutePath;

/// `POST /v1/apps/{app}/environments/{env}/pause`: serves visitors a maintenance page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PauseRequest {
    /// The message for visitors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Paths still served, in the syntax of route paths: `/status`, `/api/*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<RoutePath>,
    /// Seconds after which visitors should retry (`Retry-After`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// Pause of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Start of the pause, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Name of the token behind the last change.
    pub who: String,
    /// Message for visitors, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Paths still served.
    #[serde(default)]
    pub allow: Vec<RoutePath>,
    /// Seconds after which visitors should retry (`Retry-After`).
    pub retry_after_s: u64,
}

/// Response to a pause and to `POST /v1/apps/{app}/environments/{env}/resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Current pause, if any.
    pub paused: Option<Pause>,
    /// True if the request changed the pause, or would in a dry run.
    pub changed: bool,
}

/// Response to `DELETE /v1/apps/{app}/versions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Deleted version.
    pub version: VersionId,
    /// Restorable until, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub until_ms: u64,
    /// Environments with visitors pinned to the version (`pin = "session"`), now or before; these visitors get the live
    /// version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_in: Vec<PlaceName>,
    /// Files no longer held by the app; `None` without `purge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<PurgeReport>,
}

/// `POST /v1/apps/{app}/withdrawn`: stops serving a path from every version stored until now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// Path, as in a URL: begins with `/`, without query.
    pub path: String,
}

/// Response to [`WithdrawRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Path, decoded and normalized.
    pub path: String,
    /// Time limit, in milliseconds since 1970 UTC: versions stored before no longer serve the path.
    pub at_ms: u64,
    /// True if a known version (live, aliased, kept, or a loaded preview) served the path until now; if false, the path
    /// may be misspelt.
    pub answered: bool,
    /// True if the path was withdrawn before.
    #[serde(default)]
    pub was_withdrawn: bool,
}

/// Response to `DELETE /v1/apps/{app}/withdrawn?path=…`: ends the withdrawal of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Path, decoded and normalized.
    pub path: String,
    /// Time limit, in milliseconds since 1970 UTC: versions stored before did not serve the path, and now do if
    /// present.
    pub at_ms: u64,
    /// True if a known version (live, aliased, kept, or a loaded preview) serves the path now, or would.
    pub answers: bool,
}

/// `GET /v1/apps/{app}/withdrawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnList {
    /// The app.
    pub app: AppName,
    /// Paths, in order.
    pub withdrawn: Vec<WithdrawnPath>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Withdrawn path in the response to `GET /v1/apps/{app}/withdrawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnPath {
    /// Path, decoded and normalized.
    pub path: String,
    /// Time limit, in milliseconds since 1970 UTC: versions stored before no longer serve the path.
    pub at_ms: u64,
    /// Name of the token behind the withdrawal.
    pub who: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_needs_no_word_and_takes_no_unknown_one() {
        assert_eq!(serde_json::from_str::<PauseRequest>("{}").unwrap(), PauseRequest::default());
        let text = r#"{"message":"Back at ten.","allow":["/status","/api/*"],"retry_after_s":5}"#;
        let request: PauseRequest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        for bad in [r#"{"allow":["status"]}"#, r#"{"allow":["/a/../b"]}"#, r#"{"reason":"x"}"#] {
            serde_json::from_str::<PauseRequest>(bad).unwrap_err();
        }
    }
}
