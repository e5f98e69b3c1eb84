//! Records of ended deploys of an environment.

use devanture_config::manifest::halves::Halves;
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::values::read;
use super::words::{StoredKind, StoredOutcome, StoredStepState};
use crate::catalog::Record;

/// `history/{app}/{env}/{number}`: an ended deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The deploy.
    pub deploy: StoredDeploy,
    /// The entry from which a later rollback starts: this entry, or the entry to which it rolled back.
    pub position: String,
}

/// A deploy, or a pause, a lock or its end, a change of settings, or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDeploy {
    /// The id.
    pub id: String,
    /// The kind.
    pub kind: StoredKind,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// The previously live version.
    pub previous: Option<VersionId>,
    /// The name of the token.
    pub who: String,
    /// The time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The origin of the bundle.
    #[serde(default)]
    pub source: StoredSource,
    /// The steps.
    #[serde(default)]
    pub steps: Vec<StoredStep>,
    /// The outcome.
    pub outcome: StoredOutcome,
    /// The alias of the push, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceName>,
    /// The problem of a failed deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<StoredProblem>,
    /// The important log lines, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// The revision of the environment's settings that the deploy uses; 0 if no setting was ever made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settings: u64,
    /// The reason of an automatic rollback, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
    /// The reason given by the person, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The pushed halves; absent for a whole bundle without a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves: Option<Halves>,
    /// The version that supplied the other half to a push of one half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The origin of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoredSource {
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The message of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Set if the tree had uncommitted changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// The CI system of the push, such as `github`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
    /// The URL of the run in the CI system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// One step of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredStep {
    /// The name.
    pub name: String,
    /// The outcome.
    pub state: StoredStepState,
    /// Details, such as `12 files, 31 variants`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Duration in milliseconds.
    #[serde(default)]
    pub ms: u64,
}

/// The problem of a failed deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProblem {
    /// The code, which keeps its spelling for good.
    pub code: Code,
    /// The problem, as a sentence.
    pub detail: String,
}

/// Returns an entry of a history; `None`, and an error in the log, for a damaged entry, so that the damage affects only
/// this entry.
#[must_use]
pub fn entry(key: &str, record: &Record) -> Option<HistoryEntry> {
    read(key, record).inspect_err(|error| tracing::error!(%error, "an entry of a history is passed over")).ok()
}

/// The prefix of the histories of an app's environments.
#[must_use]
pub fn histories_prefix(app: &AppName) -> String {
    format!("history/{app}/")
}

/// The prefix of an environment's history.
#[must_use]
pub fn history_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("history/{app}/{environment}/")
}

/// The key of an entry of the history; `number` grows from entry to entry.
#[must_use]
pub fn history_key(app: &AppName, environment: &PlaceName, number: u64) -> String {
    format!("history/{app}/{environment}/{number:016}")
}
