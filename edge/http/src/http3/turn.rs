//! One turn of one stream: its response is polled if it is awaited, its head is written, and some of its body.

use std::task::Context;

use bytes::{Buf as _, Bytes};
use http_body::Body as _;

use super::super::response::{Halt, Rest};
use super::super::share::Share;
use super::super::stream_sink::StreamSink;
use super::super::{FRAME_BYTES, Outcome};
use super::response_head::Writing;
use super::streams::Stream;

/// Bytes of a body that one turn writes: others have theirs before it goes on.
const TURN_BYTES_MAX: usize = 4 * FRAME_BYTES;

/// Bytes of a body below which it is held against a peer that there was no window for more.
const CUT_BYTES_MIN: usize = 1_024;

/// The outcome of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more at once.
    Again,
    /// It will be woken.
    Waits,
    /// It has bytes that the transport does not take.
    Blocked,
    /// It may read nothing, since others hold the share of the connection.
    Unshared,
    /// The last byte was written.
    Done,
    /// It broke off.
    Failed,
}

/// The context of a stream's turn.
pub(super) struct Sending<'t, K> {
    pub(super) sink: &'t mut K,
    pub(super) writing: Writing<'t>,
    /// Bytes that the stream may read ahead.
    pub(super) share: Share,
    /// Bytes of bodies that were written in this turn.
    pub(super) sent: usize,
    /// The transport took bytes, of a head or of a body.
    pub(super) is_taken: bool,
    /// It took few of more bytes.
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
    /// Takes its turn.
    pub(super) fn advance<K: StreamSink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Step {
        if let Err(halt) = self.prepare(sending, cx) {
            return halt;
        }
        let step = self.write(sending);
        self.response.count_sent(sending.sent);
        step
    }

    /// Makes what is to be written next, if nothing is left.
    fn prepare<K: StreamSink>(&mut self, sending: &mut Sending<'_, K>, cx: &mut Context<'_>) -> Result<(), Step> {
        if self.own.is_last || self.own.is_framed {
            return Ok(());
        }
        self.response.poll_answering(cx)?;
        if let Some(head) = self.response.head.take() {
            // A body at hand is one frame, and follows at once.
            let at_hand = match &self.response.body {
                Rest::Bytes(bytes) if !bytes.is_empty() => Some(bytes.len()),
                _ => None,
            };
            self.own.unsent = sending.writing.head(&head, at_hand);
            self.own.is_framed = at_hand.is_some();
            self.own.is_last = self.own.is_framed || self.response.is_bodiless();
            return Ok(());
        }
        // Nothing is polled for a peer that does not take what is there.
        if self.own.unsent.is_empty() { self.next_piece(sending, cx) } else { Ok(()) }
    }

    /// Reads the next piece of the body, and frames it.
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

    /// Writes what is left, as far as the transport takes it.
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
