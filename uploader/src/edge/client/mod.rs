//! The client of an edge: requests with the token, answers as types, failures with their remedies.

mod calls;
mod canary;
mod data;
mod instances;
mod protection;
mod repeat;
mod retention;
mod run;
mod schedules;
mod signing;
mod waits;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use devanture_config::AppName;
use devanture_config::api::DeployReport;
use devanture_config::problem::{Code, Problem};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

pub(crate) use self::repeat::{BLOB_TRIES_MAX, QUESTIONS_MAX, Refusal, repeat};
pub(crate) use self::run::{RunStream, garbled as garbled_run, lost};
use self::waits::Waits;
use super::credential::EdgeCredential;
pub(crate) use super::http::{CONNECT_TIME_MAX, no_tls, root_cause, with_proxy};
use super::http::{proxy_for, tls_error};
use super::taken::UploadProgress;
use super::trust;
use crate::output::exit::Failure;
use crate::output::progress::Progress;
use crate::output::report::milliseconds;
use crate::settings::EdgeAccess;

/// Longest time for a small request and its answer.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest request of a failed push for the live version, to end with the right sentence.
pub(crate) const LAST_QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// The query by which the edge only reports the effect of a change.
pub(crate) const DRY_RUN: [(&str, &str); 1] = [("dry_run", "true")];
/// Upper bound of bytes of an answer in memory.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The members of a problem (RFC 9457 §3).
const PROBLEM_TYPE: &str = "application/problem+json";

/// The link to an edge, with the credential.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Replaced if its connections are broken: a repeated request would go over the same ones.
    http: Arc<RwLock<reqwest::Client>>,
    /// The file of CAs to trust besides those of the system.
    ca: Option<PathBuf>,
    url: Url,
    pass: Arc<EdgeCredential>,
    progress: Progress,
    waits: Waits,
    /// Bytes that the network has taken of all uploads together.
    uploaded: Arc<AtomicU64>,
}

/// An edge, in the scope of one app.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    link: Link,
    app: AppName,
}

/// Requests that do not concern a single app use the link.
impl std::ops::Deref for Edge {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Link {
    /// Prepares the client; sends no request.
    ///
    /// # Errors
    /// `usage` if the CA's file or the token is invalid.
    pub(crate) fn new(access: &EdgeAccess, progress: Progress) -> Result<Self, Failure> {
        Self::with(access, EdgeCredential::of(access)?, progress)
    }

    /// Like [`Link::new`], with a given credential.
    ///
    /// # Errors
    /// `usage` if the CA's file is invalid.
    pub(crate) fn with(access: &EdgeAccess, pass: EdgeCredential, progress: Progress) -> Result<Self, Failure> {
        let http = Arc::new(RwLock::new(http_client(&access.url, access.ca.as_deref())?));
        let (pass, url, ca) = (Arc::new(pass), access.url.clone(), access.ca.clone());
        let waits = Waits::new(progress.clone());
        Ok(Self { http, ca, url, pass, progress, waits, uploaded: Arc::default() })
    }

    /// Sends all further requests over new connections; current requests keep theirs.
    pub(super) fn leave_connections(&self) {
        // The setup succeeded at the start, so it succeeds now.
        if let Ok(http) = http_client(&self.url, self.ca.as_deref()) {
            *self.http.write().unwrap_or_else(PoisonError::into_inner) = http;
        }
    }

    /// Returns the address as written by a person.
    pub(crate) fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The address of a page under `/v1` for a person, with `fragment` behind `#`.
    pub(crate) fn person_address(&self, segments: &[&str], fragment: &str) -> String {
        let mut url = self.url_at(segments);
        url.set_fragment(Some(fragment));
        url.into()
    }

    /// The address of `/v1/…`.
    fn url_at(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        url
    }

    /// Returns the progress output.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns the notes on long waits.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Counts the bytes of a new upload.
    pub(super) fn taken(&self) -> UploadProgress {
        UploadProgress::beside(&self.uploaded)
    }

    /// The credential.
    pub(crate) fn pass(&self) -> &EdgeCredential {
        &self.pass
    }

    /// A request to `/v1/…`.
    pub(crate) fn request_at(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url_at(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.read().unwrap_or_else(PoisonError::into_inner).request(method, url)
    }
}

/// Creates the HTTP client of an edge, with the file of CAs to trust besides those of the system.
fn http_client(url: &Url, ca: Option<&Path>) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("devanture/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME_MAX)
        .tcp_nodelay(true)
        // The token goes only to the configured address.
        .redirect(reqwest::redirect::Policy::none());
    builder = with_proxy(builder, url)?;
    if url.scheme() == "http" {
        // No certificate will be checked, so those of the system need not be read, nor exist.
        builder = builder.tls_certs_only([]);
    } else if let Some(ca) = ca {
        builder = builder.tls_backend_preconfigured(trust::with_file(ca)?);
    }
    builder.build().map_err(|error| no_tls(&error))
}

impl Edge {
    /// Creates the client of an app of the edge at `link`.
    pub(crate) fn new(link: Link, app: AppName) -> Self {
        Self { link, app }
    }

    /// Returns the selected app.
    pub(crate) fn app(&self) -> &AppName {
        &self.app
    }

    /// A request to `/v1/apps/{app}/…`.
    pub(crate) fn request(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.request_at(method, &[&["apps", self.app.as_str()], segments].concat(), query)
    }

    async fn get<T: DeserializeOwned>(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<T, Failure> {
        self.repeated(|| self.request(Method::GET, segments, query).timeout(ANSWER_TIME_MAX)).await
    }

    /// Requests the effect of a change, including the refusals of the change.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn foresee<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = bytes::Bytes::from(encoded(body)?);
        self.repeated(|| {
            self.request(method.clone(), segments, &DRY_RUN)
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Sends a write that must not be repeated, as the outcome of a lost request is unknown.
    async fn post<T: DeserializeOwned>(&self, segments: &[&str], body: &impl Serialize) -> Result<T, Failure> {
        let body = encoded(body)?;
        let request = self.request(Method::POST, segments, &[]).header(CONTENT_TYPE, "application/json");
        self.once(request.timeout(ANSWER_TIME_MAX).body(body)).await.map_err(Refusal::into_failure)
    }
}

impl Link {
    pub(crate) async fn repeated<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, Failure> {
        repeat(&self.waits, QUESTIONS_MAX, || self.once(request())).await
    }

    pub(crate) async fn once<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Refusal> {
        let response = self.send(request.header(ACCEPT, "application/json, application/problem+json")).await?;
        self.read_json(response).await
    }

    /// Reads an answer of JSON.
    ///
    /// # Errors
    /// An error if the connection breaks, or the answering server is not an edge.
    pub(crate) async fn read_json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Refusal> {
        let body = self.body(response).await?;
        self.decoded(&body).map_err(Refusal::Final)
    }

    /// Decodes JSON.
    ///
    /// # Errors
    /// An error if the answering server is not an edge.
    pub(crate) fn decoded<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| self.not_an_edge(&format!("{error}")))
    }

    /// Sends `request` with the credential, and returns a successful answer. While a new edge takes over, the request
    /// is not carried out, and repeated.
    ///
    /// # Errors
    /// The problem in the edge's answer, or the reason of a missing answer.
    pub(crate) async fn send(&self, mut request: RequestBuilder) -> Result<Response, Refusal> {
        let begun = Instant::now();
        loop {
            let again = request.try_clone();
            match (Box::pin(self.send_renewing(request)).await, again) {
                (Err(refusal), Some(next)) if refusal.wait_for_takeover(begun, &self.waits).await => request = next,
                (other, _) => return other,
            }
        }
    }

    /// Sends `request`, and repeats it with the next token if the token of a login has ended.
    async fn send_renewing(&self, request: RequestBuilder) -> Result<Response, Refusal> {
        let shown = self.pass.show(self, None).await.map_err(Refusal::Final)?;
        let again = request.try_clone();
        match self.send_as(request, Some(&shown)).await {
            Err(Refusal::Final(failure)) if self.pass.is_renewable() && failure.is(Code::BadToken) => {
                let next = self.pass.show(self, Some(&shown)).await.map_err(Refusal::Final)?;
                match again {
                    Some(request) => self.send_as(request, Some(&next)).await,
                    // A streaming body is created again by its sender.
                    None => Err(Refusal::Again(failure, Some(Duration::ZERO))),
                }
            }
            other => other,
        }
    }

    /// Sends `request` with this token, or without one.
    ///
    /// # Errors
    /// Like [`Link::send`].
    pub(crate) async fn send_as(
        &self,
        request: RequestBuilder,
        shown: Option<&HeaderValue>,
    ) -> Result<Response, Refusal> {
        let request = match shown {
            Some(shown) => request.header(AUTHORIZATION, shown.clone()),
            None => request,
        };
        let lost = |error: reqwest::Error| match tls_error(&error) {
            // The next try would meet the same certificate.
            Some(rustls::Error::InvalidCertificate(_)) => Refusal::Final(self.unreachable(&error)),
            _ => Refusal::Again(self.unreachable(&error), None),
        };
        let (http, request) = request.build_split();
        let request = request.map_err(lost)?;
        let begun = Instant::now();
        let request_line = self.progress.is_verbose().then(|| request_line(&request));
        let answered = http.execute(request).await;
        if let Some(request_line) = request_line {
            let status = match &answered {
                Ok(response) => response.status().as_u16().to_string(),
                Err(error) => root_cause(error),
            };
            self.progress.detail("request", &format!("{request_line}  {status}  {} ms", milliseconds(begun.elapsed())));
        }
        let response = answered.map_err(lost)?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    pub(crate) async fn body(&self, mut response: Response) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        let lost = |error: reqwest::Error| Refusal::Again(self.unreachable(&error), None);
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Refusal::Final(self.not_an_edge("the answer does not end")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn refusal(&self, response: Response) -> Refusal {
        let status = response.status();
        let wait =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let has_problem = media_type(&response) == PROBLEM_TYPE;
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let failure = match has_problem {
            true => read_problem(status, &body).unwrap_or_else(|| self.not_an_edge(&format!("status {status}"))),
            false => self.not_a_problem(status),
        };
        // A server error without a problem comes from a proxy, which may have passed the request on.
        let is_of_proxy = status.is_server_error() && !has_problem;
        if status == StatusCode::REQUEST_TIMEOUT {
            // A connection that carries answers, and no bodies any more, would stall the next attempt as well.
            self.leave_connections();
        }
        let may_help = is_of_proxy || matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504);
        if may_help { Refusal::Again(failure, wait) } else { Refusal::Final(failure) }
    }

    /// Returns the failure of an answer that does not come from an edge.
    fn not_a_problem(&self, status: StatusCode) -> Failure {
        let message = format!("{} answered {status}, and it is not an edge that did", self.address());
        match status {
            StatusCode::UNAUTHORIZED => Failure::new(Code::Unauthenticated, format!("{message}.")),
            StatusCode::FORBIDDEN => Failure::new(Code::Forbidden, format!("{message}.")),
            _ => Failure::new(Code::Unreachable, format!("{message}.")),
        }
        .hint("DEVANTURE_URL must be the address of the edge's admin listener, `admin` in its edge.toml")
    }

    pub(crate) fn not_an_edge(&self, why: &str) -> Failure {
        let message = format!("What answers at {} does not speak as an edge does: {why}.", self.address());
        Failure::new(Code::Unreachable, message)
            .hint("DEVANTURE_URL must be the address of the edge's admin listener, `admin` in its edge.toml")
    }

    /// Returns the failure of a request without an answer.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let message = format!("The edge at {} cannot be reached: {}.", self.address(), root_cause(error));
        let hint = match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
                "its certificate comes from a CA that is not trusted here: set DEVANTURE_CA to that CA's PEM file \
                 (of a self-signed edge: tls/ca.pem in its data folder)"
            }
            Some(rustls::Error::InvalidCertificate(why)) if trust::is_ca_as_server(why) => {
                "its certificate signed itself: set DEVANTURE_CA to that certificate's PEM file to trust it"
            }
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)) => {
                "its certificate comes from another CA of the same name than the one that is trusted here, as after an \
                 edge has made its own again: set DEVANTURE_CA to the file that `devanture-edge authority` prints now"
            }
            Some(rustls::Error::InvalidCertificate(_)) => "its certificate is not valid for this address at this time",
            Some(_) => "is DEVANTURE_URL the address of the edge's admin listener?",
            None if self.url.scheme() == "http" && !error.is_connect() => {
                "an edge's admin listener speaks https: does DEVANTURE_URL begin with https://?"
            }
            None => "is devanture-edge running there, and is DEVANTURE_URL the address of its admin listener?",
        };
        let failure = Failure::new(Code::Unreachable, message);
        match proxy_for(&self.url) {
            Ok(Some(proxy)) if tls_error(error).is_none() => failure.hint(proxy.hint()),
            Ok(_) | Err(_) => failure.hint(hint),
        }
    }
}

/// Formats a request for messages: never its fields, one of which is the token.
fn request_line(request: &reqwest::Request) -> String {
    let url = request.url();
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    format!("{} {}{query}", request.method(), url.path())
}

/// Returns the media type of a response, without its parameters; empty without one.
pub(crate) fn media_type(response: &Response) -> &str {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Reads a problem; a problem with an unknown code keeps its text.
pub(crate) fn read_problem(status: StatusCode, body: &[u8]) -> Option<Failure> {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return Some(problem.into());
    }
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let known = match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::Forbidden,
        _ => Code::Internal,
    };
    let message = text("detail").or_else(|| text("title"))?;
    let failure = Failure::new(known, message);
    Some(Failure { code: text("code").unwrap_or(failure.code), hint: text("hint").map(Into::into), ..failure })
}

pub(crate) fn encoded(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value)
        .map_err(|error| Failure::new(Code::Internal, format!("A request cannot be written: {error}.")))
}

/// Returns the failure of a request without an answer in time.
pub(crate) fn silent() -> Failure {
    Failure::new(Code::Unreachable, "The edge has been silent for too long.")
}

/// Checks that the report of a deploy belongs to `app`.
pub(crate) fn check_report(edge: &Edge, report: DeployReport) -> Result<DeployReport, Failure> {
    if report.app == *edge.app() { Ok(report) } else { Err(edge.not_an_edge("it reports on another app")) }
}
