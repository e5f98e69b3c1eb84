//! Records of pools: the members set by the API, with the keys. `docs/storage.md` is the reference.

use std::collections::BTreeMap;

use devanture_config::site_toml::{UpstreamName, UpstreamUrl};
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use super::Reach;
use super::words::StoredDesired;

/// The prefix of the members of all pools set by the API.
pub const UPSTREAMS_PREFIX: &str = "upstreams/";

/// `upstreams/{app}/{env}/{name}`: the members of a pool set by the API, in addition to the members of the live
/// version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersRecord {
    /// By the address.
    pub members: BTreeMap<UpstreamUrl, MemberEntry>,
}

/// A member in a [`MembersRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// The requested state.
    pub desired: StoredDesired,
    /// Set if the address may be loopback or private.
    #[serde(default)]
    pub trusted: bool,
    /// Set if an admin of every app allowed that; otherwise an admin of the app did, at a time when that was enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vouched: bool,
    /// The name of the token that set the member.
    pub who: String,
    /// Time of the change, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

impl MemberEntry {
    /// Returns the allowed addresses.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        match (self.trusted, self.vouched) {
            (true, true) => Reach::Private,
            (true, false) => Reach::Kept,
            (false, _) => Reach::Public,
        }
    }
}

/// Returns the key of the members of a pool set by the API.
#[must_use]
pub fn members_key(app: &AppName, environment: &PlaceName, name: &UpstreamName) -> String {
    format!("{UPSTREAMS_PREFIX}{app}/{environment}/{name}")
}

/// Returns the prefix of the pools of an environment.
#[must_use]
pub fn members_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("{UPSTREAMS_PREFIX}{app}/{environment}/")
}
