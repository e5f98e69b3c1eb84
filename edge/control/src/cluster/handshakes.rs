//! Handshakes with other nodes that are under way: bounded, so that strangers who only connect keep no node out.
//!
//! Anyone who reaches the listener may begin one. A handshake for which there is no place ends the oldest one of the
//! address that has the most, once that is old enough; until then nothing is accepted, and further connections wait in
//! the system's backlog. Strangers thus leave those alone who come from other addresses. Nodes and strangers may also
//! share an address: a node's handshake takes a few milliseconds, and has its place for [`Places::stall`] at least. A
//! node that lost it all the same tries again (see [`super::peer`]).
//!
//! The rule is that of `listen::handshakes`, without its turns and steps: they are for the threads of visitors.

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

/// How many handshakes may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) count: usize,
    /// Age from which on one gives way to another.
    pub(super) stall: Duration,
}

/// The handshakes of one listener.
pub(super) struct Handshakes {
    places: Places,
    under_way: Mutex<UnderWay>,
    /// Notified when one ends.
    ended: Notify,
    displaced: Noted,
}

#[derive(Default)]
struct UnderWay {
    /// Handshakes that ever began.
    begun: u64,
    count: usize,
    /// Of each address, by their numbers: the oldest one is the first.
    by_address: HashMap<IpAddr, BTreeMap<u64, Place>>,
}

struct Place {
    since: Instant,
    /// The handshake must end once this is dropped.
    _kept: oneshot::Sender<Infallible>,
}

/// A handshake that is under way, until it is dropped.
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

    /// Waits until there is room for another one.
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

    /// Finds room for another one, ending the oldest one of the address that has the most if need be. Otherwise gives
    /// the time at which that may end.
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

    /// Counts and logs it.
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

    /// Counts a handshake with `from`, for which there is room.
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
    /// The oldest handshake of the address that has the most; of several such addresses, the oldest of all.
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
    /// Runs it; `None` if it lost its place to another one.
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

    /// Begins one, in the place of another one if need be.
    fn begun(handshakes: &Arc<Handshakes>, from: IpAddr) -> Handshake {
        handshakes.find_room().unwrap();
        handshakes.begin(from)
    }

    /// Whether it still has its place.
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
