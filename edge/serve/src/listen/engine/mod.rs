//! Drives a connection of the engine from its handshake to its end: socket, TLS, clocks.
//!
//! The engine knows bytes alone. Here they are read into memory of the thread, through TLS where there is some
//! (`transport`), and into the connection (`machine`); what it puts (`pieces`) becomes records, which are written at
//! once. Nothing is produced while some of it waits for the peer, so what a slow one costs is bounded; what an idle one
//! costs is the session and little more.

mod long_answers;
mod machine;
mod pieces;
mod rewind;
mod thread;
mod tls_io;
mod transport;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tracing::debug;

pub(super) use self::long_answers::LongAnswers;
pub(crate) use self::machine::Machine;
use self::machine::Step;
pub(crate) use self::rewind::Rewind;
pub(super) use self::thread::PerThread;
use self::tls_io::ReadOutcome;
pub(crate) use self::transport::{Plain, Transport};
use super::activity::Activity;
use super::limits::Times;
use super::response_memory::{self, STALL_MIN};
use super::watch::{self, Alarm, Verdict, Watch};
use devanture_http as engine;

/// Maximum number of consecutive turns before other connections of the thread: a poll for input, and a switch to
/// another connection, cost as much as some kilobytes.
pub(super) const TURNS_MAX: usize = 8;

/// The end of a connection on the engine.
pub(crate) enum End {
    /// All output is sent: the connection has to be shut down, and the socket closed.
    Close,
    /// The peer disconnected, the TLS records were invalid, or a response broke off: the socket is closed, and no
    /// further byte is sent.
    Lost,
    /// A time limit was exceeded.
    Limit,
    /// Closed to free memory: the peer does not read.
    Memory,
    /// It speaks another protocol now, of which these bytes came already.
    Upgraded(Vec<u8>),
}

/// The end of a run of turns.
enum TurnOutcome {
    /// No more work for now.
    Rest,
    /// More work is left, after the turns of other connections.
    More,
    /// The connection is over.
    Ended(End),
}

/// Returns the time, which a test may have paused.
pub(super) fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A connection with its clocks.
pub(crate) struct Drive<T, M> {
    stream: T,
    machine: M,
    watch: Watch,
    activity: Rc<Activity>,
    alarm: Alarm,
    /// The end of the connection once all output is written. No input is read and no output is produced until then.
    ending: Option<End>,
    has_begun: bool,
    /// The peer sends no more.
    has_ended: bool,
    /// The peer was asked, or is to be asked, to send no further request.
    finishes: bool,
    /// Bytes that were written and that the peer has not taken yet.
    unsent: u32,
    long_answers: LongAnswers,
}

impl<T: Transport, M: Machine> Drive<T, M> {
    /// Begins after the handshake.
    pub(crate) fn new(stream: T, machine: M, times: Arc<Times>, activity: Rc<Activity>) -> Self {
        let watch = Watch::new(times, M::HEADS_ARE_SEEN);
        Self {
            stream,
            machine,
            watch,
            activity,
            alarm: Alarm::default(),
            ending: None,
            has_begun: false,
            has_ended: false,
            finishes: false,
            unsent: 0,
            long_answers: LongAnswers::default(),
        }
    }

    /// Its stream and its connection, once it speaks another protocol.
    pub(crate) fn into_parts(self) -> (T, M) {
        (self.stream, self.machine)
    }

    /// Serves the connection until its end on the engine.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.activity.register(cx.waker());
        let draining = self.activity.draining();
        if draining.is_some() {
            self.machine.drains_soon();
            self.machine.cut(self.activity.take_cut());
        }
        if self.activity.held().take_call() && self.shed() {
            return Poll::Ready(End::Memory);
        }
        self.machine.tighten(self.activity.held().is_tight());
        loop {
            let now = clock();
            match PerThread::lend(now, |shared| self.turns(shared, now, cx)) {
                TurnOutcome::Ended(end) => return Poll::Ready(end),
                TurnOutcome::More => {
                    if !self.long_answers.wait(cx.waker()) {
                        cx.waker().wake_by_ref();
                    }
                }
                TurnOutcome::Rest => self.poll_alarm(cx),
            }
            match self.watch.turn(cx, self.turn(), draining) {
                Verdict::Stay => {
                    if draining.is_some() {
                        self.activity.set_under_way(self.machine.under_way());
                    }
                    self.report(cx);
                    return Poll::Pending;
                }
                Verdict::Finish => {
                    self.finishes = true;
                    self.machine.drain();
                }
                Verdict::Cut(limit) => {
                    debug!(limit, "a connection was closed: its limit is over");
                    return Poll::Ready(End::Limit);
                }
            }
        }
    }

    /// Reports the bytes held for the peer.
    fn report(&mut self, cx: &Context<'_>) {
        let (machine, blocked) = (&self.machine, self.watch.blocked_since());
        let stalled = || machine.holds_since().map(Into::into).into_iter().chain(blocked).min();
        let unsent = usize::try_from(self.unsent).unwrap_or(usize::MAX);
        self.activity.held().set(unsent.saturating_add(machine.held_for_peer()), stalled, cx.waker());
    }

    /// Drops output that the peer does not accept. Returns true if the whole connection has to end.
    fn shed(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        let is_blocked = self.watch.blocked_since().is_some_and(|since| now.duration_since(since) >= STALL_MIN);
        let ended = if is_blocked { self.machine.in_flight() } else { self.machine.shed(STALL_MIN, now.into_std()) };
        response_memory::count_ended(if is_blocked { ended.max(1) } else { ended });
        is_blocked
    }

    /// Wakes the task at the machine's deadline.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) {
        if let Some(deadline) = self.machine.deadline()
            && self.ending.is_none()
            && self.alarm.poll(deadline.into(), cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    /// Returns the activity, for the timeouts.
    fn turn(&self) -> watch::Turn {
        let (pulse, is_unsent) = (self.stream.pulse(), self.stream.holds_output());
        watch::Turn {
            read: pulse.take_read(),
            wrote: pulse.take_wrote(),
            // Streams without a window are left to the machine, which resets the streams in time.
            blocked: pulse.blocked(),
            requests: self.machine.requests(),
            in_flight: self.machine.in_flight() + usize::from(is_unsent),
        }
    }

    /// Reads, produces and writes as long as work is left, up to a maximum of turns.
    fn turns(&mut self, shared: &mut PerThread, now: Instant, cx: &mut Context<'_>) -> TurnOutcome {
        for _ in 0..TURNS_MAX {
            match self.take_turn(shared, now, cx) {
                Ok(None) => {}
                Ok(Some(turned)) => return turned,
                Err(error) => {
                    debug!(%error, "a connection was lost");
                    return TurnOutcome::Ended(End::Lost);
                }
            }
        }
        TurnOutcome::More
    }

    /// Runs one turn; returns `None` if another turn may find work.
    fn take_turn(
        &mut self,
        shared: &mut PerThread,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> io::Result<Option<TurnOutcome>> {
        let (input, pieces, scratch, date) = shared.parts();
        let mut turn = engine::Turn { now, date, scratch };
        if !self.has_begun {
            self.has_begun = true;
            self.has_ended = self.stream.begin(&mut |bytes: &[u8]| self.machine.receive(bytes, &mut turn))?;
        }
        let mut is_sent = self.stream.poll_send(cx)?.is_ready();
        let mut came = false;
        let is_asked = self.ending.is_none() && !self.has_ended && self.machine.wants_input();
        if is_asked {
            let receive = &mut |bytes: &[u8]| self.machine.receive(bytes, &mut turn);
            match self.stream.poll_receive(input, cx, receive) {
                Poll::Pending => {}
                Poll::Ready(Ok(ReadOutcome::Bytes)) => came = true,
                Poll::Ready(Ok(ReadOutcome::End)) => self.has_ended = true,
                Poll::Ready(Err(error)) => {
                    // An alert may say what was wrong; the peer may be gone as well.
                    drop(self.stream.poll_send(cx));
                    return Err(error);
                }
            }
        }
        let may_put = is_sent && self.ending.is_none() && self.long_answers.may_put(cx.waker());
        let mut puts_more = false;
        if may_put {
            if came {
                // Decisions made meanwhile end now: one read of the clock for all responses of the turn.
                turn.now = clock();
            }
            self.ending = match self.machine.produce(pieces, &mut turn, cx) {
                Step::Open => None,
                Step::Upgraded(bytes) => Some(End::Upgraded(bytes)),
                // Answers before the one that broke off are whole.
                Step::Broken => Some(End::Lost),
                Step::Over => Some(End::Close),
            };
            let is_full = pieces.is_full();
            if !pieces.is_empty() {
                self.unsent = self.unsent.saturating_add(u32::try_from(pieces.len()).unwrap_or(u32::MAX));
                self.stream.take(pieces)?;
                is_sent = self.stream.poll_send(cx)?.is_ready();
            }
            puts_more = self.long_answers.has_put(is_full, is_sent, self.activity.lane());
        }
        if is_sent {
            self.unsent = 0;
        }
        if !(may_put && is_sent) && self.ending.is_none() {
            // Backends are polled and uploads are read even while a slow peer reads an earlier response, or other
            // connections have their turns.
            self.machine.tend(&mut turn, cx);
        }
        if is_sent && let Some(end) = self.end() {
            return Ok(Some(TurnOutcome::Ended(end)));
        }
        let is_asked_now = !is_asked && self.ending.is_none() && !self.has_ended && self.machine.wants_input();
        let may_do_more = came || puts_more || is_asked_now;
        Ok((!may_do_more).then_some(TurnOutcome::Rest))
    }

    /// Returns the end of the connection, if any, once all output is written.
    fn end(&mut self) -> Option<End> {
        if let Some(end) = self.ending.take() {
            self.stream.end_turns();
            return Some(end);
        }
        ((self.has_ended || self.finishes) && self.machine.is_done(self.has_ended)).then_some(End::Close)
    }

    /// Writes the rest of the connection: the last response, and the `close_notify`.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_send(cx).map(drop)
    }

    /// Appends the `close_notify` to the output.
    pub(crate) fn say_end(&mut self) {
        self.stream.say_end();
    }
}
