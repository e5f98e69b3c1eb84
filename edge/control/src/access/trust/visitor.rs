//! Visitor logins at the provider of `[oidc]`: authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636).
//!
//! The edge keeps no state of a pending login. A browser holds the login's secret in a cookie; `state`, nonce and PKCE
//! verifier are derived from the secret, so that a code is usable only with the cookie of its own login.

use std::net::IpAddr;
use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::edge_toml::Oidc;
use http::StatusCode;
use serde::Deserialize;

use super::claims::check_times;
use super::client::{Unusable, form};
use super::exchange::LENGTH_LIMIT;
use super::jwks::Verdict;
use super::jwt::{self, Jwt};
use super::{exchange, oidc};
use crate::access::Credentials;
use crate::ledger::from_text;
use devanture_base::clock;
use devanture_serve::handler::{Confirmed, KnownBy, LoginSecret, Person, Unconfirmed};

/// Longest redeemed code, in bytes.
const CODE_BYTES_MAX: usize = 4_096;

/// Longest logged error code, in bytes.
const ERROR_BYTES_MAX: usize = 64;
/// Longest memory of a pending login, in milliseconds: beyond the lifetime of its cookie.
pub(super) const LOGIN_MS_MAX: u64 = 900_000;

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

impl Credentials {
    /// Returns true if a login provider is configured.
    pub(crate) fn has_provider(&self) -> bool {
        self.trusts.oidc.load().is_some()
    }

    /// Returns the provider's login address for a browser, which returns to `callback` with a code.
    ///
    /// # Errors
    /// [`Unconfirmed::Unavailable`].
    pub(in crate::access) async fn address_at_provider(
        &self,
        callback: &str,
        secret: &LoginSecret,
    ) -> Result<String, Unconfirmed> {
        let oidc = self.trusts.oidc.load_full().ok_or(Unconfirmed::Unavailable)?;
        let endpoints = self.trusts.issuers.endpoints(&oidc.issuer).await.map_err(|_wait| Unconfirmed::Unavailable)?;
        let (Some(address), Some(_)) = (&endpoints.authorization, &endpoints.token) else {
            if self.trusts.log_quota.take(&()).is_ok() {
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

    /// Confirms a login by the provider's code.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub(in crate::access) async fn confirm_visitor(
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
        // Successful logins, failures of any code, and requests never sent to the provider do not count.
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

    /// Handles a return without a code; the provider's error code is logged (RFC 6749 §4.1.2.1).
    pub(in crate::access) fn denied_visitor(
        &self,
        error: Option<&str>,
        app: &AppName,
        from: Option<IpAddr>,
    ) -> Unconfirmed {
        // The text is controlled by the browser.
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
        // RFC 9207 §2.4: a code of another provider must not be sent.
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
        // Each login sends the provider one code, whatever its browser returns.
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
                if self.trusts.log_quota.take(&()).is_ok() {
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
            if self.log_quota.take(&()).is_ok() {
                let (app, from) = (app.as_str(), from_text(from));
                tracing::warn!(target: "audit", app, person, from, "no group of a visitor has a role");
            }
            return Err(Unconfirmed::NoRole);
        }
        let (app, from) = (app.as_str(), from_text(from));
        tracing::info!(target: "audit", app, person, from, "a visitor logged in");
        // Groups without any role are irrelevant.
        let is_named = |group: &&str| oidc.groups.iter().any(|named| named.group == *group);
        let groups = groups.into_iter().filter(is_named).map(str::to_owned).collect();
        let person = Person { name: person, known_by: KnownBy::Provider { client: oidc::client_of(&oidc), groups } };
        Ok(Confirmed { person, lifetime_s: oidc.lifetime_s })
    }

    /// Checks that an identity token belongs to the login (OpenID Connect Core 1.0 §3.1.3.7); returns the mismatch
    /// otherwise.
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
        // The code has already been redeemed.
        let verdict = self.trusts.issuers.check(&oidc.issuer, &jwt).await.map_err(|_wait| Unconfirmed::Unusable)?;
        if verdict != Verdict::Good {
            return Ok(Err("no key of the provider made its signature".to_owned()));
        }
        if !oidc::is_for_client(oidc, &jwt.claims) {
            return Ok(Err("its identity token is for another client".to_owned()));
        }
        if let Err(reason) = check_times(&jwt.claims, clock::now_ms(), self.limits.identity_token_ms_max) {
            return Ok(Err(reason));
        }
        if jwt.text("nonce") != Some(&secret.nonce()) {
            return Ok(Err("its nonce is that of another login".to_owned()));
        }
        Ok(Ok(jwt))
    }

    fn not_confirmed(&self, reason: &str, app: &AppName, from: Option<IpAddr>) -> Unconfirmed {
        if self.log_quota.take(&()).is_ok() {
            tracing::warn!(target: "audit", app = app.as_str(), from = from_text(from), reason, "a login of a visitor was refused");
        }
        Unconfirmed::Refused
    }
}
