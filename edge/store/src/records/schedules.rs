//! Records of schedules: the last run time, the current runs, and the result of the last run.

use devanture_config::site_toml::ScheduleName;
use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::words::{StoredRunOutcome, StoredSkipReason};

/// The prefix of the records of schedules.
pub const SCHEDULES_PREFIX: &str = "schedules/";

/// `schedules/{app}/{env}/{name}`: a schedule of the live version. The time of a run is written before the run begins,
/// so that no time runs twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The expression to which `time_ms` belongs.
    pub cron: String,
    /// The time zone.
    pub zone: String,
    /// The last time that was run or skipped, or the time since which the schedule is live; in milliseconds since 1970
    /// UTC.
    pub time_ms: u64,
    /// Current runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunningRecord>,
    /// The last ended run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<StoredRunEnd>,
    /// The last skipped time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<StoredSkip>,
}

/// A current run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningRecord {
    /// The id.
    pub id: String,
    /// The edge process of the run.
    pub process: String,
    /// The run as shown in lists.
    pub run: StoredRun,
}

/// A run, as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRun {
    /// The scheduled time, in milliseconds since 1970 UTC; `None` for a run on request.
    pub due_ms: Option<u64>,
    /// Time of the start, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// The node of the run.
    pub node: String,
    /// The version of the run.
    pub version: VersionId,
}

/// An ended run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRunEnd {
    /// The run.
    #[serde(flatten)]
    pub run: StoredRun,
    /// Time of the end, in milliseconds since 1970 UTC; for an interrupted run the time of the discovery.
    pub ended_ms: u64,
    /// The outcome.
    pub outcome: StoredRunOutcome,
    /// The exit code, if any.
    pub exit_code: Option<i32>,
    /// Details of the outcome, such as `was ended by signal 9`.
    pub detail: Option<String>,
}

/// A skipped time.
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

/// Returns the app, the environment and the name of the schedule in a key.
#[must_use]
pub fn names_of(key: &str) -> Option<(AppName, PlaceName, ScheduleName)> {
    let mut parts = key.strip_prefix(SCHEDULES_PREFIX)?.split('/');
    let names = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(names)
}
