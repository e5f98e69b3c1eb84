//! A stored version goes live: by a switch, a rollback or a promotion.

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
    /// The version's id or an unambiguous prefix of it.
    pub version: String,
    /// Only if this version is live now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Let a fingerprinted name have other content than it had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Override the lock of the environment; only its owner and an admin may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// How it goes live on the nodes of a cluster.
    #[serde(default, skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/environments/{env}/rollback`: makes an earlier version live again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version; by default the one that was live before the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Only if this version is live now. If `version` then is the one that was live before it in the order of the
    /// history, this is the rollback that names no version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Override the lock of the environment; only its owner and an admin may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// How it goes live on the nodes of a cluster.
    #[serde(skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Let the settings that it was live with last hold again, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_settings: bool,
}

/// `POST /v1/apps/{app}/environments/{env}/promote`: makes live here what is live in another environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The other environment.
    pub from: PlaceName,
    /// Only if this version is live in the other environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Only if this version is live here now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Let a fingerprinted name have other content than it had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Override the lock of the environment; only its owner and an admin may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// How it goes live on the nodes of a cluster.
    #[serde(default, skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to a switch, a rollback and a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The live version, or the one that would be.
    pub version: VersionId,
    /// The version that was live before.
    pub previous: Option<VersionId>,
    /// Whether the live pointer was moved, or would be.
    pub switched: bool,
    /// Where to look.
    pub urls: Urls,
    /// The deploy's id.
    pub deploy: Option<String>,
    /// Duration in milliseconds.
    pub ms: u64,
    /// The steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Of a rollback: how the settings differ from those that the version was live with, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsDifference>,
    /// How the environment is paused, where it is: visitors do not get the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}
