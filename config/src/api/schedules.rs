//! Schedules: when the commands of a backend run, and what became of their last runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VersionId;
use crate::cron::{Cron, Zone};
use crate::site_toml::{Missed, ScheduleName};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// With code 0.
    Succeeded,
    /// With another code, by a signal, or it could not begin.
    Failed,
    /// Its time ran out, and the edge ended it.
    TimedOut,
    /// The edge ended during it, or the environment was deleted.
    Interrupted,
}

impl RunOutcome {
    /// As the API has it.
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

/// Why a time was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// The run before had not ended.
    Running,
    /// No edge ran, or the environment was paused, and the schedule says `missed = "skip"`.
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

/// A run that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRun {
    /// The time that it is for, in milliseconds since 1970 UTC; `null` for a run on request.
    pub due_ms: Option<u64>,
    /// When it began, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// The node that runs it.
    pub node: String,
    /// The version that it is of.
    pub version: VersionId,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRunEnd {
    /// The run.
    #[serde(flatten)]
    pub run: ScheduleRun,
    /// When it ended, in milliseconds since 1970 UTC; of an interrupted run, when that was noticed.
    pub ended_ms: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Its exit code, where it has one.
    pub exit_code: Option<i32>,
    /// More about the outcome, such as `was ended by signal 9`.
    pub detail: Option<String>,
}

/// A time that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSkip {
    /// The time, in milliseconds since 1970 UTC.
    pub due_ms: u64,
    /// The reason.
    pub reason: SkipReason,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: ScheduleName,
    /// When it runs.
    pub cron: Cron,
    /// The time zone of `cron`.
    pub zone: Zone,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What becomes of times that were missed.
    pub missed: Missed,
    /// Whether a run may begin before the one before has ended.
    pub overlap: bool,
    /// Longest time that a run may take, in milliseconds.
    pub timeout_ms: u64,
    /// The next time, in milliseconds since 1970 UTC.
    pub next_ms: Option<u64>,
    /// Runs that have begun.
    pub running: Vec<ScheduleRun>,
    /// The last run that ended.
    pub last: Option<ScheduleRunEnd>,
    /// The last time that was passed over.
    pub skipped: Option<ScheduleSkip>,
}

/// The schedules of the version that is live in an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleList {
    /// By name.
    pub schedules: Vec<ScheduleStatus>,
    /// Whether the environment is paused: nothing begins until it is resumed.
    pub paused: bool,
}
