//! Instances: the processes of backends that the edge runs, their states, and how many there are to be.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VersionId;
use crate::site_toml::{Instances, Kind, ProcessName};

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// It was started, and is not healthy yet.
    Starting,
    /// It answers, or as a worker it runs.
    Healthy,
    /// It runs, and does not answer as it should.
    Unhealthy,
    /// It ended by itself, and is started again after a while.
    Waiting,
    /// It ended so often that something is wrong with it; it is started again, ever more rarely.
    CrashLoop,
    /// It belongs to what was live before, and stays for a rollback.
    Warm,
    /// It gets no more requests and ends.
    Stopping,
}

impl InstanceState {
    /// As the API has it.
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

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its name on its node, such as `web.2`.
    pub name: String,
    /// The node that runs it.
    pub node: String,
    /// Its process.
    pub process: ProcessName,
    /// Whether it gets requests.
    pub kind: Kind,
    /// Its state.
    pub state: InstanceState,
    /// The version that it was started for.
    pub version: VersionId,
    /// The revision of the settings that it was started with.
    pub settings: u64,
    /// Its process id, while it runs.
    pub pid: Option<u32>,
    /// Bytes of memory that it uses with all that it started, while it runs.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory that it may use.
    pub memory_bytes_max: Option<u64>,
    /// Processes that it has, while it runs.
    pub processes: Option<u64>,
    /// Bytes of its temporary files, while it runs; where these are in a tmpfs of its own, they are memory too.
    pub tmp_bytes: Option<u64>,
    /// The number of restarts.
    pub restarts: u64,
    /// The time since which it is in this state, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Why it is so, where there is something to say, such as `exited with code 1`.
    pub detail: Option<String>,
}

/// The instances of an environment or alias.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// By process and number.
    pub instances: Vec<InstanceStatus>,
    /// Counts set through the API, by process; the version decides about the others.
    pub scale: BTreeMap<ProcessName, Instances>,
    /// Nodes that a change did not wait for, since they end or do not answer; they follow when they can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The wanted number of instances of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// By process; `null` is what the version says again.
    pub processes: BTreeMap<ProcessName, Option<Instances>>,
}

/// Restarts instances, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Only instances of this process; all by default.
    #[serde(default)]
    pub process: Option<ProcessName>,
}
