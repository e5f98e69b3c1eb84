//! Records of teams: aliases and locks, with the keys. `docs/storage.md` is the reference.

use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::halves_begun::HalvesBegun;

/// The prefix of every alias of every app.
pub const ALIASES_PREFIX: &str = "alias/";

/// `alias/{app}/{name}`: a named pointer that is not an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// The version.
    pub version: VersionId,
    /// Time of the last change, in milliseconds since 1970 UTC.
    pub switched_ms: u64,
    /// The number of this version's push: an older push to the alias does not replace it.
    #[serde(default)]
    pub begun: u64,
    /// The name of the token that last set the alias.
    #[serde(default)]
    pub who: String,
    /// The environment of the last push to the alias, or of the last token that set the alias: `preview` for most
    /// pushes. `None` if a token of the whole app set the alias by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Time of the automatic end, in milliseconds since 1970 UTC, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Like the member of a live pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves_begun: Option<HalvesBegun>,
}

impl AliasRecord {
    /// Returns the starts of the pushes of the halves.
    #[must_use]
    pub fn halves(&self) -> HalvesBegun {
        self.halves_begun.unwrap_or_else(|| HalvesBegun::both(self.begun))
    }

    /// Returns true once the alias has ended.
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
    /// Time of the lock, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// The name of the locking token.
    pub who: String,
    /// The reason, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The key of an environment's lock.
#[must_use]
pub fn lock_key(app: &AppName, environment: &PlaceName) -> String {
    format!("locks/{app}/{environment}")
}
