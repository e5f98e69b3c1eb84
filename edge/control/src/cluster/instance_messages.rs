//! Messages between nodes about instances.

use devanture_config::site_toml::ProcessName;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use devanture_serve::proxy::{RunId, RunMember};
use devanture_store::catalog::Revision;

/// Path on which a node reports its instances as they change.
pub(super) const RUNS: &str = "/v1/runs";
/// Path for listing and changing instances.
pub(super) const INSTANCES: &str = "/v1/instances";

/// Request to a node about its instances of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancesRequest {
    /// App.
    pub app: AppName,
    /// Environment.
    pub environment: PlaceName,
    /// Revision of the catalog that contains all referenced facts.
    pub revision: Revision,
    /// Action.
    pub action: InstancesAction,
}

/// Action of a node on its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancesAction {
    /// Lists the instances.
    List,
    /// Follows the instance numbers of the catalog, and waits until new instances are healthy.
    Rescale,
    /// Restarts the instances of a process, or all instances.
    Restart(Option<ProcessName>),
}

/// Part of a node's running instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunReport {
    /// Number of the node's process.
    pub(super) process: u64,
    /// True if earlier reported runs missing from the line have ended.
    pub(super) is_whole: bool,
    /// Runs with their instances; an empty list for an ended run.
    pub(super) runs: Vec<(RunId, Vec<RunMember>)>,
}
