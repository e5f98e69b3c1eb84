//! Passkeys of accounts: what a browser asks for before it uses one, and what it sends then. Bytes are base64url
//! without padding, as WebAuthn writes them in JSON.

use serde::{Deserialize, Serialize};

use super::access::Secret;

/// The use of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To begin a session.
    Login,
    /// To register a passkey.
    Register,
    /// To confirm a session.
    Confirm,
}

/// `POST /v1/session/challenge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// What it is for.
    pub purpose: Purpose,
}

/// The answer to [`ChallengeRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The challenge, which is good for one use.
    pub challenge: String,
    /// The relying party: the hostname of the request.
    pub rp: String,
    /// The account of the session; `None` before a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PasskeyUser>,
    /// The passkeys of the account.
    pub credentials: Vec<PasskeyCredential>,
    /// When the challenge ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// The account of a passkey, as an authenticator keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyUser {
    /// The user handle.
    pub id: String,
    /// The name of the account.
    pub name: String,
}

/// The id of a passkey, as its authenticator gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyCredential {
    /// The id.
    pub id: String,
}

/// What an authenticator signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The id of the passkey, as its authenticator gave it.
    pub id: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `clientDataJSON`.
    pub client_data_json: String,
    /// `signature`.
    pub signature: String,
    /// `userHandle`, which a login needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_handle: Option<String>,
}

/// `POST /v1/passkeys`: registers a passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeyRequest {
    /// Its name in the list.
    pub name: String,
    /// `attestationObject`.
    pub attestation_object: String,
    /// `clientDataJSON`.
    pub client_data_json: String,
}

/// A passkey, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyInfo {
    /// Its id at the edge.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was registered, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it was used last; `None` if it never was.
    pub used_ms: Option<u64>,
}

/// `GET /v1/passkeys`: in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyList {
    /// The passkeys of the account.
    pub passkeys: Vec<PasskeyInfo>,
}

/// `POST /v1/session/confirm`: shows once more who uses a session, by one of these.
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
