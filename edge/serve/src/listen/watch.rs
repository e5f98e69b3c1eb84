//! The clocks of one connection: limits for heads, for idle time, and for a peer that accepts no bytes.
//!
//! The connection's driver says after each turn what happened. One timer per connection, set for the earliest of the
//! limits, is only moved when it fires or must fire earlier.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::draining::Draining;
use super::limits::Times;

/// Longest time of a draining connection without an open request.
const FINISH_GRACE: Duration = Duration::from_secs(5);
/// Longest wait of a drain for an incoming request: a started head, or the first request of a connection.
const REQUEST_GRACE: Duration = Duration::from_secs(1);

/// The activity of a turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    /// True if bytes arrived.
    pub(crate) read: bool,
    /// True if the peer accepted bytes.
    pub(crate) wrote: bool,
    /// True if only the peer's acceptance of bytes is awaited.
    pub(crate) blocked: bool,
    /// Number of requests begun on the connection so far.
    pub(crate) requests: u64,
    /// Number of requests whose response is not yet written completely.
    pub(crate) in_flight: usize,
}

/// The action for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No action.
    Stay,
    /// Tell the peer that no further request is accepted.
    Finish,
    /// Close the connection, because the named limit is exceeded.
    Cut(&'static str),
}

/// The clocks.
#[derive(Debug)]
pub(crate) struct Watch {
    times: Arc<Times>,
    /// With HTTP/1.1, bytes between requests are a head; with HTTP/2, the bytes may have any meaning.
    heads_are_seen: bool,
    requests: u64,
    head_since: Option<Instant>,
    idle_since: Option<Instant>,
    blocked_since: Option<Instant>,
    finish_since: Option<Instant>,
    draining_since: Option<Instant>,
    alarm: Alarm,
}

impl Watch {
    /// Starts after the handshake: the first head is awaited.
    pub(crate) fn new(times: Arc<Times>, heads_are_seen: bool) -> Self {
        let now = Instant::now();
        Self {
            times,
            heads_are_seen,
            requests: 0,
            head_since: Some(now),
            idle_since: Some(now),
            blocked_since: None,
            finish_since: None,
            draining_since: None,
            alarm: Alarm::default(),
        }
    }

    /// Returns the time since which bytes wait for the peer without progress.
    pub(crate) const fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Records a turn and the drain, and wakes the task when a limit may be exceeded.
    pub(crate) fn turn(&mut self, cx: &mut Context<'_>, turn: Turn, draining: Option<Draining>) -> Verdict {
        self.note(turn, draining.is_some());
        // A peer that is about to send its first request, or in the middle of a head, gets a moment. So does an idle
        // peer if a successor takes the next requests: HTTP/2 has GOAWAY for the case.
        let may_come = draining == Some(Draining::Patiently) && self.heads_are_seen && self.idle_since.is_some();
        if draining.is_some() && self.finish_since.is_none() && self.head_since.is_none() && !may_come {
            return self.finish();
        }
        loop {
            let Some(deadline) = self.deadline() else { return Verdict::Stay };
            if self.alarm.poll(deadline, cx).is_pending() {
                return Verdict::Stay;
            }
            let verdict = self.judge(Instant::now());
            if verdict != Verdict::Stay {
                return verdict;
            }
        }
    }

    fn note(&mut self, turn: Turn, draining: bool) {
        let begun = turn.requests != self.requests;
        self.requests = turn.requests;
        if begun {
            self.head_since = None;
        } else if self.heads_are_seen && turn.read && turn.in_flight == 0 && self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
        if turn.in_flight > 0 {
            self.idle_since = None;
        } else if begun || self.idle_since.is_none() {
            self.idle_since = Some(Instant::now());
        }
        if !turn.blocked {
            self.blocked_since = None;
        } else if turn.wrote || self.blocked_since.is_none() {
            self.blocked_since = Some(Instant::now());
        }
        if draining && self.draining_since.is_none() {
            self.draining_since = Some(Instant::now());
        }
    }

    fn finish(&mut self) -> Verdict {
        self.finish_since = Some(Instant::now());
        Verdict::Finish
    }

    /// Returns each clock with its limit and its name.
    fn clocks(&self) -> [(Option<Instant>, &'static str); 5] {
        let after = |since: Option<Instant>, limit: Duration| since.map(|since| since + limit);
        // During a drain, a connection without a request only has its last bytes to send.
        let finish = match (self.finish_since, self.idle_since, self.blocked_since) {
            (Some(reported), Some(idle), None) => Some(reported.max(idle)),
            _ => None,
        };
        let unfinished = |since: Option<Instant>| if self.finish_since.is_none() { since } else { None };
        [
            (after(self.blocked_since, self.times.write), "write"),
            (after(self.head_since, self.times.header), "header"),
            (after(finish, FINISH_GRACE), "finish"),
            (after(unfinished(self.idle_since), self.times.idle), "idle"),
            (after(unfinished(self.draining_since), REQUEST_GRACE), "drain"),
        ]
    }

    fn deadline(&self) -> Option<Instant> {
        self.clocks().into_iter().filter_map(|(deadline, _)| deadline).min()
    }

    fn judge(&mut self, now: Instant) -> Verdict {
        let over = self.clocks().into_iter().find(|(deadline, _)| deadline.is_some_and(|deadline| deadline <= now));
        match over {
            None => Verdict::Stay,
            // No request is in flight: the end is announced, so that the peer does not send a request into a closed
            // connection.
            Some((_, "idle" | "drain")) => self.finish(),
            // A browser that connects ahead of time speaks HTTP/2 without a request, and is not at fault.
            Some((_, "header")) if !self.heads_are_seen && self.finish_since.is_none() => {
                self.head_since = None;
                self.finish()
            }
            Some((_, name)) => Verdict::Cut(name),
        }
    }
}

/// A timer for a moving deadline; reset only at expiry or for an earlier deadline.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
