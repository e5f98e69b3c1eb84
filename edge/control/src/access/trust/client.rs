//! The edge as a client of the provider of `[oidc]`: requests to its endpoints, with the client secret if configured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use devanture_config::api::Secret;
use devanture_config::edge_toml::Oidc;
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::fetch::Endpoints;
use super::{Trusts, client_secret};
use devanture_base::clock;
use devanture_serve::proxy::retry_after_ms;

/// Encoded characters of a form: providers that do not decode a secret accept usual characters unencoded.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// Client.
pub(super) struct Client {
    pub(super) oidc: Arc<Oidc>,
    pub(super) endpoints: Arc<Endpoints>,
    secret: Option<Secret>,
}

/// Seconds without a request to an overloaded or failing provider, by default, and the maximum accepted from the
/// provider.
const PAUSE_S: u64 = 2;
const PAUSE_S_MAX: u64 = 60;

/// The provider is unusable, as explained in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// No request was sent.
    Unsent,
    /// A request was sent, without a proper answer.
    Sent,
}

impl Trusts {
    /// Returns the client at a provider.
    pub(super) async fn client(&self, oidc: Arc<Oidc>) -> Result<Client, Unusable> {
        let read = |path| {
            client_secret::read(path).map_err(|error| {
                if self.log_quota.take(&()).is_ok() {
                    let path = path.display();
                    tracing::error!(%path, %error, "the secret of the client of [oidc] cannot be used");
                }
                Unusable::Unsent
            })
        };
        let secret = oidc.client_secret_file.as_deref().map(read).transpose()?;
        let endpoints = self.issuers.endpoints(&oidc.issuer).await.map_err(|_wait| Unusable::Unsent)?;
        Ok(Client { oidc, endpoints, secret })
    }

    /// Sends a form to an endpoint with client authentication (RFC 6749 §2.3.1). Any status counts as an answer. After
    /// a status of overload or failure, requests pause for a while.
    pub(super) async fn send(
        &self,
        client: &Client,
        url: &str,
        fields: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes), Unusable> {
        if self.paused_until.lock().is_some_and(|until| Instant::now() < until) {
            return Err(Unusable::Unsent);
        }
        let Client { oidc, endpoints, secret } = client;
        let mut pairs = vec![("client_id", oidc.client_id.as_str())];
        pairs.extend_from_slice(fields);
        let mut authorization = None;
        match secret {
            Some(secret) if endpoints.is_basic => {
                let pair = format!("{}:{}", encoded(&oidc.client_id), encoded(secret.expose()));
                authorization = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok();
                authorization.iter_mut().for_each(|field| field.set_sensitive(true));
            }
            Some(secret) => pairs.push(("client_secret", secret.expose())),
            None => {}
        }
        let answered = self.issuers.post(&oidc.issuer, url, form(&pairs), authorization).await;
        let (head, body) = answered.map_err(|error| {
            if self.log_quota.take(&()).is_ok() {
                tracing::warn!(issuer = %oidc.issuer, %error, "the provider of [oidc] does not answer");
            }
            if error.was_sent() { Unusable::Sent } else { Unusable::Unsent }
        })?;
        if let Some(pause) = pause_after(head.status, &head.headers) {
            *self.paused_until.lock() = Some(Instant::now() + pause);
        }
        Ok((head.status, body))
    }
}

/// Returns the pause of requests after an answer with the status (RFC 6585 §4, RFC 9110 §15.6.3 to §15.6.5). A provider
/// may answer 500 to an invalid code, which says nothing about later codes.
fn pause_after(status: StatusCode, head: &HeaderMap) -> Option<Duration> {
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {}
        _ => return None,
    }
    let pause = retry_after_ms(head, clock::now_ms()).map_or(Duration::from_secs(PAUSE_S), Duration::from_millis);
    Some(pause.clamp(Duration::from_secs(1), Duration::from_secs(PAUSE_S_MAX)))
}

/// Encodes pairs as a query or form.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn a_provider_that_is_busy_or_down_is_left_alone_for_a_bounded_time() {
        let pause = |status: u16, retry: &str| {
            let head = HeaderMap::from_iter([(RETRY_AFTER, retry.parse().unwrap())]);
            pause_after(StatusCode::from_u16(status).unwrap(), &head).map(|pause| pause.as_secs())
        };
        assert_eq!([200, 400, 403, 500].map(|status| pause(status, "9")), [None; 4]);
        assert_eq!((pause(429, "9"), pause(503, "0"), pause(504, "86400")), (Some(9), Some(1), Some(60)));
        assert_eq!((pause(429, "Thu, 01 Jan 1970 00:00:09 GMT"), pause(429, "soon")), (Some(1), Some(2)));
        assert_eq!(pause(503, "18446744073709551616"), Some(60));
    }

    #[test]
    fn nothing_in_a_value_ends_it() {
        assert_eq!(form(&[("a", "b c&d=e"), ("f", "é/:")]), "a=b%20c%26d%3De&f=%C3%A9%2F%3A");
    }
}
