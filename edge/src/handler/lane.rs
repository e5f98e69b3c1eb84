//! The handler as the engine asks it: at once for all that needs no waiting, in a future for the rest. What is decided, and
//! what is said, is that of [`Handler::handle`]; a plain file is sent as it was prepared when its version was loaded.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};

use super::authority::{LastHost, SameHost};
use super::body::Body;
use super::decide::{Decision, Seen};
use super::measure::Measurement;
use super::refused::Refused;
use super::respond::{self, Ready};
use super::{Handler, error_page};
use crate::engine::{
    Answer, AnswerBody, AnswerHead, Answering, Inbound, Outcome, RequestHead, Service, SharedField, StreamBody,
};
use crate::proxy::Chain;

/// What answers the requests of one connection.
pub struct Lane {
    handler: Rc<Handler>,
    peer: IpAddr,
    covers: Rc<dyn Fn(&str) -> bool>,
    asked: Cell<Option<Box<LastAsked>>>,
}

/// Whom the last request was for, which the next one mostly is for too.
#[derive(Default)]
struct LastAsked {
    host: LastHost,
    /// What was seen for it, as long as requests are asked about that came together with it.
    seen: Option<Seen>,
}

impl Lane {
    /// Answers requests that come in over TLS from `peer`; `covers` says whether the connection's certificate is good for
    /// a host.
    pub fn new(handler: Rc<Handler>, peer: IpAddr, covers: impl Fn(&str) -> bool + 'static) -> Self {
        Self { handler, peer, covers: Rc::new(covers), asked: Cell::default() }
    }

    /// `Strict-Transport-Security`, where the answer is to have it.
    fn hsts(&self, decision: &Decision, host: &str) -> Option<Arc<SharedField>> {
        let handler = &*self.handler;
        handler.binds(decision.is_custom_host(), host).then(|| Arc::clone(handler.hsts.shared()))
    }

    /// The answer to what was decided about a request for `host`; none where it must be waited for.
    fn answered(
        &self,
        request: &RequestHead<'_>,
        began: Instant,
        decided: Result<Decision, Refused>,
        host: &str,
    ) -> Option<Answer<Counted>> {
        if let Ok(Decision::Load(_) | Decision::Proxy { .. }) = decided {
            return None;
        }
        let handler = &*self.handler;
        let client = || Chain::of(request.fields, self.peer, &handler.trusted_proxies).client;
        let mut measurement = Measurement::begin(began, request, &handler.access_log, client);
        let (status, head, body) = match decided {
            Ok(decision) => match self.ready(&decision, host) {
                Some(ready) => {
                    measurement.carried_out(decision);
                    ready
                }
                None => {
                    measurement.decided(&decision);
                    made(handler.at_once(decision, request.fields, host))
                }
            },
            Err(refused) => made(respond::refused(refused)),
        };
        let (body, outcome) = sent(measurement, status, body);
        Some(Answer { status, head, body, outcome })
    }

    /// The answer as it was prepared, where it was.
    fn ready(&self, decision: &Decision, host: &str) -> Option<(StatusCode, AnswerHead, Body)> {
        let ready = match decision {
            Decision::File(answer) => respond::ready(answer),
            Decision::Refuse(refusal) => error_page::ready(refusal),
            Decision::Load(_) | Decision::Proxy { .. } | Decision::Small(_) => None,
        };
        let Ready { status, head, last_modified, body } = ready?;
        let more = [last_modified.map(Arc::clone), self.hsts(decision, host)];
        Some((status, AnswerHead::Prepared(Arc::clone(head), more), body))
    }
}

impl Service for Lane {
    type Outcome = Counted;

    fn answer(&self, request: &RequestHead<'_>, now: Instant) -> Option<Answer<Counted>> {
        let mut asked = self.asked.take().unwrap_or_default();
        let LastAsked { host, seen } = &mut *asked;
        let decided = host.find(request).map(|found| {
            if found == SameHost::No {
                *seen = None;
            }
            self.handler.decided_for(request, host.host(), &*self.covers, seen)
        });
        let answer = self.answered(request, now, decided, host.host());
        self.asked.set(Some(asked));
        answer
    }

    fn let_go(&self) {
        if let Some(mut asked) = self.asked.take() {
            asked.seen = None;
            self.asked.set(Some(asked));
        }
    }

    fn begin(&self, request: Request<Inbound>) -> Answering {
        let (handler, peer, covers) = (Rc::clone(&self.handler), self.peer, Rc::clone(&self.covers));
        Box::pin(async move {
            let is_head = *request.method() == Method::HEAD;
            let response = handler.handle(request, peer, None, &*covers).await;
            response.map(|body| -> StreamBody {
                match is_head {
                    true => Box::pin(Empty::new().map_err(|never| match never {})),
                    false => Box::pin(body.map_err(Into::into)),
                }
            })
        })
    }
}

/// The parts of an answer that was made for this request.
fn made(response: Response<Body>) -> (StatusCode, AnswerHead, Body) {
    let (parts, body) = response.into_parts();
    (parts.status, AnswerHead::Map(parts.headers.into()), body)
}

/// The body as it is sent, and who counts it.
#[inline]
fn sent(mut measurement: Measurement, status: StatusCode, body: Body) -> (AnswerBody, Counted) {
    let at_hand = if measurement.is_head() { Ok(Bytes::new()) } else { body.at_hand() };
    match at_hand {
        Ok(bytes) => {
            measurement.answer(status, bytes.is_empty());
            (AnswerBody::Bytes(bytes), Counted(Some(measurement)))
        }
        // It counts itself, since it knows why it breaks off.
        Err(body) => {
            let body = measurement.measure(status, body).map_err(Into::into);
            (AnswerBody::Stream(Box::pin(body)), Counted(None))
        }
    }
}

/// Counts and logs an answer when it was sent, or will not be, however it ended. Holds the version of the answer (law 1).
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
}
