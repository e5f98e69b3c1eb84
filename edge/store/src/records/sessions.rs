//! Records of browser sessions, of passkeys, and of the changes that apps require sessions to confirm.

use std::collections::BTreeSet;

use devanture_config::api::AccountName;
use devanture_config::{AppName, Digest};
use serde::{Deserialize, Serialize};

use super::words::StoredAction;

/// `sessions/{id}`: a browser session. The id begins with the id of an account or a token, which gives the session its
/// rights; the rights are not copied here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The BLAKE3 of the secret.
    pub hash: Digest,
    /// The account; `None` for a session of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// The stamp of the account at that time, which changes with the password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stamp: String,
    /// Time of the start, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time of the end, regardless of use.
    pub expires_ms: u64,
    /// The client address at the start.
    pub from: String,
    /// The name sent by the browser.
    pub browser: String,
    /// End of the confirmation; 0 without one.
    #[serde(default)]
    pub confirmed_until_ms: u64,
    /// Time of the last challenge with which the session registered a passkey: only later challenges can register a
    /// further one.
    #[serde(default)]
    pub registered_ms: u64,
}

/// `passkeys/{id}`: a passkey of an account. The id begins with the id of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyRecord {
    /// The account.
    pub account: AccountName,
    /// The stamp of the account at that time: the passkey ends with the password of its registration.
    pub stamp: String,
    /// The name in lists.
    pub name: String,
    /// The authenticator's id of the passkey, in base64url.
    pub credential: String,
    /// The public key, an uncompressed point of P-256 in hex.
    pub public_key: String,
    /// The relying party.
    pub rp: String,
    /// The only origin at which the passkey is valid, that of the registration.
    pub origin: String,
    /// The last known signature counter.
    pub counter: u32,
    /// Time of the last answered challenge, in milliseconds since 1970 UTC: only later challenges can be answered.
    pub challenge_ms: u64,
    /// Time of the last challenge answered while a clock was ahead; 0 without one.
    #[serde(default)]
    pub ahead_ms: u64,
    /// Time of the registration.
    pub created_ms: u64,
    /// Time of the last use; `None` before the first.
    pub used_ms: Option<u64>,
}

/// The prefix of all passkeys.
pub const PASSKEYS_PREFIX: &str = "passkeys/";

/// Returns the key of a passkey, or, with the id of an account, the prefix of all its passkeys.
#[must_use]
pub fn passkey_key(id: &str) -> String {
    format!("{PASSKEYS_PREFIX}{id}")
}

/// The prefix of the changes that apps require sessions to confirm.
pub const CONFIRMATIONS_PREFIX: &str = "confirmations/";

/// `confirmations/{app}`: the changes that an app requires sessions to confirm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationsRecord {
    /// The kinds of changes.
    pub confirm: BTreeSet<StoredAction>,
}

/// Returns the key of the changes that an app requires sessions to confirm.
#[must_use]
pub fn confirmations_key(app: &AppName) -> String {
    format!("{CONFIRMATIONS_PREFIX}{app}")
}

/// The prefix of all sessions.
pub const SESSIONS_PREFIX: &str = "sessions/";

/// Returns the key of a session, or, with the id of an account or a token, the prefix of all its sessions.
#[must_use]
pub fn session_key(id: &str) -> String {
    format!("{SESSIONS_PREFIX}{id}")
}
