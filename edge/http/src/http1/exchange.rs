//! A request of HTTP/1.1 that is not answered at once: its response is awaited while its body comes in.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;

use super::upload::{AnnouncedBody, BodyFraming, Upload};
use crate::inbound::Inbound;
use crate::upgrade::UpgradeSender;
use crate::{Answering, Limits, Service, StreamBody, stream_body};

/// From the head of a request to the last byte of its response.
pub(super) struct Exchange<P> {
    method: Method,
    stage: Stage<P>,
    /// The body, while bytes of it are still to come.
    upload: Option<Upload>,
    /// Where the connection goes if the response switches to the protocol that was asked for.
    upgrade: Option<UpgradeSender>,
}

enum Stage<P> {
    /// Its head came, and may announce a body; it may be decided already. It begins where there is a task to wake.
    Came(Box<Request<()>>, Option<AnnouncedBody>, Option<P>),
    /// The service has it.
    Awaited(Answering),
    /// Its response is being put.
    Answered,
}

impl<P> Exchange<P> {
    pub(super) fn new(request: Request<()>, body: Option<AnnouncedBody>, pending: Option<P>) -> Self {
        let method = request.method().clone();
        Self { method, stage: Stage::Came(Box::new(request), body, pending), upload: None, upgrade: None }
    }

    /// Begins with a request that asks for another protocol.
    pub(super) fn asking_upgrade(mut request: Request<()>, pending: Option<P>) -> Self {
        let upgrade = Some(UpgradeSender::of(&mut request));
        Self { upgrade, ..Self::new(request, None, pending) }
    }

    /// Whether a response may switch to another protocol.
    pub(super) const fn may_switch(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Where the connection goes once it has switched.
    pub(super) fn into_upgrade(self) -> Option<UpgradeSender> {
        self.upgrade
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// Hands the request to `service`, unless it has it.
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

    /// Takes the bytes of the body at the beginning of `bytes`, and returns their number.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        let Some(upload) = &mut self.upload else { return 0 };
        let count = upload.receive(bytes);
        if upload.is_whole() {
            self.upload = None;
        }
        count
    }

    /// Polls for the response, which comes once.
    pub(super) fn poll(&mut self, limits: &Limits, now: Instant, cx: &mut Context<'_>) -> Poll<Response<StreamBody>> {
        let mut polled = self.poll_service(cx);
        if let Some(upload) = &mut self.upload
            && !upload.tend(now, limits.body)
            && polled.is_pending()
        {
            // It may have a response of its own to the error that it reads now.
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

    /// Whether bytes of its body are still to come.
    pub(super) const fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }

    /// Whether bytes of its body are still to come that nobody reads, or that mean nothing.
    pub(super) fn is_unread(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_abandoned() || upload.is_broken())
    }

    /// Whether its client is to be asked for the body now.
    pub(super) fn take_word(&mut self) -> bool {
        self.upload.as_mut().is_some_and(Upload::take_word)
    }

    /// Whether more bytes of its body are welcome; `None` after the last.
    pub(super) fn wants_body(&self) -> Option<bool> {
        match (&self.stage, &self.upload) {
            (Stage::Came(..), _) => Some(false),
            (_, Some(upload)) => Some(upload.wants_input()),
            (_, None) => None,
        }
    }

    /// When its body has come too slowly.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.upload.as_ref()?.deadline(patience)
    }
}

/// The response to a request whose body came too slowly (RFC 9110 §15.5.9).
fn too_slow() -> Response<StreamBody> {
    let mut response = Response::new(stream_body(Empty::<Bytes>::new()));
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
