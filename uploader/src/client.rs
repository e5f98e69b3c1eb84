//! Speaks with the edge: requests with the token, answers as types, failures with what to do about them.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{
    AliasList, AliasRequest, BeginDeploy, DeleteReport, DeployBegun, DeployReport, Diff, History, LockReport,
    LockRequest, PauseReport, PauseRequest, PlaceStatus, PromoteRequest, RestoreReport, RollbackRequest, Status,
    SwitchReport, SwitchRequest, WithdrawReport, WithdrawRequest, WithdrawnList, WithdrawnPath,
};
use devanture_config::digest::IdPrefix;
use devanture_config::hostnames::{HostnameList, HostnameRemoved, HostnameRequest, HostnameSet};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, HostPattern, PlaceName};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::exit::Failure;
use crate::pass::Pass;
use crate::settings::{self, EdgeAccess};
use crate::trust;

/// Longest time until a connection stands.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time for a small question and its answer.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time to send a manifest and be told what is missing.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(600);
/// How often a request that may be repeated is sent.
const TRIES_MAX: u32 = 5;
/// The first pause before a repetition; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause, also where the edge asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Most bytes of an answer that is held in memory.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What an answer with a problem is made of (RFC 9457 §3).
const PROBLEM_TYPE: &str = "application/problem+json";

/// The way to an edge, with what opens it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    http: reqwest::Client,
    url: Url,
    pass: Arc<Pass>,
}

/// An edge, as one app's token sees it.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    link: Link,
    app: AppName,
}

/// What an edge is asked that concerns no app alone, it is asked by its link.
impl std::ops::Deref for Edge {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

/// Whether a request that failed may be sent again.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing came of it; the edge may have said how long to wait.
    Again(Failure, Option<Duration>),
    /// Sending it again would end the same.
    Final(Failure),
}

impl Refusal {
    /// The failure, whichever it is.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Again(failure, _) | Self::Final(failure) => failure,
        }
    }
}

impl Link {
    /// Makes ready to speak with the edge; nothing is sent yet.
    ///
    /// # Errors
    /// `usage` where the CA's file or the token cannot be taken.
    pub(crate) fn new(access: &EdgeAccess) -> Result<Self, Failure> {
        let pass = Arc::new(Pass::of(access)?);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("devanture/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .tcp_nodelay(true)
            // The token goes to the address that was said, and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if settings::is_loopback(&access.url) {
            // A proxy has another loopback than this machine.
            builder = builder.no_proxy();
        }
        if access.url.scheme() == "http" {
            // No certificate will be checked, so those of the system need not be read, nor be there.
            builder = builder.tls_certs_only([]);
        } else if let Some(ca) = &access.ca {
            builder = builder.tls_backend_preconfigured(trust::with_file(ca)?);
        }
        let http = builder.build().map_err(|error| {
            Failure::new(Code::Usage, format!("TLS cannot be set up: {}.", root_cause(&error)))
                .hint("install the system's CA certificates, or set DEVANTURE_CA to the PEM file of the edge's CA")
        })?;
        Ok(Self { http, url: access.url.clone(), pass })
    }

    /// The address as a person writes it.
    fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// What opens the edge.
    pub(crate) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// A request to `/v1/…`.
    pub(crate) fn request_at(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url)
    }
}

impl Edge {
    /// An app of the edge that `link` leads to.
    pub(crate) fn new(link: Link, app: AppName) -> Self {
        Self { link, app }
    }

    /// The app that is meant.
    pub(crate) fn app(&self) -> &AppName {
        &self.app
    }

    /// A request to `/v1/apps/{app}/…`.
    pub(crate) fn request(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.request_at(method, &[&["apps", self.app.as_str()], segments].concat(), query)
    }

    /// Begins a push: what does the edge not have yet?
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn begin(&self, environment: &PlaceName, begin: &BeginDeploy) -> Result<DeployBegun, Failure> {
        // Once encoded, however often it is sent.
        let body = bytes::Bytes::from(encoded(begin)?);
        let segments = ["environments", environment.as_str(), "deploys"];
        self.repeated(|| {
            self.request(Method::POST, &segments, &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(BEGIN_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Makes a stored version live.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn switch(&self, env: &PlaceName, request: &SwitchRequest) -> Result<SwitchReport, Failure> {
        self.post(&["environments", env.as_str(), "switch"], request).await
    }

    /// Makes an earlier version live again.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn rollback(&self, env: &PlaceName, request: &RollbackRequest) -> Result<SwitchReport, Failure> {
        self.post(&["environments", env.as_str(), "rollback"], request).await
    }

    /// Makes live here what is live in another environment.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn promote(&self, to: &PlaceName, request: &PromoteRequest) -> Result<SwitchReport, Failure> {
        self.post(&["environments", to.as_str(), "promote"], request).await
    }

    /// What is live.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn status(&self, env: &PlaceName) -> Result<Status, Failure> {
        self.get(&["environments", env.as_str()], &[]).await
    }

    /// What is live, asked once, for a failure that is to be told in `time_max`.
    pub(crate) async fn status_within(&self, env: &PlaceName, time_max: Duration) -> Result<Status, Failure> {
        let request = self.request(Method::GET, &["environments", env.as_str()], &[]).timeout(time_max);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// What was live, newest first.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn history(&self, env: &PlaceName, query: &[(&str, &str)]) -> Result<History, Failure> {
        self.get(&["environments", env.as_str(), "history"], query).await
    }

    /// A page of the aliases.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn aliases(&self, query: &[(&str, &str)]) -> Result<AliasList, Failure> {
        self.get(&["aliases"], query).await
    }

    /// What differs between two versions.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn diff(&self, query: &[(&str, &str)]) -> Result<Diff, Failure> {
        self.get(&["diff"], query).await
    }

    /// Locks an environment.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn lock(&self, env: &PlaceName, request: &LockRequest) -> Result<LockReport, Failure> {
        let body = bytes::Bytes::from(encoded(request)?);
        let segments = ["environments", env.as_str(), "lock"];
        self.repeated(|| {
            self.request(Method::PUT, &segments, &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Ends a lock.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn unlock(&self, env: &PlaceName) -> Result<LockReport, Failure> {
        let request = self.request(Method::DELETE, &["environments", env.as_str(), "lock"], &[]);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Points an alias to a version.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn set_alias(&self, name: &PlaceName, request: &AliasRequest) -> Result<PlaceStatus, Failure> {
        let body = bytes::Bytes::from(encoded(request)?);
        self.repeated(|| {
            self.request(Method::PUT, &["aliases", name.as_str()], &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Deletes an alias.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn delete_alias(&self, name: &PlaceName) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, &["aliases", name.as_str()], &[]).timeout(ANSWER_TIME_MAX);
        self.send(request).await.map(drop).map_err(Refusal::into_failure)
    }

    /// The hostnames of an environment.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn hostnames(&self, env: &PlaceName) -> Result<HostnameList, Failure> {
        let segments = ["environments", env.as_str(), "hostnames"];
        let mut list: HostnameList = self.get(&segments, &[]).await?;
        while let Some(after) = list.next.take() {
            let mut more: HostnameList = self.get(&segments, &[("after", &after)]).await?;
            list.hostnames.append(&mut more.hostnames);
            list.next = more.next;
        }
        Ok(list)
    }

    /// Gives a hostname to an environment.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn add_hostname(
        &self,
        env: &PlaceName,
        name: &HostPattern,
        request: &HostnameRequest,
        query: &[(&str, &str)],
    ) -> Result<HostnameSet, Failure> {
        let body = bytes::Bytes::from(encoded(request)?);
        self.repeated(|| {
            self.request(Method::PUT, &["environments", env.as_str(), "hostnames", name.as_str()], query)
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Takes a hostname from an environment.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn remove_hostname(
        &self,
        env: &PlaceName,
        name: &HostPattern,
        query: &[(&str, &str)],
    ) -> Result<HostnameRemoved, Failure> {
        let segments = ["environments", env.as_str(), "hostnames", name.as_str()];
        let request = self.request(Method::DELETE, &segments, query).timeout(ANSWER_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Pauses an environment.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn pause(&self, env: &PlaceName, request: &PauseRequest) -> Result<PauseReport, Failure> {
        self.post(&["environments", env.as_str(), "pause"], request).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn resume(&self, env: &PlaceName) -> Result<PauseReport, Failure> {
        self.post(&["environments", env.as_str(), "resume"], &serde_json::json!({})).await
    }

    /// Deletes a version.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn delete_version(&self, id: &IdPrefix) -> Result<DeleteReport, Failure> {
        let request = self.request(Method::DELETE, &["versions", &id.to_string()], &[]);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Withdraws a path.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn withdraw(&self, request: &WithdrawRequest) -> Result<WithdrawReport, Failure> {
        self.post(&["withdrawn"], request).await
    }

    /// Takes a withdrawal back.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn restore(&self, path: &str) -> Result<RestoreReport, Failure> {
        let request = self.request(Method::DELETE, &["withdrawn"], &[("path", path)]);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// The paths that are withdrawn.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn withdrawn(&self) -> Result<Vec<WithdrawnPath>, Failure> {
        let (mut paths, mut after) = (Vec::new(), None::<String>);
        loop {
            let query: Vec<(&str, &str)> = after.as_deref().map(|after| ("after", after)).into_iter().collect();
            let mut page: WithdrawnList = self.get(&["withdrawn"], &query).await?;
            paths.append(&mut page.withdrawn);
            after = page.next;
            if after.is_none() {
                return Ok(paths);
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<T, Failure> {
        self.repeated(|| self.request(Method::GET, segments, query).timeout(ANSWER_TIME_MAX)).await
    }

    /// Sends a write that must not be repeated: whether the first one was done cannot be known.
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
        repeat(|| self.once(request())).await
    }

    pub(crate) async fn once<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Refusal> {
        let response = self.send(request.header(ACCEPT, "application/json, application/problem+json")).await?;
        self.read_json(response).await
    }

    /// Reads an answer that is JSON.
    ///
    /// # Errors
    /// Where the connection breaks, or what answered is not an edge.
    pub(crate) async fn read_json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Refusal> {
        let body = self.body(response).await?;
        self.decoded(&body).map_err(Refusal::Final)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// Where what answered is not an edge.
    pub(crate) fn decoded<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| self.not_an_edge(&format!("{error}")))
    }

    /// Sends `request` with what opens the edge, and gives the answer back if it is a good one. Where a login's token is
    /// over, it is sent once more with the next.
    ///
    /// # Errors
    /// The problem that the edge answered, or why it did not.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Refusal> {
        let shown = self.pass.show(self, None).await.map_err(Refusal::Final)?;
        let again = request.try_clone();
        match self.send_as(request, Some(&shown)).await {
            Err(Refusal::Final(failure)) if self.pass.is_renewable() && failure.is(Code::BadToken) => {
                let next = self.pass.show(self, Some(&shown)).await.map_err(Refusal::Final)?;
                match again {
                    Some(request) => self.send_as(request, Some(&next)).await,
                    // A body that streams is made again by whoever sends it.
                    None => Err(Refusal::Again(failure, Some(Duration::ZERO))),
                }
            }
            other => other,
        }
    }

    /// Sends `request` with this token, or none.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub(crate) async fn send_as(
        &self,
        request: RequestBuilder,
        shown: Option<&HeaderValue>,
    ) -> Result<Response, Refusal> {
        let request = match shown {
            Some(shown) => request.header(AUTHORIZATION, shown.clone()),
            None => request,
        };
        let response = request.send().await.map_err(|error| match tls_error(&error) {
            // The next try would meet the same certificate.
            Some(rustls::Error::InvalidCertificate(_)) => Refusal::Final(self.unreachable(&error)),
            _ => Refusal::Again(self.unreachable(&error), None),
        })?;
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
        let may_help = matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504);
        if may_help { Refusal::Again(failure, wait) } else { Refusal::Final(failure) }
    }

    /// The failure of an answer that is not of an edge's own making.
    fn not_a_problem(&self, status: StatusCode) -> Failure {
        let said = format!("{} answered {status}, and it is not an edge that did", self.address());
        match status {
            StatusCode::UNAUTHORIZED => Failure::new(Code::Unauthenticated, format!("{said}.")),
            StatusCode::FORBIDDEN => Failure::new(Code::Forbidden, format!("{said}.")),
            _ => Failure::new(Code::Unreachable, format!("{said}.")),
        }
        .hint("DEVANTURE_URL must be the address of the edge's admin listener, `admin` in its edge.toml")
    }

    fn not_an_edge(&self, why: &str) -> Failure {
        let message = format!("What answers at {} does not speak as an edge does: {why}.", self.address());
        Failure::new(Code::Unreachable, message)
            .hint("DEVANTURE_URL must be the address of the edge's admin listener, `admin` in its edge.toml")
    }

    /// The failure of a request that got no answer.
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
            Some(rustls::Error::InvalidCertificate(_)) => "its certificate is not valid for this address at this time",
            Some(_) => "is DEVANTURE_URL the address of the edge's admin listener?",
            None if self.url.scheme() == "http" && !error.is_connect() => {
                "an edge's admin listener speaks https: does DEVANTURE_URL begin with https://?"
            }
            None => "is devanture-edge running there, and is DEVANTURE_URL the address of its admin listener?",
        };
        Failure::new(Code::Unreachable, message).hint(hint)
    }
}

/// Repeats `attempt` while that may help, with pauses between.
///
/// # Errors
/// The last failure.
pub(crate) async fn repeat<T, F>(attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES_MAX {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(Refusal::Final(failure)) => return Err(failure),
            Err(Refusal::Again(_, wait)) => tokio::time::sleep(wait.unwrap_or(pause).min(PAUSE_MAX)).await,
        }
        pause *= 2;
    }
    attempt().await.map_err(Refusal::into_failure)
}

/// The report of a deploy, wherever it comes from.
pub(crate) fn media_type(response: &Response) -> &str {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Reads a problem; one whose code this program does not know keeps its text.
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
    Some(Failure { code: text("code").unwrap_or(failure.code), hint: text("hint"), ..failure })
}

/// A value as JSON.
pub(crate) fn encoded(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value)
        .map_err(|error| Failure::new(Code::Internal, format!("A request cannot be written: {error}.")))
}

/// The innermost reason of an error: what went wrong, without the layers that passed it on.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().trim_end_matches('.').to_owned()
}

/// The TLS error in an error, where there is one. An `io::Error` shows what it wraps only when it is asked for it.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Checks that the report of a deploy is one of `app`.
pub(crate) fn check_report(edge: &Edge, report: DeployReport) -> Result<DeployReport, Failure> {
    if report.app == *edge.app() { Ok(report) } else { Err(edge.not_an_edge("it reports on another app")) }
}
