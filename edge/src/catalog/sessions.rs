//! The records of sessions of browsers.

use devanture_config::Digest;
use devanture_config::api::AccountName;
use serde::{Deserialize, Serialize};

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
}

/// The prefix of all sessions.
pub const SESSIONS_PREFIX: &str = "sessions/";

/// The key of a session, or, with the id of an account or a token, the prefix of all sessions of it.
#[must_use]
pub fn session_key(id: &str) -> String {
    format!("{SESSIONS_PREFIX}{id}")
}
