//! Records of tokens, and of the secrets that proofs and challenges are made with.

use devanture_config::api::AccountName;
use devanture_config::{AppName, Digest, PlaceName};
use serde::{Deserialize, Serialize};

use super::words::StoredScope;

/// `tokens/{id}`: a token, as its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The BLAKE3 of its secret part; the secret is 256 random bits, so that no slow hash is needed.
    pub hash: Digest,
    /// Its name in the history.
    pub name: String,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: StoredScope,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it ends.
    pub expires_ms: Option<u64>,
    /// Its creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// The root of the chain of credentials that made it, as in entries of the audit log; `None` where the machine or
    /// an exchange did, or an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The account that it ends with, where it outlives the session that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<TokenAccount>,
}

/// The account that a token ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAccount {
    /// Its name.
    pub name: AccountName,
    /// Its id: an account of the same name that is made later is another one.
    pub id: String,
}

/// The prefix of all tokens.
pub const TOKENS_PREFIX: &str = "tokens/";

/// The key of a token.
#[must_use]
pub fn token_key(id: &str) -> String {
    format!("{TOKENS_PREFIX}{id}")
}

/// `secrets/{use}`: what proofs of hostnames, or challenges for passkeys, are made with.
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
