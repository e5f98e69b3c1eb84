//! The records of sessions of browsers: with passkeys, and what apps have them confirm.

use std::collections::BTreeSet;

use devanture_config::api::AccountName;
use devanture_config::{AppName, Digest};
use serde::{Deserialize, Serialize};

use super::words::StoredAction;

/// `sessions/{id}`: a session of a browser. Its id begins with that of the account or the token that it acts as, whose
/// rights are not copied here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The BLAKE3 of its secret.
    pub hash: Digest,
    /// The account; `None` for a session of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// The stamp of the account at that time, which changes with its password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stamp: String,
    /// When it began, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it ends, however often it is used.
    pub expires_ms: u64,
    /// The address that it began from.
    pub from: String,
    /// The browser, as that named itself.
    pub browser: String,
    /// When its confirmation ends; 0 without one.
    #[serde(default)]
    pub confirmed_until_ms: u64,
    /// When the last challenge was made that it registered a passkey with: it registers with later ones alone.
    #[serde(default)]
    pub registered_ms: u64,
}

/// `passkeys/{id}`: a passkey of an account. Its id begins with that of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyRecord {
    /// The account.
    pub account: AccountName,
    /// The stamp of the account at that time: a passkey ends with the password that it was registered beside.
    pub stamp: String,
    /// Its name in the list.
    pub name: String,
    /// The id that its authenticator gave it, in base64url.
    pub credential: String,
    /// Its public key, an uncompressed point of P-256 in hex.
    pub public_key: String,
    /// The relying party that it is for.
    pub rp: String,
    /// The origin that it was registered at, and is good at alone.
    pub origin: String,
    /// Its signature counter, as it was shown last.
    pub counter: u32,
    /// When the last challenge was made that it answered, in milliseconds since 1970 UTC: it answers later ones alone.
    pub challenge_ms: u64,
    /// When the last one was made that it answered while a clock was ahead; 0 where none was.
    #[serde(default)]
    pub ahead_ms: u64,
    /// When it was registered.
    pub created_ms: u64,
    /// When it was used last; `None` if it never was.
    pub used_ms: Option<u64>,
}

/// The prefix of all passkeys.
pub const PASSKEYS_PREFIX: &str = "passkeys/";

/// The key of a passkey, or, with the id of an account, the prefix of all passkeys of it.
#[must_use]
pub fn passkey_key(id: &str) -> String {
    format!("{PASSKEYS_PREFIX}{id}")
}

/// The prefix of what apps have sessions confirm.
pub const CONFIRMATIONS_PREFIX: &str = "confirmations/";

/// `confirmations/{app}`: the changes that an app has sessions confirm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationsRecord {
    /// The kinds of changes.
    pub confirm: BTreeSet<StoredAction>,
}

/// The key of the changes that an app has sessions confirm.
#[must_use]
pub fn confirmations_key(app: &AppName) -> String {
    format!("{CONFIRMATIONS_PREFIX}{app}")
}

/// The prefix of all sessions.
pub const SESSIONS_PREFIX: &str = "sessions/";

/// The key of a session, or, with the id of an account or a token, the prefix of all sessions of it.
#[must_use]
pub fn session_key(id: &str) -> String {
    format!("{SESSIONS_PREFIX}{id}")
}
