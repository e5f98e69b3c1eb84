//! The records of schedules: which time was run last, what runs now, and what became of the last run.

use devanture_config::site_toml::ScheduleName;
use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::words::{StoredRunOutcome, StoredSkipReason};

/// The prefix of the records of schedules.
pub const SCHEDULES_PREFIX: &str = "schedules/";

/// `schedules/{app}/{env}/{name}`: a schedule of the live version. The time of a run is written before the run begins,
/// so that no time is run twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The expression that `time_ms` is a time of.
    pub cron: String,
    /// Its time zone.
    pub zone: String,
    /// The last time that was run or passed over, or the time since which the schedule is live; in milliseconds since
    /// 1970 UTC.
    pub time_ms: u64,
    /// Runs that have begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunningRecord>,
    /// The last run that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<StoredRunEnd>,
    /// The last time that was passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<StoredSkip>,
}

/// A run that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningRecord {
    /// Its id.
    pub id: String,
    /// The process of the edge that runs it.
    pub process: String,
    /// The run as it is listed.
    pub run: StoredRun,
}

/// A run, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRun {
    /// The time that it is for, in milliseconds since 1970 UTC; `None` for a run on request.
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
pub struct StoredRunEnd {
    /// The run.
    #[serde(flatten)]
    pub run: StoredRun,
    /// When it ended, in milliseconds since 1970 UTC; of an interrupted run, when that was noticed.
    pub ended_ms: u64,
    /// Its outcome.
    pub outcome: StoredRunOutcome,
    /// Its exit code, where it has one.
    pub exit_code: Option<i32>,
    /// More about the outcome, such as `was ended by signal 9`.
    pub detail: Option<String>,
}

/// A time that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSkip {
    /// The time, in milliseconds since 1970 UTC.
    pub due_ms: u64,
    /// The reason.
    pub reason: StoredSkipReason,
}

/// The key of the record of a schedule.
#[must_use]
pub fn schedule_key(app: &AppName, environment: &PlaceName, name: &ScheduleName) -> String {
    format!("{}{name}", schedules_prefix(app, environment))
}

/// The prefix of the records of an environment.
#[must_use]
pub fn schedules_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("{SCHEDULES_PREFIX}{app}/{environment}/")
}

/// The schedule that a key is of.
#[must_use]
pub fn names_of(key: &str) -> Option<(AppName, PlaceName, ScheduleName)> {
    let mut parts = key.strip_prefix(SCHEDULES_PREFIX)?.split('/');
    let names = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(names)
}
