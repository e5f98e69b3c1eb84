//! The records of protection: who may see environments and previews, and the links that open one of them.
//! `docs/storage.md` is the reference.

use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::settings::Sealed;
use super::words::StoredProtection;

/// The prefix of every protection of every app.
pub const PROTECTION_PREFIX: &str = "protection/";
/// The prefix of every share link of every app.
pub const SHARES_PREFIX: &str = "shares/";

/// What is sealed for cookies, and …
pub const KEY: &str = "key";
/// … for passwords.
pub const PASSWORD: &str = "password";

/// `protection/{app}/{env}`: who may see an environment; `preview` stands for all previews of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionRecord {
    /// Who may see it.
    pub mode: StoredProtection,
    /// The Argon2id hash of its password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// The secret that the cookies of its visitors are signed with; another one ends all of them.
    pub key: Sealed,
    /// The name of the token or account that set it.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// `shares/{app}/{id}`: a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// What it opens.
    pub target: StoredTarget,
    /// The BLAKE3 of its secret.
    pub hash: Digest,
    /// The Argon2id hash of its password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// The secret that the cookies of its visitors are signed with.
    pub key: Sealed,
    /// The name of the token or account that made it.
    pub who: String,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// The target of a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredTarget {
    /// An alias, whatever version it points to.
    Alias(PlaceName),
    /// An environment, whatever version is live there.
    Environment(PlaceName),
    /// A version.
    Version(VersionId),
}

/// The key of a protection.
#[must_use]
pub fn protection_key(app: &AppName, place: &PlaceName) -> String {
    format!("{PROTECTION_PREFIX}{app}/{place}")
}

/// The prefix of an app's protections.
#[must_use]
pub fn protections_prefix(app: &AppName) -> String {
    format!("{PROTECTION_PREFIX}{app}/")
}

/// The key of a share link.
#[must_use]
pub fn share_key(app: &AppName, id: &str) -> String {
    format!("{SHARES_PREFIX}{app}/{id}")
}

/// The prefix of an app's share links.
#[must_use]
pub fn shares_prefix(app: &AppName) -> String {
    format!("{SHARES_PREFIX}{app}/")
}

/// The app and the environment, or the app and the id of the link, that a key below a prefix names.
#[must_use]
pub fn named<'k>(prefix: &str, key: &'k str) -> Option<(AppName, &'k str)> {
    let (app, name) = key.strip_prefix(prefix)?.split_once('/')?;
    Some((app.parse().ok()?, name))
}

/// The context that a secret of a protection is sealed with: [`KEY`] or [`PASSWORD`].
#[must_use]
pub fn protection_context(app: &AppName, place: &PlaceName, of: &str) -> String {
    format!("protection {app} {place} {of}")
}

/// The same of a share link.
#[must_use]
pub fn share_context(app: &AppName, id: &str, of: &str) -> String {
    format!("share {app} {id} {of}")
}
