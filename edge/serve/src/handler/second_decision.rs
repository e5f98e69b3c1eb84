//! Requests that no backend received: each is decided again if another version went live while the request waited.
//!
//! A request waits while the edge starts an instance. If the backend is replaced meanwhile, the instance never starts,
//! and the live version has other instances. The earlier version has sent no byte by then, so the request still sees
//! one version (law 1).

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::authority::head_of;
use super::body::{self, Body, UnreadBody};
use super::decide::{decide, decide_admitted};
use super::decision::{Decision, Head};
use super::refused::Refused;
use super::request_metrics::Measurement;
use super::{ClientContext, Handler};
use crate::live::Current;
use devanture_http::BodyError;

/// Maximum decisions about one request; each but the last was about a version replaced meanwhile.
const DECISIONS_MAX: usize = 4;

impl Handler {
    /// Carries the decision out. If no backend received the request, and another version went live while the request
    /// waited for an instance, decides again and carries the new decision out. Also returns the body's fate, if no
    /// backend gets the body.
    pub(super) async fn carry_out_latest<B>(
        &self,
        mut request: Request<B>,
        mut decision: Decision,
        came: &ClientContext<'_>,
        measurement: &mut Measurement,
    ) -> (Response<Body>, UnreadBody)
    where
        B: HttpBody<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        for _ in 1..DECISIONS_MAX {
            let Some(before) = waits_for_instances(&decision) else { break };
            let is_protected = matches!(decision, Decision::Protected(_));
            measurement.decided(&decision);
            let (lent, loan) = lend(request);
            let response = self.carry_out(lent, decision, came, measurement.outcome()).await;
            if !measurement.outcome().is_unsent() {
                return (response, UnreadBody::Over);
            }
            let Some(returned) = loan.returned() else { return (response, UnreadBody::Over) };
            let request_head = head_of(&returned);
            // No instance of an earlier version starts any more: the live version answers pinned visitors.
            let head = Head { heeds_pins: false, ..self.head(&request_head, came.host) };
            let next = match is_protected {
                true => decide_admitted(&head, &self.live),
                false => decide(&head, &self.live),
            };
            let next = self.loaded(&request_head, came.host, next).await;
            let is_later = next
                .current()
                .is_some_and(|current| !Arc::ptr_eq(current, &before) && current.version.app == before.version.app);
            if !is_later {
                return (response, UnreadBody::Over);
            }
            measurement.forget_backend();
            (request, decision) = (returned, next);
        }
        let unwanted = match decision.inner() {
            Decision::Proxy { .. } => UnreadBody::Over,
            _ => body::pass_over(&mut request).await,
        };
        if unwanted == UnreadBody::Malformed {
            decision = Decision::Refuse(Refused::BadRequest.into());
        }
        measurement.decided(&decision);
        (self.carry_out(request, decision, came, measurement.outcome()).await, unwanted)
    }
}

/// The live version, if the request may wait for instances that the edge starts.
fn waits_for_instances(decision: &Decision) -> Option<Arc<Current>> {
    let Decision::Proxy { current, .. } = decision.inner() else { return None };
    current.version.managed.is_some().then(|| Arc::clone(current))
}

/// A lent request body, returned if unread.
struct ReplayableBody<B>(Rc<RefCell<Shared<B>>>);

struct Shared<B> {
    /// `None` once returned.
    body: Option<B>,
    is_begun: bool,
}

/// The lender's end of the loan.
struct ReplayHandle<B> {
    parts: Parts,
    shared: Rc<RefCell<Shared<B>>>,
}

/// Lends the body of a request, and copies the head.
fn lend<B>(request: Request<B>) -> (Request<ReplayableBody<B>>, ReplayHandle<B>) {
    let (parts, body) = request.into_parts();
    let shared = Rc::new(RefCell::new(Shared { body: Some(body), is_begun: false }));
    let lent = Request::from_parts(parts.clone(), ReplayableBody(Rc::clone(&shared)));
    (lent, ReplayHandle { parts, shared })
}

impl<B> ReplayHandle<B> {
    /// The original request; `None` if reading of the body began.
    fn returned(self) -> Option<Request<B>> {
        let mut shared = self.shared.borrow_mut();
        let body = if shared.is_begun { None } else { shared.body.take() }?;
        Some(Request::from_parts(self.parts, body))
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for ReplayableBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut shared = self.0.borrow_mut();
        shared.is_begun = true;
        shared.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    fn request() -> Request<Full<Bytes>> {
        Request::post("/api/order").header("x-number", "7").body(Full::from("an order")).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_nobody_read_is_returned_as_it_was() {
        let (lent, loan) = lend(request());
        assert_eq!((lent.body().size_hint().exact(), lent.body().is_end_stream()), (Some(8), false));
        drop(lent);
        let returned = loan.returned().unwrap();
        assert_eq!((returned.uri().path(), &returned.headers()["x-number"]), ("/api/order", &"7".parse().unwrap()));
        assert_eq!(returned.into_body().collect().await.unwrap().to_bytes(), "an order");
    }

    #[tokio::test]
    async fn a_request_whose_body_was_begun_is_not_returned() {
        let (mut lent, loan) = lend(request());
        assert!(lent.body_mut().frame().await.is_some());
        assert!(loan.returned().is_none());
    }

    #[tokio::test]
    async fn a_body_that_was_returned_is_over_for_the_one_who_had_it() {
        let (mut lent, loan) = lend(request());
        assert!(loan.returned().is_some());
        assert!(lent.body_mut().frame().await.is_none() && lent.body().is_end_stream());
    }
}
