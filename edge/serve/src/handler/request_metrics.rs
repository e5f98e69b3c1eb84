//! Counts and logs a request once the last byte of its response is sent or its client is gone, however little was sent.

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderName, REFERER, USER_AGENT};
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use devanture_config::api::LogLine;

use super::authority::authority;
use super::body::{Body, Error};
use super::decision::{Decision, FileAnswer, Refusal};
use super::refused::Refused;
use super::request_outcome::{self, CLIENT_IS_GONE, CLIENT_STALLED, DRAINED, RequestOutcome};
use super::visitor::{has_secret_query, without_secret_query};
use super::{Began, protocol};
use crate::live::{Current, Side};
use crate::version::Version;
use devanture_base::clock;
use devanture_base::telemetry::{self, AccessLog};
use devanture_http::{Cause, Fields, Outcome, RequestHead, ResponseBody};

/// The version that answers a request, held to the last byte (law 1).
enum ServedBy {
    Nothing,
    Current(Arc<Current>),
    Version(Arc<Version>),
}

impl ServedBy {
    fn of(decision: &Decision) -> Self {
        match decision.inner() {
            Decision::File(FileAnswer { keeper: Some(version), .. }) => Self::Version(Arc::clone(version)),
            Decision::File(FileAnswer { current, .. }) | Decision::Proxy { current, .. } => {
                Self::Current(Arc::clone(current))
            }
            Decision::Small(answer) => answer.current.clone().into(),
            Decision::Refuse(refusal) => refusal.current.clone().into(),
            Decision::Load(_) | Decision::Protected(_) | Decision::Report(_) | Decision::Visitor(_) => Self::Nothing,
        }
    }

    fn version(&self) -> Option<&Arc<Version>> {
        match self {
            Self::Nothing => None,
            Self::Current(current) => Some(&current.version),
            Self::Version(version) => Some(version),
        }
    }
}

impl ServedBy {
    /// Counters of the canary side, while a canary runs.
    #[inline]
    fn side(&self) -> Option<&Side> {
        match self {
            Self::Current(current) => current.side.as_deref(),
            Self::Nothing | Self::Version(_) => None,
        }
    }
}

impl From<Option<Arc<Current>>> for ServedBy {
    fn from(current: Option<Arc<Current>>) -> Self {
        current.map_or(Self::Nothing, Self::Current)
    }
}

/// A request until the response is complete or abandoned; then counted and logged.
pub(super) struct Measurement {
    began: Began,
    answerer: ServedBy,
    /// Boxed, since the log may be off.
    log: Option<Box<(AccessLog, Box<LogLine>)>>,
    outcome: RequestOutcome,
    /// Bytes of the body sent.
    bytes: u64,
    stage: RequestStage,
    /// True if the response is no evidence about the version: the environment is paused, or the app has reached a
    /// limit.
    is_beside_version: bool,
    /// True if the method is HEAD, so that no body is sent.
    is_head: bool,
}

/// The state of a request.
#[derive(Debug, Clone, Copy)]
enum RequestStage {
    /// No response yet.
    SiteRequest,
    /// A response of `status` is being sent; complete if `is_whole`.
    Answered { status: StatusCode, is_whole: bool },
    /// Counted.
    Over,
}

impl Measurement {
    /// Starts the measurement of a request that arrived at `began` from `client`.
    #[inline]
    pub(super) fn begin(
        began: Began,
        request: &RequestHead<'_>,
        log: &AccessLog,
        client: impl FnOnce() -> IpAddr,
    ) -> Self {
        // A disabled log copies no fields.
        let log = log.is_on().then(|| Box::new((log.clone(), Box::new(line(request, log, client())))));
        Self {
            began,
            answerer: ServedBy::Nothing,
            log,
            outcome: RequestOutcome::default(),
            bytes: 0,
            stage: RequestStage::SiteRequest,
            is_beside_version: false,
            is_head: *request.method == Method::HEAD,
        }
    }

    /// The record for facts about the request.
    pub(super) fn outcome(&self) -> &RequestOutcome {
        &self.outcome
    }

    /// Forgets the backend that did not answer, before the request is decided again.
    pub(super) fn forget_backend(&mut self) {
        self.outcome.forget_backend();
    }

    /// Records the decision, and holds the version that answers from now on.
    pub(super) fn decided(&mut self, decision: &Decision) {
        (self.answerer, self.is_beside_version) = (ServedBy::of(decision), is_beside_version(decision));
    }

    /// Records a decision that is no longer needed, the usual case: moves its version instead of counting a reference.
    #[inline]
    pub(super) fn carried_out(&mut self, decision: Decision) {
        match decision {
            Decision::File(FileAnswer { keeper: None, current, .. })
            | Decision::Refuse(Refusal { refused: Refused::NotFound, current: Some(current), .. }) => {
                (self.answerer, self.is_beside_version) = (ServedBy::Current(current), false);
            }
            decision => self.decided(&decision),
        }
    }

    /// Counts the request among the running requests of its app, if limited. Returns the decision to carry out: a
    /// refusal if the app is at its limit.
    pub(super) fn admitted(&self, decision: Decision) -> Decision {
        let Some(traffic) = decision.traffic() else { return decision };
        if let Some(entered) = traffic.enter() {
            self.outcome.enter(entered);
            return decision;
        }
        self.outcome.fail(request_outcome::APP_BUSY);
        if let Some(current) = decision.current() {
            telemetry::count_in_app("devanture_app_busy_total", current.version.app.as_str(), &[], 1);
        }
        let (current, custom_host) = (decision.current().cloned(), decision.is_custom_host());
        Decision::Refuse(Refusal { current, custom_host, ..Refused::AppBusy.into() })
    }

    /// The body at the rate that the app may send.
    pub(super) fn paced(&self, body: Body) -> Body {
        match self.outcome.traffic() {
            Some(traffic) if traffic.is_paced() => body.paced(Arc::clone(traffic)),
            _ => body,
        }
    }

    /// Measures the body of an error of the edge to its end.
    pub(super) fn of_whole(self, response: Response<Body>) -> Response<Measured> {
        let status = response.status();
        response.map(|body| self.measure(status, body))
    }

    /// Measures the body to its end.
    pub(super) fn measure(mut self, status: StatusCode, body: Body) -> Measured {
        self.answer(status, false);
        Measured { body, measurement: self }
    }

    /// Records that a response of `status` is being sent; complete if `is_whole`.
    #[inline]
    pub(super) const fn answer(&mut self, status: StatusCode, is_whole: bool) {
        self.stage = RequestStage::Answered { status, is_whole };
    }

    /// Returns true if no body is sent.
    pub(super) const fn is_head(&self) -> bool {
        self.is_head
    }

    /// Counts and logs the request, once; the request ended at `now`.
    fn end(&mut self, now: impl FnOnce() -> Instant) {
        let status = match std::mem::replace(&mut self.stage, RequestStage::Over) {
            RequestStage::SiteRequest => request_outcome::client_gone(),
            RequestStage::Answered { status, .. } => status,
            RequestStage::Over => return,
        };
        let bytes = self.bytes;
        let elapsed = now().saturating_duration_since(self.began);
        if let Some(version) = self.answerer.version() {
            version.metrics.count(status, bytes, elapsed);
            if !self.is_beside_version {
                version.tally.count(status);
                if let Some(side) = self.answerer.side() {
                    side.count(status, elapsed);
                }
            }
            if let (true, Some(reason)) = (self.outcome.is_proxied(), self.outcome.error()) {
                let name = "devanture_upstream_errors_total";
                telemetry::count_in_app(name, version.app.as_str(), &[("reason", reason)], 1);
            }
        }
        let Some(logged) = self.log.take() else { return };
        let (log, mut record) = *logged;
        record.status = status.as_u16();
        record.bytes = bytes;
        record.us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        record.proxied = self.outcome.is_proxied();
        record.request_id = self.outcome.request_id();
        record.upstream = self.outcome.upstream();
        record.error = self.outcome.error().map(str::to_owned);
        if let Some(version) = self.answerer.version() {
            record.app = Some(version.app.to_string());
            record.environment = Some(version.place.clone());
            record.version = version.header.value().to_str().ok().map(str::to_owned);
        }
        log.write(record);
    }
}

impl Outcome for Measurement {
    fn sent(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn complete(&mut self, now: Instant) {
        self.end(|| now);
    }

    fn pins_body(&self) -> bool {
        // An asset of an earlier version is also served to other visitors.
        matches!(&self.answerer, ServedBy::Current(current) if current.is_replaced())
    }
}

impl Drop for Measurement {
    /// Ends a request that was abandoned before or within its response: the client went away, unless the outcome has
    /// another reason.
    fn drop(&mut self) {
        match self.stage {
            RequestStage::Over => return,
            RequestStage::Answered { is_whole, .. } if is_whole || self.is_head => {}
            RequestStage::SiteRequest | RequestStage::Answered { .. } => self.outcome.fail(match Cause::now() {
                None => CLIENT_IS_GONE,
                Some(Cause::Drain) => DRAINED,
                Some(Cause::Memory) => CLIENT_STALLED,
            }),
        }
        self.end(Instant::now);
    }
}

/// A body that is counted while being sent.
pub struct Measured {
    body: Body,
    measurement: Measurement,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_some(usize::MAX, context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ResponseBody for Measured {
    fn poll_some(
        mut self: Pin<&mut Self>,
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_some(bytes_max, context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.measurement.sent(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(error))) => self.measurement.outcome.break_off(error),
            Poll::Ready(None) => self.measurement.complete(Instant::now()),
            Poll::Pending => {}
        }
        polled
    }

    fn held_bytes(&self) -> usize {
        self.body.held_bytes()
    }

    fn is_shared(&self) -> bool {
        self.body.is_shared()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.measurement.complete(Instant::now());
        }
    }
}

/// Returns true if the response is no evidence about the version.
fn is_beside_version(decision: &Decision) -> bool {
    matches!(decision.inner(), Decision::Refuse(refusal) if matches!(refusal.refused, Refused::AppBusy | Refused::Paused))
}

/// Logs a request that was refused before more than its client was known.
pub(super) fn log_refusal(log: &AccessLog, client: IpAddr, (version, status): (http::Version, StatusCode)) {
    if log.is_on() {
        log.write(Box::new(LogLine { status: status.as_u16(), ..unread(log, client, version) }));
    }
}

/// Fields of the log that are known before the response.
fn line(request: &RequestHead<'_>, log: &AccessLog, client: IpAddr) -> LogLine {
    LogLine {
        host: authority(request).unwrap_or_default().to_owned(),
        method: request.method.to_string(),
        target: log.target(&target(request)).to_owned(),
        referer: field_text(request.fields, &REFERER).map(|from| log.target(without_secret_query(&from)).to_owned()),
        user_agent: field_text(request.fields, &USER_AGENT),
        ..unread(log, client, request.version)
    }
}

/// Log line of an unread request.
fn unread(log: &AccessLog, client: IpAddr, version: http::Version) -> LogLine {
    LogLine {
        at_ms: clock::now_ms(),
        client: log.address(client),
        protocol: protocol(version).to_owned(),
        host: String::new(),
        method: String::new(),
        target: String::new(),
        status: 0,
        bytes: 0,
        us: 0,
        referer: None,
        user_agent: None,
        app: None,
        environment: None,
        version: None,
        proxied: false,
        request_id: None,
        upstream: None,
        error: None,
        node: None,
    }
}

/// A field as text, whatever its bytes.
fn field_text(fields: Fields<'_>, name: &HeaderName) -> Option<String> {
    fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The path and the query as sent, without the secrets of share links and logins.
fn target<'r>(request: &RequestHead<'r>) -> Cow<'r, str> {
    match request.query.filter(|_| !has_secret_query(request.path)) {
        Some(query) => Cow::Owned(format!("{}?{query}", request.path)),
        None => Cow::Borrowed(request.path),
    }
}
