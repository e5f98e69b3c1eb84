//! Maintenance: pausing an environment, deleting a version, withdrawing a path.

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
    /// Paths that go on answering, each as the path of a route is written: `/status`, `/api/*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<RoutePath>,
    /// Seconds after which visitors should come again (`Retry-After`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// A pause of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The time since which it is, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// The name of the token that said it last.
    pub who: String,
    /// The message for visitors, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Paths that go on answering.
    #[serde(default)]
    pub allow: Vec<RoutePath>,
    /// Seconds after which visitors should come again (`Retry-After`).
    pub retry_after_s: u64,
}

/// The answer to a pause and to `POST /v1/apps/{app}/environments/{env}/resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Its pause now, if any.
    pub paused: Option<Pause>,
    /// Whether anything was changed, or would be.
    pub changed: bool,
}

/// The answer to `DELETE /v1/apps/{app}/versions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The version that is gone, or would be.
    pub version: VersionId,
    /// Restorable until, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub until_ms: u64,
    /// Environments whose visitors were held on it (`pin = "session"`), or are: they get what is live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_in: Vec<PlaceName>,
    /// What the app holds no longer; `None` without `purge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<PurgeReport>,
}

/// `POST /v1/apps/{app}/withdrawn`: no version stored until now answers a path any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// The path, as in an address: it begins with `/`, and has no query.
    pub path: String,
}

/// The answer to [`WithdrawRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The path, decoded and in its normal form.
    pub path: String,
    /// Versions stored until this moment, in milliseconds since 1970 UTC, no longer answer it.
    pub at_ms: u64,
    /// Whether one of the versions at hand (live, aliased, kept, or a loaded preview) answered it until now; where none
    /// did, the path may be misspelt.
    pub answered: bool,
    /// Whether it was withdrawn before.
    #[serde(default)]
    pub was_withdrawn: bool,
}

/// The answer to `DELETE /v1/apps/{app}/withdrawn?path=…`: a path is withdrawn no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The path, decoded and in its normal form.
    pub path: String,
    /// Versions stored until this moment, in milliseconds since 1970 UTC, did not answer it; now all do that have it.
    pub at_ms: u64,
    /// Whether one of the versions at hand (live, aliased, kept, or a loaded preview) answers it now, or would.
    pub answers: bool,
}

/// `GET /v1/apps/{app}/withdrawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnList {
    /// The app.
    pub app: AppName,
    /// The paths, in their order.
    pub withdrawn: Vec<WithdrawnPath>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A path that was withdrawn: one of the answer to `GET /v1/apps/{app}/withdrawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnPath {
    /// The path, decoded and in its normal form.
    pub path: String,
    /// Versions stored until this moment, in milliseconds since 1970 UTC, no longer answer it.
    pub at_ms: u64,
    /// The name of the token that withdrew it.
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
