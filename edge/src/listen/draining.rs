//! How connections end once the edge drains, and when.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::{Kinds, UnderWay};

/// How a connection ends once the edge drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draining {
    /// As soon as nothing is in flight.
    AtOnce,
    /// An idle one of HTTP/1.1 stays for a moment, since a request may be on its way.
    Patiently,
}

/// The order to drain, for any number of listeners: `None` while all is well. A dropped sender cuts at once.
pub type Drain = watch::Receiver<Option<DrainOrder>>;

/// How to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOrder {
    /// The time at which requests are cut whose responses have not begun, and connections without any, …
    pub requests: Instant,
    /// … those whose bodies are still coming in, …
    pub uploads: Instant,
    /// … responses under way, …
    pub downloads: Instant,
    /// … event streams, which end in order, …
    pub event_streams: Instant,
    /// … and upgraded connections.
    pub tunnels: Instant,
    /// The deadline of what was accepted and needs no connection.
    pub deploys: Instant,
    /// Whether another process serves the same sockets. Idle connections of HTTP/1.1 then stay for a moment: the next
    /// request on one is answered and is its last, where a request into a closed connection would be lost.
    pub has_successor: bool,
}

impl DrainOrder {
    /// Of an edge that nobody takes over from.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self {
            requests: deadline,
            uploads: deadline,
            downloads: deadline,
            event_streams: deadline,
            tunnels: deadline,
            deploys: deadline,
            has_successor: false,
        }
    }

    /// The same, where the streams of a request have until then at least.
    #[must_use]
    pub fn at_least(self, until: Instant) -> Self {
        let later = |time: Instant| time.max(until);
        Self { requests: later(self.requests), uploads: later(self.uploads), downloads: later(self.downloads), ..self }
    }

    /// The times of requests in turn, with the kinds whose time is over by then.
    pub(super) fn turns(&self) -> BTreeMap<Instant, Kinds> {
        let time_of = |kind: UnderWay| match kind {
            UnderWay::Request => self.requests,
            UnderWay::Upload => self.uploads,
            UnderWay::Download => self.downloads,
            UnderWay::EventStream => self.event_streams,
        };
        let over_at = |time: Instant| UnderWay::ALL.into_iter().filter(|kind| time_of(*kind) <= time).collect();
        UnderWay::ALL.into_iter().map(time_of).map(|time| (time, over_at(time))).collect()
    }
}

/// The result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open at the deadline, those that a request upgraded included.
    pub cut: usize,
}

/// Waits for the order.
pub(super) async fn drain_order(mut drain: Drain) -> DrainOrder {
    let order = drain.wait_for(Option::is_some).await.ok().and_then(|order| *order);
    order.unwrap_or_else(|| DrainOrder::until(Instant::now()))
}
