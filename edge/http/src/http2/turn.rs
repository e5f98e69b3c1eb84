//! One turn of one stream: polls an awaited response, then writes the head and one frame of the body.

use std::pin::Pin;
use std::task::Context;

use bytes::Bytes;
use http_body::Body as _;

use super::super::response::{Halt, Rest};
use super::super::share::Share;
use super::super::sink::Sink;
use super::super::{Outcome, StreamBody};
use super::flow::SendWindow;
use super::frame::{self, flag, kind};
use super::response_head::Writing;
use super::streams::Stream;

/// Body bytes in one frame: together with the frame head, a full TLS record (RFC 8446 §5.1).
pub(in super::super) const DATA_BYTES_MAX: usize = 16_384 - frame::HEAD_BYTES;
/// Minimum body bytes that are passed on by reference.
pub(super) const REFERENCE_BYTES_MIN: usize = 512;

/// Frame size below which a frame shortened by a window is charged to the peer.
const CUT_BYTES_MIN: usize = 1_024;

/// Outcome of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More may be ready at once.
    Again,
    /// Pending; the waker will be called.
    Waits,
    /// Bytes are ready, but the peer gives no window for the stream, or for the whole connection if `by_connection`.
    NoWindow { by_connection: bool },
    /// The last byte was written.
    Done,
    /// The response broke off.
    Failed,
}

/// Context of a stream's turn.
pub(super) struct Sending<'t, K> {
    pub(super) sink: &'t mut K,
    pub(super) writing: Writing<'t>,
    /// Window of the connection.
    pub(super) window: &'t mut SendWindow,
    /// Bytes that the stream may read ahead.
    pub(super) share: Share,
    /// Body bytes written in this turn.
    pub(super) sent: usize,
    /// True if a window shortened the frame.
    pub(super) is_cut: bool,
}

impl<O: Outcome> Stream<O> {
    /// Runs a turn.
    pub(super) fn advance<K: Sink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Step {
        if let Err(halt) = self.response.poll_answering(cx) {
            return halt.into();
        }
        if let Some(head) = self.response.head.take() {
            let ends = self.response.is_bodiless();
            sending.writing.put_head(self.id, &head, ends, sending.sink);
            if ends {
                return Step::Done;
            }
        }
        self.put_body(sending, cx)
    }

    fn put_body<K: Sink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Step {
        if let Rest::Stream(piece, body) = &self.response.body
            && piece.is_empty()
        {
            let (own, all) = (self.own.available(), sending.window.available());
            let is_end_possible = body.size_hint().lower() == 0;
            let Some(bytes_max) = sending.share.bytes_to_read(own.min(all), is_end_possible) else {
                return Step::NoWindow { by_connection: own > 0 };
            };
            if let Err(halt) = self.response.poll_piece(bytes_max, cx) {
                return halt.into();
            }
        }
        let is_whole = self.response.is_whole();
        let step = match &mut self.response.body {
            Rest::Empty | Rest::Trailers(_) if !is_whole => Step::Failed,
            Rest::Empty => {
                sending.sink.put(&frame::head(0, kind::DATA, flag::END_STREAM, self.id));
                Step::Done
            }
            Rest::Trailers(trailers) => {
                sending.writing.put_trailers(self.id, trailers, sending.sink);
                Step::Done
            }
            Rest::Bytes(bytes) => put_data(self.id, &mut self.own, bytes, None, sending),
            Rest::Stream(piece, body) => put_data(self.id, &mut self.own, piece, Some((&*body, is_whole)), sending),
        };
        self.response.count_sent(sending.sent);
        step
    }
}

impl From<Halt> for Step {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Again => Self::Again,
            Halt::Waits => Self::Waits,
            Halt::Failed => Self::Failed,
        }
    }
}

/// Writes as much of `bytes` as a frame and the windows take. `body` may have more bytes after `bytes`, and has if the
/// announced length is not reached.
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
