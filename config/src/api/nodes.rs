//! Nodes of a cluster, and the live versions on each.

use serde::{Deserialize, Serialize};

use crate::{AppName, PlaceName, VersionId};

/// Reachability of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The node answers, and follows the catalog.
    Ready,
    /// The node answers, and serves the last state read from the catalog.
    Cut,
    /// The node does not answer this node, and counts as gone at the end of its lease.
    Unreachable,
}

/// Version live on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeVersion {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Served version; `None` if no version could be loaded.
    pub version: Option<VersionId>,
    /// Wanted version, if the node serves a different version and so is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<VersionId>,
}

/// Local disk of a node in front of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCache {
    /// Bytes of cached files at the last count, at most a few hours old; `None` before the first count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// `blobs.cache_bytes_max`: bytes beyond which files of no live version are evicted.
    pub bytes_max: u64,
}

/// Status of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Name.
    pub name: String,
    /// Address for other nodes; `None` without a cluster.
    pub advertise: Option<String>,
    /// State.
    pub state: NodeState,
    /// Release of the program.
    pub release: String,
    /// Start time, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// Revision of the node's catalog; `None` for a silent node.
    pub revision: Option<u64>,
    /// Number of revisions behind the answering node.
    pub lag: Option<u64>,
    /// Milliseconds since the last contact with the catalog; `None` for a catalog in a local file.
    pub catalog_age_ms: Option<u64>,
    /// Expiry of the certificate for other nodes, in seconds since 1970 UTC.
    pub certificate_ends_s: Option<i64>,
    /// Local disk in front of the bucket; `None` if the disk is the store, or for a silent node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<NodeCache>,
    /// Live versions, 10,000 environments at most.
    pub versions: Vec<NodeVersion>,
    /// True if `versions` is cut.
    #[serde(default)]
    pub has_more: bool,
    /// Reason of the silence, or of a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The nodes of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// Nodes, by name.
    pub nodes: Vec<NodeStatus>,
}
