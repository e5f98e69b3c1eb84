//! Identity tokens of CI systems, and the tokens of the edge received in exchange.
//!
//! GitHub Actions makes an identity token for each request, and so does the agent of Buildkite. A token of a variable
//! is exchanged once: the result is stored in the state folder, so that a second command of the same job finds it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::{ExchangeRequest, Exchanged, Secret};
use devanture_config::problem::Code;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use super::buildkite_agent;
use super::client::{self, Link, Refusal};
use super::http;
use super::session_store::Store;
use super::token_life::{is_worth_showing, now_s};
use crate::output::exit::Failure;
use crate::settings::{EdgeAccess, IdentityAccess, Origin, Token};

/// Longest time for an exchange; the edge may have to fetch the keys of the issuer.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time for an identity token of GitHub Actions.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);
/// Upper bound of bytes of the answer.
const ANSWER_BYTES_MAX: usize = 128 * 1_024;

/// An identity token, and the result of its last exchange.
#[derive(Debug)]
pub(crate) struct Identity {
    access: IdentityAccess,
    /// The PEM file of CAs to trust besides those of the system.
    ca: Option<PathBuf>,
    store: Option<Store>,
    current: Mutex<Option<IdentitySession>>,
}

/// A token received in exchange for an identity token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdentitySession {
    token: Secret,
    /// End of the token, in seconds since 1970 UTC.
    expires_s: u64,
    /// The environment of the token; `None` for all.
    environment: Option<PlaceName>,
}

/// The answer of GitHub Actions.
#[derive(Deserialize)]
struct Requested {
    value: Secret,
}

impl IdentitySession {
    fn is_good(&self, refused: Option<&HeaderValue>) -> bool {
        is_worth_showing(&self.token, self.expires_s, refused)
    }
}

impl Identity {
    pub(crate) fn of(access: &EdgeAccess, identity: &IdentityAccess) -> Self {
        // If each request gets a new token, there is no result to store.
        let store = match &identity.origin {
            Origin::GitHub { .. } | Origin::Buildkite { .. } => None,
            Origin::Variable(_, token) => Store::of_identity(access, identity, token.secret()),
        };
        Self { access: identity.clone(), ca: access.ca.clone(), store, current: Mutex::default() }
    }

    /// Returns true if a new token can be obtained after a refusal or the end of a token.
    pub(crate) fn is_renewable(&self) -> bool {
        matches!(self.access.origin, Origin::GitHub { .. } | Origin::Buildkite { .. })
    }

    /// Returns a valid token: the current one, the stored one, or a new one.
    ///
    /// # Errors
    /// The error of the edge about the identity token; `unreachable` if none can be obtained.
    pub(crate) async fn token(&self, link: &Link, refused: Option<&HeaderValue>) -> Result<Secret, Failure> {
        // Of many concurrent requests, one does the exchange.
        let mut current = self.current.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.is_good(refused)) {
            return Ok(session.token.clone());
        }
        // And of many commands at once: an identity token is exchanged once.
        let _alone = match &self.store {
            Some(store) => store.lock().await,
            None => None,
        };
        let kept = self.store.as_ref().and_then(Store::read::<IdentitySession>);
        let session = match kept.filter(|session| session.is_good(refused)) {
            Some(kept) => self.usable(kept)?,
            None => self.exchange(link).await?,
        };
        *current = Some(session.clone());
        Ok(session.token)
    }

    /// Returns the stored token, if it is for the selected environment.
    fn usable(&self, kept: IdentitySession) -> Result<IdentitySession, Failure> {
        let (Some(wanted), Some(own)) = (&self.access.environment, &kept.environment) else { return Ok(kept) };
        if wanted == own {
            return Ok(kept);
        }
        let name = self.access.origin.name();
        let message = format!("The identity token of {name} was exchanged for {own} before, and not for {wanted}.");
        Err(Failure::new(Code::BadIdentityToken, message).hint(format!(
            "this job's token is for {own}: say `--env {own}`; for {wanted} its CI system has to make a second identity token"
        )))
    }

    async fn exchange(&self, link: &Link) -> Result<IdentitySession, Failure> {
        let attempt = async || {
            let identity_token = self.identity_token(link).await?;
            let IdentityAccess { app, environment, .. } = &self.access;
            let wanted = ExchangeRequest { identity_token, app: Some(app.clone()), environment: environment.clone() };
            let body = client::encoded(&wanted).map_err(Refusal::Final)?;
            let request = link.request_at(Method::POST, &["exchange"], &[]).header(CONTENT_TYPE, "application/json");
            let sent = link.send_as(request.timeout(EXCHANGE_TIME_MAX).body(body), None).await;
            match sent {
                // Each repetition would count as an attempt.
                Err(Refusal::Again(failure, _)) if failure.is(Code::TooManyAttempts) => Err(Refusal::Final(failure)),
                Err(refusal) => Err(refusal),
                Ok(response) => link.read_json::<Exchanged>(response).await,
            }
        };
        let exchanged = client::repeat(link.waits(), client::QUESTIONS_MAX, attempt).await;
        let exchanged = exchanged.map_err(|failure| self.explained(failure, link))?;
        let (name, trust) = (self.access.origin.name(), exchanged.trust.as_deref().unwrap_or_default());
        let environment = exchanged.environment.as_ref().map_or("all", PlaceName::as_str);
        let place = format!("{environment} of {}", self.access.app);
        link.progress().detail("identity", &format!("{name}  {trust}: {} in {place}", exchanged.scope));
        let expires_s = now_s().saturating_add(exchanged.expires_in_s);
        let session = IdentitySession { token: exchanged.token, expires_s, environment: exchanged.environment };
        if let Some(store) = &self.store {
            store.write(&session);
        }
        Ok(session)
    }

    /// Returns the failure of an exchange, with the exchanged token's origin.
    fn explained(&self, failure: Failure, link: &Link) -> Failure {
        if !failure.is(Code::BadIdentityToken) {
            return failure;
        }
        let from = match &self.access.origin {
            Origin::GitHub { .. } | Origin::Buildkite { .. } => {
                format!("{}, for the audience {}", self.access.origin.name(), self.audience(link))
            }
            Origin::Variable(name, _) => (*name).to_owned(),
        };
        let message = format!("{} The identity token came from {from}.", failure.message);
        let failure = Failure { message, ..failure };
        match &self.access.environment {
            Some(usual) if !self.access.is_said => failure.hint(format!(
                "it was requested for {usual}, as nobody said an environment: say `--env NAME` where the `[[trust]]` of the \
                 edge is for another one; each is exchanged once, and the log of the edge says what does not match"
            )),
            _ => failure,
        }
    }

    fn audience(&self, link: &Link) -> String {
        self.access.audience.clone().unwrap_or_else(|| link.address().to_owned())
    }

    async fn identity_token(&self, link: &Link) -> Result<Secret, Refusal> {
        match &self.access.origin {
            Origin::Variable(_, token) => Ok(Secret::new(token.secret())),
            Origin::GitHub { url, token } => request((url, self.ca.as_deref()), token, &self.audience(link)).await,
            Origin::Buildkite { path } => {
                buildkite_agent::identity_token(path, &self.audience(link)).await.map_err(Refusal::Final)
            }
        }
    }
}

/// Has GitHub Actions make an identity token.
async fn request((url, ca): (&Url, Option<&Path>), token: &Token, audience: &str) -> Result<Secret, Refusal> {
    let http = http::client(url, ca, REQUEST_TIME_MAX).map_err(Refusal::Final)?;
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("audience", audience);
    let bearer = super::credential::bearer(token.secret()).map_err(Refusal::Final)?;
    let failed = |why: &str| {
        Failure::new(Code::Unreachable, format!("GitHub Actions makes no identity token: {why}."))
            .hint("the job needs `permissions: id-token: write`")
    };
    let lost = |error: reqwest::Error| match http::tls_error(&error).is_some() {
        // The owner of the certificate is still reported.
        true => Refusal::Final(http::lost(error, failed)),
        false => Refusal::Again(http::lost(error, failed), None),
    };
    let mut response = http.get(url).header(AUTHORIZATION, bearer).send().await.map_err(lost)?;
    let status = response.status();
    if !status.is_success() {
        let failure = failed(&format!("it answers {status}"));
        return Err(if status.is_server_error() { Refusal::Again(failure, None) } else { Refusal::Final(failure) });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Refusal::Final(failed("its answer does not end")));
        }
    }
    let requested = serde_json::from_slice::<Requested>(&body);
    let bad = |_error| Refusal::Final(failed("its answer is not what it should be"));
    requested.map(|requested| requested.value).map_err(bad)
}
