//! The state of a connection's drain (RFC 9113 §6.8, RFC 9114 §5.2).

use std::time::{Duration, Instant};

/// Longest time from the first GOAWAY to the last: HTTP/2 awaits the answer to a PING in it, and HTTP/3 requests that
/// were on their way.
const ANNOUNCED_MAX: Duration = Duration::from_secs(1);

/// The state of a connection's drain, whose streams have numbers of the type `I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain<I> {
    /// It goes on.
    No,
    /// It is to end.
    Requested,
    /// The first GOAWAY was sent. What the peer sends before it has read it is still taken.
    Announced(Instant),
    /// The GOAWAY was sent that says which streams are taken; see [`Drain::last`].
    Last(I),
}

impl<I: Copy + PartialOrd> Drain<I> {
    /// The connection is to end.
    pub(super) fn request(&mut self) {
        if matches!(self, Self::No) {
            *self = Self::Requested;
        }
    }

    /// Whether the first GOAWAY is to be sent, which then counts as sent.
    pub(super) fn announce(&mut self, now: Instant) -> bool {
        let is_requested = matches!(self, Self::Requested);
        if is_requested {
            *self = Self::Announced(now);
        }
        is_requested
    }

    /// Whether the last one is to be sent.
    pub(super) fn is_due(self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Announced(since) => Some(since + ANNOUNCED_MAX),
            _ => None,
        }
    }

    /// The last stream that is taken, or, where they begin in any order, the first that is not.
    pub(super) const fn last(self) -> Option<I> {
        match self {
            Self::Last(last) => Some(last),
            _ => None,
        }
    }

    /// Whether a stream of this number is not taken any more.
    pub(super) fn passes_over(self, id: I) -> bool {
        matches!(self, Self::Last(last) if id > last)
    }
}
