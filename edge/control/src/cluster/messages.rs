//! Messages between nodes. Two consecutive releases are compatible: missing fields have defaults.

use std::net::IpAddr;

use devanture_config::api::{InstanceStatus, NodeStatus};
use devanture_config::problem::Problem;
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::environment_messages::EnvironmentReport;
use super::instance_messages::RunReport;
use devanture_store::catalog::Revision;
use devanture_store::records::settings::SettingsRecord;

/// Version to be prepared for a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRequest {
    /// App.
    pub app: AppName,
    /// Environment.
    pub environment: PlaceName,
    /// Version.
    pub version: VersionId,
    /// Revision of the settings to go live, if different from the live revision.
    pub settings: Option<u64>,
    /// Settings of the revision, with encrypted secrets, if not yet stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coming: Option<SettingsRecord>,
    /// Revision of the catalog that contains all referenced facts.
    pub revision: Revision,
}

/// Files about to be deleted by a collection. The node answers with its leases among these, and blocks new leases until
/// told the deleted files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRequest {
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Manifests.
    pub manifests: Vec<VersionId>,
}

/// Leases of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateHeld {
    /// Leased files of the request.
    pub files: GateRequest,
    /// Second since 1970 from which on all stored files are leased, if any.
    pub since_s: Option<u64>,
}

/// Deleted files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) blobs: Vec<Digest>,
}

/// Message from the switching node to the preparing node, after the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The version is live since the revision.
    Switched(Revision),
}

/// Message from the preparing node to the switching node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Progress, for example a healthy instance.
    Step(String),
    /// Ready.
    Ready,
    /// Refused.
    Problem(Box<Problem>),
    /// The switch is in effect locally.
    Live,
    /// Leases.
    Held(GateHeld),
    /// Status, as requested.
    Status(Box<NodeStatus>),
    /// Instances, as requested.
    Instances(Vec<InstanceStatus>),
    /// Present instances.
    Runs(RunReport),
    /// Node-local state of an environment.
    Environment(Box<EnvironmentReport>),
}

/// Receives progress lines of a preparation.
pub type Progress<'t> = &'t (dyn Fn(&str) + Send + Sync);

/// Resources held ready for a switch, until dropped.
pub type Hold = Box<dyn Send + Sync>;

/// Target of a switch.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'t> {
    /// App.
    pub app: &'t AppName,
    /// Environment.
    pub environment: &'t PlaceName,
    /// Version.
    pub version: VersionId,
}

/// Most attempts per report.
pub const ATTEMPTS_MAX: usize = 1_024;

/// Login attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptNote {
    /// Hash of the typed login, in hex.
    pub login: String,
    /// Network of origin; `None` for the local machine.
    pub network: Option<IpAddr>,
    /// True for a correct password.
    pub has_succeeded: bool,
    /// True for a visitor, whose attempts count separately from logins.
    #[serde(default)]
    pub of_visitor: bool,
}
