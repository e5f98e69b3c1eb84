//! Switches, rollbacks and promotions, by which a stored version goes live.

use serde::{Deserialize, Serialize};

use super::maintenance::Pause;
use super::rollout::Rollout;
use super::settings::SettingsDifference;
use super::steps::{Step, Urls};
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// `POST /v1/apps/{app}/environments/{env}/switch`: makes a stored version live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// Id of the version, or an unambiguous prefix.
    pub version: String,
    /// Live version required for the request to succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Accept changed content under a fingerprinted name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Override the lock of the environment; reserved for the lock's owner and admins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Seconds of watching after the switch; a rise of errors undoes the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// Rollout over the nodes of a cluster.
    #[serde(default, skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Reason, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/environments/{env}/rollback`: makes an earlier version live again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// Version; by default the previous live version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Live version required for the request to succeed. With `version` set to the version live before in the order of
    /// the history, the request equals a rollback without a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Override the lock of the environment; reserved for the lock's owner and admins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Seconds of watching after the switch; a rise of errors undoes the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// Rollout over the nodes of a cluster.
    #[serde(skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Reason, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Restore the settings of the version's last time live, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_settings: bool,
}

/// `POST /v1/apps/{app}/environments/{env}/promote`: makes the live version of another environment live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// Other environment.
    pub from: PlaceName,
    /// Live version required in the other environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Live version required for the request to succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Accept changed content under a fingerprinted name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Override the lock of the environment; reserved for the lock's owner and admins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Seconds of watching after the switch; a rise of errors undoes the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// Rollout over the nodes of a cluster.
    #[serde(default, skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Reason, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Response to a switch, a rollback and a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// New live version.
    pub version: VersionId,
    /// Previous live version.
    pub previous: Option<VersionId>,
    /// True if the live pointer moved, or would in a dry run.
    pub switched: bool,
    /// URLs for visitors.
    pub urls: Urls,
    /// Id of the deploy.
    pub deploy: Option<String>,
    /// Duration in milliseconds.
    pub ms: u64,
    /// The steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// For a rollback: differences from the settings of the version's last time live, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsDifference>,
    /// Pause of the environment, if paused: visitors do not get the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}
