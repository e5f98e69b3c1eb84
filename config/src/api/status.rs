//! Status of an environment: the live version and related facts.

use serde::{Deserialize, Serialize};

use super::canary::CanaryShare;
use super::collaboration::{Lock, PlaceStatus};
use super::maintenance::Pause;
use super::nodes::NodeStatus;
use super::protection::Protection;
use super::settings::SettingName;
use super::signing::Signed;
use super::steps::Urls;
use super::webhooks::WebhookName;
use crate::digest::VersionId;
use crate::manifest::parts::Parts;
use crate::names::{AppName, PlaceName};

/// `GET /v1/apps/{app}/environments/{env}`: the live version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of its own")]
pub struct Status {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The live version, if any.
    pub version: Option<VersionId>,
    /// Time of the switch, in milliseconds since 1970 UTC.
    pub since_ms: Option<u64>,
    /// Deploy behind the switch.
    pub deploy: Option<String>,
    /// URLs for visitors.
    pub urls: Option<Urls>,
    /// Custom hostnames.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Every environment and alias of the app, with its target.
    #[serde(default)]
    pub places: Vec<PlaceStatus>,
    /// Pause, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Lock, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// Damage of the live version, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<Damage>,
    /// Error of the current checks in the live version, which an earlier release accepted: the faulty part answers 502,
    /// and the rest is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<String>,
    /// Number of damaged files in quarantine on the whole edge; only for tokens of every app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// True if a page of the edge's catalog is damaged; only for tokens of every app.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub catalog_damaged: bool,
    /// Secrets of the environment whose key is unavailable, which prevents the start of instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_secrets: Vec<SettingName>,
    /// True if the live version or the canary has a backend that is not running because `[runner]` of the edge is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runner_off: bool,
    /// Instances on this node that listen on all addresses of the machine, for example `edge-1/web.1`, and so are
    /// reachable past the edge from other machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_ports: Vec<String>,
    /// Private addresses still reachable from the live version without approval by an admin of every app, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_reach: Option<KeptReach>,
    /// True if `places` is cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_places: bool,
    /// Reason of an automatic rollback to this version, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
    /// Running canary, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShare>,
    /// True if the live version pins visitors (`pin = "session"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pins: bool,
    /// Earlier versions with possible pinned visitors, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<VersionId>,
    /// Permitted visitors, if restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// State of the live version's signatures, if signatures are required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// Parts of the live version, if loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
    /// Nodes of a cluster, each with the app's versions on the node; empty without `nodes=true` in the request. Tokens
    /// of one app get no addresses, disks or certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
}

/// Private addresses reachable from the live version or a webhook by the sole approval of an admin of the app, which
/// sufficed in the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReach {
    /// Addresses.
    pub addresses: Vec<String>,
    /// Line below `[upstreams]` of `edge.toml` that allows the addresses to every app.
    pub allow: String,
    /// Webhooks to these addresses, among the webhooks with events of the environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookName>,
}

/// Damage of a live version on the disk of the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Version that should be live, if the environment's record is readable.
    pub version: Option<VersionId>,
    /// Number of damaged or missing files, whose paths answer 503 until stored again, unless `in_memory`.
    pub count: u64,
    /// Paths of these files, a hundred at most; with `error`, the rule file required to serve the version.
    pub files: Vec<String>,
    /// Reason for which the version could not be loaded, or not loaded again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// True if all damaged files are still served from memory, until the next start of the edge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_memory: bool,
}
