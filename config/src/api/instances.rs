//! Instances: the processes of backends run by the edge, their states and wanted numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VersionId;
use crate::site_toml::{Instances, Kind, ProcessName};

/// State of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Started, and not healthy yet.
    Starting,
    /// Answers requests; for a worker, runs.
    Healthy,
    /// Runs, but fails its checks.
    Unhealthy,
    /// Exited, and restarts after a delay.
    Waiting,
    /// Exits repeatedly; restarts with growing delays.
    CrashLoop,
    /// Belongs to the previous version, and stays for a rollback.
    Warm,
    /// Gets no more requests and ends.
    Stopping,
}

impl InstanceState {
    /// Returns the name used in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Waiting => "waiting",
            Self::CrashLoop => "crash-loop",
            Self::Warm => "warm",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Status of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Name on the node, for example `web.2`.
    pub name: String,
    /// Node of the instance.
    pub node: String,
    /// Process.
    pub process: ProcessName,
    /// Kind: with or without requests.
    pub kind: Kind,
    /// State.
    pub state: InstanceState,
    /// Version at the start of the instance.
    pub version: VersionId,
    /// Revision of the settings at the start of the instance.
    pub settings: u64,
    /// Process id, while running.
    pub pid: Option<u32>,
    /// Bytes of memory used by the instance and its child processes, while running.
    pub memory_bytes: Option<u64>,
    /// Limit of memory in bytes.
    pub memory_bytes_max: Option<u64>,
    /// Number of processes, while running.
    pub processes: Option<u64>,
    /// Bytes of temporary files, while running; in a tmpfs of the instance, temporary files count as memory too.
    pub tmp_bytes: Option<u64>,
    /// Number of restarts.
    pub restarts: u64,
    /// Time of the last change of state, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Explanation of the state, if any, for example `exited with code 1`.
    pub detail: Option<String>,
}

/// Instances of an environment or alias.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// Instances, by process and number.
    pub instances: Vec<InstanceStatus>,
    /// Counts set through the API, by process; other counts come from the version.
    pub scale: BTreeMap<ProcessName, Instances>,
    /// Nodes skipped by a change, because the node is ending or silent; each follows as soon as possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Wanted number of instances of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Counts by process; `null` restores the count of the version.
    pub processes: BTreeMap<ProcessName, Option<Instances>>,
}

/// Restarts instances one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Process to restart; all by default.
    #[serde(default)]
    pub process: Option<ProcessName>,
}
