//! Pools of backends: their members, states and changes.

use serde::{Deserialize, Serialize};

use crate::site_toml::{Protocol, UpstreamUrl};

/// State of a member set through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// The member gets requests.
    #[default]
    In,
    /// The member gets no new requests; active requests finish.
    Drain,
    /// The member is removed, despite the entry in `devanture.toml`.
    Out,
}

/// `PUT …/upstreams/{name}/members/{address}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// State: `in` for new requests, `drain` to finish active requests only.
    #[serde(default)]
    pub desired: DesiredState,
}

/// Backend behind an address; a name may have several backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Address.
    pub address: String,
    /// Active requests, including upgraded connections.
    pub requests: u64,
    /// `up`, `draining`, `ejected` or `unwell`.
    pub state: String,
}

/// Member of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Address, as declared.
    pub address: UpstreamUrl,
    /// Current backends; empty for an unresolved name.
    pub backends: Vec<Backend>,
    /// True if the live version declares the member.
    pub declared: bool,
    /// State set through the API, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredState>,
    /// Token behind the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
}

/// Pool of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamReport {
    /// Members, the members of `devanture.toml` first.
    pub members: Vec<MemberReport>,
    /// Name below `[upstreams]`, or the address in the route.
    pub name: String,
    /// Protocol of the members.
    pub protocol: Protocol,
    /// Requests waiting for a member.
    pub waiting: u64,
}

/// `GET …/upstreams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamsReport {
    /// Pools of the live version, in the order of their names.
    pub upstreams: Vec<UpstreamReport>,
}
