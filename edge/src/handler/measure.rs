//! Counts and logs a request when the last byte of its answer is gone, or its client is.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Frame, SizeHint};

use super::body::{Body, Error};
use super::decide::Decision;
use super::{Began, protocol};
use crate::telemetry::{self, AccessLog, AccessRecord};
use crate::version::Version;

/// What is known of a request before its answer.
pub(super) struct Measurement {
    began: Began,
    log: Option<(AccessLog, Box<AccessRecord>)>,
    version: Option<Arc<Version>>,
    custom_host: bool,
    proxied: bool,
}

impl Measurement {
    pub(super) fn begin<B>(request: &Request<B>, peer: SocketAddr, log: &AccessLog) -> Self {
        let began = Instant::now();
        // Nothing is copied for a log that is off.
        let log = log.is_on().then(|| {
            let record = AccessRecord {
                at_ms: telemetry::now_ms(),
                client: peer.ip(),
                protocol: protocol(request.version()),
                host: super::authority(request).unwrap_or_default(),
                method: request.method().to_string(),
                target: request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned(),
                status: 0,
                bytes: 0,
                us: 0,
                app: None,
                environment: None,
                version: None,
                proxied: false,
            };
            (log.clone(), Box::new(record))
        });
        Self { began, log, version: None, custom_host: false, proxied: false }
    }

    pub(super) fn decided(&mut self, decision: &Decision) {
        match decision {
            Decision::File(answer) => {
                self.version = Some(Arc::clone(&answer.version));
                self.custom_host = answer.custom_host;
            }
            Decision::Small(answer) => {
                self.version = answer.current.as_ref().map(|current| Arc::clone(&current.version));
                self.custom_host = answer.custom_host;
            }
            Decision::Refuse(refusal) => {
                self.version = refusal.current.as_ref().map(|current| Arc::clone(&current.version));
                self.custom_host = refusal.custom_host;
            }
            Decision::Proxy { current, custom_host, .. } => {
                self.custom_host = *custom_host;
                self.version = Some(Arc::clone(&current.version));
                self.proxied = true;
            }
            Decision::Load(_) => {}
        }
    }

    pub(super) const fn is_custom_host(&self) -> bool {
        self.custom_host
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
        log.write(*record);
    }
}
