//! The state of a connection's drain (RFC 9113 §6.8).

use std::time::{Duration, Instant};

/// Longest time for the answer to the PING that follows the first GOAWAY.
const ANNOUNCED_MAX: Duration = Duration::from_secs(1);

/// The state of a connection's drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// It goes on.
    No,
    /// It is to end.
    Requested,
    /// The first GOAWAY was sent. What the peer sends before it has read it is still taken.
    Announced(Instant),
    /// The GOAWAY with the last stream that is taken was sent.
    Last(u32),
}

impl Drain {
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Announced(since) => Some(since + ANNOUNCED_MAX),
            _ => None,
        }
    }

    /// Whether a stream of this number is not taken any more.
    pub(super) const fn passes_over(self, id: u32) -> bool {
        matches!(self, Self::Last(last) if id > last)
    }
}
