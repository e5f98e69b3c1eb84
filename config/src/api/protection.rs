//! Protection of previews and environments: permitted visitors, and share links.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::access::Secret;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// Cookie of visitors of protected pages. The name's prefix prevents pages and other hosts from setting the cookie.
pub const VISITOR_COOKIE: &str = "__Host-Http-devanture-visitor";
/// Cookie of a browser during a login to a protected page.
pub const LOGIN_COOKIE: &str = "__Host-Http-devanture-login";
/// Cookie of a logged-in person at the login hostname; never set at an app's hostname.
pub const PERSON_COOKIE: &str = "__Host-Http-devanture-person";

/// Permitted visitors of served content; each variant is stricter than the variant before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// All visitors.
    #[default]
    Public,
    /// Visitors with the password, a share link or a token of the app.
    Password,
    /// Visitors with an account that has rights in the app; a share link or a token.
    Accounts,
    /// Visitors known to the provider of `[oidc]`, with a group that has a role in the app; a share link or a token.
    Oidc,
    /// Visitors with a share link or a token of the app.
    Token,
    /// No visitors.
    Off,
}

/// Error for an invalid protection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of public, password, accounts, oidc, token and off")]
pub struct BadProtection(pub String);

impl Protection {
    /// All variants, the strictest last.
    pub const ALL: [Self; 6] = [Self::Public, Self::Password, Self::Accounts, Self::Oidc, Self::Token, Self::Off];

    /// Returns the word for the protection.
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

    /// Returns true if visitors log in at the login hostname.
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

/// Sets the permitted visitors of an environment, or of the previews of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtectionRequest {
    /// Protection; absent for the edge's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Protection>,
    /// Password; unchanged if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Permitted visitors of an environment, or of the previews of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionStatus {
    /// The environment; `preview` for all previews of the app.
    pub environment: PlaceName,
    /// Protection.
    pub mode: Protection,
    /// True if the edge's default applies.
    pub is_default: bool,
    /// True if a password is set.
    pub has_password: bool,
    /// Name of the token or account behind the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Time of the last change, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// Permitted visitors of an app's previews, and of its environments with a setting of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionList {
    /// The app.
    pub app: AppName,
    /// Protections, previews first.
    pub protections: Vec<ProtectionStatus>,
}

/// Response to a [`ProtectionRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionSet {
    /// True for a dry run.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// New protection.
    pub protection: ProtectionStatus,
}

/// Target of a share link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareTarget {
    /// An alias, with any version that the alias points to.
    Alias(PlaceName),
    /// An environment, with any live version.
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
    /// Version id or prefix, alias, or environment.
    pub target: String,
    /// Seconds until expiry; a week if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    /// Password required from visitors, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Share link, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Id.
    pub id: String,
    /// Target.
    pub target: ShareTarget,
    /// Hostname of the target.
    pub host: String,
    /// True if a password is required.
    pub has_password: bool,
    /// Name of the token or account behind the link.
    pub who: String,
    /// Creation time, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Expiry, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// Response to the creation of a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareMade {
    /// The app.
    pub app: AppName,
    /// The link.
    pub share: Share,
    /// URL of the link, shown only here.
    pub url: Secret,
}

/// Unexpired share links of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareList {
    /// The app.
    pub app: AppName,
    /// Links, the newest first.
    pub shares: Vec<Share>,
}

/// Response to the revocation of a share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRevoked {
    /// True for a dry run.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Id.
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
