//! The messages between nodes about their instances.

use devanture_config::site_toml::ProcessName;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use devanture_serve::proxy::{RunId, RunMember};
use devanture_store::catalog::Revision;

/// Where a node reports which instances it has, as they come and go.
pub(super) const RUNS: &str = "/v1/runs";
/// Where instances are listed and changed.
pub(super) const INSTANCES: &str = "/v1/instances";

/// A request to a node about its instances of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancesRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The revision of the catalog at which all of this is known.
    pub revision: Revision,
    /// The action.
    pub action: InstancesAction,
}

/// An action of a node on its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancesAction {
    /// Lists them.
    List,
    /// Follows the counts of the catalog, and waits until new ones are healthy.
    Rescale,
    /// Restarts those of a process, or all.
    Restart(Option<ProcessName>),
}

/// A part of what a node runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunReport {
    /// A number of the node's process.
    pub(super) process: u64,
    /// Whether what was reported before, and is not in this line, does not run any more.
    pub(super) is_whole: bool,
    /// Runs with their instances; without any where nothing of a run is left.
    pub(super) runs: Vec<(RunId, Vec<RunMember>)>,
}
