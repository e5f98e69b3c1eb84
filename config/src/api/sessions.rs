//! Sessions of browsers: their beginning, what one of them may do, and their list.

use serde::{Deserialize, Serialize};

use super::access::{AccountName, Scope, Secret};
use super::passkeys::Assertion;
use crate::names::{AppName, PlaceName};

/// The cookie of a session. By its prefix, browsers take it only over HTTPS, for one host alone, and never from a
/// script.
pub const SESSION_COOKIE: &str = "__Host-Http-devanture-session";

/// `POST /v1/session`: begins a session by the password or a passkey of an account, or by a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The account's name, with its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The password of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A token, alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A passkey, alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<Assertion>,
}

/// `GET /v1/session`: the caller, and what they may do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The id of the session; without one, that of the token or the login.
    pub id: String,
    /// The account.
    pub account: Option<AccountName>,
    /// The name of the token.
    pub token: Option<String>,
    /// What the account or the token may do.
    pub rights: Vec<SessionRight>,
    /// When the session began, in milliseconds since 1970 UTC; `None` without one.
    pub created_ms: Option<u64>,
    /// When the credential ends at the latest, where it does.
    pub expires_ms: Option<u64>,
    /// When the confirmation of the session ends; `None` without one.
    pub confirmed_until_ms: Option<u64>,
    /// Passkeys of the account.
    pub passkeys: u64,
}

/// The scopes of a credential in a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRight {
    /// In this app alone; `None` is every app.
    pub app: Option<AppName>,
    /// In this environment alone; `None` is every environment.
    pub environment: Option<PlaceName>,
    /// The scopes, the least first.
    pub scopes: Vec<Scope>,
}

/// A session, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its id.
    pub id: String,
    /// Its account.
    pub account: Option<AccountName>,
    /// The name of its token.
    pub token: Option<String>,
    /// When it began, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it was used last, within a minute.
    pub used_ms: u64,
    /// When it ends at the latest.
    pub expires_ms: u64,
    /// The address that it began from.
    pub from: String,
    /// The browser that began it, as that names itself.
    pub browser: String,
    /// Whether it is the session of the caller.
    pub current: bool,
}

/// `GET /v1/sessions`: in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// The sessions.
    pub sessions: Vec<SessionInfo>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
