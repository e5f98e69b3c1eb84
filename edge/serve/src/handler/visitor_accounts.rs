//! Accounts, tokens and the `[oidc]` provider as the login pages need the three: a trait, since the control plane,
//! which serving does not depend on, writes the records.

use std::net::IpAddr;

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devanture_config::api::{Protection, Secret};
use devanture_config::problem::Problem;
use devanture_config::{AppName, PlaceName};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

/// Bytes of the secret of a login.
const SECRET_BYTES: usize = 32;

/// Accounts, tokens and the `[oidc]` provider for the login pages. The implementation limits and logs attempts; `from`
/// is the address of the visitor.
#[async_trait]
pub trait VisitorAccounts: Send + Sync {
    /// Returns true if `password` has the hash `hash`. `name` is the app and the protected place, for counting
    /// attempts.
    ///
    /// # Errors
    /// `too_many_attempts`, `busy`.
    async fn check_password(
        &self,
        name: (&AppName, &str),
        hash: &str,
        password: &Secret,
        from: IpAddr,
    ) -> Result<bool, Box<Problem>>;

    /// Returns the owner of an account by its password; `None` for an account without rights in the app.
    ///
    /// # Errors
    /// `bad_login`, `too_many_attempts`, `busy`, and unreadable records.
    async fn check_account(
        &self,
        login: &str,
        password: &Secret,
        app: &AppName,
        from: IpAddr,
    ) -> Result<Option<Person>, Box<Problem>>;

    /// Returns true if a token may read an environment of an app, `preview` for its previews.
    async fn may_visit(&self, token: &str, app: &AppName, environment: &PlaceName, from: IpAddr) -> bool;

    /// Returns the provider's address for the login of a browser, which then returns to `callback` with a code.
    ///
    /// # Errors
    /// [`Unconfirmed::Unavailable`].
    async fn provider_address(&self, callback: &str, secret: &LoginSecret) -> Result<String, Unconfirmed>;

    /// Confirms a login by the code and the issuer that the provider gave the browser.
    ///
    /// # Errors
    /// The reason of the missing confirmation.
    async fn confirm(
        &self,
        code: (&str, Option<&str>),
        callback: &str,
        secret: &LoginSecret,
        app: &AppName,
        from: IpAddr,
    ) -> Result<Confirmed, Unconfirmed>;

    /// Logs that the provider sent a browser back without a code, with the provider's error (RFC 6749 §4.1.2.1).
    fn deny(&self, error: Option<&str>, app: &AppName, from: IpAddr) -> Unconfirmed;

    /// Returns the text that identifies a person at `host` until `ends_s`, in seconds since 1970 UTC; `None` if longer
    /// than [`PERSON_BYTES_MAX`], or if signing is impossible now.
    async fn seal_person(&self, person: &Person, host: &str, ends_s: u64) -> Option<String>;

    /// Returns the person of such a text, if made for `host` and the login is still valid; `app` is the requested app.
    async fn logged_in_person(
        &self,
        text: &[u8],
        host: &str,
        now_s: u64,
        app: Option<&AppName>,
    ) -> Option<LoggedInPerson>;
}

/// Longest text of a person, in bytes, so that the text fits into a cookie. A person with more groups logs in at each
/// hostname.
pub const PERSON_BYTES_MAX: usize = 3_500;

/// A logged-in person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The display name.
    pub name: String,
    /// The evidence of the login.
    pub known_by: KnownBy,
}

/// The evidence of a person's login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// An account with one of its passwords.
    Account {
        /// The mark of the account's current passwords.
        mark: String,
    },
    /// The provider of `[oidc]`.
    Provider {
        /// The client of the login.
        client: String,
        /// The person's groups; only groups with a current role count.
        groups: Vec<String>,
    },
}

/// A person with a valid login.
#[derive(Debug, PartialEq, Eq)]
pub struct LoggedInPerson {
    /// The display name.
    pub name: String,
    /// The kind of protection that the login opens: `accounts` or `oidc`.
    pub mode: Protection,
    /// The end of the login, in seconds since 1970 UTC.
    pub ends_s: u64,
    /// The mark of the account that its logins carry.
    pub mark: Option<String>,
    /// True if the person has a right in the app.
    pub may_see: bool,
}

impl Person {
    /// The mark of the account that its logins carry.
    #[must_use]
    pub fn mark(&self) -> Option<String> {
        match &self.known_by {
            KnownBy::Account { mark } => Some(mark.clone()),
            KnownBy::Provider { .. } => None,
        }
    }
}

/// The secret of one login, held by one browser.
pub struct LoginSecret([u8; SECRET_BYTES]);

/// A login confirmed by the provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The person.
    pub person: Person,
    /// Seconds for which the groups are valid.
    pub lifetime_s: u64,
}

/// Reason that a visitor's login is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Too many attempts from the address.
    Limited {
        /// Seconds until the next attempt.
        retry_s: u64,
    },
    /// No group of the person has a role in the app.
    NoRole,
    /// The provider refused the login, or the provider's data belong to another login.
    Refused,
    /// The provider is unreachable, not usable for browser logins, or busy; no code was sent.
    Unavailable,
    /// A code was sent, and the provider neither accepted nor refused the code.
    Unusable,
}

impl LoginSecret {
    /// A new secret.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut secret = [0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        Self(secret)
    }

    /// Parses the secret of a text; `None` for an invalid text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut secret = [0; SECRET_BYTES];
        hex::decode_to_slice(text, &mut secret).ok()?;
        Some(Self(secret))
    }

    /// The text, for a cookie.
    #[must_use]
    pub fn text(&self) -> String {
        hex::encode(self.0)
    }

    /// The text that identifies the secret and does not reveal the secret.
    #[must_use]
    pub fn state(&self) -> blake3::Hash {
        self.derived("state")
    }

    /// The nonce of the login's identity token (OpenID Connect Core §3.1.2.1).
    #[must_use]
    pub fn nonce(&self) -> String {
        self.derived("nonce").to_hex().to_string()
    }

    /// The PKCE verifier: 43 characters, as RFC 7636 §4.1 recommends.
    #[must_use]
    pub fn verifier(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.derived("verifier").as_bytes())
    }

    /// The PKCE challenge: SHA-256 of the verifier (RFC 7636 §4.2).
    #[must_use]
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier().as_bytes()))
    }

    fn derived(&self, what: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"devanture 2026 login of a visitor ").update(what.as_bytes());
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_login_shows_is_derived_from_its_secret_and_differs() {
        let (one, other) = (LoginSecret([1; SECRET_BYTES]), LoginSecret([2; SECRET_BYTES]));
        let again = LoginSecret::parse(&one.text()).unwrap();
        assert_eq!((one.state(), one.nonce(), one.verifier()), (again.state(), again.nonce(), again.verifier()));
        assert!(one.state() != other.state() && one.nonce() != other.nonce() && one.verifier() != other.verifier());
        assert_ne!(one.state().to_hex().to_string(), one.nonce());
        assert_eq!((one.verifier().len(), one.challenge().len()), (43, 43));
        for bad in ["", "ab", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(LoginSecret::parse(bad).is_none(), "{bad}");
        }
    }
}
