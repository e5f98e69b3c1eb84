//! The device authorization grant (RFC 8628): a person confirms a code in a browser, on any machine, and this machine
//! gets the identity token. For a client with a secret, known only to the edge, the edge makes the requests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::api::{DevicePrompt, DeviceRequest, DeviceTokenRequest, DeviceWaiting, Exchanged, Secret};
use devanture_config::edge_toml::Issuer;
use devanture_config::problem::Code;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::client::{self, Link, Refusal};
use super::{credential, http};
use crate::output::exit::Failure;

/// Longest time for one answer of the provider.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Upper bound of its bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;
/// Longest time for the person, whatever the provider allows.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(1_800);
/// Default pause between two requests (§3.2), its bounds, and the increment of `slow_down` (§3.5).
const INTERVAL_S: u64 = 5;
const INTERVAL_S_MAX: u64 = 60;
const SLOWER: Duration = Duration::from_secs(5);
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The provider named by an edge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    issuer: Issuer,
    client_id: String,
    scopes: String,
    /// The PEM file of CAs to trust besides those of the system.
    ca: Option<PathBuf>,
    /// Set if a login goes through the edge, as the client has a secret.
    pub(crate) is_through_edge: bool,
}

/// The instructions for the person.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// The address to open.
    pub(crate) address: String,
    /// The code to enter there.
    pub(crate) code: String,
    device_code: Secret,
    token_url: Url,
    interval: Duration,
    life: Duration,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    device_authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
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

/// The provider's answer to a request for the token.
#[derive(Debug, PartialEq, Eq)]
enum Polled {
    Token(Secret),
    Pending,
    SlowDown,
    Failed(String, &'static str),
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<Secret>,
    error: Option<String>,
}

impl Provider {
    /// Returns the provider in the field `WWW-Authenticate` of a refusal.
    pub(crate) fn of_challenge(field: &str) -> Option<Self> {
        let text = |name: &str| {
            let (_, rest) = field.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(text, _)| text.to_owned())
        };
        let issuer = text("oidc_issuer")?.parse().ok()?;
        let is_through_edge = text("oidc_device").is_some_and(|way| way == "edge");
        let (client_id, scopes) = (text("oidc_client_id")?, text("oidc_scopes")?);
        Some(Self { issuer, client_id, scopes, ca: None, is_through_edge })
    }

    /// Adds the CAs of a PEM file to those of the system.
    pub(crate) fn trusted_by(self, ca: Option<&Path>) -> Self {
        Self { ca: ca.map(Path::to_owned), ..self }
    }

    /// Begins a login.
    ///
    /// # Errors
    /// `unreachable` without a valid answer of the provider.
    pub(crate) async fn begin(&self) -> Result<Prompt, Failure> {
        let url = self.issuer.discovery_url();
        let found: Discovery = self.answer(reqwest::Method::GET, &url, None).await?.1;
        // Discovery 1.0 §4.3: byte for byte, or one provider could impersonate a second one.
        if found.issuer != self.issuer.as_str() {
            return Err(self.failed("its document is of another issuer"));
        }
        let endpoint = |text: Option<String>| text.and_then(|text| self.issuer.keys_url(&text)?.parse::<Url>().ok());
        let (Some(device_url), Some(token_url)) =
            (endpoint(found.device_authorization_endpoint), endpoint(found.token_endpoint))
        else {
            return Err(self.failed("its document names no device authorization endpoint"));
        };
        let form = [("client_id", self.client_id.as_str()), ("scope", self.scopes.as_str())];
        let (is_good, value) = self.answer(reqwest::Method::POST, device_url.as_str(), Some(&form)).await?;
        let bad = || self.failed("it does not begin a login: is the device grant allowed for the client?");
        let answer: Authorization = serde_json::from_value(value).ok().filter(|_| is_good).ok_or_else(bad)?;
        if !can_be_shown(&answer.user_code, &answer.verification_uri) {
            return Err(bad());
        }
        Ok(Prompt {
            address: answer.verification_uri,
            code: answer.user_code,
            device_code: answer.device_code,
            token_url,
            interval: Duration::from_secs(answer.interval.unwrap_or(INTERVAL_S).clamp(1, INTERVAL_S_MAX)),
            life: Duration::from_secs(answer.expires_in).min(LOGIN_TIME_MAX),
        })
    }

    /// Waits until the person has confirmed the code. Returns the identity token.
    ///
    /// # Errors
    /// `forbidden` if the login is denied, `unauthenticated` after the time limit, `unreachable`.
    pub(crate) async fn wait(&self, prompt: &Prompt) -> Result<Secret, Failure> {
        let until = Instant::now() + prompt.life;
        let mut interval = prompt.interval;
        let form = [
            ("grant_type", GRANT),
            ("device_code", prompt.device_code.expose()),
            ("client_id", self.client_id.as_str()),
        ];
        loop {
            if Instant::now() + interval >= until {
                return Err(self.late());
            }
            tokio::time::sleep(interval).await;
            match self.answer(reqwest::Method::POST, prompt.token_url.as_str(), Some(&form)).await {
                Ok((is_good, value)) => match polled(is_good, value) {
                    Polled::Token(token) => return Ok(token),
                    Polled::Pending => {}
                    Polled::SlowDown => interval += SLOWER,
                    Polled::Failed(error, _) if error == "expired_token" => return Err(self.late()),
                    Polled::Failed(error, _) if error == "access_denied" => {
                        return Err(Failure::new(Code::Forbidden, format!("The login was denied at {}.", self.issuer)));
                    }
                    Polled::Failed(_, why) => return Err(self.failed(why)),
                },
                // §3.5: a provider without an answer is given more time; `until` bounds the wait.
                Err(_) => interval = (interval * 2).min(Duration::from_secs(INTERVAL_S_MAX)),
            }
        }
    }

    fn late(&self) -> Failure {
        Failure::new(Code::Unauthenticated, format!("The code was not confirmed in time at {}.", self.issuer))
            .hint("`devanture login --oidc` makes another one")
    }

    fn failed(&self, why: &str) -> Failure {
        Failure::new(Code::Unreachable, format!("Nobody can log in at {}: {why}.", self.issuer))
            .hint("`[oidc]` of the edge's edge.toml names the provider and the client")
    }

    /// Returns an answer of JSON, and true for a successful status.
    async fn answer<T: DeserializeOwned>(
        &self,
        method: reqwest::Method,
        url: &str,
        form: Option<&[(&str, &str)]>,
    ) -> Result<(bool, T), Failure> {
        let url: Url = url.parse().map_err(|_error| self.failed("its address is none"))?;
        let http = http::client(&url, self.ca.as_deref(), ANSWER_TIME_MAX)?;
        let mut request = http.request(method, url).header(ACCEPT, "application/json");
        if let Some(form) = form {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        }
        let lost = |error| http::lost(error, |why| self.failed(why));
        let mut response = request.send().await.map_err(lost)?;
        let is_good = response.status().is_success();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.failed("its answer does not end"));
            }
        }
        let value = serde_json::from_slice(&body).map_err(|_error| self.failed("its answer is no JSON"))?;
        Ok((is_good, value))
    }
}

/// Returns true if the code and the address of a login are safe for a terminal.
fn can_be_shown(code: &str, address: &str) -> bool {
    let is_plain = |text: &str| !text.is_empty() && text.len() <= 2_048 && text.bytes().all(|b| b.is_ascii_graphic());
    let is_address = address.parse::<Url>().is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    is_plain(code) && is_plain(address) && is_address
}

/// The edge's answer to a request for the token.
#[derive(Deserialize)]
#[serde(untagged)]
enum DeviceAnswer {
    Exchanged(Box<Exchanged>),
    Waiting(DeviceWaiting),
}

impl Link {
    /// Begins a login through the edge.
    ///
    /// # Errors
    /// The error of the edge.
    pub(crate) async fn begin_device(&self) -> Result<DevicePrompt, Failure> {
        let attempt = async || match credential::exchange(self, &["device"], &DeviceRequest {}).await {
            // Each repetition would count as an attempt.
            Err(Refusal::Again(failure, _)) if failure.is(Code::TooManyAttempts) => Err(Refusal::Final(failure)),
            other => other,
        };
        let prompt: DevicePrompt =
            self.decoded(&client::repeat(self.waits(), client::QUESTIONS_MAX, attempt).await?)?;
        if !can_be_shown(&prompt.user_code, &prompt.verification_uri) {
            return Err(self.not_an_edge("the code of a login is no plain text"));
        }
        Ok(prompt)
    }

    /// Waits until the person has confirmed the code of a login through the edge. `wanted` names the login.
    ///
    /// # Errors
    /// The error of the edge; `unauthenticated` after the time limit.
    pub(crate) async fn wait_device(
        &self,
        prompt: &DevicePrompt,
        wanted: &DeviceTokenRequest,
    ) -> Result<Exchanged, Failure> {
        let until = Instant::now() + Duration::from_secs(prompt.expires_in_s).min(LOGIN_TIME_MAX);
        let mut interval = Duration::from_secs(prompt.interval_s.clamp(1, INTERVAL_S_MAX));
        loop {
            if Instant::now() + interval >= until {
                let message = format!("The code was not confirmed in time at {}.", prompt.verification_uri);
                let failure = Failure::new(Code::Unauthenticated, message);
                return Err(failure.hint("`devanture login --oidc` makes another one"));
            }
            tokio::time::sleep(interval).await;
            match credential::exchange(self, &["device", "token"], wanted).await {
                Ok(body) => match self.decoded(&body)? {
                    DeviceAnswer::Exchanged(exchanged) => return Ok(*exchanged),
                    DeviceAnswer::Waiting(DeviceWaiting { slower: false }) => {}
                    DeviceAnswer::Waiting(DeviceWaiting { slower: true }) => interval += SLOWER,
                },
                Err(Refusal::Again(failure, _)) if failure.is(Code::TooManyAttempts) => return Err(failure),
                Err(Refusal::Again(..)) => interval = (interval * 2).min(Duration::from_secs(INTERVAL_S_MAX)),
                Err(Refusal::Final(failure)) => return Err(failure),
            }
        }
    }
}

/// Interprets an answer of the token endpoint (§3.5).
fn polled(is_good: bool, value: serde_json::Value) -> Polled {
    let bad = || Polled::Failed(String::new(), "its answer is not what it should be");
    let Ok(answer) = serde_json::from_value::<TokenAnswer>(value) else { return bad() };
    match (is_good, answer.id_token, answer.error.as_deref()) {
        (true, Some(token), None) => Polled::Token(token),
        (true, None, None) => {
            Polled::Failed(String::new(), "it gives no identity token: is `openid` among the scopes?")
        }
        (_, _, Some("authorization_pending")) => Polled::Pending,
        (_, _, Some("slow_down")) => Polled::SlowDown,
        (_, _, Some(error)) => Polled::Failed(error.to_owned(), "it refuses the login"),
        (false, _, None) => bad(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_challenge_names_the_provider() {
        let field =
            "Bearer oidc_issuer=\"https://login.example.org\", oidc_client_id=\"cli\", oidc_scopes=\"openid email\"";
        let found = Provider::of_challenge(field).unwrap();
        assert_eq!(
            (found.issuer.as_str(), &*found.client_id, &*found.scopes),
            ("https://login.example.org", "cli", "openid email")
        );
        assert!(!found.is_through_edge);
        assert!(Provider::of_challenge(&format!("{field}, oidc_device=\"edge\"")).unwrap().is_through_edge);
        for field in
            ["Bearer", "Bearer oidc_issuer=\"http://login.example.org\", oidc_client_id=\"a\", oidc_scopes=\"b\""]
        {
            assert_eq!(Provider::of_challenge(field), None, "{field}");
        }
    }

    #[test]
    fn every_answer_of_the_token_endpoint_has_a_meaning() {
        let failed = |error: &str, why| Polled::Failed(error.to_owned(), why);
        for (is_good, value, expected) in [
            (true, json!({ "id_token": "a.b.c", "access_token": "d" }), Polled::Token(Secret::new("a.b.c"))),
            (false, json!({ "error": "authorization_pending" }), Polled::Pending),
            (false, json!({ "error": "slow_down" }), Polled::SlowDown),
            (false, json!({ "error": "access_denied" }), failed("access_denied", "it refuses the login")),
            (false, json!({ "error": "expired_token" }), failed("expired_token", "it refuses the login")),
            (false, json!({ "id_token": "a.b.c" }), failed("", "its answer is not what it should be")),
            (true, json!([]), failed("", "its answer is not what it should be")),
        ] {
            assert_eq!(polled(is_good, value.clone()), expected, "{value}");
        }
    }
}
