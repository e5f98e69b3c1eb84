//! The history of an environment: its deploys, pauses, locks and changes of settings.

use serde::{Deserialize, Serialize};

use super::steps::Step;
use crate::digest::VersionId;
use crate::manifest::halves::Halves;
use crate::names::{AppName, PlaceName};
use crate::problem::Code;

/// Where a bundle comes from, for the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The message of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the tree held changes that no commit has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// The CI system that pushed it, such as `github`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
    /// Where that system shows the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The kind of an entry of the history.
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
    /// The environment was paused; what is live stayed.
    Pause,
    /// A pause ended; what is live stayed.
    Resume,
    /// The environment was locked; what is live stays.
    Lock,
    /// A lock ended; what is live stayed.
    Unlock,
    /// The environment was deleted.
    Delete,
    /// The environment was restored, with the version that was live.
    Undelete,
    /// Settings were changed; what is live stayed.
    Settings,
    /// A command was run; what is live stayed.
    Run,
    /// Something that nobody signs was changed; what is live stayed. In live logs alone.
    Change,
}

/// The outcome of a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its version went live.
    Live,
    /// Its version is stored and has a preview.
    Stored,
    /// A newer push was live by then.
    Superseded,
    /// It failed.
    Failed,
    /// It was a pause or a lock, the end of one, a change of settings, or a command.
    Done,
}

/// One attempt to make a version live, or a pause, a lock or its end, a change of settings, or a command, as a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: DeployKind,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// The version that was live before.
    pub previous: Option<VersionId>,
    /// The name of the token.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Where the bundle came from.
    #[serde(default)]
    pub source: Source,
    /// Its steps.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Its outcome.
    pub outcome: Outcome,
    /// The alias that it was pushed to, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceName>,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DeployProblem>,
    /// The lines of it that matter, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// The revision of the environment's settings that holds with it; 0 where nothing was ever set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settings: u64,
    /// Why the edge went back by itself, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
    /// Why, as far as the person said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The halves that a push brought; absent for a whole bundle without a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves: Option<Halves>,
    /// The version that gave the other half to a push of one half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /v1/apps/{app}/environments/{env}/history`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The deploys.
    pub deploys: Vec<Deploy>,
    /// Versions of these deploys that were deleted since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<VersionId>,
    /// Versions of these deploys that were collected since: nothing held them, and they were old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collected: Vec<VersionId>,
    /// Entries of this page whose records are damaged and left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// The `before` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why a deploy failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployProblem {
    /// The code of the problem.
    pub code: Code,
    /// The change, as a sentence.
    pub detail: String,
}
