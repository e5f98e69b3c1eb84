//! The edge as a client of the provider of `[oidc]`: requests to its endpoints, with the secret where the client has one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use devanture_config::api::Secret;
use devanture_config::edge_toml::Oidc;
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::fetch::Endpoints;
use super::{Trusts, client_secret};

/// What a form encodes: providers that do not decode a secret take one of the usual characters as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// The client.
pub(super) struct Client {
    pub(super) oidc: Arc<Oidc>,
    pub(super) endpoints: Arc<Endpoints>,
    secret: Option<Secret>,
}

/// The provider cannot be used; the log says why.
#[derive(Debug)]
pub(super) struct Unusable;

impl Trusts {
    /// The client at a provider.
    pub(super) async fn client(&self, oidc: Arc<Oidc>) -> Result<Client, Unusable> {
        let read = |path| {
            client_secret::read(path).map_err(|error| {
                tracing::error!(path = %path.display(), %error, "the secret of the client of [oidc] cannot be used");
                Unusable
            })
        };
        let secret = oidc.client_secret_file.as_deref().map(read).transpose()?;
        let endpoints = self.issuers.endpoints(&oidc.issuer).await.map_err(|_wait| Unusable)?;
        Ok(Client { oidc, endpoints, secret })
    }

    /// Sends a form to an endpoint as the client, whose secret the provider checks (RFC 6749 §2.3.1). Any status is an
    /// answer.
    pub(super) async fn send(
        &self,
        client: &Client,
        url: &str,
        fields: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes), Unusable> {
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
        self.issuers.fetcher.post(url, form(&pairs), authorization).await.map_err(|error| {
            tracing::warn!(issuer = %oidc.issuer, %error, "the provider of [oidc] does not answer");
            Unusable
        })
    }
}

/// Pairs as a query or a form has them.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_ends_it() {
        assert_eq!(form(&[("a", "b c&d=e"), ("f", "é/:")]), "a=b%20c%26d%3De&f=%C3%A9%2F%3A");
    }
}
