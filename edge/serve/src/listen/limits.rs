//! Limits of connections, in total and per address, and the timeouts and sizes of each connection.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use devanture_config::edge_toml::AddressBlock;
use devanture_config::limits::Limits;
use metrics::{Gauge, counter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::handshakes::{Client, HandshakeLimits};
use super::response_memory::{MemoryClaim, ResponseMemory};
use crate::proxy::address::counted_as;
use devanture_base::clock::since_epoch;
use devanture_base::telemetry::{NOTED_EVERY_S, Noted};
use devanture_http as engine;

/// Maximum number of bytes read of a target, so that a target that is too long is distinguished from fields that are
/// too large.
pub(crate) const TARGET_BYTES_MAX: usize = 64 * 1024;

/// Divisor of the limit per address above which only clients with a validated address may connect.
const BUSY_PART: usize = 2;
/// Divisor of the spare connections: within the spare part, each new connection ends an older one.
const SPARE_PART: usize = 16;

/// How long a body of a request may rest where its reader decides: longer than any does.
const BODY_REST_LEFT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The limits of connections. Clones share one count, so that all threads of a listener are limited together.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Whether who reads the bodies of requests says how long they may rest.
    leaves_bodies: bool,
    pub(crate) times: Arc<Times>,
    pub(crate) sizes: Sizes,
    pub(crate) handshakes: HandshakeLimits,
    counts: Arc<Counts>,
    /// Addresses of proxies, which have no limit per address.
    exempt: Arc<[AddressBlock]>,
    response_memory: Arc<ResponseMemory>,
    /// Limits of the next connection.
    next: Arc<ArcSwap<PerConnection>>,
}

/// Limits that a connection keeps as of its creation.
#[derive(Debug, Clone)]
struct PerConnection {
    times: Arc<Times>,
    sizes: Sizes,
    exempt: Arc<[AddressBlock]>,
}

/// Limits that [`ConnectionLimits::set`] changes.
pub const LIMITS_APPLIED: &[&str] = &[
    "body_ms_max",
    "connection_window_bytes",
    "control_frames_per_second_max",
    "handshake_ms_max",
    "header_bytes_max",
    "header_fields_max",
    "header_ms_max",
    "idle_ms_max",
    "linger_bytes_max",
    "linger_ms_max",
    "requests_per_connection_max",
    "resets_per_second_max",
    "response_memory_bytes_per_connection_max",
    "stream_window_bytes",
    "streams_max",
    "write_ms_max",
];

/// Timeouts of each phase of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) handshake: Duration,
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
    pub(crate) body: Duration,
    pub(crate) linger: Duration,
}

/// Size limits of the parts of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) header_bytes: usize,
    pub(crate) header_fields: usize,
    pub(crate) target_bytes: usize,
    pub(crate) streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    /// Maximum number of response bytes that one connection holds for its client.
    pub(crate) response_bytes: usize,
    pub(crate) requests: u64,
    pub(crate) resets_per_second: u32,
    pub(crate) control_frames_per_second: u32,
    /// Maximum number of request bytes discarded after a response.
    pub(crate) linger_bytes: u64,
}

#[derive(Debug)]
struct Counts {
    connections_max: usize,
    per_address_max: usize,
    open: AtomicUsize,
    /// Only addresses with open connections, and only if limited.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Reason to refuse a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Address,
    Handshakes,
    Total,
}

impl Refused {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Handshakes => "handshakes",
            Self::Total => "total",
        }
    }

    /// Returns the keys of `[limits]` for the reason.
    const fn limit(self) -> &'static str {
        match self {
            Self::Address => "connections_per_address_max",
            Self::Handshakes => "handshakes_per_address_max, handshakes_max",
            Self::Total => "connections_max",
        }
    }

    const fn noted(self) -> &'static Noted {
        static NOTED: [Noted; 3] = [Noted::new(), Noted::new(), Noted::new()];
        let [address, handshakes, total] = &NOTED;
        match self {
            Self::Address => address,
            Self::Handshakes => handshakes,
            Self::Total => total,
        }
    }

    /// Counts and logs the refusal.
    pub(crate) fn record(self, listener: &'static str, address: SocketAddr) {
        debug!(%address, listener, reason = self.reason(), "a connection was refused");
        if let Some(refused) = self.noted().add(since_epoch().as_secs()) {
            let (limit, every_s) = (self.limit(), NOTED_EVERY_S);
            warn!(refused, limit, %address, listener, every_s, "connections are refused, as there are too many");
        }
        let labels = [("listener", listener), ("reason", self.reason())];
        counter!("devanture_connections_refused_total", &labels).increment(1);
    }
}

/// The permission of an open connection; dropped with the socket.
#[derive(Debug)]
pub(crate) struct Permit {
    counts: Arc<Counts>,
    address: Option<IpAddr>,
    open: Gauge,
    tally: Arc<Tally>,
}

/// Counts the open connections of one [`super::serve`], including proxied upgrades, which outlive their requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    open: AtomicUsize,
    emptied: Notify,
}

impl Tally {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl PerConnection {
    fn new(limits: &Limits, proxies: &[AddressBlock]) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            times: Arc::new(Times {
                handshake: Duration::from_millis(limits.handshake_ms_max),
                header: Duration::from_millis(limits.header_ms_max),
                idle: Duration::from_millis(limits.idle_ms_max),
                write: Duration::from_millis(limits.write_ms_max),
                body: Duration::from_millis(limits.body_ms_max),
                linger: Duration::from_millis(limits.linger_ms_max),
            }),
            sizes: Sizes {
                header_bytes: size(limits.header_bytes_max),
                header_fields: size(limits.header_fields_max),
                target_bytes: TARGET_BYTES_MAX,
                streams: number(limits.streams_max),
                stream_window: number(limits.stream_window_bytes),
                connection_window: number(limits.connection_window_bytes),
                response_bytes: size(limits.response_memory_bytes_per_connection_max),
                requests: limits.requests_per_connection_max,
                resets_per_second: number(limits.resets_per_second_max),
                control_frames_per_second: number(limits.control_frames_per_second_max),
                linger_bytes: limits.linger_bytes_max,
            },
            exempt: proxies.into(),
        }
    }
}

impl ConnectionLimits {
    /// Takes the connection limits from the limits of `edge.toml`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let PerConnection { times, sizes, exempt } = PerConnection::new(limits, &[]);
        Self {
            leaves_bodies: false,
            next: Arc::new(ArcSwap::from_pointee(PerConnection {
                times: Arc::clone(&times),
                sizes,
                exempt: Arc::clone(&exempt),
            })),
            times,
            sizes,
            exempt,
            handshakes: HandshakeLimits {
                total: size(limits.handshakes_max),
                per_client: size(limits.handshakes_per_address_max),
                stall: Duration::from_millis(limits.handshake_stall_ms_max),
            },
            counts: Arc::new(Counts {
                connections_max: size(limits.connections_max),
                per_address_max: size(limits.connections_per_address_max),
                open: AtomicUsize::new(0),
                by_address: Mutex::default(),
            }),
            response_memory: Arc::new(ResponseMemory::new(
                size(limits.response_memory_bytes_max),
                match limits.response_memory_bytes_per_address_max {
                    0 => usize::MAX,
                    limited => size(limited),
                },
            )),
        }
    }

    /// Changes the limits of single connections ([`LIMITS_APPLIED`]), and the proxies, for new connections.
    pub fn set(&self, limits: &Limits, proxies: &[AddressBlock]) {
        self.next.store(Arc::new(PerConnection::new(limits, proxies)));
    }

    /// Returns the limits for new connections, if changed.
    pub(crate) fn changed(&self) -> Option<Self> {
        let next = self.next.load();
        let is_same = Arc::ptr_eq(&next.times, &self.times);
        (!is_same).then(|| Self {
            times: Arc::clone(&next.times),
            sizes: next.sizes,
            exempt: Arc::clone(&next.exempt),
            ..self.clone()
        })
    }

    /// Shares the memory for responses with connections of `other`.
    #[must_use]
    pub fn sharing_memory_with(self, other: &Self) -> Self {
        Self { response_memory: Arc::clone(&other.response_memory), ..self }
    }

    /// Returns the memory for responses of all connections.
    #[must_use]
    pub fn response_memory(&self) -> &Arc<ResponseMemory> {
        &self.response_memory
    }

    /// Returns the accounting of response bytes for a new connection from `address`.
    pub(crate) fn holding(&self, address: IpAddr) -> MemoryClaim {
        let address = (!self.is_exempt(address)).then(|| counted_as(address));
        MemoryClaim::new(Arc::clone(&self.response_memory), address)
    }

    /// Returns the longest time, and the maximum of bytes, for reading an ended connection.
    pub(crate) fn linger(&self) -> (Duration, u64) {
        (self.times.linger, self.sizes.linger_bytes)
    }

    /// Returns the engine's limits for each connection.
    pub(crate) fn of_engine(&self) -> engine::Limits {
        let Self { times, sizes, .. } = self;
        engine::Limits {
            streams: sizes.streams,
            header_bytes: sizes.header_bytes,
            header_fields: sizes.header_fields,
            target_bytes: sizes.target_bytes,
            stream_window: sizes.stream_window,
            connection_window: sizes.connection_window,
            response_bytes: sizes.response_bytes,
            requests: sizes.requests,
            resets_per_second: sizes.resets_per_second,
            control_frames_per_second: sizes.control_frames_per_second,
            header: times.header,
            write: times.write,
            body: if self.leaves_bodies { BODY_REST_LEFT } else { times.body },
            linger: times.linger,
            linger_bytes: sizes.linger_bytes,
        }
    }

    /// Leaves the time that the bodies of requests may rest to who reads them.
    #[must_use]
    pub fn leaving_bodies(self) -> Self {
        Self { leaves_bodies: true, ..self }
    }

    /// Counts connections of proxies that stand for all their clients among all connections alone.
    #[must_use]
    pub fn exempting(self, proxies: &[AddressBlock]) -> Self {
        let exempt: Arc<[AddressBlock]> = proxies.into();
        let next = PerConnection { times: Arc::clone(&self.times), sizes: self.sizes, exempt: Arc::clone(&exempt) };
        self.next.store(Arc::new(next));
        Self { exempt, ..self }
    }

    /// Returns the client that a handshake from `address` is counted for.
    pub(crate) fn client(&self, address: SocketAddr) -> Client {
        if self.is_exempt(address.ip()) { address } else { SocketAddr::new(counted_as(address.ip()), 0) }
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|block| block.contains(address))
    }

    /// Returns the number of open connections under the limits.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// Returns true if `address` has so many connections that the rest of its share is reserved for peers with a
    /// validated address.
    pub(crate) fn is_busy(&self, address: IpAddr) -> bool {
        let max = self.counts.per_address_max;
        let held = || self.counts.by_address.lock().get(&counted_as(address)).copied().unwrap_or(0);
        max > 0 && !self.is_exempt(address) && held() >= max / BUSY_PART
    }

    /// Returns true if so many connections are open that each new connection has to end an older one: all but a
    /// sixteenth, so that idle connections keep no visitor out (law 11).
    pub(crate) fn are_nearly_used_up(&self) -> bool {
        let spare = self.counts.connections_max / SPARE_PART;
        spare > 0 && self.open() >= self.counts.connections_max.saturating_sub(spare)
    }

    /// Counts a connection from `address`, or returns the reason to refuse the connection.
    pub(crate) fn admit(&self, address: IpAddr, open: &Gauge, tally: &Arc<Tally>) -> Result<Permit, Refused> {
        let counts = &self.counts;
        if counts.open.fetch_add(1, Ordering::Relaxed) >= counts.connections_max {
            counts.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Total);
        }
        let is_limited = counts.per_address_max > 0 && !self.is_exempt(address);
        let address = is_limited.then(|| counted_as(address));
        if let Some(address) = address {
            let mut by_address = counts.by_address.lock();
            let held = by_address.entry(address).or_insert(0);
            if *held >= counts.per_address_max {
                counts.open.fetch_sub(1, Ordering::Relaxed);
                return Err(Refused::Address);
            }
            *held += 1;
        }
        open.increment(1.0);
        tally.open.fetch_add(1, Ordering::AcqRel);
        Ok(Permit { counts: Arc::clone(counts), address, open: open.clone(), tally: Arc::clone(tally) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut by_address = self.counts.by_address.lock();
            if let Some(held) = by_address.get_mut(&address) {
                *held -= 1;
                if *held == 0 {
                    by_address.remove(&address);
                }
            }
        }
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
        self.open.decrement(1.0);
        if self.tally.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tally.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u64, per_address: u64) -> ConnectionLimits {
        ConnectionLimits::new(&Limits {
            connections_max: connections,
            connections_per_address_max: per_address,
            ..Limits::default()
        })
    }

    #[test]
    fn a_connection_counts_until_its_permit_is_dropped() {
        let (limits, gauge, tally) = (limits(2, 0), Gauge::noop(), Arc::default());
        let address = IpAddr::from([192, 0, 2, 1]);
        let first = limits.admit(address, &gauge, &tally).unwrap();
        let second = limits.clone().admit(address, &gauge, &tally).unwrap();
        assert_eq!(limits.admit(address, &gauge, &tally).unwrap_err(), Refused::Total);
        assert_eq!((limits.open(), tally.open()), (2, 2));
        drop(first);
        drop(limits.admit(address, &gauge, &tally).unwrap());
        drop(second);
        assert_eq!((limits.open(), tally.open()), (0, 0));
    }

    #[test]
    fn one_address_does_not_take_the_share_of_another() {
        let (limits, gauge, tally) = (limits(100, 1), Gauge::noop(), Arc::default());
        let held = limits.admit("2001:db8::1".parse().unwrap(), &gauge, &tally).unwrap();
        let same_subscriber = limits.admit("2001:db8::2".parse().unwrap(), &gauge, &tally);
        assert_eq!(same_subscriber.unwrap_err(), Refused::Address);
        let mapped = limits.admit("::ffff:192.0.2.1".parse().unwrap(), &gauge, &tally).unwrap();
        assert_eq!(limits.admit("192.0.2.1".parse().unwrap(), &gauge, &tally).unwrap_err(), Refused::Address);
        assert_eq!(limits.open(), 2);
        assert!(limits.is_busy("192.0.2.1".parse().unwrap()));
        drop((held, mapped));
        assert!(limits.counts.by_address.lock().is_empty());
    }

    #[test]
    fn a_trusted_proxy_stands_for_many() {
        let (limits, gauge, tally) = (limits(3, 1), Gauge::noop(), Arc::default());
        let limits = limits.exempting(&["10.0.0.0/8".parse().unwrap()]);
        let proxy = IpAddr::from([10, 0, 0, 1]);
        let held = [(); 3].map(|()| limits.admit(proxy, &gauge, &tally).unwrap());
        assert_eq!(limits.admit(proxy, &gauge, &tally).unwrap_err(), Refused::Total);
        drop(held);
        assert_eq!(limits.open(), 0);
    }
}
