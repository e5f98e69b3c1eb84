//! One turn of one stream: polls an awaited response, then writes the head and a part of the body.

use std::task::Context;

use bytes::{Buf as _, Bytes};
use http_body::Body as _;

use super::super::response::{Halt, Rest};
use super::super::share::Share;
use super::super::stream_sink::StreamSink;
use super::super::{FRAME_BYTES, Outcome};
use super::response_head::Writing;
use super::streams::Stream;

/// Body bytes written in one turn before the next stream's turn.
const TURN_BYTES_MAX: usize = 4 * FRAME_BYTES;

/// Number of body bytes below which a short write is charged to the peer.
const CUT_BYTES_MIN: usize = 1_024;

/// Outcome of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More may be ready at once.
    Again,
    /// Pending; the waker will be called.
    Waits,
    /// Bytes are ready, but the transport takes none.
    Blocked,
    /// No read is permitted, since other streams hold the share of the connection.
    Unshared,
    /// The last byte was written.
    Done,
    /// The response broke off.
    Failed,
}

/// Context of a stream's turn.
pub(super) struct Sending<'t, K> {
    pub(super) sink: &'t mut K,
    pub(super) writing: Writing<'t>,
    /// Bytes that the stream may read ahead.
    pub(super) share: Share,
    /// Body bytes written in this turn.
    pub(super) sent: usize,
    /// True if the transport took bytes of a head or a body.
    pub(super) is_taken: bool,
    /// True if the transport took only a few of the ready bytes.
    pub(super) is_cut: bool,
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

impl<O: Outcome> Stream<O> {
    /// Runs a turn.
    pub(super) fn advance<K: StreamSink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Step {
        if let Err(halt) = self.prepare(sending, cx) {
            return halt;
        }
        let step = self.write(sending);
        self.response.count_sent(sending.sent);
        step
    }

    /// Prepares the next bytes to write, if none are left.
    fn prepare<K: StreamSink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Result<(), Step> {
        if self.own.is_last || self.own.is_framed {
            return Ok(());
        }
        self.response.poll_answering(cx)?;
        if let Some(head) = self.response.head.take() {
            // A body in memory is one frame, written directly after the head.
            let at_hand = match &self.response.body {
                Rest::Bytes(bytes) if !bytes.is_empty() => Some(bytes.len()),
                _ => None,
            };
            self.own.unsent = sending.writing.head(&head, at_hand);
            self.own.is_framed = at_hand.is_some();
            self.own.is_last = self.own.is_framed || self.response.is_bodiless();
            return Ok(());
        }
        // No body is polled while the peer does not take the pending bytes.
        if self.own.unsent.is_empty() { self.next_piece(sending, cx) } else { Ok(()) }
    }

    /// Reads the next piece of the body and frames the piece.
    fn next_piece<K: StreamSink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Result<(), Step> {
        if let Rest::Stream(_, body) = &self.response.body {
            let is_end_possible = body.size_hint().lower() == 0;
            let bytes_max = sending.share.bytes_to_read(TURN_BYTES_MAX, is_end_possible).ok_or(Step::Unshared)?;
            self.response.poll_piece(bytes_max, cx)?;
        }
        let is_whole = self.response.is_whole();
        match &self.response.body {
            Rest::Empty | Rest::Trailers(_) if !is_whole => return Err(Step::Failed),
            Rest::Empty => self.own.is_last = true,
            Rest::Trailers(trailers) => {
                self.own.unsent = sending.writing.trailers(trailers);
                self.own.is_last = true;
            }
            Rest::Bytes(_) => {}
            Rest::Stream(piece, body) => {
                self.own.is_last = is_whole && body.is_end_stream();
                if !piece.is_empty() {
                    self.own.unsent = sending.writing.data(piece.len());
                    self.own.is_framed = true;
                }
            }
        }
        Ok(())
    }

    /// Writes the pending bytes, as far as the transport takes them.
    fn write<K: StreamSink>(&mut self, sending: &mut Sending<'_, K>) -> Step {
        let mut none = Bytes::new();
        let bytes = match &mut self.response.body {
            Rest::Bytes(bytes) | Rest::Stream(bytes, _) if self.own.is_framed => bytes,
            _ => &mut none,
        };
        let body = bytes.slice(..bytes.len().min(TURN_BYTES_MAX));
        let offered = [self.own.unsent.len(), body.len()];
        let mut parts = [std::mem::take(&mut self.own.unsent), body];
        sending.sink.write(self.id, &mut parts);
        let [unsent, rest] = parts;
        let sent = offered[1] - rest.len();
        bytes.advance(sent);
        let is_all = unsent.is_empty() && rest.is_empty();
        sending.is_taken = [unsent.len(), rest.len()] != offered;
        sending.is_cut = !is_all && sent < CUT_BYTES_MIN;
        sending.sent = sent;
        self.own.unsent = unsent;
        if bytes.is_empty() {
            self.own.is_framed = false;
        }
        match (is_all, bytes.is_empty()) {
            (false, _) => Step::Blocked,
            (true, true) if self.own.is_last => Step::Done,
            (true, _) => Step::Again,
        }
    }
}
