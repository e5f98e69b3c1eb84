//! Exchanges of an identity token for a token of the edge.

use serde::{Deserialize, Serialize};

use super::{Scope, Secret};
use crate::names::{AppName, PlaceName};

/// `POST /v1/exchange`: exchanges an identity token of an issuer that `[[trust]]` or `[oidc]` of `edge.toml` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// The identity token: a JWT.
    pub identity_token: Secret,
    /// The app that the token is to be for; only a login of a person may leave it out, for every app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The environment; by default the first one of the trust, or as wide as the groups of a person allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
}

/// `POST /v1/device`: begins a login at the provider of `[oidc]` whose client has a secret, which the edge alone knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {}

/// The answer to [`DeviceRequest`]: what a person confirms in a browser (RFC 8628 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePrompt {
    /// What the token is requested with.
    pub device_code: Secret,
    /// The code that the person enters.
    pub user_code: String,
    /// The address that they open.
    pub verification_uri: String,
    /// Seconds until the code expires.
    pub expires_in_s: u64,
    /// Seconds between two requests for the token.
    pub interval_s: u64,
}

/// `POST /v1/device/token`: the token of a login that [`DeviceRequest`] began, once the code was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceTokenRequest {
    /// What the beginning gave.
    pub device_code: Secret,
    /// The app that the token is to be for; every app without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The environment; as wide as the groups of the person allow without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
}

/// The answer to [`DeviceTokenRequest`] while the code was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWaiting {
    /// Whether the provider wants longer pauses between two requests: 5 seconds more (RFC 8628 §3.5).
    pub slower: bool,
}

/// The answer to [`ExchangeRequest`]: the only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Its public id.
    pub id: String,
    /// The token.
    pub token: Secret,
    /// The name of the trust; `None` for a login of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// The person who logged in, as the audit log names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// For this app alone; a trust always names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// For this environment alone; a trust always names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// Its lifetime in seconds.
    pub expires_in_s: u64,
}
