//! Counts and logs a request when the last byte of its answer is gone, or its client is, however little was answered.

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderName, REFERER, USER_AGENT};
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use devanture_config::logs::LogLine;

use super::authority::authority;
use super::body::{Body, Error};
use super::decide::{Decision, FileAnswer, Refusal};
use super::refused::Refused;
use super::told::{CLIENT_GONE, CLIENT_IS_GONE, Told};
use super::{Began, protocol};
use crate::engine::{Fields, Outcome, RequestHead};
use crate::live::Current;
use crate::telemetry::{self, AccessLog};
use crate::version::Version;

/// What answers a request, to its last byte (law 1).
enum Answerer {
    Nothing,
    Current(Arc<Current>),
    Version(Arc<Version>),
}

impl Answerer {
    fn version(&self) -> Option<&Arc<Version>> {
        match self {
            Self::Nothing => None,
            Self::Current(current) => Some(&current.version),
            Self::Version(version) => Some(version),
        }
    }
}

impl From<Option<Arc<Current>>> for Answerer {
    fn from(current: Option<Arc<Current>>) -> Self {
        current.map_or(Self::Nothing, Self::Current)
    }
}

/// What is known of a request before its answer.
pub(super) struct Measurement {
    began: Began,
    log: Option<(AccessLog, Box<LogLine>)>,
    answerer: Answerer,
    /// Whether it says nothing about the version: the environment is paused.
    paused: bool,
    /// Whether nothing of an answer's body is sent, since the method is HEAD.
    is_head: bool,
    /// Whether it was counted.
    is_over: bool,
    told: Told,
}

impl Measurement {
    /// Begins with a request that came at `began`, from `client`.
    pub(super) fn begin(
        began: Began,
        request: &RequestHead<'_>,
        log: &AccessLog,
        client: impl FnOnce() -> IpAddr,
    ) -> Self {
        // Nothing is copied for a log that is off.
        let log = log.is_on().then(|| {
            let record = LogLine {
                at_ms: telemetry::now_ms(),
                client: log.address(client()),
                protocol: protocol(request.version).to_owned(),
                host: authority(request).unwrap_or_default().to_owned(),
                method: request.method.to_string(),
                target: log.target(&target(request)).to_owned(),
                status: 0,
                bytes: 0,
                us: 0,
                referer: said(request.fields, &REFERER).map(|from| log.target(&from).to_owned()),
                user_agent: said(request.fields, &USER_AGENT),
                app: None,
                environment: None,
                version: None,
                proxied: false,
                request_id: None,
                upstream: None,
                error: None,
            };
            (log.clone(), Box::new(record))
        });
        let is_head = *request.method == Method::HEAD;
        let told = Told::default();
        Self { began, log, answerer: Answerer::Nothing, paused: false, is_head, is_over: false, told }
    }

    /// Where to note what becomes known of the request.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Notes what was decided, and goes with what answers from now on.
    pub(super) fn decided(&mut self, decision: &Decision) {
        self.paused = is_paused(decision);
        self.answerer = match decision {
            Decision::File(FileAnswer { keeper: Some(version), .. }) => Answerer::Version(Arc::clone(version)),
            Decision::File(FileAnswer { current, .. }) | Decision::Proxy { current, .. } => {
                Answerer::Current(Arc::clone(current))
            }
            Decision::Small(answer) => answer.current.clone().into(),
            Decision::Refuse(refusal) => refusal.current.clone().into(),
            Decision::Load(_) => Answerer::Nothing,
        };
    }

    /// The same for what is done with, which most answers are: what they are of is moved, not counted once more.
    pub(super) fn carried_out(&mut self, decision: Decision) {
        match decision {
            Decision::File(FileAnswer { keeper: None, current, .. })
            | Decision::Refuse(Refusal { refused: Refused::NotFound, current: Some(current), .. }) => {
                self.answerer = Answerer::Current(current);
            }
            decision => self.decided(&decision),
        }
    }

    /// Goes with the body until it ends.
    pub(super) fn measure(self, status: StatusCode, body: Body) -> Measured {
        Measured { body, sending: self.sending(status, false) }
    }

    /// Goes with an answer until it was sent, of which nothing is to be sent if it `is_whole`.
    pub(super) const fn sending(self, status: StatusCode, is_whole: bool) -> Sending {
        Sending { bytes: 0, is_whole, status, ended: None, measurement: self }
    }

    /// Whether nothing of an answer's body is sent.
    pub(super) const fn is_head(&self) -> bool {
        self.is_head
    }

    /// Counts and logs it; it ends now unless it `ended` at a time that is known.
    fn end(&mut self, status: StatusCode, bytes: u64, ended: Option<Instant>) {
        self.is_over = true;
        let elapsed = ended.unwrap_or_else(Instant::now).saturating_duration_since(self.began);
        if let Some(version) = self.answerer.version() {
            version.metrics.count(status, bytes, elapsed);
            if !self.paused {
                version.tally.count(status);
            }
            if let (true, Some(reason)) = (self.told.is_proxied(), self.told.error()) {
                let app = version.app.to_string();
                metrics::counter!("devanture_upstream_errors_total", "app" => app, "reason" => reason).increment(1);
            }
        }
        let Some((log, mut record)) = self.log.take() else { return };
        record.status = status.as_u16();
        record.bytes = bytes;
        record.us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        record.proxied = self.told.is_proxied();
        record.request_id = self.told.request_id();
        record.upstream = self.told.upstream();
        record.error = self.told.error().map(str::to_owned);
        if let Some(version) = self.answerer.version() {
            record.app = Some(version.app.to_string());
            record.environment = Some(version.place.clone());
            record.version = version.header.to_str().ok().map(str::to_owned);
        }
        log.write(record);
    }
}

impl Drop for Measurement {
    /// A request that is given up before its answer began: its client went away.
    fn drop(&mut self) {
        if !self.is_over {
            self.told.fail(CLIENT_IS_GONE);
            self.end(StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST), 0, None);
        }
    }
}

/// An answer that is being sent; counted and logged when it is dropped.
pub(super) struct Sending {
    bytes: u64,
    /// Whether it was asked for until its end.
    is_whole: bool,
    status: StatusCode,
    /// When the last byte was sent, if it was.
    ended: Option<Instant>,
    measurement: Measurement,
}

impl Outcome for Sending {
    fn sent(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn complete(&mut self, now: Instant) {
        self.is_whole = true;
        self.ended = Some(now);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_whole && !self.measurement.is_head {
            self.measurement.told.fail(CLIENT_IS_GONE);
        }
        self.measurement.end(self.status, self.bytes, self.ended);
    }
}

/// A body that is counted as it is sent.
pub struct Measured {
    body: Body,
    sending: Sending,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.sending.sent(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(error))) => self.sending.measurement.told.break_off(error),
            Poll::Ready(None) => self.sending.complete(Instant::now()),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.sending.complete(Instant::now());
        }
    }
}

/// Whether the answer says nothing about the version.
fn is_paused(decision: &Decision) -> bool {
    matches!(decision, Decision::Refuse(refusal) if refusal.refused == Refused::Paused)
}

/// A field as a text, whatever its bytes are.
fn said(fields: Fields<'_>, name: &HeaderName) -> Option<String> {
    fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The path and the query as they were sent.
fn target<'r>(request: &RequestHead<'r>) -> Cow<'r, str> {
    match request.query {
        Some(query) => Cow::Owned(format!("{}?{query}", request.path)),
        None => Cow::Borrowed(request.path),
    }
}
