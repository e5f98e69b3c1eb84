//! The handler as the engine's service: synchronous for every request that needs no waiting, a future otherwise.
//! Decisions and responses equal those of [`Handler::handle`]; a plain file is sent as prepared when its version was
//! loaded.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body_util::Empty;

use super::authority::{LastHost, SameHost, sent_authority};
use super::body::Body;
use super::canary::LastDraw;
use super::decide::{HostLookupCache, decide_together};
use super::decision::{Decision, Head};
use super::refused::Refused;
use super::request_metrics::{Measurement, log_refusal};
use super::respond::{self, PreparedResponse};
use super::{DecidedRequest, Handler, error_page};
use crate::live::Live;
use crate::proxy::{Chain, Interim};
use devanture_http::{
    Answer, AnswerBody, AnswerHead, Answered, Answering, Inbound, Outcome, RequestHead, Service, stream_body,
};

/// Answers the requests of one connection.
pub struct EngineService {
    handler: Rc<Handler>,
    peer: IpAddr,
    covers: Rc<dyn Fn(&str) -> bool>,
    /// Interim responses of backends, if the protocol has interim responses.
    interim: Option<Arc<Interim>>,
    last_request: Cell<Option<Box<LastRequest>>>,
}

/// Host and lookups of the last request, mostly valid for the next request too.
#[derive(Default)]
struct LastRequest {
    host: LastHost,
    /// Lookups for the host, for the requests of one batch.
    seen: HostLookupCache,
    /// The canary draw of the last visitor.
    last_draw: LastDraw,
}

impl EngineService {
    /// Answers requests that arrive over TLS from `peer`; `covers` returns true if the connection's certificate is
    /// valid for a host.
    pub fn new(handler: Rc<Handler>, peer: IpAddr, covers: impl Fn(&str) -> bool + 'static) -> Self {
        Self { handler, peer, covers: Rc::new(covers), interim: None, last_request: Cell::default() }
    }

    /// Forwards the interim responses of backends.
    #[must_use]
    pub fn with_interim(mut self) -> Self {
        self.interim = Some(Arc::default());
        self
    }

    /// Puts the response to a decided request for `host`; a decision that must be waited for is returned as later work.
    /// A processor stalls on moves that are wider than the preceding writes, so the response is put together late and
    /// moved rarely.
    #[inline]
    fn answered<R>(
        &self,
        request: &RequestHead<'_>,
        began: Instant,
        decision: Decision,
        host: &str,
        put: impl FnOnce(Answer<Counted>) -> R,
    ) -> Answered<R, Box<DecidedRequest>> {
        if let Decision::Load(_) | Decision::Proxy { .. } | Decision::Report(_) | Decision::Visitor(_) =
            decision.inner()
        {
            let authority = sent_authority(request).to_owned();
            return Answered::Later(Box::new(DecidedRequest { authority, host: host.to_owned(), decision }));
        }
        let Some(PreparedResponse { status, head, last_modified, body }) = ready(&decision) else {
            return Answered::Now(put(self.made(request, began, decision, host)));
        };
        let kept = self.handler.kept_by_browsers(decision.host_is_custom(), request.version, host);
        let [hsts, alt_svc] = kept.map(|field| field.map(|field| Arc::clone(field.shared())));
        let head = AnswerHead::Prepared(Arc::clone(head), [last_modified.map(Arc::clone), hsts, alt_svc]);
        let at_hand = if *request.method == Method::HEAD { Ok(Bytes::new()) } else { body.at_hand() };
        let mut measurement = self.measure(request, began);
        measurement.carried_out(decision);
        Answered::Now(match at_hand {
            Ok(bytes) => put(whole(measurement, status, head, bytes)),
            Err(body) => put(streamed(measurement, status, head, body)),
        })
    }

    /// Returns true if the peer is a trusted proxy.
    fn is_from_trusted(&self) -> bool {
        self.handler.trusted_proxies.load().iter().any(|block| block.contains(self.peer))
    }

    #[inline]
    fn measure(&self, request: &RequestHead<'_>, began: Instant) -> Measurement {
        let handler = &*self.handler;
        let client = || Chain::of(request.fields, self.peer, &handler.trusted_proxies.load()).client;
        Measurement::begin(began, request, &handler.access_log, client)
    }

    /// A response made for the request.
    fn made(&self, request: &RequestHead<'_>, began: Instant, decision: Decision, host: &str) -> Answer<Counted> {
        let mut measurement = self.measure(request, began);
        if decision.traffic().is_some() {
            return self.limited(measurement, request, decision, host);
        }
        measurement.decided(&decision);
        let (parts, body) = self.handler.at_once(decision, request.version, request.fields, host).into_parts();
        sent(measurement, parts.status, AnswerHead::Map(parts.headers.into()), body)
    }

    /// The response of an app with traffic limits.
    fn limited(
        &self,
        mut measurement: Measurement,
        request: &RequestHead<'_>,
        decision: Decision,
        host: &str,
    ) -> Answer<Counted> {
        let decision = measurement.admitted(decision);
        measurement.decided(&decision);
        let (parts, body) = self.handler.at_once(decision, request.version, request.fields, host).into_parts();
        let body = measurement.paced(body);
        sent(measurement, parts.status, AnswerHead::Map(parts.headers.into()), body)
    }

    /// The response to a request that reaches no app.
    fn refused(&self, request: &RequestHead<'_>, began: Instant, refused: Refused) -> Answer<Counted> {
        let (parts, body) = respond::refused(refused).into_parts();
        sent(self.measure(request, began), parts.status, AnswerHead::Map(parts.headers.into()), body)
    }
}

/// The prepared response, if the decision has one.
#[inline]
fn ready(decision: &Decision) -> Option<PreparedResponse<'_>> {
    match decision {
        Decision::File(answer) => respond::ready(answer),
        Decision::Refuse(refusal) => error_page::ready(refusal),
        Decision::Load(_)
        | Decision::Protected(_)
        | Decision::Proxy { .. }
        | Decision::Report(_)
        | Decision::Small(_)
        | Decision::Visitor(_) => None,
    }
}

impl Service for EngineService {
    type Outcome = Counted;
    type Pending = Box<DecidedRequest>;

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        now: Instant,
        put: impl FnOnce(Answer<Counted>) -> R,
    ) -> Answered<R, Box<DecidedRequest>> {
        let mut last_request = self.last_request.take().unwrap_or_default();
        let LastRequest { host, seen, last_draw } = &mut *last_request;
        let answered = match host.find(request, || self.is_from_trusted()) {
            Ok(found) => {
                if found == SameHost::No {
                    *seen = HostLookupCache::Nothing;
                }
                let decide = |head: &Head<'_>, live: &Live| decide_together(head, live, seen, last_draw);
                let decision = self.handler.decided_for(request, host.host(), &*self.covers, decide);
                self.answered(request, now, decision, host.host(), put)
            }
            Err(refused) => Answered::Now(put(self.refused(request, now, refused))),
        };
        self.last_request.set(Some(last_request));
        answered
    }

    fn end_of_batch(&self) {
        if let Some(mut last_request) = self.last_request.take() {
            last_request.seen = HostLookupCache::Nothing;
            self.last_request.set(Some(last_request));
        }
    }

    fn begin(&self, request: Request<Inbound>, pending: Option<Box<DecidedRequest>>) -> Answering {
        let (handler, peer, covers) = (Rc::clone(&self.handler), self.peer, Rc::clone(&self.covers));
        let interim = self.interim.clone();
        Box::pin(async move {
            let is_head = *request.method() == Method::HEAD;
            let response = match pending {
                Some(decided) => handler.handle_decided(request, peer, interim.as_ref(), *decided).await,
                None => handler.handle(request, peer, interim.as_ref(), &*covers).await,
            };
            response.map(|body| match is_head {
                true => stream_body(Empty::new()),
                false => stream_body(body),
            })
        })
    }

    fn note_refusal(&self, version: Version, status: StatusCode) {
        log_refusal(&self.handler.access_log, self.peer, (version, status));
    }

    fn interim(&self, waker: &Waker) -> Option<Vec<u8>> {
        let interim = self.interim.as_ref()?;
        interim.set_waker(waker);
        interim.take()
    }
}

/// The response as sent, with its measurement.
fn sent(measurement: Measurement, status: StatusCode, head: AnswerHead, body: Body) -> Answer<Counted> {
    let at_hand = if measurement.is_head() { Ok(Bytes::new()) } else { body.at_hand() };
    match at_hand {
        Ok(bytes) => whole(measurement, status, head, bytes),
        Err(body) => streamed(measurement, status, head, body),
    }
}

/// A response with its bytes at hand.
#[inline]
fn whole(mut measurement: Measurement, status: StatusCode, head: AnswerHead, bytes: Bytes) -> Answer<Counted> {
    measurement.answer(status, bytes.is_empty());
    Answer { status, head, body: AnswerBody::Bytes(bytes), outcome: Counted(Some(measurement)) }
}

/// A response with a body read while being sent. The body counts itself, since only the body knows the reason of an
/// abort.
fn streamed(measurement: Measurement, status: StatusCode, head: AnswerHead, body: Body) -> Answer<Counted> {
    let body = stream_body(measurement.measure(status, body));
    Answer { status, head, body: AnswerBody::Stream(body), outcome: Counted(None) }
}

/// Counts and logs a response once sent or abandoned. Holds the version of the response (law 1).
pub struct Counted(Option<Measurement>);

impl Outcome for Counted {
    fn sent(&mut self, bytes: usize) {
        if let Some(measurement) = &mut self.0 {
            measurement.sent(bytes);
        }
    }

    fn complete(&mut self, now: Instant) {
        if let Some(measurement) = &mut self.0 {
            measurement.complete(now);
        }
    }

    fn pins_body(&self) -> bool {
        self.0.as_ref().is_some_and(Outcome::pins_body)
    }
}
