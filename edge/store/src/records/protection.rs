//! Records of protection: the visitors of environments and previews, and the links that open them. `docs/storage.md` is
//! the reference.

use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::settings::Sealed;
use super::words::StoredProtection;

/// The prefix of every protection of every app.
pub const PROTECTION_PREFIX: &str = "protection/";
/// The prefix of every share link of every app.
pub const SHARES_PREFIX: &str = "shares/";

/// The use of a secret sealed for cookies, and …
pub const KEY: &str = "key";
/// … for passwords.
pub const PASSWORD: &str = "password";

/// `protection/{app}/{env}`: the allowed visitors of an environment; `preview` stands for all previews of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionRecord {
    /// The allowed visitors.
    pub mode: StoredProtection,
    /// The Argon2id hash of the password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// The secret that signs visitors' cookies; a new secret ends all of them.
    pub key: Sealed,
    /// The name of the token or account that set the protection.
    pub who: String,
    /// Time of the change, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// `shares/{app}/{id}`: a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// The target of the link.
    pub target: StoredTarget,
    /// The BLAKE3 of the secret.
    pub hash: Digest,
    /// The Argon2id hash of the password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// The secret that signs visitors' cookies.
    pub key: Sealed,
    /// The name of the token or account that made the link.
    pub who: String,
    /// Time of creation, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time of expiry, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// The target of a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredTarget {
    /// An alias, for any version of the alias.
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

/// Returns the app and the environment, or the app and the id of the link, in a key below a prefix.
#[must_use]
pub fn named<'k>(prefix: &str, key: &'k str) -> Option<(AppName, &'k str)> {
    let (app, name) = key.strip_prefix(prefix)?.split_once('/')?;
    Some((app.parse().ok()?, name))
}

/// Returns the sealing context of a secret of a protection: [`KEY`] or [`PASSWORD`].
#[must_use]
pub fn protection_context(app: &AppName, place: &PlaceName, of: &str) -> String {
    format!("protection {app} {place} {of}")
}

/// The same of a share link.
#[must_use]
pub fn share_context(app: &AppName, id: &str, of: &str) -> String {
    format!("share {app} {id} {of}")
}
