//! Counts and logs a request when the last byte of its answer is gone, or its client is.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderName, REFERER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body::{Frame, SizeHint};

use super::body::{Body, Error};
use devanture_config::logs::LogLine;

use super::decide::Decision;
use super::refused::Refused;
use super::{Began, protocol};
use crate::telemetry::{self, AccessLog};
use crate::version::Version;

/// What is known of a request before its answer.
pub(super) struct Measurement {
    began: Began,
    log: Option<(AccessLog, Box<LogLine>)>,
    version: Option<Arc<Version>>,
    proxied: bool,
    /// Whether it says nothing about the version: the environment is paused.
    paused: bool,
}

impl Measurement {
    pub(super) fn begin<B>(request: &Request<B>, peer: SocketAddr, log: &AccessLog) -> Self {
        let began = Instant::now();
        // Nothing is copied for a log that is off.
        let log = log.is_on().then(|| {
            let record = LogLine {
                at_ms: telemetry::now_ms(),
                client: log.address(peer.ip()),
                protocol: protocol(request.version()).to_owned(),
                host: super::authority(request).unwrap_or_default(),
                method: request.method().to_string(),
                target: log.target(request.uri().path_and_query().map_or("", |target| target.as_str())).to_owned(),
                status: 0,
                bytes: 0,
                us: 0,
                referer: said(request.headers(), &REFERER).map(|from| log.target(&from).to_owned()),
                user_agent: said(request.headers(), &USER_AGENT),
                app: None,
                environment: None,
                version: None,
                proxied: false,
            };
            (log.clone(), Box::new(record))
        });
        Self { began, log, version: None, proxied: false, paused: false }
    }

    pub(super) fn decided(&mut self, decision: &Decision) {
        match decision {
            Decision::File(answer) => {
                self.version = Some(Arc::clone(&answer.version));
            }
            Decision::Small(answer) => {
                self.version = answer.current.as_ref().map(|current| Arc::clone(&current.version));
            }
            Decision::Refuse(refusal) => {
                self.version = refusal.current.as_ref().map(|current| Arc::clone(&current.version));
                self.paused = refusal.refused == Refused::Paused;
            }
            Decision::Proxy { current, .. } => {
                self.version = Some(Arc::clone(&current.version));
                self.proxied = true;
            }
            Decision::Load(_) => {}
        }
    }

    /// Goes with the body until it ends.
    pub(super) fn measure(self, status: StatusCode, body: Body) -> Measured {
        Measured { body, bytes: 0, status, measurement: self }
    }
}

/// A body that is counted as it is sent.
pub struct Measured {
    body: Body,
    bytes: u64,
    status: StatusCode,
    measurement: Measurement,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes = self.bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
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
        let elapsed = self.measurement.began.elapsed();
        if let Some(version) = &self.measurement.version {
            version.metrics.count(self.status, self.bytes, elapsed.as_secs_f64());
            if !self.measurement.paused {
                version.tally.count(self.status);
            }
        }
        let Some((log, mut record)) = self.measurement.log.take() else { return };
        record.status = self.status.as_u16();
        record.bytes = self.bytes;
        record.us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        record.proxied = self.measurement.proxied;
        if let Some(version) = &self.measurement.version {
            record.app = Some(version.app.to_string());
            record.environment = Some(version.place.clone());
            record.version = version.header.to_str().ok().map(str::to_owned);
        }
        log.write(record);
    }
}

/// A field as a text, whatever its bytes are.
fn said(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
