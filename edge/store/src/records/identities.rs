//! The records of who may do what, and who did: accounts, logins, the last use of tokens, the audit log.

use devanture_config::api::AccountName;
use devanture_config::{AppName, Digest, PlaceName};
use serde::{Deserialize, Serialize};

use super::words::{StoredBy, StoredScope, StoredVia};

/// Bytes of the mark of logins of visitors.
const MARK_BYTES: usize = 16;

/// `accounts/{name}`: an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its id, which no other account has, had or gets: that of its logins begins with it.
    pub id: String,
    /// Its password by Argon2id, in the form of PHC, which names the parameters.
    pub password: String,
    /// Another one for each password that was set; a login with an earlier one is none any more.
    pub stamp: String,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: StoredScope,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When its password was set; 0 while it has none, and `password` is a hash that no password has.
    pub password_ms: u64,
    /// Its creator.
    pub made_by: String,
    /// Its open invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
}

impl AccountRecord {
    /// What logins of visitors with this account and its password of today are known by.
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

    /// Whether it opens what is protected of an app for accounts.
    #[must_use]
    pub fn may_visit(&self, app: &AppName) -> bool {
        may_visit(self.app.as_ref(), app)
    }
}

/// Whether an account for one app, or for all, opens what is protected of an app for accounts: with any rights there.
pub fn may_visit(own: Option<&AppName>, app: &AppName) -> bool {
    own.is_none_or(|own| own == app)
}

/// An invitation to set the password of an account once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The BLAKE3 of its secret part.
    pub hash: Digest,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// `logins/{id}`: a login and all tokens that came of it, as their hashes. Without it none of them is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The account.
    pub account: AccountName,
    /// The stamp of the account at that time.
    pub stamp: String,
    /// The BLAKE3 of the part that all refresh tokens of this login share, which proves that a client had one of them.
    pub family: Digest,
    /// The BLAKE3 of the part that the refresh token alone has that is good now.
    pub refresh: Digest,
    /// The number of replacements of the pair.
    pub generation: u64,
    /// The refresh token before that one.
    pub previous: Option<ReplacedToken>,
    /// The access tokens that may still be good.
    pub access: Vec<AccessToken>,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
    /// From where it was made.
    pub from: String,
}

/// A refresh token that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedToken {
    /// The BLAKE3 of the part that it alone has.
    pub hash: Digest,
    /// When it was replaced first, in milliseconds since 1970 UTC.
    pub replaced_ms: u64,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The BLAKE3 of its secret part.
    pub hash: Digest,
    /// The number of its pair.
    pub generation: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// `used/{id}`: when a token was used last. A record of its own, so that no use can bring a revoked token back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedRecord {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// From where.
    pub from: String,
}

/// `exchanged/{hash}`: that an identity token was exchanged, by the hash of its issuer and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangedRecord {
    /// From when on it would be refused as expired, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// The name of the token that it was exchanged for; empty in records of earlier releases.
    #[serde(default)]
    pub by: String,
}

/// `audit/{number}`: an entry of the audit log: a change, and the origin of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number; later entries have greater ones.
    pub number: u64,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The action, such as `switch`; a newer edge may know more kinds.
    pub action: String,
    /// The name of the token or the account.
    pub who: String,
    /// The kind of credential.
    pub by: StoredBy,
    /// The id of the token, the login or the session. That of a session begins with the id of its token or account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The root of the chain of credentials that made the token, as an `AuditEntry` of the API says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// `session` where a browser made the change; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<StoredVia>,
    /// The address that it came from, or `local`.
    pub from: String,
    /// The node of a cluster that made the change; `None` of an edge that is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The app, where it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The environment, where it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Details, such as the version that went live.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// The prefix of identity tokens that were exchanged.
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

/// The key of an identity token that was exchanged.
#[must_use]
pub fn exchanged_key(hash: &str) -> String {
    format!("{EXCHANGED_PREFIX}{hash}")
}

/// The key of an entry of the audit log; `number` grows from entry to entry.
#[must_use]
pub fn audit_key(number: u64) -> String {
    format!("{AUDIT_PREFIX}{number:016}")
}

/// The key of a login; its id begins with that of its account.
#[must_use]
pub fn login_key(id: &str) -> String {
    format!("{LOGINS_PREFIX}{id}")
}

/// The key of the last use of a token.
#[must_use]
pub fn used_key(id: &str) -> String {
    format!("used/{id}")
}
