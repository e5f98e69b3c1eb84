//! The steps of a deploy, and the addresses that it ends with.

use serde::{Deserialize, Serialize};

/// Where a version can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// The environment.
    pub live: String,
    /// The version alone.
    pub preview: String,
    /// The alias, where one was pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Under way.
    Started,
    /// Done.
    Done,
    /// Not needed.
    Skipped,
    /// It stopped the deploy.
    Failed,
}

/// One step of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `scan`, `diff`, `upload`, `verify`, `compress`, `prepare`, `release`, `smoke`, `switch`, `watch`.
    pub name: String,
    /// Its outcome.
    pub state: StepState,
    /// Details, such as `12 files, 31 variants`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Duration in milliseconds.
    #[serde(default)]
    pub ms: u64,
}
