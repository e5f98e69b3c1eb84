//! One turn of one stream: its response is polled if it is awaited, its head is put, and one frame of its body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body as _;

use super::super::answer::announced_length;
use super::super::sink::Sink;
use super::super::under_way::is_event_stream;
use super::super::{Outcome, StreamBody};
use super::flow::SendWindow;
use super::frame::{self, flag, kind};
use super::response_head::Writing;
use super::share::Share;
use super::streams::{Head, Rest, Stream};

/// Bytes of a body in one frame: with its head, a full record of TLS (RFC 8446 §5.1).
pub(in super::super) const DATA_BYTES_MAX: usize = 16_384 - frame::HEAD_BYTES;
/// Bytes of a body from which on they are handed over by reference.
pub(super) const REFERENCE_BYTES_MIN: usize = 512;

/// Bytes of a frame below which it is held against a peer that there was no window for more.
const CUT_BYTES_MIN: usize = 1_024;

/// The outcome of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more at once.
    Again,
    /// It will be woken.
    Waits,
    /// It has bytes, and the peer gives no window for them, or `by_connection` none for all streams together.
    NoWindow { by_connection: bool },
    /// The last byte was put.
    Done,
    /// It broke off.
    Failed,
}

/// The context of a stream's turn.
pub(super) struct Sending<'t, K> {
    pub(super) sink: &'t mut K,
    pub(super) writing: Writing<'t>,
    /// The connection's window.
    pub(super) window: &'t mut SendWindow,
    /// Bytes that the stream may read ahead.
    pub(super) share: Share,
    /// Bytes of bodies that were put in this turn.
    pub(super) sent: usize,
    /// A window made a short frame of more bytes.
    pub(super) is_cut: bool,
}

impl<O: Outcome> Stream<O> {
    /// Takes its turn.
    pub(super) fn advance<K: Sink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Step {
        if let Some(step) = self.poll_answering(cx) {
            return step;
        }
        if let Some(head) = self.head.take() {
            let ends = match &self.body {
                Rest::Empty => true,
                Rest::Bytes(bytes) => bytes.is_empty(),
                Rest::Stream(..) | Rest::Trailers(_) => false,
            };
            sending.writing.put_head(self.id, &head, ends, sending.sink);
            if ends {
                return Step::Done;
            }
        }
        self.put_body(sending, cx)
    }

    /// Polls the response, if it is awaited: `None` if there is one, or was before.
    pub(super) fn poll_answering(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let answering = self.answering.as_mut()?;
        match answering.as_mut().poll(cx) {
            Poll::Ready(response) => {
                self.answering = None;
                if self.respond(response) { None } else { Some(Step::Failed) }
            }
            // Its request's body came too slowly, and it has nothing to say to that.
            Poll::Pending if self.starved => {
                self.answering = None;
                self.head = Some(Head::Status(StatusCode::REQUEST_TIMEOUT));
                None
            }
            Poll::Pending => Some(Step::Waits),
        }
    }

    /// Takes over a response. Whether it is one that can be sent.
    fn respond(&mut self, response: Response<StreamBody>) -> bool {
        let (mut parts, body) = response.into_parts();
        // RFC 9113 §8.1: one that is interim ends no request.
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

    fn put_body<K: Sink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Step {
        if let Rest::Stream(piece, body) = &mut self.body
            && piece.is_empty()
        {
            let (own, all) = (self.window.available(), sending.window.available());
            let is_end_possible = body.size_hint().lower() == 0;
            let Some(bytes_max) = sending.share.bytes_to_read(own.min(all), is_end_possible) else {
                return Step::NoWindow { by_connection: own > 0 };
            };
            match body.as_mut().poll_some(bytes_max, cx) {
                Poll::Pending => return Step::Waits,
                Poll::Ready(None) => self.body = Rest::Empty,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "the body of an answer broke off");
                    return Step::Failed;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() && !body.is_end_stream() => return Step::Again,
                    Ok(data) => {
                        // RFC 9113 §8.1.1: a message that is longer than it says is malformed, and so is a shorter one.
                        let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
                        match self.left.map(|left| left.checked_sub(count)) {
                            Some(None) => return Step::Failed,
                            left => self.left = left.flatten(),
                        }
                        *piece = data;
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => self.body = Rest::Trailers(Box::new(trailers)),
                        Err(_) => return Step::Again,
                    },
                },
            }
        }
        let is_whole = self.left.is_none_or(|left| left == 0);
        match &mut self.body {
            Rest::Empty | Rest::Trailers(_) if !is_whole => Step::Failed,
            Rest::Empty => {
                sending.sink.put(&frame::head(0, kind::DATA, flag::END_STREAM, self.id));
                Step::Done
            }
            Rest::Trailers(trailers) => {
                sending.writing.put_trailers(self.id, trailers, sending.sink);
                Step::Done
            }
            Rest::Bytes(bytes) => {
                let step = put_data(self.id, &mut self.window, bytes, None, sending);
                self.count_sent(sending.sent, step)
            }
            Rest::Stream(piece, body) => {
                let step = put_data(self.id, &mut self.window, piece, Some((&*body, is_whole)), sending);
                self.count_sent(sending.sent, step)
            }
        }
    }

    fn count_sent(&mut self, sent: usize, step: Step) -> Step {
        if let Some(outcome) = &mut self.outcome
            && sent > 0
        {
            outcome.sent(sent);
        }
        step
    }
}

/// Puts as much of `bytes` as a frame and the windows take; `body` may have more after them, and has if they are not
/// all that was announced.
fn put_data<K: Sink>(
    id: u32,
    window: &mut SendWindow,
    bytes: &mut Bytes,
    body: Option<(&StreamBody, bool)>,
    sending: &mut Sending<'_, K>,
) -> Step {
    let is_last_piece = || body.is_none_or(|(body, is_whole)| is_whole && Pin::as_ref(body).is_end_stream());
    let all = sending.window.available();
    let count = bytes.len().min(DATA_BYTES_MAX).min(sending.writing.frame_bytes).min(window.available()).min(all);
    if count == 0 && !bytes.is_empty() {
        return Step::NoWindow { by_connection: window.available() > 0 };
    }
    let ends = count == bytes.len() && is_last_piece();
    sending.is_cut = count < CUT_BYTES_MIN && count < bytes.len();
    let flags = if ends { flag::END_STREAM } else { 0 };
    let part = bytes.split_to(count);
    let head = frame::head(count, kind::DATA, flags, id);
    if count < REFERENCE_BYTES_MIN {
        let block = &mut *sending.writing.block;
        block.clear();
        block.extend_from_slice(&head);
        block.extend_from_slice(&part);
        sending.sink.put(block);
    } else {
        sending.sink.put(&head);
        sending.sink.put_body(part);
    }
    window.spend(count);
    sending.window.spend(count);
    sending.sent = count;
    if ends { Step::Done } else { Step::Again }
}
