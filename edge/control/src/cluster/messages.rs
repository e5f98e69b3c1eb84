//! The messages between nodes. Two consecutive releases understand each other: what a message lacks has a default.

use std::net::IpAddr;

use devanture_config::api::{InstanceStatus, NodeStatus};
use devanture_config::problem::Problem;
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::environment_messages::EnvironmentReport;
use super::instance_messages::RunReport;
use devanture_store::catalog::Revision;
use devanture_store::records::settings::SettingsRecord;

/// A version that is to become live, for a node to prepare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// The revision of the settings that it is to be live with, where it is not the one that is live.
    pub settings: Option<u64>,
    /// The settings of that revision, with secrets sealed, where they are not stored yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coming: Option<SettingsRecord>,
    /// The revision of the catalog at which all of this is known.
    pub revision: Revision,
}

/// Files that a collection is about to take, for a node to say which of them it relies on. Until it hears what went, it
/// lets nobody begin to rely on any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRequest {
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Manifests.
    pub manifests: Vec<VersionId>,
}

/// What a node relies on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateHeld {
    /// Those of the request.
    pub files: GateRequest,
    /// The second since 1970 from which on it relies on all that was put, where there is one.
    pub since_s: Option<u64>,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) blobs: Vec<Digest>,
}

/// What the node that prepares hears from the node that switches, after the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The version is live as of this revision.
    Switched(Revision),
}

/// What the node that switches hears from the one that prepares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// A step, such as an instance that became healthy.
    Step(String),
    /// It is ready.
    Ready,
    /// It cannot be.
    Problem(Box<Problem>),
    /// What was to become live is live here.
    Live,
    /// What it relies on.
    Held(GateHeld),
    /// Its state, in answer to the request for that.
    Status(Box<NodeStatus>),
    /// The instances of the node, in answer to a request about them.
    Instances(Vec<InstanceStatus>),
    /// Instances that it has now.
    Runs(RunReport),
    /// What it knows of an environment.
    Environment(Box<EnvironmentReport>),
}

/// A line about how a preparation goes.
pub type Progress<'t> = &'t (dyn Fn(&str) + Send + Sync);

/// What is held ready for a switch, until it is dropped.
pub type Hold = Box<dyn Send + Sync>;

/// Where a version was switched to.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'t> {
    /// The app.
    pub app: &'t AppName,
    /// The environment.
    pub environment: &'t PlaceName,
    /// The version.
    pub version: VersionId,
}

/// Most attempts of one report.
pub const ATTEMPTS_MAX: usize = 1_024;

/// An attempt at logging in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptNote {
    /// The hash of the login as it was typed, in hex.
    pub login: String,
    /// The network that it came from; `None` of this machine.
    pub network: Option<IpAddr>,
    /// Whether the password was right.
    pub has_succeeded: bool,
    /// Whether it was a visitor's, whose attempts count apart from logins.
    #[serde(default)]
    pub of_visitor: bool,
}
