//! Running handshakes with other nodes: bounded, so that strangers with idle connections cannot lock out nodes.
//!
//! Anyone with access to the listener may begin a handshake. A handshake beyond the limit displaces the oldest
//! handshake of the address with the most, once old enough; until then no connection is accepted, and further
//! connections wait in the system's backlog. Strangers therefore do not affect peers at other addresses. For nodes that
//! share an address with strangers: a node's handshake takes a few milliseconds, and keeps its slot for at least
//! [`Places::stall`]. A node displaced nevertheless retries (see [`super::peer`]).
//!
//! The rule is the same as in `listen::handshakes`, without turns and steps, which serve the threads of visitors.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use devanture_base::clock::since_epoch;
use devanture_base::telemetry::{NOTED_EVERY_S, Noted};
use devanture_serve::proxy::address::counted_as;

/// Limit of running handshakes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) count: usize,
    /// Age from which on a handshake may be displaced.
    pub(super) stall: Duration,
}

/// Handshakes of one listener.
pub(super) struct Handshakes {
    places: Places,
    under_way: Mutex<UnderWay>,
    /// Notified at the end of a handshake.
    ended: Notify,
    displaced: Noted,
}

#[derive(Default)]
struct UnderWay {
    /// Number of all handshakes ever begun.
    begun: u64,
    count: usize,
    /// Handshakes of each address by number, oldest first.
    by_address: HashMap<IpAddr, BTreeMap<u64, Place>>,
}

struct Place {
    since: Instant,
    /// Dropping the sender ends the handshake.
    _kept: oneshot::Sender<Infallible>,
}

/// Running handshake, until dropped.
pub(super) struct Handshake {
    of: Arc<Handshakes>,
    address: IpAddr,
    number: u64,
    displaced: oneshot::Receiver<Infallible>,
}

impl Handshakes {
    pub(super) fn new(places: Places) -> Arc<Self> {
        Arc::new(Self { places, under_way: Mutex::default(), ended: Notify::new(), displaced: Noted::new() })
    }

    /// Waits for a free slot.
    pub(super) async fn room(&self) {
        loop {
            let ended = self.ended.notified();
            let Err(until) = self.find_room() else { return };
            tokio::select! {
                () = ended => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Finds a free slot, displacing the oldest handshake of the address with the most if necessary. Otherwise returns
    /// the time at which the displacement is allowed.
    fn find_room(&self) -> Result<(), Instant> {
        let mut under_way = self.under_way.lock();
        if under_way.count < self.places.count {
            return Ok(());
        }
        let Some((address, number, since)) = under_way.oldest_of_most() else { return Ok(()) };
        let until = since + self.places.stall;
        if Instant::now() < until {
            return Err(until);
        }
        under_way.remove(address, number);
        drop(under_way);
        self.record_displaced(address);
        Ok(())
    }

    /// Counts and logs a displacement.
    fn record_displaced(&self, address: IpAddr) {
        counter!("devanture_connections_refused_total", "listener" => "cluster", "reason" => "handshakes").increment(1);
        let Some(refused) = self.displaced.add(since_epoch().as_secs()) else { return };
        tracing::warn!(
            refused,
            %address,
            every_s = NOTED_EVERY_S,
            "connections to cluster.listen were closed, as too many wait without a handshake; let only nodes reach it"
        );
    }

    /// Registers a handshake with `from` in a free slot.
    pub(super) fn begin(self: &Arc<Self>, from: IpAddr) -> Handshake {
        let (kept, displaced) = oneshot::channel();
        let address = counted_as(from);
        let mut under_way = self.under_way.lock();
        under_way.begun += 1;
        under_way.count += 1;
        let number = under_way.begun;
        let place = Place { since: Instant::now(), _kept: kept };
        under_way.by_address.entry(address).or_default().insert(number, place);
        drop(under_way);
        Handshake { of: Arc::clone(self), address, number, displaced }
    }
}

impl UnderWay {
    /// Returns the oldest handshake of the address with the most; on a tie, the oldest of all.
    fn oldest_of_most(&self) -> Option<(IpAddr, u64, Instant)> {
        let oldest = self.by_address.iter().filter_map(|(address, own)| {
            let (number, place) = own.first_key_value()?;
            Some((own.len(), Reverse(*number), *address, place.since))
        });
        let (_, Reverse(number), address, since) = oldest.max_by_key(|(count, number, _, _)| (*count, *number))?;
        Some((address, number, since))
    }

    fn remove(&mut self, address: IpAddr, number: u64) {
        let Some(own) = self.by_address.get_mut(&address) else { return };
        if own.remove(&number).is_some() {
            self.count -= 1;
        }
        if own.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

impl Handshake {
    /// Runs the handshake; `None` if displaced.
    pub(super) async fn run<F: Future>(&mut self, handshake: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = handshake => Some(output),
            _ = &mut self.displaced => None,
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.under_way.lock().remove(self.address, self.number);
        self.of.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;

    use super::*;

    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn handshakes(count: usize, stall: Duration) -> Arc<Handshakes> {
        Handshakes::new(Places { count, stall })
    }

    /// Begins a handshake, displacing another if necessary.
    fn begun(handshakes: &Arc<Handshakes>, from: IpAddr) -> Handshake {
        handshakes.find_room().unwrap();
        handshakes.begin(from)
    }

    /// Returns true if the handshake still has its slot.
    fn is_under_way(handshake: &mut Handshake) -> bool {
        handshake.run(pending::<()>()).now_or_never().is_none()
    }

    #[test]
    fn strangers_lose_their_oldest_handshakes_and_a_node_of_another_address_keeps_its_own() {
        let handshakes = handshakes(4, Duration::ZERO);
        let mut node = begun(&handshakes, NODE);
        let mut strangers: Vec<Handshake> = (0..1_000).map(|_| begun(&handshakes, STRANGER)).collect();
        assert!(is_under_way(&mut node));
        let kept: Vec<bool> = strangers.iter_mut().map(is_under_way).collect();
        assert_eq!(kept.iter().filter(|is_kept| **is_kept).count(), 3);
        assert!(kept.ends_with(&[true; 3]), "the latest ones");
        assert_eq!(node.run(ready(1)).now_or_never(), Some(Some(1)));
        drop((node, strangers));
        let under_way = handshakes.under_way.lock();
        assert!(under_way.count == 0 && under_way.by_address.is_empty());
    }

    #[test]
    fn where_each_address_has_one_the_oldest_of_all_gives_way_and_a_network_of_ipv6_is_one_address() {
        let handshakes = handshakes(2, Duration::ZERO);
        let mut first = begun(&handshakes, NODE);
        let mut second = begun(&handshakes, STRANGER);
        let mut third = begun(&handshakes, "2001:db8::1".parse().unwrap());
        assert_eq!([&mut first, &mut second, &mut third].map(is_under_way), [false, true, true]);
        drop(second);
        let _fourth = begun(&handshakes, "2001:db8::2".parse().unwrap());
        let mut fifth = begun(&handshakes, NODE);
        assert_eq!([&mut third, &mut fifth].map(is_under_way), [false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_shares_the_address_of_strangers_has_its_place_for_a_while_at_least() {
        let stall = Duration::from_millis(50);
        let handshakes = handshakes(2, stall);
        let (_stranger, mut node) = (begun(&handshakes, STRANGER), begun(&handshakes, STRANGER));
        let mut since = Instant::now();
        handshakes.room().await;
        assert!(since.elapsed() >= stall, "nothing is accepted before");
        assert!(is_under_way(&mut node), "the other one was the older");
        let another = handshakes.begin(STRANGER);
        drop(another);
        since = Instant::now();
        handshakes.room().await;
        assert_eq!(since.elapsed(), Duration::ZERO, "one has ended");
    }
}
