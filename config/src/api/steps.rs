//! Steps and final URLs of a deploy.

use serde::{Deserialize, Serialize};

/// URLs of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// URL of the environment.
    pub live: String,
    /// URL of the version alone.
    pub preview: String,
    /// URL of the alias, for a push to an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// State of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Under way.
    Started,
    /// Done.
    Done,
    /// Not needed.
    Skipped,
    /// Failed, and ended the deploy.
    Failed,
}

/// Step of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `scan`, `diff`, `upload`, `verify`, `compress`, `prepare`, `release`, `smoke`, `switch`, `watch`.
    pub name: String,
    /// State.
    pub state: StepState,
    /// Details, for example `12 files, 31 variants`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Duration in milliseconds.
    #[serde(default)]
    pub ms: u64,
}
