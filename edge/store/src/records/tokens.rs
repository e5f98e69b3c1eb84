//! Records of tokens, and of the secrets for proofs and challenges.

use devanture_config::api::AccountName;
use devanture_config::{AppName, Digest, PlaceName};
use serde::{Deserialize, Serialize};

use super::words::StoredScope;

/// `tokens/{id}`: a token, as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The BLAKE3 of the secret part; the secret is 256 random bits, so that no slow hash is needed.
    pub hash: Digest,
    /// The name in the history.
    pub name: String,
    /// The only app of the token, if limited.
    pub app: Option<AppName>,
    /// The only environment of the token, if limited.
    pub environment: Option<PlaceName>,
    /// The scope.
    pub scope: StoredScope,
    /// Time of creation, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time of expiry.
    pub expires_ms: Option<u64>,
    /// The creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// The root of the chain of credentials that made the token, as in entries of the audit log; `None` for tokens of
    /// the machine, of an exchange, or of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The account of a token that outlives its session: the token ends with the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<TokenAccount>,
}

/// The account with which a token ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAccount {
    /// The name.
    pub name: AccountName,
    /// The id: a later account of the same name has a different id.
    pub id: String,
}

/// The prefix of all tokens.
pub const TOKENS_PREFIX: &str = "tokens/";

/// The key of a token.
#[must_use]
pub fn token_key(id: &str) -> String {
    format!("{TOKENS_PREFIX}{id}")
}

/// `secrets/{use}`: the secret for proofs of hostnames, or for challenges for passkeys.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "testing"), derive(Debug, PartialEq, Eq))]
pub struct ProofSecret {
    /// 32 random bytes in hex.
    pub key: String,
}

/// The key of the [`ProofSecret`] of challenges.
pub const CHALLENGE_SECRET_KEY: &str = "secrets/challenges";

/// The key of the [`ProofSecret`] of hostnames.
pub const PROOF_SECRET_KEY: &str = "secrets/hostname-proof";
