//! Deferred HTTP/1.1 request: the response is awaited while the body arrives.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;

use super::answering::AnswerForm;
use super::upload::{AnnouncedBody, BodyFraming, Upload};
use crate::inbound::Inbound;
use crate::upgrade::UpgradeSender;
use crate::{Answering, Limits, Service, StreamBody, stream_body};

/// Request from the head to the last byte of the response.
pub(super) struct Exchange<P> {
    method: Method,
    manner: AnswerForm,
    stage: Stage<P>,
    /// Incomplete request body.
    upload: Option<Upload>,
    /// Receiver of the connection if the response switches protocols.
    upgrade: Option<UpgradeSender>,
}

enum Stage<P> {
    /// The head arrived, possibly with an announced body and a decision. The service is called once a task can be
    /// woken.
    Came(Box<Request<()>>, Option<AnnouncedBody>, Option<P>),
    /// The service is preparing the response.
    Awaited(Answering),
    /// The response is being written.
    Answered,
}

impl<P> Exchange<P> {
    /// Begins with a request, to which the response is to be put in this manner.
    pub(super) fn new(
        request: Request<()>,
        body: Option<AnnouncedBody>,
        pending: Option<P>,
        manner: AnswerForm,
    ) -> Self {
        let method = request.method().clone();
        Self { method, manner, stage: Stage::Came(Box::new(request), body, pending), upload: None, upgrade: None }
    }

    /// Begins with a request that asks for another protocol.
    pub(super) fn asking_upgrade(mut request: Request<()>, pending: Option<P>, manner: AnswerForm) -> Self {
        let upgrade = Some(UpgradeSender::of(&mut request));
        Self { upgrade, ..Self::new(request, None, pending, manner) }
    }

    /// The manner of its response, as far as the request says it.
    pub(super) const fn manner(&self) -> AnswerForm {
        self.manner
    }

    /// Returns true if the response may switch protocols.
    pub(super) const fn may_switch(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Returns the receiver of the switched connection.
    pub(super) fn into_upgrade(self) -> Option<UpgradeSender> {
        self.upgrade
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// Passes the request to `service`, unless already done.
    pub(super) fn begin(&mut self, service: &impl Service<Pending = P>, limits: &Limits, cx: &Context<'_>) {
        let Stage::Came(request, body, pending) = &mut self.stage else { return };
        let (request, pending) = (std::mem::take(request), pending.take());
        let body = match *body {
            None | Some(AnnouncedBody { framing: BodyFraming::Length(0), .. }) => Inbound::empty(),
            Some(body) => {
                let (inbound, upload) = Upload::new(body, limits.header_fields, cx.waker().clone());
                self.upload = Some(upload);
                inbound
            }
        };
        self.stage = Stage::Awaited(service.begin((*request).map(|()| body), pending));
    }

    /// Consumes the body bytes at the beginning of `bytes`, and returns their number.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        let Some(upload) = &mut self.upload else { return 0 };
        let count = upload.receive(bytes);
        if upload.is_whole() {
            self.upload = None;
        }
        count
    }

    /// Polls for the response, which is returned once.
    pub(super) fn poll(&mut self, limits: &Limits, now: Instant, cx: &mut Context<'_>) -> Poll<Response<StreamBody>> {
        let mut polled = self.poll_service(cx);
        if let Some(upload) = &mut self.upload
            && !upload.tend(now, limits.body)
            && polled.is_pending()
        {
            // The service may respond to the read error itself.
            polled = self.poll_service(cx);
            if polled.is_pending() && matches!(self.stage, Stage::Awaited(_)) {
                polled = Poll::Ready(too_slow());
            }
        }
        if polled.is_ready() {
            self.stage = Stage::Answered;
        }
        polled
    }

    fn poll_service(&mut self, cx: &mut Context<'_>) -> Poll<Response<StreamBody>> {
        match &mut self.stage {
            Stage::Awaited(answering) => answering.as_mut().poll(cx),
            Stage::Came(..) | Stage::Answered => Poll::Pending,
        }
    }

    /// Returns true if a part of the body is still to come.
    pub(super) const fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }

    /// Returns true if a part of the body is still to come, but has no reader or is malformed.
    pub(super) fn is_unread(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_abandoned() || upload.is_broken())
    }

    /// Returns true if the client must be asked for the body now.
    pub(super) fn take_word(&mut self) -> bool {
        self.upload.as_mut().is_some_and(Upload::take_word)
    }

    /// Returns true if more body bytes are welcome; `None` after the last byte.
    pub(super) fn wants_body(&self) -> Option<bool> {
        match (&self.stage, &self.upload) {
            (Stage::Came(..), _) => Some(false),
            (_, Some(upload)) => Some(upload.wants_input()),
            (_, None) => None,
        }
    }

    /// Returns the time at which the body is too slow.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.upload.as_ref()?.deadline(patience)
    }
}

/// Returns the response to a request with a slow body (RFC 9110 §15.5.9).
fn too_slow() -> Response<StreamBody> {
    let mut response = Response::new(stream_body(Empty::<Bytes>::new()));
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
