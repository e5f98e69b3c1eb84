//! History of an environment: deploys, pauses, locks and changes of settings.

use serde::{Deserialize, Serialize};

use super::steps::Step;
use crate::digest::VersionId;
use crate::manifest::halves::Halves;
use crate::names::{AppName, PlaceName};
use crate::problem::Code;

/// Origin of a bundle, for the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Message of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// True if the tree had uncommitted changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// CI system behind the push, for example `github`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
    /// URL of the run in the CI system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Kind of an entry of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployKind {
    /// A push.
    Push,
    /// A switch to a stored version.
    Switch,
    /// A rollback.
    Rollback,
    /// A promotion.
    Promote,
    /// The environment was paused; the live version is unchanged.
    Pause,
    /// A pause ended; the live version is unchanged.
    Resume,
    /// The environment was locked; the live version stays.
    Lock,
    /// A lock ended; the live version is unchanged.
    Unlock,
    /// The environment was deleted.
    Delete,
    /// The environment was restored, with the version live at its deletion.
    Undelete,
    /// Settings changed; the live version is unchanged.
    Settings,
    /// A command was run; the live version is unchanged.
    Run,
    /// An unsigned change; the live version is unchanged. Only in live logs.
    Change,
}

/// Outcome of a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The version went live.
    Live,
    /// The version is stored and has a preview.
    Stored,
    /// A newer push was already live.
    Superseded,
    /// The deploy failed.
    Failed,
    /// A pause or a lock, the end of a pause or a lock, a change of settings, or a command.
    Done,
}

/// Record of an attempt to make a version live; also of a pause, a lock, the end of a pause or a lock, a change of
/// settings, or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Id.
    pub id: String,
    /// Kind.
    pub kind: DeployKind,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// Previous live version.
    pub previous: Option<VersionId>,
    /// Name of the token.
    pub who: String,
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Origin of the bundle.
    #[serde(default)]
    pub source: Source,
    /// Steps.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Outcome.
    pub outcome: Outcome,
    /// Alias, for a push to an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceName>,
    /// Reason of the failure, if failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DeployProblem>,
    /// Relevant log lines, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// Revision of the environment's settings at this entry; 0 if no setting was ever set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settings: u64,
    /// Reason of an automatic rollback, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
    /// Reason given by the person, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Halves in the push; absent for a whole bundle without a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves: Option<Halves>,
    /// Version that provided the other half, for a push of one half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /v1/apps/{app}/environments/{env}/history`: newest entries first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The deploys.
    pub deploys: Vec<Deploy>,
    /// Versions of these deploys deleted since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<VersionId>,
    /// Versions of these deploys collected since, unreferenced and old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collected: Vec<VersionId>,
    /// Number of entries of this page left out because of damaged records.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// `before` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Reason of a failed deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployProblem {
    /// Code of the problem.
    pub code: Code,
    /// Description, as a sentence.
    pub detail: String,
}
