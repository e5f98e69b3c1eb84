//! The settings of a spawner, and the means that it then has.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use devanture_config::edge_toml::ControlGroups;
use serde::{Deserialize, Serialize};

/// The means to start instances.
#[derive(Debug, Clone)]
pub struct SpawnerSettings {
    /// This very program, `devanture-edge`.
    pub program: PathBuf,
    /// Where a spawner with more privileges listens; without one, the edge starts its own.
    pub socket: Option<PathBuf>,
    /// Where instances have control groups; a spawner behind a socket decides for itself.
    pub cgroup: ControlGroups,
    /// The mark of this edge's processes; the same after a restart, and no other edge's on this machine.
    pub edge_id: String,
    /// The folder of its backends, which names it to people.
    pub folder: PathBuf,
    /// Users that nothing but instances of this edge runs as: what an earlier run left of them is ended.
    pub uids: Vec<RangeInclusive<u32>>,
}

/// The means by which the spawner enforces limits, as far as the machine allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Means {
    /// Each instance has a control group.
    pub control_groups: bool,
    /// Temporary files of an instance are in a tmpfs of its own, of a fixed size.
    pub private_folders: bool,
}
