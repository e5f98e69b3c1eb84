//! The records of pools: what the API says about their members, with their keys. `docs/storage.md` is the reference.

use std::collections::BTreeMap;

use devanture_config::site_toml::{UpstreamName, UpstreamUrl};
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use super::Reach;
use super::words::StoredDesired;

/// The prefix of what the API says about the members of every pool.
pub const UPSTREAMS_PREFIX: &str = "upstreams/";

/// `upstreams/{app}/{env}/{name}`: what the API says about the members of a pool, beside what the live version says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersRecord {
    /// By the address.
    pub members: BTreeMap<UpstreamUrl, MemberEntry>,
}

/// One member of a [`MembersRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// The requested state.
    pub desired: StoredDesired,
    /// Whether the address may be loopback or private.
    #[serde(default)]
    pub trusted: bool,
    /// Whether it may be since an admin of every app set it; else an admin of its app did who could allow that once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vouched: bool,
    /// The name of the token that set it.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

impl MemberEntry {
    /// Which addresses it may have.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        match (self.trusted, self.vouched) {
            (true, true) => Reach::Private,
            (true, false) => Reach::Kept,
            (false, _) => Reach::Public,
        }
    }
}

/// The key of what the API says about the members of a pool.
#[must_use]
pub fn members_key(app: &AppName, environment: &PlaceName, name: &UpstreamName) -> String {
    format!("{UPSTREAMS_PREFIX}{app}/{environment}/{name}")
}

/// The prefix of those of an environment.
#[must_use]
pub fn members_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("{UPSTREAMS_PREFIX}{app}/{environment}/")
}
