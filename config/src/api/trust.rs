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
