//! The driver's interface to a connection of the engine, for all protocols.

use std::task::Context;
use std::time::{Duration, Instant};

use devanture_http::{Kinds, Service, Sink, Turn, http1, http2};

/// The state of a connection after a turn.
pub(crate) enum Step {
    /// The connection continues.
    Open,
    /// All output is produced.
    Over,
    /// A response broke off.
    Broken,
    /// It speaks another protocol now, of which these bytes came already.
    Upgraded(Vec<u8>),
}

/// A connection of the engine.
pub(crate) trait Machine {
    /// True if bytes between requests are a head.
    const HEADS_ARE_SEEN: bool;

    fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>);

    fn wants_input(&self) -> bool;

    fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step;

    /// Runs a turn without output, while records wait for the peer.
    fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>);

    fn drain(&mut self);

    /// Prepares for the drain; the peer may still have a moment for the next request.
    fn drains_soon(&mut self);

    /// Returns the kinds of requests in flight.
    fn under_way(&self) -> Kinds;

    /// Ends requests of `kinds`, as far as the connection can continue afterwards.
    fn cut(&mut self, kinds: Kinds);

    /// Returns true if the connection can be closed once the peer sends no more, or was asked to send no more.
    fn is_done(&self, has_ended: bool) -> bool;

    fn deadline(&self) -> Option<Instant>;

    fn requests(&self) -> u64;

    fn in_flight(&self) -> usize;

    /// Returns the bytes of bodies held for the peer.
    fn held_for_peer(&self) -> usize;

    /// Returns the time since which the peer grants no window for a part of the held bytes.
    fn holds_since(&self) -> Option<Instant>;

    /// Resets streams stalled for at least `stalled`, and returns the number of responses.
    fn shed(&mut self, stalled: Duration, now: Instant) -> usize;

    /// Sets the mode with minimal buffers.
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
            http1::State::Open => Step::Open,
            http1::State::Over => Step::Over,
            http1::State::Upgraded(bytes) => Step::Upgraded(bytes),
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.tend(turn, cx);
    }

    fn drain(&mut self) {
        self.drain();
    }

    fn drains_soon(&mut self) {
        // The response to the next request announces the close.
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
        // Held bytes wait only for the socket.
        None
    }

    fn shed(&mut self, _stalled: Duration, _now: Instant) -> usize {
        0
    }

    fn tighten(&mut self, _is_tight: bool) {
        // Input never exceeds the output of the same turn.
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
        // Without an end of input, the connection itself reports its end.
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
