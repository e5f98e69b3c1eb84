//! Access: scopes, tokens, accounts, logins, and the audit log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::roles::{BadRole, Role, RoleRights, rights_of};
use crate::names::{AppName, PlaceName};
use crate::text::text_form;

/// Most characters of an account's name.
pub const ACCOUNT_CHARACTERS_MAX: usize = 64;

/// A scope of tokens. Scopes have no order, see [`Scope::includes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read-only access.
    Read,
    /// Store versions, and make versions live where the token applies.
    Push,
    /// Copy a version from an environment to another.
    Promote,
    /// Run commands in an environment, with its secrets and its data.
    Run,
    /// Every permission, including making tokens.
    Admin,
}

impl Scope {
    /// All scopes, each after the scopes included in it.
    pub const ALL: [Self; 5] = [Self::Read, Self::Push, Self::Promote, Self::Run, Self::Admin];

    /// Returns true if this scope allows everything that `other` allows. `promote` includes `push`, and both include
    /// `read`; `run` includes `read` alone, and no scope but `admin` includes `run`.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        match self {
            Self::Read => matches!(other, Self::Read),
            Self::Push => matches!(other, Self::Read | Self::Push),
            Self::Promote => matches!(other, Self::Read | Self::Push | Self::Promote),
            Self::Run => matches!(other, Self::Read | Self::Run),
            Self::Admin => true,
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "push" => Ok(Self::Push),
            "promote" => Ok(Self::Promote),
            "run" => Ok(Self::Run),
            "admin" => Ok(Self::Admin),
            _ => Err(format!("`{text}` is not a scope: read, push, promote, run or admin")),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Promote => "promote",
            Self::Run => "run",
            Self::Admin => "admin",
        })
    }
}

/// Password or token in transit; `Debug` never shows the text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Login name of an account: ASCII letters, digits and `.`, `_`, `@`, `+`, `-`, so email addresses are valid names.
/// Stored in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

impl AccountName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Error for an invalid account name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account's name has 1 to {ACCOUNT_CHARACTERS_MAX} characters, letters of ASCII, digits, `.`, `_`, `@`, `+` and `-`, \
     and begins with a letter or a digit"
)]
pub struct BadAccountName;

impl FromStr for AccountName {
    type Err = BadAccountName;

    fn from_str(text: &str) -> Result<Self, BadAccountName> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'+' | b'-');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && text.len() <= ACCOUNT_CHARACTERS_MAX && text.bytes().all(fits) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadAccountName)
        }
    }
}

text_form!(AccountName, BadAccountName);

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `POST /v1/tokens`: makes a token. A request may name a role in place of the scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TokenRequestForm")]
pub struct TokenRequest {
    /// Name of the token in the history.
    pub name: String,
    /// App that access is limited to; all apps if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Lifetime in seconds; unlimited by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// Wire form of [`TokenRequest`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequestForm {
    name: String,
    #[serde(default)]
    app: Option<AppName>,
    #[serde(default)]
    environment: Option<PlaceName>,
    #[serde(default)]
    scope: Option<Scope>,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    expires_in_s: Option<u64>,
}

impl TryFrom<TokenRequestForm> for TokenRequest {
    type Error = BadRole;

    fn try_from(form: TokenRequestForm) -> Result<Self, BadRole> {
        let RoleRights { app, environment, scope } = rights_of(form.scope, form.role, form.app, form.environment)?;
        Ok(Self { name: form.name, app, environment, scope, expires_in_s: form.expires_in_s })
    }
}

/// Response to [`TokenRequest`]. The token is shown only here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// Public id.
    pub id: String,
    /// The token.
    pub token: String,
    /// Expiry, at the latest that of the token's creator; `None` without an expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// Response to `POST /v1/tokens` and `DELETE /v1/tokens/{id}` with `dry_run`: the token to be made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrediction {
    /// Always true.
    pub dry_run: bool,
    /// Public id; `None` for a token not made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name of the token in the history.
    pub name: String,
    /// App that access is limited to; all apps if absent.
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Expiry, if any.
    pub expires_ms: Option<u64>,
}

/// Listed token. The secret part is known to the owner alone and left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Public id.
    pub id: String,
    /// Name of the token in the history.
    pub name: String,
    /// App that access is limited to; all apps if absent.
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Creation time, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Creator, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// Expiry, if any.
    pub expires_ms: Option<u64>,
    /// Last use, accurate to a minute; `None` for an unused token.
    pub last_used_ms: Option<u64>,
    /// Address of the last use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_from: Option<String>,
}

/// `GET /v1/tokens`: tokens in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// The tokens.
    pub tokens: Vec<TokenInfo>,
    /// `after` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /v1/login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The account's name.
    pub login: String,
    /// Password.
    pub password: Secret,
}

/// `POST /v1/refresh` and `POST /v1/logout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// Latest refresh token.
    pub refresh_token: Secret,
}

/// Response to a login or a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// The account.
    pub account: AccountName,
    /// App that access is limited to; all apps if absent.
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Token for `Authorization: Bearer`.
    pub access_token: Secret,
    /// Lifetime in seconds.
    pub expires_in_s: u64,
    /// Single-use token for the next pair.
    pub refresh_token: Secret,
    /// Lifetime of the login in seconds. A refresh does not prolong a login.
    pub refresh_expires_in_s: u64,
}

/// Channel by which a client presents the credential of an account or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Browser session.
    Session,
}

/// The kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Account password, or a login made with the password.
    Account,
    /// Socket in the data folder, or direct access to the data folder.
    Local,
    /// Token.
    Token,
}

/// Entry of the audit log: a change, with author and origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Number of the entry; later entries have greater numbers.
    pub number: u64,
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Action, for example `switch`; a newer edge may send further actions.
    pub action: String,
    /// Name of the token or the account.
    pub who: String,
    /// Kind of credential.
    pub by: By,
    /// Id of the token, the login or the session. A session id begins with the id of the token or account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Root of the chain of credentials by which a token was made: the id of the account behind the first token, a
    /// slash and the id of that token; the id of the first token alone, if made on the edge's machine; or the name of
    /// the trust or the person, for example `trust:ci`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// `session` for a change made from a browser; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Client address, or `local`.
    pub from: String,
    /// Node of the cluster behind the change; `None` without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// App, if the change concerns an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Environment, if the change concerns an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Details, for example the new live version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// `GET /v1/audit`: newest entries first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// `before` of the next page, if there may be a next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Parses a duration in human form, a number with the suffix `d`, `h`, `m` or `s`, into seconds.
///
/// # Errors
/// The reason as a sentence.
pub fn lifetime_s(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a time: write a number above 0 with d, h, m or s behind it, such as 90d");
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let seconds: u64 = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(bad()),
    };
    let count = text.get(..text.len() - unit.len_utf8()).unwrap_or_default();
    let count: u64 = count.bytes().all(|b| b.is_ascii_digit()).then(|| count.parse().ok()).flatten().ok_or_else(bad)?;
    count.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_account_has_one_spelling() {
        for (text, name) in [("ada", "ada"), ("Ada@Example.org", "ada@example.org"), ("a+b_c-d.e", "a+b_c-d.e")] {
            assert_eq!(text.parse::<AccountName>().unwrap().as_str(), name);
        }
        for bad in ["", ".a", "@a", "a/b", "a b", "ä", "a\n", &"a".repeat(65)] {
            bad.parse::<AccountName>().unwrap_err();
        }
    }

    #[test]
    fn a_lifetime_is_a_number_with_its_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1_800), ("1s", 1)] {
            assert_eq!(lifetime_s(text), Ok(seconds));
        }
        for bad in [
            "",
            "d",
            "90",
            "0d",
            "-1d",
            "+1d",
            "1.5d",
            "1 d",
            "1w",
            "é",
            "99999999999999999999d",
            "300000000000000000d",
        ] {
            lifetime_s(bad).unwrap_err();
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let request = LoginRequest { login: "ada".to_owned(), password: Secret::new("hunter2hunter2") };
        assert!(!format!("{request:?}").contains("hunter2"));
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"login":"ada","password":"hunter2hunter2"}"#);
    }
}
