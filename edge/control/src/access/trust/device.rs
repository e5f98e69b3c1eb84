//! Device grant (RFC 8628) for a client with a secret: the edge, which holds the secret, requests the code for the
//! person to confirm, and then the identity token. No state is kept between the two requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{DevicePrompt, DeviceTokenRequest, DeviceWaiting, ExchangeRequest, Exchanged, Secret};
use devanture_config::edge_toml::Oidc;
use devanture_config::problem::{Code, Problem};
use http::StatusCode;
use serde::Deserialize;

use super::Trusts;
use super::client::{Client, Unusable};
use crate::access::Credentials;
use crate::ledger::Error;

/// Grant type (§3.4).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Longest text of a provider passed on, and longest returned device code, in bytes.
const TEXT_BYTES_MAX: usize = 2_048;
/// Longest time for the confirmation, whatever the provider's value, and the default polling interval (§3.2), in
/// seconds.
const LIFE_S_MAX: u64 = 1_800;
const INTERVAL_S: u64 = 5;
const INTERVAL_S_MAX: u64 = 60;
/// Most token requests of a login per window, as many as the shortest interval permits: a faster client is told to slow
/// down, without a request to the provider.
pub(super) const POLLS_MAX: usize = 64;
pub(super) const POLLS_WINDOW_MS: u64 = 60_000;
/// Seconds until a client retries after a failure of the provider.
const RETRY_S: u64 = 5;

/// Result of a token request.
#[derive(Debug)]
pub enum DeviceLogin {
    /// The person has confirmed the code.
    Exchanged(Box<Exchanged>),
    /// Not yet confirmed.
    Waiting(DeviceWaiting),
}

#[derive(Deserialize)]
struct Authorization {
    device_code: Secret,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

/// Response of the token endpoint.
#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<Secret>,
    error: Option<String>,
}

/// Meaning of the response (§3.5).
#[derive(Debug, PartialEq, Eq)]
enum Polled {
    /// Incomprehensible, or an unknown client or secret: a problem for the operator.
    BadClient,
    Denied,
    /// Invalid or expired device code.
    Ended,
    Pending,
    SlowDown,
    Token(Secret),
}

impl Credentials {
    /// Begins a login of a person at the provider. Each counts as an attempt of its address, whatever the outcome.
    ///
    /// # Errors
    /// `unauthenticated` without logins through the edge, `too_many_attempts`, `identity_keys_unavailable`.
    pub async fn begin_device(&self, from: Option<IpAddr>) -> Result<DevicePrompt, Error> {
        let oidc = self.trusts.confidential()?;
        self.attempts.begin_identity(from).map_err(super::exchange::limited)?;
        let _permit = self.trusts.devices.try_acquire().map_err(|_busy| silent(Unusable::Unsent))?;
        let client = self.trusts.client(oidc).await.map_err(silent)?;
        let scopes = client.oidc.scopes.join(" ");
        let address = self.trusts.device_endpoints(&client).map_err(silent)?.0;
        let (status, body) = self.trusts.send(&client, address, &[("scope", &scopes)]).await.map_err(silent)?;
        let answer = serde_json::from_slice::<Authorization>(&body).ok().filter(|_| status == StatusCode::OK);
        // The texts are shown in a terminal.
        let is_plain =
            |text: &str| (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let is_address = |text: &str| ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
        let answer = answer.filter(|answer| {
            is_plain(answer.device_code.expose())
                && is_plain(&answer.user_code)
                && is_plain(&answer.verification_uri)
                && is_address(&answer.verification_uri)
        });
        let Some(answer) = answer else {
            if self.trusts.log_quota.take(&()).is_ok() {
                let issuer = &client.oidc.issuer;
                tracing::error!(%issuer, %status, "the provider begins no login: is the device grant allowed, and the secret right?");
            }
            return Err(silent(Unusable::Sent));
        };
        Ok(DevicePrompt {
            device_code: answer.device_code,
            user_code: answer.user_code,
            verification_uri: answer.verification_uri,
            expires_in_s: answer.expires_in.min(LIFE_S_MAX),
            interval_s: answer.interval.unwrap_or(INTERVAL_S).clamp(1, INTERVAL_S_MAX),
        })
    }

    /// Returns the token of a confirmed login, created as by [`Credentials::exchange`].
    ///
    /// # Errors
    /// As [`Credentials::begin_device`] and [`Credentials::exchange`]; `forbidden` for a login denied by the person,
    /// `bad_identity_token` for an invalid or expired device code.
    pub async fn device_token(&self, request: &DeviceTokenRequest, from: Option<IpAddr>) -> Result<DeviceLogin, Error> {
        let oidc = self.trusts.confidential()?;
        let attempt = self.attempts.begin_identity(from).map_err(super::exchange::limited)?;
        let polled = self.polled(oidc, &request.device_code).await;
        // Pending logins and requests never sent to the provider do not count; an identity token counts below.
        if matches!(polled, Ok(Polled::Pending | Polled::Token(_)) | Err(Unusable::Unsent)) {
            self.attempts.take_back_identity(&attempt);
        }
        match polled.map_err(silent)? {
            Polled::BadClient => Err(silent(Unusable::Sent)),
            Polled::Denied => Err(Problem::new(Code::Forbidden, "The login was denied at the provider.").into()),
            Polled::Ended => {
                let detail = "The code was not confirmed in time, or the device code is none.";
                let problem = Problem::new(Code::BadIdentityToken, detail);
                Err(problem.hint("begin another login").into())
            }
            Polled::Pending => Ok(DeviceLogin::Waiting(DeviceWaiting { slower: false })),
            Polled::SlowDown => Ok(DeviceLogin::Waiting(DeviceWaiting { slower: true })),
            Polled::Token(identity_token) => {
                let (app, environment) = (request.app.clone(), request.environment.clone());
                let request = ExchangeRequest { identity_token, app, environment };
                let exchanged = Box::pin(self.exchange(&request, from)).await?;
                Ok(DeviceLogin::Exchanged(Box::new(exchanged)))
            }
        }
    }

    async fn polled(&self, oidc: Arc<Oidc>, device_code: &Secret) -> Result<Polled, Unusable> {
        if device_code.expose().len() > TEXT_BYTES_MAX {
            return Ok(Polled::Ended);
        }
        if !self.trusts.may_poll(device_code) {
            return Ok(Polled::SlowDown);
        }
        let _permit = self.trusts.devices.try_acquire().map_err(|_busy| Unusable::Unsent)?;
        let client = self.trusts.client(oidc).await?;
        let form = [("grant_type", GRANT), ("device_code", device_code.expose())];
        let address = self.trusts.device_endpoints(&client)?.1;
        let (status, body) = self.trusts.send(&client, address, &form).await?;
        let polled = polled(status, &body);
        if polled == Polled::BadClient && self.trusts.log_quota.take(&()).is_ok() {
            let issuer = &client.oidc.issuer;
            tracing::error!(%issuer, %status, "the provider gives no identity token: is the secret right, and `openid` a scope?");
        }
        Ok(polled)
    }
}

impl Trusts {
    /// Returns the provider, if its client has a secret.
    fn confidential(&self) -> Result<Arc<Oidc>, Error> {
        let oidc = self.oidc.load_full().filter(|oidc| oidc.client_secret_file.is_some());
        oidc.ok_or_else(|| {
            Problem::new(Code::Unauthenticated, "No login goes through this edge.")
                .hint("`client_secret_file` below [oidc] in edge.toml is for a client that has a secret")
                .into()
        })
    }

    /// Returns the endpoints of the device grant and of its token.
    fn device_endpoints<'c>(&self, client: &'c Client) -> Result<(&'c str, &'c str), Unusable> {
        let endpoints = &client.endpoints;
        endpoints.device.as_deref().zip(endpoints.token.as_deref()).ok_or_else(|| {
            if self.log_quota.take(&()).is_ok() {
                let issuer = &client.oidc.issuer;
                tracing::error!(%issuer, "the provider names no endpoints of the device grant over https://");
            }
            Unusable::Unsent
        })
    }
}

/// Refusal after a misunderstanding with the provider, explained in the log.
fn silent(_unusable: Unusable) -> Error {
    super::exchange::unavailable(
        "The provider at which people log in does not answer as it should.",
        Duration::from_secs(RETRY_S),
    )
}

fn polled(status: StatusCode, body: &[u8]) -> Polled {
    let Ok(answer) = serde_json::from_slice::<TokenAnswer>(body) else { return Polled::BadClient };
    match (status.is_success(), answer.id_token, answer.error.as_deref()) {
        (true, Some(token), None) => Polled::Token(token),
        (_, _, Some("authorization_pending")) => Polled::Pending,
        (_, _, Some("slow_down")) => Polled::SlowDown,
        // Entra ID has its own codes for a denied login and for an invalid device code.
        (_, _, Some("access_denied" | "authorization_declined")) => Polled::Denied,
        (_, _, Some("bad_verification_code" | "expired_token" | "invalid_grant" | "invalid_request")) => Polled::Ended,
        _ => Polled::BadClient,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_answer_of_the_token_endpoint_has_a_meaning() {
        for (status, value, expected) in [
            (200, json!({ "id_token": "a.b.c", "access_token": "d" }), Polled::Token(Secret::new("a.b.c"))),
            (200, json!({ "access_token": "d" }), Polled::BadClient),
            (400, json!({ "error": "authorization_pending" }), Polled::Pending),
            (400, json!({ "error": "slow_down" }), Polled::SlowDown),
            (400, json!({ "error": "access_denied" }), Polled::Denied),
            (400, json!({ "error": "authorization_declined" }), Polled::Denied),
            (400, json!({ "error": "bad_verification_code" }), Polled::Ended),
            (400, json!({ "error": "expired_token" }), Polled::Ended),
            (400, json!({ "error": "invalid_grant" }), Polled::Ended),
            (401, json!({ "error": "invalid_client" }), Polled::BadClient),
            (400, json!({ "id_token": "a.b.c" }), Polled::BadClient),
            (502, json!("down"), Polled::BadClient),
        ] {
            let found = polled(StatusCode::from_u16(status).unwrap(), value.to_string().as_bytes());
            assert_eq!(found, expected, "{value}");
        }
    }
}
