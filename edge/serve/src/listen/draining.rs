//! How and when connections end during a drain.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use devanture_http::{Kinds, UnderWay};

/// How a connection ends during a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draining {
    /// As soon as no request is in flight.
    AtOnce,
    /// An idle HTTP/1.1 connection stays for a moment, since a request may be on its way.
    Patiently,
}

/// The drain order for any number of listeners: `None` in normal operation. A later order, whose times are no later,
/// also applies to connections that already drain. Dropping the sender without an order cuts all connections at once.
pub type Drain = watch::Receiver<Option<DrainOrder>>;

/// The times of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOrder {
    /// Deadline of requests without a response yet, and of connections without requests.
    pub requests: Instant,
    /// Deadline of requests whose bodies are still received.
    pub uploads: Instant,
    /// Deadline of responses in flight.
    pub downloads: Instant,
    /// Deadline of event streams, which end in order.
    pub event_streams: Instant,
    /// Deadline of upgraded connections.
    pub tunnels: Instant,
    /// Deadline of accepted work that needs no connection.
    pub deploys: Instant,
    /// True if another process serves the same sockets. Idle HTTP/1.1 connections then stay for a moment: a next
    /// request is answered as the last request, while a request into a closed connection would be lost.
    pub has_successor: bool,
}

impl DrainOrder {
    /// Creates the order of an edge without a successor.
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

    /// Returns the order with deadlines of requests and responses no earlier than `until`.
    #[must_use]
    pub fn at_least(self, until: Instant) -> Self {
        let later = |time: Instant| time.max(until);
        Self { requests: later(self.requests), uploads: later(self.uploads), downloads: later(self.downloads), ..self }
    }

    /// Returns the order with no deadline later than in `other`.
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

    /// Returns the time at which the last request is cut.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.requests.max(self.uploads).max(self.downloads).max(self.event_streams)
    }

    /// Returns the next deadline of kinds other than `over`, with all kinds that are over by then. `None` if all are
    /// over.
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

/// Waits until the deadline that `time` selects from the current order has passed.
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

/// Returns the current order; `None` without an order.
pub(super) fn order_of(drain: &mut Drain) -> Option<DrainOrder> {
    *drain.borrow_and_update()
}

/// Waits for another order; forever, if the sender is dropped.
pub(super) async fn changed(drain: &mut Drain) {
    if drain.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Number of connections still open at the deadline, including upgraded connections.
    pub cut: usize,
}

/// Waits for the order; a dropped sender counts as an order.
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
