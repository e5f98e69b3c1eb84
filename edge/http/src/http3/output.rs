//! Order of output: the control stream, stream operations without bytes, then one turn of each stream.

use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::super::inbound::Broken;
use super::super::stream_sink::StreamSink;
use super::super::{Service, Turn};
use super::frame::Code;
use super::response_head::Writing;
use super::streams::Stream;
use super::turn::{Sending, Step};
use super::{CONTROL_STREAM, Connection, State};

/// Maximum turns of streams in one call: a body may yield empty pieces forever.
const TURNS_MAX: usize = 4_096;
/// Number of pending stream operations beyond which no further input is read.
const ACTIONS_MAX: usize = 1_024;

/// Pending stream operation without bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// This end stops sending.
    Reset(u64, Code),
    /// The peer is asked to stop sending.
    Stop(u64, Code),
    /// The peer's bytes are welcome again.
    Resume(u64),
}

impl Action {
    /// Returns true if the stream is no longer received after the operation.
    pub(super) const fn ends(&self, id: u64) -> bool {
        matches!(self, Self::Reset(stream, _) | Self::Stop(stream, _) if *stream == id)
    }
}

impl<S: Service> Connection<S> {
    pub(super) fn put_due(&mut self, sink: &mut impl StreamSink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        self.end_of_batch();
        if self.end.is_none() {
            self.advance_drain(turn.now);
            self.take_woken(turn.now, cx.waker());
            self.check_clocks(turn.now);
            self.put_control(sink);
            if !self.streams.is_empty() {
                self.put_streams(sink, turn, cx);
            }
            self.resume_held_back();
            self.put_actions(sink);
        }
        self.rest();
        match self.end {
            Some(code) => State::Over(code),
            None if self.is_drained() => State::Over(Code::None),
            None => State::Open,
        }
    }

    /// Returns true if the pending operations caused by input are within the limit.
    pub(super) fn takes_more(&self) -> bool {
        self.end.is_none() && self.actions.len() <= ACTIONS_MAX
    }

    fn put_control(&mut self, sink: &mut impl StreamSink) {
        if !self.control.is_empty() {
            let mut parts = [Bytes::from(std::mem::take(&mut self.control))];
            sink.write(CONTROL_STREAM, &mut parts);
            let [rest] = parts;
            self.control = rest.into();
        }
    }

    fn put_actions(&mut self, sink: &mut impl StreamSink) {
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Reset(id, code) => sink.reset(id, code as u64),
                Action::Stop(id, code) => sink.stop(id, code as u64),
                Action::Resume(id) => sink.resume(id),
            }
        }
    }

    fn put_streams(&mut self, sink: &mut impl StreamSink, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        let mut turns = 0;
        while turns < TURNS_MAX
            && self.end.is_none()
            && sink.room() > 0
            && let Some(id) = self.streams.next_turn(self.has_share())
        {
            turns += 1;
            self.take_turn(id, sink, turn);
        }
        // Streams woken meanwhile are queued now; while the sink has room, no further wake arrives for them.
        let woken = self.take_woken(turn.now, cx.waker());
        if (woken || turns == TURNS_MAX) && sink.room() > 0 {
            cx.waker().wake_by_ref();
        }
    }

    /// Queues the woken streams, and handles their uploads outside of turns, since a turn may be far away. Returns true
    /// if any stream was woken.
    fn take_woken(&mut self, now: Instant, task: &Waker) -> bool {
        let woken = self.streams.take_woken(task);
        for id in &woken {
            self.tend_upload(*id, now);
        }
        !woken.is_empty()
    }

    /// Runs the work that needs no sink.
    pub(super) fn tend_streams(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.end.is_some() {
            return;
        }
        self.advance_drain(now);
        self.take_woken(now, cx.waker());
        self.check_clocks(now);
        for (id, is_sound) in self.streams.poll_awaited() {
            if is_sound {
                self.tend_upload(id, now);
            } else {
                self.break_off(id, Broken::Gone, Code::Internal);
            }
        }
        if self.take_woken(now, cx.waker()) {
            cx.waker().wake_by_ref();
        }
        self.rest();
    }

    fn take_turn(&mut self, id: u64, sink: &mut impl StreamSink, turn: &mut Turn<'_>) {
        let waker = self.streams.waker_to_poll(id);
        let share = self.share_of(id);
        let Some(stream) = self.streams.get(id) else { return };
        let writing = Writing { date: turn.date, block: &mut turn.scratch.block };
        let mut sending = Sending { sink, writing, share, sent: 0, is_taken: false, is_cut: false };
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        let step = stream.advance(&mut sending, &mut Context::from_waker(waker));
        let (sent, is_cut) = (sending.sent, sending.is_cut);
        if sending.is_taken {
            stream.stalled = None;
        }
        self.streams.count_held(id);
        self.floods.sent(sent);
        // Windows of a few bytes make packets of a few bytes, charged like control frames.
        if is_cut && self.floods.control(turn.now).is_err() {
            return self.end(Code::ExcessiveLoad);
        }
        match step {
            Step::Again => self.streams.queue(id),
            // The stream does not wait for the peer.
            Step::Waits => self.streams.unstall(id),
            Step::Blocked => {
                self.streams.stall(id, turn.now);
                self.check_by(turn.now + self.limits.write);
            }
            Step::Unshared => {
                self.streams.unstall(id);
                self.streams.park(id);
            }
            Step::Done => {
                sink.finish(id);
                return self.finished(id, turn.now);
            }
            Step::Failed => return self.break_off(id, Broken::Gone, Code::Internal),
        }
        self.tend_upload(id, turn.now);
    }

    /// Handles an answer written to the last byte.
    fn finished(&mut self, id: u64, now: Instant) {
        let Some(stream) = self.streams.complete(id, now) else { return };
        self.floods.completed(stream.response.is_begun);
        self.release(&stream, Broken::Gone);
        if stream.upload.is_some() {
            self.linger(id, stream.response.is_begun, now);
        }
    }

    /// Records the reads of a request body, and if the reader waits.
    fn tend_upload(&mut self, id: u64, now: Instant) {
        let Some((tended, begins_to_wait)) = self.streams.tend_upload(id, now) else { return };
        let Some(Stream { own, .. }) = self.streams.get(id) else { return };
        let read = tended.read.min(own.unread);
        own.unread -= read;
        if !tended.is_abandoned {
            own.unreturned = own.unreturned.saturating_sub(read);
        }
        if begins_to_wait {
            self.check_by(now + self.limits.body);
        }
        self.give_back(read);
    }

    /// Frees memory that an idle connection does not need.
    fn rest(&mut self) {
        if self.streams.is_empty() {
            self.streams.rest();
            if self.openings.is_empty() && self.unbegun.is_empty() && self.lingering.is_empty() {
                self.next_check = None;
            }
        }
        if self.openings.is_empty() && self.openings.capacity() > 0 {
            self.openings = Vec::new();
        }
        if self.unbegun.is_empty() && self.unbegun.capacity() > 0 {
            self.unbegun = Vec::new();
        }
    }
}
