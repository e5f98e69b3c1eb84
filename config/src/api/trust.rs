//! Exchanges of an identity token for a token of the edge.

use serde::{Deserialize, Serialize};

use super::{Scope, Secret};
use crate::names::{AppName, PlaceName};

/// `POST /v1/exchange`: exchanges an identity token of an issuer named by `[[trust]]` or `[oidc]` of `edge.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// Identity token: a JWT.
    pub identity_token: Secret,
    /// App of the new token; optional only for a login of a person, for every app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Environment; by default the first environment of the trust, or every environment allowed by the person's groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
}

/// `POST /v1/device`: begins a login at the provider of `[oidc]` for a client whose secret is known to the edge alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {}

/// Response to [`DeviceRequest`]: the prompt for confirmation by a person in a browser (RFC 8628 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePrompt {
    /// Code for token requests.
    pub device_code: Secret,
    /// Code to be entered by the person.
    pub user_code: String,
    /// URL to be opened by the person.
    pub verification_uri: String,
    /// Seconds until the code expires.
    pub expires_in_s: u64,
    /// Seconds between two requests for the token.
    pub interval_s: u64,
}

/// `POST /v1/device/token`: the token of a login begun by [`DeviceRequest`], after the confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceTokenRequest {
    /// Device code of the [`DevicePrompt`].
    pub device_code: Secret,
    /// App of the token; every app if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Environment; every environment allowed by the person's groups if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
}

/// Response to [`DeviceTokenRequest`] before the confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWaiting {
    /// True if the provider requires longer pauses between two requests: 5 seconds more (RFC 8628 §3.5).
    pub slower: bool,
}

/// Response to [`ExchangeRequest`]. The token is shown only here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Public id.
    pub id: String,
    /// The token.
    pub token: Secret,
    /// Name of the trust; `None` for a login of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// Logged-in person, as named in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// App of the token; always present for a trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Environment of the token; always present for a trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Expiry, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// Lifetime in seconds.
    pub expires_in_s: u64,
}
