//! Records of rights and of their use: accounts, logins, the last use of tokens, the audit log.

use devanture_config::api::AccountName;
use devanture_config::{AppName, Digest, PlaceName};
use serde::{Deserialize, Serialize};

use super::words::{StoredBy, StoredScope, StoredVia};

/// Bytes of the mark of visitors' logins.
const MARK_BYTES: usize = 16;

/// `accounts/{name}`: an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// The id, unique for all time; the ids of the account's logins begin with it.
    pub id: String,
    /// The Argon2id hash of the password, in PHC form, which names the parameters.
    pub password: String,
    /// A value that is new for each password; a login with an earlier value is invalid.
    pub stamp: String,
    /// The only app of the account, if limited.
    pub app: Option<AppName>,
    /// The only environment of the account, if limited.
    pub environment: Option<PlaceName>,
    /// The scope.
    pub scope: StoredScope,
    /// Time of creation, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time at which the password was set; 0 without a password, and then `password` is a hash that no password has.
    pub password_ms: u64,
    /// The creator.
    pub made_by: String,
    /// The open invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
}

impl AccountRecord {
    /// Returns the mark of visitors' logins with this account and its current password.
    #[must_use]
    pub fn visitor_mark(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in ["devanture 2026 visitor with an account", &self.id, &self.stamp] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        let mut mark = [0; MARK_BYTES];
        hasher.finalize_xof().fill(&mut mark);
        hex::encode(mark)
    }

    /// Returns true if the account opens the parts of an app that are protected for accounts.
    #[must_use]
    pub fn may_visit(&self, app: &AppName) -> bool {
        may_visit(self.app.as_ref(), app)
    }
}

/// Returns true if an account for one app, or for all, opens the parts of an app that are protected for accounts: any
/// right there is enough.
pub fn may_visit(own: Option<&AppName>, app: &AppName) -> bool {
    own.is_none_or(|own| own == app)
}

/// An invitation to set the password of an account once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The BLAKE3 of the secret part.
    pub hash: Digest,
    /// Time of expiry, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// `logins/{id}`: a login and all its tokens, as hashes. Without the record none of the tokens is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The account.
    pub account: AccountName,
    /// The stamp of the account at that time.
    pub stamp: String,
    /// The BLAKE3 of the common part of all refresh tokens of the login, which proves that a client had one of them.
    pub family: Digest,
    /// The BLAKE3 of the individual part of the currently valid refresh token.
    pub refresh: Digest,
    /// The number of replacements of the pair.
    pub generation: u64,
    /// The previous refresh token.
    pub previous: Option<ReplacedToken>,
    /// The access tokens that may still be valid.
    pub access: Vec<AccessToken>,
    /// Time of creation, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time of expiry.
    pub expires_ms: u64,
    /// The origin of the login.
    pub from: String,
}

/// A replaced refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedToken {
    /// The BLAKE3 of the individual part.
    pub hash: Digest,
    /// Time of the first replacement, in milliseconds since 1970 UTC.
    pub replaced_ms: u64,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The BLAKE3 of the secret part.
    pub hash: Digest,
    /// The number of the pair.
    pub generation: u64,
    /// Time of expiry, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// `used/{id}`: the last use of a token. A separate record, so that a use cannot bring a revoked token back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedRecord {
    /// Time of the use, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// From where.
    pub from: String,
}

/// `exchanged/{hash}`: an exchanged identity token, by the hash of its issuer and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangedRecord {
    /// Time from which the token would be refused as expired, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// The name of the token received in exchange; empty in records of earlier releases.
    #[serde(default)]
    pub by: String,
}

/// `audit/{number}`: an entry of the audit log: a change and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The number, greater than the numbers of earlier entries.
    pub number: u64,
    /// Time of the change, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The action, such as `switch`; a newer edge may know more kinds.
    pub action: String,
    /// The name of the token or the account.
    pub who: String,
    /// The kind of credential.
    pub by: StoredBy,
    /// The id of the token, the login or the session. The id of a session begins with the id of its token or account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The root of the chain of credentials that made the token, in the form of an `AuditEntry` of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// `session` if a browser made the change; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<StoredVia>,
    /// The address of the client, or `local`.
    pub from: String,
    /// The node of a cluster that made the change; `None` for a single edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The app of the change, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The environment of the change, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Details, such as the new live version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// The prefix of exchanged identity tokens.
pub const EXCHANGED_PREFIX: &str = "exchanged/";
/// The prefix of all accounts.
pub const ACCOUNTS_PREFIX: &str = "accounts/";
/// The prefix of all logins.
pub const LOGINS_PREFIX: &str = "logins/";
/// The prefix of the audit log.
pub const AUDIT_PREFIX: &str = "audit/";

/// The key of an account.
#[must_use]
pub fn account_key(name: &AccountName) -> String {
    format!("{ACCOUNTS_PREFIX}{name}")
}

/// Returns the key of an exchanged identity token.
#[must_use]
pub fn exchanged_key(hash: &str) -> String {
    format!("{EXCHANGED_PREFIX}{hash}")
}

/// The key of an entry of the audit log; `number` grows from entry to entry.
#[must_use]
pub fn audit_key(number: u64) -> String {
    format!("{AUDIT_PREFIX}{number:016}")
}

/// Returns the key of a login, beginning with the id of the account.
#[must_use]
pub fn login_key(id: &str) -> String {
    format!("{LOGINS_PREFIX}{id}")
}

/// The key of the last use of a token.
#[must_use]
pub fn used_key(id: &str) -> String {
    format!("used/{id}")
}
