//! Pools of backends: their members, the state of each, and changes of them.

use serde::{Deserialize, Serialize};

use crate::site_toml::{Protocol, UpstreamUrl};

/// The state that the API sets for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// It gets requests.
    #[default]
    In,
    /// It gets no new ones; those under way end.
    Drain,
    /// It is none, although `devanture.toml` says so.
    Out,
}

/// `PUT …/upstreams/{name}/members/{address}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// Whether it gets new requests, `in`, or only ends those under way, `drain`.
    #[serde(default)]
    pub desired: DesiredState,
}

/// A backend behind an address: of a name there may be several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where it is.
    pub address: String,
    /// Requests under way to it, upgraded ones among them.
    pub requests: u64,
    /// `up`, `draining`, `ejected` or `unwell`.
    pub state: String,
}

/// One member of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its address, as it was declared.
    pub address: UpstreamUrl,
    /// The backends that it stands for now; of a name that was not resolved yet, none.
    pub backends: Vec<Backend>,
    /// Whether the live version declares it.
    pub declared: bool,
    /// Its state set by the API, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredState>,
    /// The token that set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
}

/// One pool of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamReport {
    /// Its members, those of `devanture.toml` first.
    pub members: Vec<MemberReport>,
    /// Its name below `[upstreams]`, or the address of the route that leads to it.
    pub name: String,
    /// The protocol of its members.
    pub protocol: Protocol,
    /// Requests that wait for a member.
    pub waiting: u64,
}

/// `GET …/upstreams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamsReport {
    /// The pools of what is live, in the order of their names.
    pub upstreams: Vec<UpstreamReport>,
}
