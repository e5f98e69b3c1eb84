//! The response to one request of HTTP/2 or HTTP/3: awaited, then its head, then its body, piece by piece.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;

use super::answer::{Answer, AnswerBody, AnswerHead, announced_length};
use super::under_way::{UnderWay, is_event_stream};
use super::{Answering, Outcome, StreamBody};

/// The response to one request.
#[expect(clippy::struct_excessive_bools, reason = "each says something else, and all of them can be together")]
pub(super) struct Response<O> {
    /// The request was a HEAD.
    pub(super) is_head: bool,
    /// It is not at hand: it costs more than its bytes.
    pub(super) is_begun: bool,
    /// While it is awaited.
    pub(super) answering: Option<Answering>,
    /// The head, until it is put.
    pub(super) head: Option<Head>,
    pub(super) body: Rest,
    /// Bytes that the head says are still to come of a body that is polled.
    pub(super) left: Option<u64>,
    pub(super) outcome: Option<O>,
    /// The body of the request came too slowly.
    pub(super) starved: bool,
    pub(super) is_event_stream: bool,
}

/// The head of an answer.
pub(super) enum Head {
    /// The service's, for an answer at hand.
    Answer(StatusCode, AnswerHead),
    /// One that was awaited.
    Response(Box<http::response::Parts>),
    /// Our own.
    Status(StatusCode),
}

/// The body to send after the head.
pub(super) enum Rest {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// The bytes that the body gave last, and then what it gives.
    Stream(Bytes, StreamBody),
    /// These trailers.
    Trailers(Box<HeaderMap>),
}

/// Why a response does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// It will be woken.
    Waits,
    /// There may be more at once.
    Again,
    /// It broke off, or is none that can be sent.
    Failed,
}

/// Fields of a connection, which neither HTTP/2 nor HTTP/3 has (RFC 9113 §8.2.2, RFC 9114 §4.2).
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    let others = ["keep-alive", "proxy-connection"];
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE)
        || others.contains(&name.as_str())
}

impl<O> Response<O> {
    pub(super) const fn new(is_head: bool) -> Self {
        Self {
            is_head,
            is_begun: false,
            answering: None,
            head: None,
            body: Rest::Empty,
            left: None,
            outcome: None,
            starved: false,
            is_event_stream: false,
        }
    }

    /// A status of our own, without a body.
    pub(super) fn of_status(status: StatusCode) -> Self {
        Self { head: Some(Head::Status(status)), ..Self::new(false) }
    }

    /// Awaits it.
    pub(super) fn begin(&mut self, answering: Answering) {
        (self.is_begun, self.answering) = (true, Some(answering));
    }

    /// With an answer, of which nothing was put.
    pub(super) fn with(mut self, answer: Answer<O>) -> Self {
        let Answer { status, head, body, outcome } = answer;
        self.body = match body {
            AnswerBody::Bytes(bytes) => Rest::Bytes(bytes),
            AnswerBody::Stream(body) => {
                (self.is_begun, self.left) = (true, head.content_length());
                Rest::Stream(Bytes::new(), body)
            }
        };
        (self.head, self.outcome) = (Some(Head::Answer(status, head)), Some(outcome));
        self
    }

    /// Bytes of the body that it holds for its peer: those of a body at hand lie where its version has them.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.body {
            Rest::Stream(piece, body) => body.held_bytes() + if body.is_shared() { 0 } else { piece.len() },
            Rest::Empty | Rest::Bytes(_) | Rest::Trailers(_) => 0,
        }
    }

    /// Whether there is something to poll.
    pub(super) const fn is_polled(&self) -> bool {
        self.answering.is_some() || matches!(self.body, Rest::Stream(..))
    }

    /// What is under way, `has_upload` if the request is not whole.
    pub(super) const fn under_way(&self, has_upload: bool) -> UnderWay {
        match (&self.answering, has_upload) {
            (Some(_), true) => UnderWay::Upload,
            (Some(_), false) => UnderWay::Request,
            (None, _) if self.is_event_stream => UnderWay::EventStream,
            (None, _) => UnderWay::Download,
        }
    }

    /// Whether nothing follows the head.
    pub(super) fn is_bodiless(&self) -> bool {
        match &self.body {
            Rest::Empty => true,
            Rest::Bytes(bytes) => bytes.is_empty(),
            Rest::Stream(..) | Rest::Trailers(_) => false,
        }
    }

    /// Whether all came that the head announces.
    pub(super) fn is_whole(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }

    /// Polls the response, if it is awaited.
    ///
    /// # Errors
    ///
    /// If it still is, or cannot be sent.
    #[inline]
    pub(super) fn poll_answering(&mut self, cx: &mut Context<'_>) -> Result<(), Halt> {
        if self.answering.is_some() { self.poll_awaited(cx) } else { Ok(()) }
    }

    fn poll_awaited(&mut self, cx: &mut Context<'_>) -> Result<(), Halt> {
        let Some(answering) = self.answering.as_mut() else { return Ok(()) };
        match answering.as_mut().poll(cx) {
            Poll::Ready(response) => {
                self.answering = None;
                if self.respond(response) { Ok(()) } else { Err(Halt::Failed) }
            }
            // Its request's body came too slowly, and it has nothing to say to that.
            Poll::Pending if self.starved => {
                self.answering = None;
                self.head = Some(Head::Status(StatusCode::REQUEST_TIMEOUT));
                Ok(())
            }
            Poll::Pending => Err(Halt::Waits),
        }
    }

    /// Takes over a response. Whether it is one that can be sent.
    fn respond(&mut self, response: http::Response<StreamBody>) -> bool {
        let (mut parts, body) = response.into_parts();
        // RFC 9113 §8.1, RFC 9114 §4.1: one that is interim ends no request.
        if parts.status.is_informational() {
            return false;
        }
        // RFC 9110 §9.3.2, §15.3.5, §15.4.5.
        let is_bare = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !is_bare
            && !self.is_head
            && let Some(length) = body.size_hint().exact()
            && !parts.headers.contains_key(header::CONTENT_LENGTH)
        {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !is_bare && !self.is_head {
            self.left = announced_length(&parts.headers);
            if !body.is_end_stream() {
                self.is_event_stream = self.left.is_none() && is_event_stream(&parts.headers);
                self.body = Rest::Stream(Bytes::new(), body);
            } else if self.left.is_some_and(|left| left > 0) {
                return false;
            }
        }
        self.head = Some(Head::Response(Box::new(parts)));
        true
    }

    /// Polls the body for its next piece, of at most `bytes_max` bytes where it reads at all, if it has none: what
    /// comes of it is the rest.
    ///
    /// # Errors
    ///
    /// If there is none yet, or the body broke off or went beyond its announced length.
    pub(super) fn poll_piece(&mut self, bytes_max: usize, cx: &mut Context<'_>) -> Result<(), Halt> {
        let Rest::Stream(piece, body) = &mut self.body else { return Ok(()) };
        match body.as_mut().poll_some(bytes_max, cx) {
            Poll::Pending => return Err(Halt::Waits),
            Poll::Ready(None) => self.body = Rest::Empty,
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the body of an answer broke off");
                return Err(Halt::Failed);
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.is_empty() && !body.is_end_stream() => return Err(Halt::Again),
                Ok(data) => {
                    // RFC 9113 §8.1.1, RFC 9114 §4.1.2: a message that is longer than it says is malformed, and so is a
                    // shorter one.
                    let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    match self.left.map(|left| left.checked_sub(count)) {
                        Some(None) => return Err(Halt::Failed),
                        left => self.left = left.flatten(),
                    }
                    *piece = data;
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => self.body = Rest::Trailers(Box::new(trailers)),
                    Err(_) => return Err(Halt::Again),
                },
            },
        }
        Ok(())
    }
}

impl<O: Outcome> Response<O> {
    /// Bytes of a body at hand that are in memory for its peer alone.
    pub(super) fn pinned_bytes(&self) -> usize {
        match &self.body {
            Rest::Bytes(bytes) if self.outcome.as_ref().is_some_and(Outcome::pins_body) => bytes.len(),
            _ => 0,
        }
    }

    /// Takes note of bytes of the body that were handed over.
    pub(super) fn count_sent(&mut self, bytes: usize) {
        if let Some(outcome) = &mut self.outcome
            && bytes > 0
        {
            outcome.sent(bytes);
        }
    }
}
