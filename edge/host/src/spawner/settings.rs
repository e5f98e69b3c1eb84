//! Settings of a spawner, and the resulting means.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use devanture_config::edge_toml::ControlGroups;
use serde::{Deserialize, Serialize};

/// Settings for starting instances.
#[derive(Debug, Clone)]
pub struct SpawnerSettings {
    /// Path of this program, `devanture-edge`.
    pub program: PathBuf,
    /// Socket of a spawner with more privileges; `None` starts a child.
    pub socket: Option<PathBuf>,
    /// Location of instances' control groups; a spawner behind a socket decides for itself.
    pub cgroup: ControlGroups,
    /// Mark of the edge's processes, stable across restarts and unique on the machine.
    pub edge_id: String,
    /// Folder of the edge's backends, for messages.
    pub folder: PathBuf,
    /// Users that run only instances of the edge: leftovers of an earlier run are ended.
    pub uids: Vec<RangeInclusive<u32>>,
}

/// Means of enforcing limits, as far as the machine permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Means {
    /// True if each instance has a control group.
    pub control_groups: bool,
    /// True if temporary files of an instance are in a private tmpfs of a fixed size.
    pub private_folders: bool,
}
