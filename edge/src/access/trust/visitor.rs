//! Logins of visitors at the provider of `[oidc]`: the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636).
//!
//! The edge keeps nothing of a login that has begun. A browser has its secret, in a cookie; `state`, the nonce and the
//! verifier of PKCE are derived from that secret, so that a code is of use with the cookie of its own login alone.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devanture_config::AppName;
use devanture_config::edge_toml::Oidc;
use http::StatusCode;
use rand::RngCore as _;
use serde::Deserialize;

use super::claims::check_times;
use super::client::{Unusable, form};
use super::exchange::LENGTH_LIMIT;
use super::jwks::Verdict;
use super::jwt::{self, Jwt};
use super::{exchange, oidc};
use crate::access::{Credentials, Person};
use crate::ledger::from_text;
use crate::telemetry;

/// Bytes of the secret of a login.
const SECRET_BYTES: usize = 32;
/// Longest code that is redeemed, in bytes.
const CODE_BYTES_MAX: usize = 4_096;

/// Longest word for an error that the log shows, in bytes.
const ERROR_BYTES_MAX: usize = 64;
/// Longest time for which a begun login is remembered, in milliseconds: that of its cookie, and more.
pub(super) const LOGIN_MS_MAX: u64 = 900_000;

/// The secret of one login, which one browser has.
pub(crate) struct LoginSecret([u8; SECRET_BYTES]);

/// A login that the provider has confirmed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Confirmed {
    pub(crate) person: Person,
    /// Seconds for which the groups count.
    pub(crate) lifetime_s: u64,
}

/// Why a login of a visitor is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// There were too many attempts from there.
    Limited {
        /// Seconds until the next one.
        retry_s: u64,
    },
    /// None of the person's groups has a role in the app.
    NoRole,
    /// The provider did not confirm it, or what it sent is not of this login.
    Refused,
    /// The provider cannot be reached, is none at which browsers log in, or is busy; nothing was sent to it.
    Unavailable,
    /// It was sent a code, and answered neither that it is good nor that it is bad.
    Unusable,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

impl From<Unusable> for Unconfirmed {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unsent => Self::Unavailable,
            Unusable::Sent => Self::Unusable,
        }
    }
}

impl LoginSecret {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut secret = [0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        Self(secret)
    }

    /// The one that a text is; `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut secret = [0; SECRET_BYTES];
        hex::decode_to_slice(text, &mut secret).ok()?;
        Some(Self(secret))
    }

    /// Its text, for a cookie.
    pub(crate) fn text(&self) -> String {
        hex::encode(self.0)
    }

    /// The text by which it is recognised, and from which it cannot be derived.
    pub(crate) fn state(&self) -> blake3::Hash {
        self.derived("state")
    }

    fn nonce(&self) -> String {
        self.derived("nonce").to_hex().to_string()
    }

    /// The verifier of PKCE: 43 characters, as RFC 7636 §4.1 recommends.
    fn verifier(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.derived("verifier").as_bytes())
    }

    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier().as_bytes()))
    }

    fn derived(&self, what: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"devanture 2026 login of a visitor ").update(what.as_bytes());
        hasher.finalize()
    }
}

impl Credentials {
    /// Whether there is a provider at which people log in.
    pub(crate) fn has_provider(&self) -> bool {
        self.trusts.oidc.load().is_some()
    }

    /// The address at the provider where a browser logs in, which then comes back to `callback` with a code.
    ///
    /// # Errors
    /// [`Unconfirmed::Unavailable`].
    pub(crate) async fn provider_address(&self, callback: &str, secret: &LoginSecret) -> Result<String, Unconfirmed> {
        let oidc = self.trusts.oidc.load_full().ok_or(Unconfirmed::Unavailable)?;
        let endpoints = self.trusts.issuers.endpoints(&oidc.issuer).await.map_err(|_wait| Unconfirmed::Unavailable)?;
        let (Some(address), Some(_)) = (&endpoints.authorization, &endpoints.token) else {
            if self.trusts.log_quota.take() {
                let issuer = &oidc.issuer;
                tracing::warn!(%issuer, "the provider of `[oidc]` publishes no way for browsers to log in");
            }
            return Err(Unconfirmed::Unavailable);
        };
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &oidc.client_id),
            ("redirect_uri", callback),
            ("scope", &oidc.scopes.join(" ")),
            ("state", secret.state().to_hex().as_str()),
            ("nonce", &secret.nonce()),
            ("code_challenge", &secret.challenge()),
            ("code_challenge_method", "S256"),
        ]);
        let separator = if address.contains('?') { '&' } else { '?' };
        Ok(format!("{address}{separator}{query}"))
    }

    /// Confirms a login by the code that the provider gave its browser.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn confirm_visitor(
        &self,
        (code, issuer): (&str, Option<&str>),
        callback: &str,
        secret: &LoginSecret,
        app: &AppName,
        from: Option<IpAddr>,
    ) -> Result<Confirmed, Unconfirmed> {
        let attempt = self.attempts.begin_identity(from).map_err(|wait| {
            exchange::count(exchange::OIDC_LABEL, "limited");
            Unconfirmed::Limited { retry_s: exchange::seconds(wait) }
        })?;
        let confirmed = self.redeem((code, issuer), callback, secret, app, from).await;
        // What is let in does not count, nor what no other code can help, nor what the provider was not sent.
        if !matches!(confirmed, Err(Unconfirmed::Refused | Unconfirmed::Unusable)) {
            self.attempts.take_back_identity(&attempt);
        }
        let outcome = match &confirmed {
            Ok(_) => "ok",
            Err(Unconfirmed::NoRole) => "no_role",
            Err(Unconfirmed::Limited { .. } | Unconfirmed::Refused) => "refused",
            Err(Unconfirmed::Unavailable | Unconfirmed::Unusable) => "unavailable",
        };
        exchange::count(exchange::OIDC_LABEL, outcome);
        confirmed
    }

    /// The provider sent a browser back without a code: the log says by which of its words (RFC 6749 §4.1.2.1).
    pub(crate) fn denied_visitor(&self, error: Option<&str>, app: &AppName, from: Option<IpAddr>) -> Unconfirmed {
        // The browser can write what it likes into it.
        let word = error.filter(|error| error.len() <= ERROR_BYTES_MAX && error.bytes().all(|b| b.is_ascii_graphic()));
        exchange::count(exchange::OIDC_LABEL, "refused");
        self.not_confirmed(&format!("the provider gives no code, and says {}", word.unwrap_or("nothing")), app, from)
    }

    async fn redeem(
        &self,
        (code, issuer): (&str, Option<&str>),
        callback: &str,
        secret: &LoginSecret,
        app: &AppName,
        from: Option<IpAddr>,
    ) -> Result<Confirmed, Unconfirmed> {
        let oidc = self.trusts.oidc.load_full().ok_or(Unconfirmed::Unavailable)?;
        // RFC 9207 §2.4: a code of another provider is not sent to this one.
        if issuer.is_some_and(|issuer| issuer != oidc.issuer.as_str()) {
            return Err(self.not_confirmed("the code is of another issuer", app, from));
        }
        if code.is_empty() || code.len() > CODE_BYTES_MAX {
            return Err(self.not_confirmed("the code is empty or too long", app, from));
        }
        let _permit = self.trusts.visitors.try_acquire().map_err(|_busy| Unconfirmed::Unavailable)?;
        let client = self.trusts.client(Arc::clone(&oidc)).await?;
        let address = client.endpoints.token.as_ref().ok_or(Unconfirmed::Unavailable)?;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback),
            ("code_verifier", &secret.verifier()),
        ];
        // Each begun login sends the provider one code, whatever its browser comes back with.
        let state = secret.state();
        if !self.trusts.is_first(&state) {
            return Err(self.not_confirmed("a code of this login was redeemed before", app, from));
        }
        let sent = self.trusts.send(&client, address, &fields).await;
        if sent == Err(Unusable::Unsent) {
            self.trusts.take_back_first(&state);
        }
        let (status, answer) = sent?;
        match status {
            StatusCode::OK => {}
            // RFC 6749 §5.2.
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
                return Err(self.not_confirmed("the provider refuses the code, or the client", app, from));
            }
            _ => {
                if self.trusts.log_quota.take() {
                    tracing::warn!(issuer = %oidc.issuer, %status, "a code cannot be redeemed at its issuer");
                }
                return Err(Unconfirmed::Unusable);
            }
        }
        let Ok(TokenAnswer { id_token }) = serde_json::from_slice(&answer) else {
            return Err(self.not_confirmed("the provider gives no identity token for the code", app, from));
        };
        let jwt = match self.checked(&oidc, &id_token, secret).await? {
            Ok(jwt) => jwt,
            Err(reason) => return Err(self.not_confirmed(&reason, app, from)),
        };
        let person = oidc::person(&jwt.claims).map_err(|reason| self.not_confirmed(&reason, app, from))?;
        let groups = oidc::groups(&oidc, &jwt.claims);
        if oidc.grant(&groups, Some(app), None).is_none() {
            if self.log_quota.take() {
                let (app, from) = (app.as_str(), from_text(from));
                tracing::warn!(target: "audit", app, person, from, "no group of a visitor has a role");
            }
            return Err(Unconfirmed::NoRole);
        }
        let (app, from) = (app.as_str(), from_text(from));
        tracing::info!(target: "audit", app, person, from, "a visitor logged in");
        // Those that no role is for say nothing to the edge.
        let is_named = |group: &&str| oidc.groups.iter().any(|named| named.group == *group);
        let groups = groups.into_iter().filter(is_named).map(str::to_owned).collect();
        let person = Person::of_provider(person, oidc::client_of(&oidc), groups);
        Ok(Confirmed { person, lifetime_s: oidc.lifetime_s })
    }

    /// The identity token of a login, if it is that of this one (OpenID Connect Core 1.0 §3.1.3.7); else why it is not.
    async fn checked<'t>(
        &self,
        oidc: &Oidc,
        text: &'t str,
        secret: &LoginSecret,
    ) -> Result<Result<Jwt<'t>, String>, Unconfirmed> {
        let bytes_max = usize::try_from(self.limits.identity_token_bytes_max).unwrap_or(usize::MAX);
        if text.len() > bytes_max {
            let bytes = text.len();
            return Ok(Err(format!("its identity token has {bytes} bytes, and `{LENGTH_LIMIT}` allows {bytes_max}")));
        }
        let jwt = match jwt::parse(text) {
            Ok(jwt) => jwt,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        if jwt.text("iss") != Some(oidc.issuer.as_str()) {
            return Ok(Err("its identity token is of another issuer".to_owned()));
        }
        // The code was redeemed by then.
        let verdict = self.trusts.issuers.check(&oidc.issuer, &jwt).await.map_err(|_wait| Unconfirmed::Unusable)?;
        if verdict != Verdict::Good {
            return Ok(Err("no key of the provider made its signature".to_owned()));
        }
        if !oidc::is_for_client(oidc, &jwt.claims) {
            return Ok(Err("its identity token is for another client".to_owned()));
        }
        if let Err(reason) = check_times(&jwt.claims, telemetry::now_ms(), self.limits.identity_token_ms_max) {
            return Ok(Err(reason));
        }
        if jwt.text("nonce") != Some(&secret.nonce()) {
            return Ok(Err("its nonce is that of another login".to_owned()));
        }
        Ok(Ok(jwt))
    }

    fn not_confirmed(&self, reason: &str, app: &AppName, from: Option<IpAddr>) -> Unconfirmed {
        if self.log_quota.take() {
            tracing::warn!(target: "audit", app = app.as_str(), from = from_text(from), reason, "a login of a visitor was refused");
        }
        Unconfirmed::Refused
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
