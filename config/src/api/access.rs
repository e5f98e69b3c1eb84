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
    /// See.
    Read,
    /// Store versions, and make them live where the token applies.
    Push,
    /// Take a version from one environment to another.
    Promote,
    /// Run commands in an environment, with its secrets and its data.
    Run,
    /// Everything, and making tokens.
    Admin,
}

impl Scope {
    /// All of them, each after those that it includes.
    pub const ALL: [Self; 5] = [Self::Read, Self::Push, Self::Promote, Self::Run, Self::Admin];

    /// Whether this scope allows what `other` allows. `promote` includes `push`, and both include `read`; `run`
    /// includes `read` alone, and no scope but `admin` includes `run`.
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

/// A password or a token on its way: never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
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

/// The name of an account, which is what its owner logs in with: ASCII letters, digits and `.`, `_`, `@`, `+`, `-`, so
/// that an address of electronic mail is one. Kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

impl AccountName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no account's name.
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
    /// Its name in the history.
    pub name: String,
    /// For this app alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// For this environment alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// Lifetime in seconds; unlimited by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// [`TokenRequest`] as it is sent.
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

/// The answer to [`TokenRequest`]: the only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// Its public id.
    pub id: String,
    /// The token.
    pub token: String,
    /// When it ends, where it does: at the latest when the one ends that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// The answer to `POST /v1/tokens` and `DELETE /v1/tokens/{id}` with `dry_run`: the token that would be made or
/// revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrediction {
    /// Always true.
    pub dry_run: bool,
    /// Its public id; `None` for a token that would be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name in the history.
    pub name: String,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// When it ends, where it does.
    pub expires_ms: Option<u64>,
}

/// A token, as it is listed: all but the token itself, which nobody has but its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its public id.
    pub id: String,
    /// Its name in the history.
    pub name: String,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Its creator, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// When it ends, where it does.
    pub expires_ms: Option<u64>,
    /// When it was used last, within a minute; `None` if it never was.
    pub last_used_ms: Option<u64>,
    /// From where it was used last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_from: Option<String>,
}

/// `GET /v1/tokens`: in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// The tokens.
    pub tokens: Vec<TokenInfo>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /v1/login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The account's name.
    pub login: String,
    /// Its password.
    pub password: Secret,
}

/// `POST /v1/refresh` and `POST /v1/logout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The refresh token that came last.
    pub refresh_token: Secret,
}

/// The answer to a login and to a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// The account.
    pub account: AccountName,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// The token for `Authorization: Bearer`.
    pub access_token: Secret,
    /// Lifetime in seconds.
    pub expires_in_s: u64,
    /// Gets the next pair; it is good for one use.
    pub refresh_token: Secret,
    /// Lifetime of the login in seconds: a refresh does not prolong it.
    pub refresh_expires_in_s: u64,
}

/// The means by which a client shows the credential of an account or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// By the session of a browser.
    Session,
}

/// The kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// By the account's password, or what came of it.
    Account,
    /// By the socket in the data folder, or by the data folder itself.
    Local,
    /// By a token.
    Token,
}

/// One entry of the audit log: a change, and who made it from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number; later entries have greater ones.
    pub number: u64,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The action, such as `switch`; a newer edge may know more kinds.
    pub action: String,
    /// The name of the token or the account.
    pub who: String,
    /// The credential.
    pub by: By,
    /// The id of the token, the login or the session. That of a session begins with the id of its token or account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Of a token that another credential made, the root of the chain of those that made it: the id of the account that
    /// made the first token, a slash and the id of that token; the id of the first token alone, where it was made on
    /// the edge's machine; or the name of the trust or the person, such as `trust:ci`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// `session` where a browser made the change; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// From which address, or `local`.
    pub from: String,
    /// The node of a cluster that made the change; `None` of an edge that is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// In which app, where it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// In which environment, where it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Details, such as the version that went live.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// `GET /v1/audit`: newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The `before` of the next page, if there may be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A time as a person writes it, a number with `d`, `h`, `m` or `s` behind it, in seconds.
///
/// # Errors
/// Why it is none, as a sentence.
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
