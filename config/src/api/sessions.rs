//! Sessions of browsers: their start, rights and list.

use serde::{Deserialize, Serialize};

use super::access::{AccountName, Scope, Secret};
use super::passkeys::Assertion;
use crate::names::{AppName, PlaceName};

/// Session cookie. By the prefix of the name, browsers accept the cookie only over HTTPS, for a single host, and never
/// from a script.
pub const SESSION_COOKIE: &str = "__Host-Http-devanture-session";

/// `POST /v1/session`: begins a session by the password or a passkey of an account, or by a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Name of the account, together with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The password of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Token, without other members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Passkey, without other members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<Assertion>,
}

/// `GET /v1/session`: the caller and the caller's current rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Id of the session; without a session, of the token or the login.
    pub id: String,
    /// The account.
    pub account: Option<AccountName>,
    /// The name of the token.
    pub token: Option<String>,
    /// Rights of the account or the token.
    pub rights: Vec<SessionRight>,
    /// Start of the session, in milliseconds since 1970 UTC; `None` without a session.
    pub created_ms: Option<u64>,
    /// Latest end of the credential, if any.
    pub expires_ms: Option<u64>,
    /// End of the session's confirmation; `None` without a confirmation.
    pub confirmed_until_ms: Option<u64>,
    /// Number of the account's passkeys.
    pub passkeys: u64,
}

/// Scopes of a credential in a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRight {
    /// App of the scopes; `None` is every app.
    pub app: Option<AppName>,
    /// Environment of the scopes; `None` is every environment.
    pub environment: Option<PlaceName>,
    /// Scopes, the least first.
    pub scopes: Vec<Scope>,
}

/// Listed session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Id.
    pub id: String,
    /// Account.
    pub account: Option<AccountName>,
    /// Name of the token.
    pub token: Option<String>,
    /// Start, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Last use, accurate to a minute.
    pub used_ms: u64,
    /// Latest end.
    pub expires_ms: u64,
    /// Client address at the start.
    pub from: String,
    /// Name of the browser at the start, as sent by the browser.
    pub browser: String,
    /// True for the session of the caller.
    pub current: bool,
}

/// `GET /v1/sessions`: sessions in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// The sessions.
    pub sessions: Vec<SessionInfo>,
    /// `after` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
