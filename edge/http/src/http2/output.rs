//! Order of output: control frames, answers in memory, then one turn of each stream.

use std::task::{Context, Waker};
use std::time::Instant;

use super::super::answer::Answer;
use super::super::inbound::Broken;
use super::super::response::Head;
use super::super::sink::Sink;
use super::super::{Outcome, Service, Turn};
use super::frame::{Code, write_window};
use super::ready::Content;
use super::response_head::Writing;
use super::turn::{Sending, Step};
use super::{Connection, Phase, State};

/// Maximum turns of streams in one call: a body may yield empty pieces forever.
const TURNS_MAX: usize = 4_096;

impl<S: Service> Connection<S> {
    pub(super) fn put_due(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        if self.phase != Phase::Ended {
            self.advance_drain(turn.now);
            self.take_woken(turn.now, cx.waker());
            self.check_clocks(turn.now);
            self.put_control(sink);
            self.put_ready(sink, turn);
            if !self.streams.is_empty() {
                self.put_streams(sink, turn, cx);
            }
        }
        self.put_control(sink);
        self.rest();
        if self.is_over() { State::Over } else { State::Open }
    }

    fn put_control(&mut self, sink: &mut impl Sink) {
        if !self.control.is_empty() && (sink.room() > 0 || self.phase == Phase::Ended) {
            sink.put(&self.control);
            self.control = Vec::new();
        }
    }

    fn put_ready(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>) {
        if self.ready.is_empty() {
            return;
        }
        self.ready.note_usual();
        let mut writing = Writing {
            encoder: &mut self.encoder,
            date: turn.date,
            block: &mut turn.scratch.block,
            frame_bytes: self.peer.frame_bytes,
        };
        let mut count = 0;
        for ready in self.ready.iter_mut() {
            if sink.room() == 0 {
                break;
            }
            count += 1;
            match &mut ready.content {
                Content::Answer(Answer { status, head, body, outcome }) => {
                    let body = body.take_at_hand();
                    let bytes = body.len();
                    writing.put_answer(ready.id, *status, head, body, sink);
                    if bytes > 0 {
                        outcome.sent(bytes);
                        self.floods.sent(bytes);
                    }
                    outcome.complete(turn.now);
                }
                Content::Status(status) => writing.put_head(ready.id, &Head::Status(*status), true, sink),
            }
            self.floods.completed(false);
        }
        self.ready.drop_first(count);
    }

    fn put_streams(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        let mut turns = 0;
        while turns < TURNS_MAX
            && sink.room() > 0
            && let Some(id) = self.streams.next_turn(self.window.available() > 0 && self.has_share())
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

    /// Runs the work that needs no room in the sink.
    pub(super) fn tend_streams(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.phase == Phase::Ended {
            return;
        }
        self.advance_drain(now);
        self.take_woken(now, cx.waker());
        self.check_clocks(now);
        for (id, is_sound) in self.streams.poll_awaited() {
            if is_sound {
                self.tend_upload(id, now);
            } else {
                self.fail(id);
            }
        }
        if self.take_woken(now, cx.waker()) {
            cx.waker().wake_by_ref();
        }
        self.rest();
    }

    fn take_turn(&mut self, id: u32, sink: &mut impl Sink, turn: &mut Turn<'_>) {
        let waker = self.streams.waker_to_poll(id);
        let share = self.share_of(id);
        let Some(stream) = self.streams.get(id) else { return };
        let writing = Writing {
            encoder: &mut self.encoder,
            date: turn.date,
            block: &mut turn.scratch.block,
            frame_bytes: self.peer.frame_bytes,
        };
        let mut sending = Sending { sink, writing, window: &mut self.window, share, sent: 0, is_cut: false };
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        let step = stream.advance(&mut sending, &mut Context::from_waker(waker));
        let (sent, is_cut) = (sending.sent, sending.is_cut);
        self.streams.count_held(id);
        if sent > 0 {
            self.floods.sent(sent);
            self.streams.unstall(id);
        }
        // Windows of a few bytes make frames of a few bytes, charged like control frames.
        if is_cut && self.floods.control(turn.now).is_err() {
            return self.end(Code::EnhanceYourCalm);
        }
        match step {
            Step::Again => self.streams.queue(id),
            // The stream does not wait for the peer.
            Step::Waits => self.streams.unstall(id),
            Step::NoWindow { by_connection } => {
                self.streams.stall(id, turn.now);
                if by_connection {
                    self.streams.park(id);
                }
                self.check_by(turn.now + self.limits.write);
            }
            Step::Done => return self.finished(id, turn.now),
            Step::Failed => return self.fail(id),
        }
        self.tend_upload(id, turn.now);
    }

    /// Handles an answer that broke off.
    fn fail(&mut self, id: u32) {
        self.forget(id, Broken::Gone);
        self.reset(id, Code::Internal);
    }

    /// Handles an answer written to the last byte.
    fn finished(&mut self, id: u32, now: Instant) {
        let Some(stream) = self.streams.complete(id, now) else { return };
        self.floods.completed(stream.response.is_begun);
        self.release(&stream, Broken::Gone);
        if let Some(upload) = &stream.upload {
            self.linger(id, upload.window, stream.response.is_begun, now);
        }
    }

    /// Returns the window of read upload bytes, and records if the reader waits.
    fn tend_upload(&mut self, id: u32, now: Instant) {
        let Some((tended, begins_to_wait)) = self.streams.tend_upload(id, now) else { return };
        let upload = self.streams.get(id).and_then(|stream| stream.upload.as_mut()).filter(|_| !tended.is_abandoned);
        let increment = upload.and_then(|upload| upload.window.give_back(tended.read));
        if let Some(increment) = increment {
            write_window(&mut self.control, id, increment);
        }
        if begins_to_wait {
            self.check_by(now + self.limits.body);
        }
        self.give_back(tended.read);
    }

    /// Frees memory that an idle connection does not need.
    fn rest(&mut self) {
        self.ready.rest();
        if self.streams.is_empty() {
            self.streams.rest();
            if self.block.is_none() && self.partial.is_empty() && self.lingering.is_empty() {
                self.next_check = None;
            }
        }
    }
}
