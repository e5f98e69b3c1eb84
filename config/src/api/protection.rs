//! Protection of previews and environments: who may see them, and the links that open one of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::access::Secret;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// The cookie of visitors of what is protected: its name is one that no page and no other host can set.
pub const VISITOR_COOKIE: &str = "__Host-Http-devanture-visitor";
/// The cookie of a browser that is about to log in to what is protected.
pub const LOGIN_COOKIE: &str = "__Host-Http-devanture-login";
/// The cookie of a person who is logged in at the hostname where visitors log in; no app's hostname has it.
pub const PERSON_COOKIE: &str = "__Host-Http-devanture-person";

/// Who may see something that the edge serves; a later one is stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// Everybody.
    #[default]
    Public,
    /// Visitors with the password, a share link or a token of the app.
    Password,
    /// Visitors with an account of the edge that has rights in the app; a share link or a token.
    Accounts,
    /// Visitors whom the provider of `[oidc]` knows, with a group that has a role in the app; a share link or a token.
    Oidc,
    /// Visitors with a share link or a token of the app.
    Token,
    /// Nobody.
    Off,
}

/// A text that is no protection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of public, password, accounts, oidc, token and off")]
pub struct BadProtection(pub String);

impl Protection {
    /// Every one, the strictest last.
    pub const ALL: [Self; 6] = [Self::Public, Self::Password, Self::Accounts, Self::Oidc, Self::Token, Self::Off];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Password => "password",
            Self::Accounts => "accounts",
            Self::Oidc => "oidc",
            Self::Token => "token",
            Self::Off => "off",
        }
    }

    /// Whether visitors log in, at the hostname that is for it.
    #[must_use]
    pub const fn has_login(self) -> bool {
        matches!(self, Self::Accounts | Self::Oidc)
    }
}

impl FromStr for Protection {
    type Err = BadProtection;

    fn from_str(text: &str) -> Result<Self, BadProtection> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| BadProtection(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Sets who may see an environment, or the previews of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtectionRequest {
    /// Who may; absent for the edge's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Protection>,
    /// The password; the one before stays if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Who may see an environment, or the previews of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionStatus {
    /// The environment; `preview` for all previews of the app.
    pub environment: PlaceName,
    /// Who may see it.
    pub mode: Protection,
    /// Whether nothing is set, so that the edge's default holds.
    pub is_default: bool,
    /// Whether it has a password.
    pub has_password: bool,
    /// The name of the token or account that set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// When, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// Who may see the previews of an app, and those of its environments for which something is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionList {
    /// The app.
    pub app: AppName,
    /// The previews first.
    pub protections: Vec<ProtectionStatus>,
}

/// What became of a [`ProtectionRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionSet {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Who may see it now; with `dry_run`, who might.
    pub protection: ProtectionStatus,
}

/// The target of a share link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareTarget {
    /// An alias, whatever version it points to.
    Alias(PlaceName),
    /// An environment, whatever version is live there.
    Environment(PlaceName),
    /// A version.
    Version(VersionId),
}

impl fmt::Display for ShareTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(name) | Self::Environment(name) => name.fmt(f),
            Self::Version(id) => f.write_str(&id.short()),
        }
    }
}

/// Makes a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// A version's id or the beginning of it, an alias, or an environment.
    pub target: String,
    /// Seconds until it ends; a week if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    /// The password that its visitors are to enter, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// A share link, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its id.
    pub id: String,
    /// What it opens.
    pub target: ShareTarget,
    /// The hostname of that.
    pub host: String,
    /// Whether it has a password.
    pub has_password: bool,
    /// The name of the token or account that made it.
    pub who: String,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// A share link that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareMade {
    /// The app.
    pub app: AppName,
    /// The link.
    pub share: Share,
    /// Its address, which is shown this once.
    pub url: Secret,
}

/// The share links of an app that have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareList {
    /// The app.
    pub app: AppName,
    /// The newest first.
    pub shares: Vec<Share>,
}

/// A share link that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRevoked {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Its id.
    pub revoked: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_protection_is_stricter_and_its_word_is_read_back() {
        assert!(Protection::ALL.is_sorted());
        for one in Protection::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        assert_eq!("open".parse::<Protection>(), Err(BadProtection("open".to_owned())));
    }
}
