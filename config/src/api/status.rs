//! The status of an environment: what is live, and what there is to know of it.

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

/// `GET /v1/apps/{app}/environments/{env}`: what is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of its own")]
pub struct Status {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The live version, if any.
    pub version: Option<VersionId>,
    /// The time since which it is, in milliseconds since 1970 UTC.
    pub since_ms: Option<u64>,
    /// The deploy that made it live.
    pub deploy: Option<String>,
    /// Where to look.
    pub urls: Option<Urls>,
    /// Hostnames of its own.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Every environment and alias of the app, with what it points to.
    #[serde(default)]
    pub places: Vec<PlaceStatus>,
    /// Its pause, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Its lock, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// The damage of the live version, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<Damage>,
    /// What today's checks refuse of the live version, which an earlier release took: what is bad answers 502, and the
    /// rest is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<String>,
    /// Files of the whole edge that were found damaged and lie in quarantine; for tokens of every app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// Whether a page of the edge's catalog was found damaged; for tokens of every app.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub catalog_damaged: bool,
    /// Secrets of the environment whose key is not at hand: no instance can start with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_secrets: Vec<SettingName>,
    /// Whether the live version, or its canary, has a backend that does not run, as `[runner]` of the edge is not on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runner_off: bool,
    /// Instances on this node that listen on all addresses of the machine, such as `edge-1/web.1`, where other machines
    /// reach them past the edge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_ports: Vec<String>,
    /// The private addresses that what is live reaches although no admin of every app vouches for them, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_reach: Option<KeptReach>,
    /// Whether there are more environments or aliases than `places` holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_places: bool,
    /// Why the edge went back to this version by itself, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
    /// The canary beside the live version, where one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShare>,
    /// Whether the live version holds its visitors, as `pin = "session"` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pins: bool,
    /// Earlier versions on which visitors can be held now, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<VersionId>,
    /// Who may see it, where not everybody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Whether the live version has the signatures that the environment wants, where it wants any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// The parts of the live version, if one is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
    /// The nodes of a cluster, each with the versions of this app on it; empty unless the request has `nodes=true`.
    /// Tokens of one app get no addresses, disks or certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
}

/// Private addresses that what is live, or a webhook, reaches by the word of an admin of its app alone, which was
/// enough once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReach {
    /// The addresses.
    pub addresses: Vec<String>,
    /// The line below `[upstreams]` of `edge.toml` that allows them to everybody.
    pub allow: String,
    /// The webhooks that reach some of them, of those that get events of the environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookName>,
}

/// Damage of a live version on the disk of the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The version that should be live, if the record that names it can be read.
    pub version: Option<VersionId>,
    /// Number of its files that are damaged or missing: their paths answer 503 until they are stored again, unless they
    /// are `in_memory`.
    pub count: u64,
    /// Paths of these files, a hundred at most; with `error`, the rule file that the version is not served without.
    pub files: Vec<String>,
    /// Why the version could not be loaded at all, or could not be loaded again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether all that is damaged on the disk is in memory and served: it lasts until the edge starts again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_memory: bool,
}
