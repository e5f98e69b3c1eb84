//! Drives HTTP/3 on one connection: the engine's turns, the clocks of HTTP, and the bytes held for the peer.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tracing::debug;

use super::settings::{send_window, widen};
use super::streams::Streams;
use super::transport::{Occurrence, Sent, Transport};
use crate::listen::activity::Activity;
use crate::listen::engine::{LongAnswers, PerThread, TURNS_MAX, clock};
use crate::listen::limits::{Sizes, Times};
use crate::listen::response_memory::{self, STALL_MIN};
use crate::listen::watch::{self, Verdict, Watch};
use crate::tls::WRITE_BYTES;
use devanture_http::http3::{self, Code, State};
use devanture_http::{Service, StreamSink as _};

/// Silence after which a peer that awaits responses gets a PING, so that neither end, and no address translation in
/// between, drops the connection.
const PING_TIME_MAX: Duration = Duration::from_secs(15);
/// Divisor of the idle time, for the same purpose.
const PING_PART: u32 = 3;
/// Number of streams that are never acknowledged to the end: the control stream.
const OWN_STREAMS: usize = 1;

/// The end of HTTP on a connection.
#[derive(Debug)]
pub(super) enum End {
    /// The connection has to be closed with a code.
    Close(Code),
    /// Closed to free memory: the peer does not read.
    Memory,
    /// The connection is over.
    Lost,
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

/// A connection with its clocks.
pub(super) struct Drive<S: Service> {
    transport: Transport,
    engine: http3::Connection<S>,
    streams: Streams,
    /// Limits of the peer after the first request head.
    full: Option<Sizes>,
    watch: Watch,
    activity: Rc<Activity>,
    long_answers: LongAnswers,
    /// All output is produced, but not yet acknowledged.
    is_ending: bool,
    /// A packet arrived since the last look at the clocks.
    came: bool,
    /// Time of the last packet.
    heard: Instant,
    /// Time of the last sent stream bytes; `frames` counts all stream frames.
    sent: Instant,
    frames: u64,
    /// Maximum number of unacknowledged bytes held by QUIC.
    window: u64,
    ping_at: Instant,
    ping_every: Duration,
}

impl<S: Service> Drive<S> {
    /// Creates a driver after the handshake.
    pub(super) fn new(
        transport: Transport,
        engine: http3::Connection<S>,
        (times, sizes): (Arc<Times>, Sizes),
        activity: Rc<Activity>,
    ) -> Self {
        let (now, ping_every) = (clock(), PING_TIME_MAX.min(times.idle / PING_PART));
        Self {
            transport,
            engine,
            streams: Streams::default(),
            full: Some(sizes),
            watch: Watch::new(times, false),
            activity,
            long_answers: LongAnswers::default(),
            is_ending: false,
            came: true,
            heard: now,
            sent: now,
            frames: 0,
            window: send_window(0, false),
            ping_at: now + ping_every,
            ping_every,
        }
    }

    /// Returns the connection below, once HTTP has ended.
    pub(super) fn into_transport(self) -> Transport {
        self.transport
    }

    /// Serves the connection until HTTP ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.activity.register(cx.waker());
        let draining = self.activity.draining();
        if draining.is_some() {
            self.engine.cut(self.activity.take_cut());
        }
        if self.activity.held().take_call() && self.shed() {
            return Poll::Ready(End::Memory);
        }
        let is_tight = self.activity.held().is_tight();
        self.engine.tighten(is_tight);
        let quic = &mut self.transport.quic;
        self.window = send_window(quic.congestion_state().window(), is_tight);
        quic.set_send_window(self.window);
        loop {
            match PerThread::lend(clock(), |shared| self.turns(shared, cx)) {
                TurnOutcome::Ended(end) => return Poll::Ready(end),
                TurnOutcome::More => {
                    if !self.long_answers.wait(cx.waker()) {
                        cx.waker().wake_by_ref();
                    }
                }
                TurnOutcome::Rest => {
                    let deadline = self.deadline();
                    self.transport.poll_alarm(deadline, cx);
                }
            }
            let turn = self.turn();
            match self.watch.turn(cx, turn, draining) {
                Verdict::Stay => {
                    if draining.is_some() {
                        self.activity.set_under_way(self.engine.under_way());
                    }
                    self.report(cx);
                    return Poll::Pending;
                }
                Verdict::Finish => self.engine.drain(),
                Verdict::Cut(limit) => {
                    debug!(limit, "a connection was closed: its limit is over");
                    return Poll::Ready(End::Close(Code::None));
                }
            }
        }
    }

    /// Returns the next deadline above QUIC.
    fn deadline(&self) -> Option<Instant> {
        let ping = (self.engine.in_flight() > 0).then_some(self.ping_at);
        [ping, self.engine.deadline().filter(|_| !self.is_ending)].into_iter().flatten().min()
    }

    /// Returns the activity, for the timeouts. Streams without a window are left to the engine, which resets the
    /// streams in time; a peer that acknowledges nothing is left to QUIC.
    fn turn(&mut self) -> watch::Turn {
        let came = std::mem::take(&mut self.came);
        watch::Turn {
            read: came,
            wrote: came,
            blocked: false,
            requests: self.engine.requests(),
            in_flight: self.engine.in_flight(),
        }
    }

    /// Reports the bytes held for the peer: sent bytes, and received bytes that wait behind gaps.
    fn report(&self, cx: &Context<'_>) {
        let unacknowledged = usize::try_from(self.streams.unacknowledged(self.window)).unwrap_or(usize::MAX);
        let heard = self.owes_acknowledgement().then_some(self.heard);
        let gaps = self.streams.gaps_since();
        let stalled = || self.engine.holds_since().into_iter().chain(heard).chain(gaps).min().map(Into::into);
        let held = unacknowledged.saturating_add(self.engine.held_for_peer());
        let held = held.saturating_add(self.streams.unread_bytes());
        self.activity.held().set(held, stalled, cx.waker());
    }

    /// Returns true if stream bytes were sent since the last packet: a peer with all bytes has no reason to send.
    fn owes_acknowledgement(&self) -> bool {
        self.streams.unacknowledged(self.window) > 0 && self.sent > self.heard
    }

    /// Drops output that the peer does not accept. Returns true if the whole connection has to end.
    fn shed(&mut self) -> bool {
        let now = clock();
        let is_over = |since: Instant| now.saturating_duration_since(since) >= STALL_MIN;
        let owes_bytes = self.streams.gaps_since().is_some_and(is_over);
        let is_silent = owes_bytes || self.owes_acknowledgement() && is_over(self.heard);
        let ended = if is_silent { self.engine.in_flight().max(1) } else { self.engine.shed(STALL_MIN, now) };
        response_memory::count_ended(ended);
        is_silent
    }

    /// Runs turns as long as work is left, up to a maximum.
    fn turns(&mut self, shared: &mut PerThread, cx: &mut Context<'_>) -> TurnOutcome {
        for _ in 0..TURNS_MAX {
            if let Some(turned) = self.take_turn(shared, cx) {
                return turned;
            }
        }
        TurnOutcome::More
    }

    /// Runs one turn; returns `None` if another turn may find work.
    fn take_turn(&mut self, shared: &mut PerThread, cx: &mut Context<'_>) -> Option<TurnOutcome> {
        let now = clock();
        let mut turn = shared.turn(now);
        if self.transport.take(now, cx) {
            (self.came, self.heard, self.ping_at) = (true, now, now + self.ping_every);
        }
        let Self { transport, engine, streams, full, .. } = self;
        streams.open_control(&mut transport.quic);
        while let Some(occurrence) = transport.next_event() {
            if let Occurrence::Stream(event) = occurrence {
                streams.take(event, &mut transport.quic, engine, &mut turn);
            }
        }
        if let Some(error) = transport.lost() {
            debug!(%error, "a connection was lost");
            return Some(TurnOutcome::Ended(End::Lost));
        }
        // Also after the last output: later streams are refused (RFC 9114 §5.2), and would otherwise pile up.
        streams.read(&mut transport.quic, engine, &mut turn);
        if let Some(sizes) = full.take_if(|_| engine.requests() > 0) {
            widen(&mut transport.quic, &sizes);
        }
        if self.ping_at <= now && engine.in_flight() > 0 {
            transport.quic.ping();
            self.ping_at = now + self.ping_every;
        }
        if !self.long_answers.may_put(cx.waker()) {
            engine.tend(&mut turn, cx);
            return Some(TurnOutcome::Rest);
        }
        let mut sink = streams.sink(&mut transport.quic, WRITE_BYTES);
        let state = engine.produce(&mut sink, &mut turn, cx);
        let mut is_full = sink.room() == 0;
        match state {
            State::Open => self.is_ending = false,
            State::Over(Code::None) => self.is_ending = true,
            State::Over(code) => return Some(TurnOutcome::Ended(End::Close(code))),
        }
        let sent = transport.send(now, WRITE_BYTES, cx.waker());
        let frames = transport.quic.stats().frame_tx.stream;
        if frames != self.frames {
            (self.frames, self.sent) = (frames, now);
        }
        is_full |= sent != Sent::All;
        let puts_more = self.long_answers.has_put(is_full, sent != Sent::Blocked, self.activity.lane());
        if self.is_ending && transport.quic.streams().send_streams() <= OWN_STREAMS {
            return Some(TurnOutcome::Ended(End::Close(Code::None)));
        }
        let may_read = streams.is_readable() && engine.wants_input();
        let may_do_more = puts_more || may_read || transport.has_more();
        (!may_do_more).then_some(TurnOutcome::Rest)
    }
}
