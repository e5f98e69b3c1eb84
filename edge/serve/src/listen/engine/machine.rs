//! A connection of the engine, whatever it speaks, as its driver sees it.

use std::task::Context;
use std::time::{Duration, Instant};

use devanture_http::{Kinds, Service, Sink, Turn, http1, http2};

/// The next need of a connection after a turn.
pub(crate) enum Step {
    /// It goes on.
    Open,
    /// All has been said.
    Over,
    /// An answer broke off.
    Broken,
    /// Another is to go on, with these bytes first.
    HandOver(Vec<u8>),
}

/// A connection of the engine.
pub(crate) trait Machine {
    /// Whether bytes that come between requests are a head.
    const HEADS_ARE_SEEN: bool;

    fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>);

    fn wants_input(&self) -> bool;

    fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step;

    /// Has a turn without output, while records wait for the peer.
    fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>);

    fn drain(&mut self);

    /// The edge drains; the peer may still be given a moment for its next request.
    fn drains_soon(&mut self);

    /// What is under way.
    fn under_way(&self) -> Kinds;

    /// Ends what is of these kinds, as far as the connection can go on without it.
    fn cut(&mut self, kinds: Kinds);

    /// Whether it can be closed once its peer sends no more, or was asked to send no more.
    fn is_done(&self, has_ended: bool) -> bool;

    fn deadline(&self) -> Option<Instant>;

    fn requests(&self) -> u64;

    fn in_flight(&self) -> usize;

    /// Bytes of bodies that it holds for the peer.
    fn held_for_peer(&self) -> usize;

    /// The time since which the peer gives no window for a part of these.
    fn holds_since(&self) -> Option<Instant>;

    /// Resets what has been so for at least `stalled`, and gives the number of responses.
    fn shed(&mut self, stalled: Duration, now: Instant) -> usize;

    /// Says whether as little as possible is to be held.
    fn tighten(&mut self, is_tight: bool);
}

impl<S: Service> Machine for http1::Connection<S> {
    const HEADS_ARE_SEEN: bool = true;

    fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        self.receive(bytes, turn);
    }

    fn wants_input(&self) -> bool {
        self.wants_input()
    }

    fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        match self.produce(sink, turn, cx) {
            http1::State::Broken => Step::Broken,
            http1::State::HandOver(bytes) | http1::State::Upgraded(bytes) => Step::HandOver(bytes),
            http1::State::Open => Step::Open,
            http1::State::Over => Step::Over,
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.tend(turn, cx);
    }

    fn drain(&mut self) {
        self.drain();
    }

    fn drains_soon(&mut self) {
        // The answer to the next request says that it is the last.
        self.drain();
    }

    fn under_way(&self) -> Kinds {
        self.under_way()
    }

    fn cut(&mut self, kinds: Kinds) {
        self.cut(kinds);
    }

    fn is_done(&self, has_ended: bool) -> bool {
        if has_ended { self.is_done() } else { self.is_idle() }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }

    fn requests(&self) -> u64 {
        self.requests()
    }

    fn in_flight(&self) -> usize {
        self.in_flight()
    }

    fn held_for_peer(&self) -> usize {
        self.held_for_peer()
    }

    fn holds_since(&self) -> Option<Instant> {
        // What it holds waits for the socket alone.
        None
    }

    fn shed(&mut self, _stalled: Duration, _now: Instant) -> usize {
        0
    }

    fn tighten(&mut self, _is_tight: bool) {
        // No more is read than is sent in the same turn.
    }
}

impl<S: Service> Machine for http2::Connection<S> {
    const HEADS_ARE_SEEN: bool = false;

    fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        self.receive(bytes, turn);
    }

    fn wants_input(&self) -> bool {
        self.wants_input()
    }

    fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        match self.produce(sink, turn, cx) {
            http2::State::Open => Step::Open,
            http2::State::Over => Step::Over,
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.tend(turn, cx);
    }

    fn drain(&mut self) {
        self.drain();
    }

    fn drains_soon(&mut self) {}

    fn under_way(&self) -> Kinds {
        self.under_way()
    }

    fn cut(&mut self, kinds: Kinds) {
        self.cut(kinds);
    }

    fn is_done(&self, has_ended: bool) -> bool {
        // Without an end of the peer's, the connection says itself when it is over.
        has_ended
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }

    fn requests(&self) -> u64 {
        self.requests()
    }

    fn in_flight(&self) -> usize {
        self.in_flight()
    }

    fn held_for_peer(&self) -> usize {
        self.held_for_peer()
    }

    fn holds_since(&self) -> Option<Instant> {
        self.holds_since()
    }

    fn shed(&mut self, stalled: Duration, now: Instant) -> usize {
        self.shed(stalled, now)
    }

    fn tighten(&mut self, is_tight: bool) {
        self.tighten(is_tight);
    }
}
