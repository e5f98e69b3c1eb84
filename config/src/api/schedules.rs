//! Schedules: the times of a backend's commands, and the outcomes of the last runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VersionId;
use crate::cron::{Cron, Zone};
use crate::site_toml::{Missed, ScheduleName};

/// Outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Exit code 0.
    Succeeded,
    /// Another exit code, a signal, or a failed start.
    Failed,
    /// The edge ended the run at the time limit.
    TimedOut,
    /// The edge ended during the run, or the environment was deleted.
    Interrupted,
}

impl RunOutcome {
    /// Returns the name used in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Reason for which a time was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// The previous run was still active.
    Running,
    /// The edge was down or the environment paused, and the schedule has `missed = "skip"`.
    Missed,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "the run before had not ended",
            Self::Missed => "missed",
        })
    }
}

/// Active run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRun {
    /// Scheduled time, in milliseconds since 1970 UTC; `null` for a run on request.
    pub due_ms: Option<u64>,
    /// Start time, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// Node of the run.
    pub node: String,
    /// Version of the run.
    pub version: VersionId,
}

/// Ended run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRunEnd {
    /// The run.
    #[serde(flatten)]
    pub run: ScheduleRun,
    /// End time, in milliseconds since 1970 UTC; for an interrupted run, the time of discovery.
    pub ended_ms: u64,
    /// Outcome.
    pub outcome: RunOutcome,
    /// Exit code, if any.
    pub exit_code: Option<i32>,
    /// Details of the outcome, for example `was ended by signal 9`.
    pub detail: Option<String>,
}

/// Skipped time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSkip {
    /// The time, in milliseconds since 1970 UTC.
    pub due_ms: u64,
    /// The reason.
    pub reason: SkipReason,
}

/// Status of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Name.
    pub name: ScheduleName,
    /// Times of the runs.
    pub cron: Cron,
    /// Time zone of `cron`.
    pub zone: Zone,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Handling of missed times.
    pub missed: Missed,
    /// True if a run may begin before the end of the previous run.
    pub overlap: bool,
    /// Time limit of a run, in milliseconds.
    pub timeout_ms: u64,
    /// Next time, in milliseconds since 1970 UTC.
    pub next_ms: Option<u64>,
    /// Active runs.
    pub running: Vec<ScheduleRun>,
    /// Last ended run.
    pub last: Option<ScheduleRunEnd>,
    /// Last skipped time.
    pub skipped: Option<ScheduleSkip>,
}

/// Schedules of an environment's live version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleList {
    /// Schedules, by name.
    pub schedules: Vec<ScheduleStatus>,
    /// True if the environment is paused: no run begins until the environment is resumed.
    pub paused: bool,
}
