//! The nodes of a cluster, and what is live on each.

use serde::{Deserialize, Serialize};

use crate::{AppName, PlaceName, VersionId};

/// Whether a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answers, and follows the catalog.
    Ready,
    /// It answers, and serves what it knew when it last reached the catalog.
    Cut,
    /// It does not answer this node; it counts as gone once its lease ends.
    Unreachable,
}

/// A version that is live on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeVersion {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version that the node serves; `None` if it could not load any.
    pub version: Option<VersionId>,
    /// The version that is to be live, where the node serves another one: it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<VersionId>,
}

/// The local disk of a node in front of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCache {
    /// Bytes of files on it, as of the last count, which is at most a few hours old; `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// `blobs.cache_bytes_max`: bytes beyond which files that are not live leave it.
    pub bytes_max: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where other nodes reach it; `None` of an edge that is alone.
    pub advertise: Option<String>,
    /// Whether it answers.
    pub state: NodeState,
    /// The release of its program.
    pub release: String,
    /// When it started, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// The revision of the catalog that it has; `None` if it does not answer.
    pub revision: Option<u64>,
    /// Revisions that it lacks of those that the answering node has.
    pub lag: Option<u64>,
    /// Milliseconds since it last heard from the catalog; `None` where that is a file of its own.
    pub catalog_age_ms: Option<u64>,
    /// When its certificate for other nodes ends, in seconds since 1970 UTC.
    pub certificate_ends_s: Option<i64>,
    /// Its local disk in front of the bucket; `None` of an edge whose disk is the store, or that does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<NodeCache>,
    /// What is live on it, 10,000 environments at most.
    pub versions: Vec<NodeVersion>,
    /// Whether there are more of them.
    #[serde(default)]
    pub has_more: bool,
    /// Why it does not answer, or what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The nodes of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// The nodes, by their names.
    pub nodes: Vec<NodeStatus>,
}
