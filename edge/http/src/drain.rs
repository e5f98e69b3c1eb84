//! State of a connection's drain (RFC 9113 §6.8, RFC 9114 §5.2).

use std::time::{Duration, Instant};

/// Longest time from the first GOAWAY to the last: HTTP/2 awaits the answer to a PING meanwhile, and HTTP/3 the
/// requests under way.
const ANNOUNCED_MAX: Duration = Duration::from_secs(1);

/// State of a connection's drain, with stream numbers of type `I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain<I> {
    /// No drain.
    No,
    /// A drain was requested.
    Requested,
    /// The first GOAWAY was sent. Requests that the peer sends before reading the GOAWAY are still accepted.
    Announced(Instant),
    /// The final GOAWAY with the accepted streams was sent; see [`Drain::last`].
    Last(I),
}

impl<I: Copy + PartialOrd> Drain<I> {
    /// Requests a drain.
    pub(super) fn request(&mut self) {
        if matches!(self, Self::No) {
            *self = Self::Requested;
        }
    }

    /// Returns true if the first GOAWAY is due, and counts the GOAWAY as sent.
    pub(super) fn announce(&mut self, now: Instant) -> bool {
        let is_requested = matches!(self, Self::Requested);
        if is_requested {
            *self = Self::Announced(now);
        }
        is_requested
    }

    /// Returns true if the final GOAWAY is due.
    pub(super) fn is_due(self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Announced(since) => Some(since + ANNOUNCED_MAX),
            _ => None,
        }
    }

    /// Returns the last accepted stream or, for streams that begin in any order, the first refused stream.
    pub(super) const fn last(self) -> Option<I> {
        match self {
            Self::Last(last) => Some(last),
            _ => None,
        }
    }

    /// Returns true if the stream is refused by the final GOAWAY.
    pub(super) fn passes_over(self, id: I) -> bool {
        matches!(self, Self::Last(last) if id > last)
    }
}
