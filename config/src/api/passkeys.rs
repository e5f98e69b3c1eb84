//! Passkeys of accounts: the challenge for a browser, and the browser's response. Bytes are base64url without padding,
//! as in the JSON of WebAuthn.

use serde::{Deserialize, Serialize};

use super::access::Secret;

/// Purpose of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Begin a session.
    Login,
    /// Register a passkey.
    Register,
    /// Confirm a session.
    Confirm,
}

/// `POST /v1/session/challenge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// Purpose.
    pub purpose: Purpose,
}

/// Response to [`ChallengeRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Single-use challenge.
    pub challenge: String,
    /// Relying party: the hostname of the request.
    pub rp: String,
    /// Account of the session; `None` before a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PasskeyUser>,
    /// The passkeys of the account.
    pub credentials: Vec<PasskeyCredential>,
    /// Expiry of the challenge, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// Account of a passkey, as stored by an authenticator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyUser {
    /// The user handle.
    pub id: String,
    /// The name of the account.
    pub name: String,
}

/// Id of a passkey, chosen by the authenticator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyCredential {
    /// The id.
    pub id: String,
}

/// Assertion signed by an authenticator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Id of a passkey, chosen by the authenticator.
    pub id: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `clientDataJSON`.
    pub client_data_json: String,
    /// `signature`.
    pub signature: String,
    /// `userHandle`, required for a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_handle: Option<String>,
}

/// `POST /v1/passkeys`: registers a passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeyRequest {
    /// Name in the list.
    pub name: String,
    /// `attestationObject`.
    pub attestation_object: String,
    /// `clientDataJSON`.
    pub client_data_json: String,
}

/// Listed passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyInfo {
    /// Id at the edge.
    pub id: String,
    /// Name.
    pub name: String,
    /// Registration time, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time of the last use; `None` for an unused passkey.
    pub used_ms: Option<u64>,
}

/// `GET /v1/passkeys`: passkeys in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyList {
    /// The passkeys of the account.
    pub passkeys: Vec<PasskeyInfo>,
}

/// `POST /v1/session/confirm`: proves again the identity of a session's user, by exactly one member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The password of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A passkey of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<Assertion>,
    /// The token of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}
