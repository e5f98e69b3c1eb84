//! The records of teams: aliases and locks, with their keys. `docs/storage.md` is the reference.

use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::halves_begun::HalvesBegun;

/// The prefix of every alias of every app.
pub const ALIASES_PREFIX: &str = "alias/";

/// `alias/{app}/{name}`: a named pointer that is no environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// The version.
    pub version: VersionId,
    /// When it was pointed there, in milliseconds since 1970 UTC.
    pub switched_ms: u64,
    /// When the push of this version began: an older push to the alias does not take over from it.
    #[serde(default)]
    pub begun: u64,
    /// The name of the token that set it last.
    #[serde(default)]
    pub who: String,
    /// The environment whose push, or whose token, pointed it last: `preview` for most pushes. `None` if a token of the
    /// whole app set it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// When it ends, in milliseconds since 1970 UTC, where it does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// As that of a live pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves_begun: Option<HalvesBegun>,
}

impl AliasRecord {
    /// When the pushes of its halves began.
    #[must_use]
    pub fn halves(&self) -> HalvesBegun {
        self.halves_begun.unwrap_or_else(|| HalvesBegun::both(self.begun))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

/// The key of an alias.
#[must_use]
pub fn alias_key(app: &AppName, name: &PlaceName) -> String {
    format!("{ALIASES_PREFIX}{app}/{name}")
}

/// The prefix of an app's aliases.
#[must_use]
pub fn alias_prefix(app: &AppName) -> String {
    format!("{ALIASES_PREFIX}{app}/")
}

/// `locks/{app}/{env}`: a lock of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// The time since which it is, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// The name of the token that locked it.
    pub who: String,
    /// The reason, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The key of an environment's lock.
#[must_use]
pub fn lock_key(app: &AppName, environment: &PlaceName) -> String {
    format!("locks/{app}/{environment}")
}
