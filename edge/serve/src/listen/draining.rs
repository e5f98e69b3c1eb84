//! How connections end once the edge drains, and when.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use devanture_http::{Kinds, UnderWay};

/// How a connection ends once the edge drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draining {
    /// As soon as nothing is in flight.
    AtOnce,
    /// An idle one of HTTP/1.1 stays for a moment, since a request may be on its way.
    Patiently,
}

/// The order to drain, for any number of listeners: `None` while all is well. A later order, which has times that are
/// no later, is followed by what drains already. A sender that is dropped before it gave one cuts at once.
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

    /// The same, where nothing has longer than it has by `other`.
    #[must_use]
    pub fn no_later_than(self, other: Self) -> Self {
        Self {
            requests: self.requests.min(other.requests),
            uploads: self.uploads.min(other.uploads),
            downloads: self.downloads.min(other.downloads),
            event_streams: self.event_streams.min(other.event_streams),
            tunnels: self.tunnels.min(other.tunnels),
            deploys: self.deploys.min(other.deploys),
            has_successor: self.has_successor,
        }
    }

    /// The time at which the last request is cut.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.requests.max(self.uploads).max(self.downloads).max(self.event_streams)
    }

    /// The next time that is over for requests other than those of the kinds `over`, with all kinds that have none left
    /// by then. `None` when all are over.
    pub(super) fn next_turn(&self, over: Kinds) -> Option<(Instant, Kinds)> {
        let time_of = |kind: UnderWay| match kind {
            UnderWay::Request => self.requests,
            UnderWay::Upload => self.uploads,
            UnderWay::Download => self.downloads,
            UnderWay::EventStream => self.event_streams,
        };
        let time = UnderWay::ALL.into_iter().filter(|kind| !over.has(*kind)).map(time_of).min()?;
        let is_over = |kind: &UnderWay| over.has(*kind) || time_of(*kind) <= time;
        Some((time, UnderWay::ALL.into_iter().filter(is_over).collect()))
    }
}

/// Waits until `time` gives a time of the order that is over, as the order is then.
///
/// Cancel safe.
pub async fn drain_time(drain: &mut Drain, time: impl Fn(&DrainOrder) -> Instant) {
    loop {
        let until = order_of(drain).map_or_else(Instant::now, |order| time(&order));
        tokio::select! {
            biased;
            () = changed(drain) => {}
            () = sleep_until(until) => return,
        }
    }
}

/// The order as it is now; `None` before there is one.
pub(super) fn order_of(drain: &mut Drain) -> Option<DrainOrder> {
    *drain.borrow_and_update()
}

/// Waits for another order; for ever, once nobody can give one.
pub(super) async fn changed(drain: &mut Drain) {
    if drain.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open at the deadline, those that a request upgraded included.
    pub cut: usize,
}

/// Waits for the order, as which a dropped sender counts.
pub(super) async fn drain_ordered(mut drain: Drain) {
    drop(drain.wait_for(Option::is_some).await);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_kind_has_its_turn_and_a_later_order_only_ends_sooner() {
        use UnderWay::{Download, EventStream, Request, Upload};
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let order = DrainOrder {
            uploads: now + second * 2,
            downloads: now + second * 3,
            has_successor: true,
            ..DrainOrder::until(now + second)
        };
        let turns = |order: &DrainOrder| {
            let first = order.next_turn(Kinds::NONE);
            let turns = std::iter::successors(first, |(_, over)| order.next_turn(*over));
            turns.map(|(time, over)| ((time - now).as_secs(), over)).collect::<Vec<_>>()
        };
        let all: Kinds = UnderWay::ALL.into_iter().collect();
        let at_first: Kinds = [Request, EventStream].into_iter().collect();
        assert_eq!(turns(&order), [(1, at_first), (2, at_first.with(Upload)), (3, all)]);
        assert_eq!((order.last(), at_first.has(Download)), (now + second * 3, false));
        let sooner = order.no_later_than(DrainOrder::until(now + second * 2));
        assert_eq!(turns(&sooner), [(1, at_first), (2, all)]);
        assert!(sooner.has_successor && sooner.tunnels == order.tunnels);
        assert_eq!(sooner.no_later_than(DrainOrder::until(now + second * 9)), sooner);
    }
}
