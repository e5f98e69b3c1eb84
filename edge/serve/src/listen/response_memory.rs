//! Memory of response bodies that clients requested and have not read: one budget for all connections, with a share for
//! each address; responses are ended to stay within the budget.
//!
//! A connection reports its held bytes after each turn. While the budget is exhausted, all connections read in the
//! smallest useful pieces, and the connections whose clients have been stalled for the longest time are asked to
//! release memory: such a connection resets the stalled streams, or closes a socket that accepts no bytes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::time::Instant;

use devanture_base::telemetry::gauge_value;

/// Time without progress after which a client is slow.
pub(crate) const STALL_MIN: Duration = Duration::from_secs(1);
/// Interval of checks of the budget.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shortest interval of checks while the held bytes grow.
const LOOK_REST: Duration = Duration::from_millis(50);
/// Marks a client that is not stalled.
const NEVER_MS: u64 = u64::MAX;

/// The budget of all connections.
#[derive(Debug)]
pub struct ResponseMemory {
    bytes_max: usize,
    /// Maximum for one address.
    address_bytes_max: usize,
    held: AtomicUsize,
    claims: Mutex<Claims>,
    /// Origin of the times in milliseconds.
    began: Instant,
    next_look_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Claims {
    all: HashMap<u64, Arc<Claim>>,
    next: u64,
    by_address: HashMap<IpAddr, Weak<AtomicUsize>>,
}

/// Held bytes of one connection.
#[derive(Debug)]
struct Claim {
    id: u64,
    held: AtomicUsize,
    /// Held bytes of all connections of the address, if limited.
    address: Option<Arc<AtomicUsize>>,
    /// Time since which the client has accepted no bytes of a part.
    stalled_ms: AtomicU64,
    /// True if the connection is asked to drop stalled output.
    is_called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A connection's handle to the budget, registered once bytes are held; the default handle has no budget.
#[derive(Debug, Default)]
pub(crate) struct MemoryClaim {
    memory: Option<Arc<ResponseMemory>>,
    /// The address for the accounting.
    address: Option<IpAddr>,
    claim: Option<Arc<Claim>>,
}

impl ResponseMemory {
    pub(crate) fn new(bytes_max: usize, address_bytes_max: usize) -> Self {
        Self {
            bytes_max,
            address_bytes_max,
            held: AtomicUsize::new(0),
            claims: Mutex::default(),
            began: Instant::now(),
            next_look_ms: AtomicU64::new(0),
        }
    }

    /// Returns the number of held bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn is_used_up(&self) -> bool {
        self.held_bytes() > self.bytes_max
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(NEVER_MS - 1)
    }

    fn claim(&self, address: Option<IpAddr>) -> Arc<Claim> {
        let mut claims = self.claims.lock();
        let address = address.map(|address| {
            let known = claims.by_address.get(&address).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let held = Arc::default();
                claims.by_address.insert(address, Arc::downgrade(&held));
                held
            })
        });
        let id = claims.next;
        claims.next += 1;
        let claim = Arc::new(Claim {
            id,
            held: AtomicUsize::new(0),
            address,
            stalled_ms: AtomicU64::new(NEVER_MS),
            is_called: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        claims.all.insert(id, Arc::clone(&claim));
        claim
    }

    fn leave(&self, id: u64, address: Option<IpAddr>) {
        let mut claims = self.claims.lock();
        let Some(claim) = claims.all.remove(&id) else { return };
        drop(claim);
        if let Some(address) = address
            && claims.by_address.get(&address).is_some_and(|held| held.strong_count() == 0)
        {
            claims.by_address.remove(&address);
        }
    }

    fn is_tight(&self, claim: &Claim) -> bool {
        self.is_used_up() || claim.address.as_ref().is_some_and(|held| self.exceeds_address(held) > 0)
    }

    /// Returns the bytes that an address has to release until an eighth of its share is free.
    fn exceeds_address(&self, held: &AtomicUsize) -> usize {
        excess(held.load(Ordering::Relaxed), self.address_bytes_max)
    }

    /// Checks the budgets in total and per address, and asks the slowest connections to release memory beyond the
    /// budget.
    fn look(&self, now: Instant) {
        let mut excess = excess(self.held_bytes(), self.bytes_max);
        let slow_ms = self.ms(now).saturating_sub(u64::try_from(STALL_MIN.as_millis()).unwrap_or(NEVER_MS));
        let claims = self.claims.lock();
        let stalled = claims.all.values().map(|claim| (claim.stalled_ms.load(Ordering::Relaxed), claim));
        let mut slow: Vec<(u64, &Arc<Claim>)> = stalled.filter(|(since_ms, _)| *since_ms <= slow_ms).collect();
        slow.sort_unstable_by_key(|(since_ms, _)| *since_ms);
        let mut excesses: HashMap<*const AtomicUsize, usize> = HashMap::new();
        for (_, claim) in slow {
            let of_address = claim.address.as_ref();
            let of_address =
                of_address.map(|held| excesses.entry(Arc::as_ptr(held)).or_insert_with(|| self.exceeds_address(held)));
            if excess == 0 && of_address.as_ref().is_none_or(|excess| **excess == 0) {
                continue;
            }
            // A connection that was asked before, and has not released memory yet, counts too.
            let held = claim.held.load(Ordering::Relaxed);
            excess = excess.saturating_sub(held);
            if let Some(of_address) = of_address {
                *of_address = of_address.saturating_sub(held);
            }
            claim.is_called.store(true, Ordering::Relaxed);
            if let Some(waker) = claim.waker.lock().take() {
                waker.wake();
            }
        }
    }

    /// Checks the budgets, unless checked a moment ago.
    fn look_again(&self, now: Instant) {
        let (now_ms, next_ms) = (self.ms(now), self.next_look_ms.load(Ordering::Relaxed));
        let after_ms = self.ms(now + LOOK_REST);
        let is_due = now_ms >= next_ms
            && self.next_look_ms.compare_exchange(next_ms, after_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due {
            self.look(now);
        }
    }
}

/// Returns the bytes beyond `max` plus an eighth of `max`, so that the search does not repeat at once; 0 within `max`.
const fn excess(held: usize, max: usize) -> usize {
    if held > max { held - max + max / 8 } else { 0 }
}

/// Enforces the budget as long as the edge runs.
pub async fn keep_response_memory(memory: Arc<ResponseMemory>) {
    let held = gauge!("devanture_response_memory_bytes");
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        held.set(gauge_value(memory.held_bytes() as u64));
        memory.look(Instant::now());
    }
}

/// Counts responses ended for lack of memory.
pub(crate) fn count_ended(responses: usize) {
    if responses > 0 {
        tracing::debug!(responses, "responses were ended: their client takes nothing, and memory is used up");
        counter!("devanture_slow_responses_ended_total").increment(u64::try_from(responses).unwrap_or(u64::MAX));
    }
}

impl MemoryClaim {
    /// Creates the handle of a connection without held bytes, counted under `address`.
    pub(crate) const fn new(memory: Arc<ResponseMemory>, address: Option<IpAddr>) -> Self {
        Self { memory: Some(memory), address, claim: None }
    }

    /// Reports the held bytes of the connection, the time since which the client is stalled, and the task to wake for a
    /// release of memory.
    pub(crate) fn set(&mut self, bytes: usize, stalled: impl FnOnce() -> Option<Instant>, waker: &Waker) {
        let Some(memory) = &self.memory else { return };
        if bytes == 0 && self.claim.is_none() {
            return;
        }
        let claim = self.claim.get_or_insert_with(|| memory.claim(self.address));
        let before = claim.held.swap(bytes, Ordering::Relaxed);
        for sum in [Some(&memory.held), claim.address.as_deref()].into_iter().flatten() {
            // Wraps around, and so does the sum.
            sum.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
        let stalled = if bytes > 0 { stalled() } else { None };
        claim.stalled_ms.store(stalled.map_or(NEVER_MS, |since| memory.ms(since)), Ordering::Relaxed);
        if stalled.is_some() {
            let mut known = claim.waker.lock();
            if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *known = Some(waker.clone());
            }
        }
        if bytes > before && memory.is_tight(claim) {
            memory.look_again(Instant::now());
        }
    }

    /// Returns true if the connection has to read as little as possible.
    pub(crate) fn is_tight(&self) -> bool {
        match (&self.memory, &self.claim) {
            (Some(memory), Some(claim)) => memory.is_tight(claim),
            (Some(memory), None) => memory.is_used_up(),
            (None, _) => false,
        }
    }

    /// Returns true if the connection was asked to drop stalled output, and clears the request.
    pub(crate) fn take_call(&self) -> bool {
        let is_called = self.claim.as_ref().map(|claim| &claim.is_called);
        is_called.is_some_and(|called| called.load(Ordering::Relaxed) && called.swap(false, Ordering::Relaxed))
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.set(0, || None, Waker::noop());
        if let (Some(memory), Some(claim)) = (&self.memory, self.claim.take()) {
            let id = claim.id;
            drop(claim);
            memory.leave(id, self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Returns connections of `address` with the given held bytes and seconds of stalling.
    fn holding(memory: &Arc<ResponseMemory>, address: IpAddr, claims: &[(usize, u64)]) -> Vec<MemoryClaim> {
        let held = |(bytes, seconds): &(usize, u64)| {
            let mut held = MemoryClaim::new(Arc::clone(memory), Some(address));
            let since = memory.began + Duration::from_secs(100 - seconds);
            held.set(*bytes, || Some(since), Waker::noop());
            held
        };
        claims.iter().map(held).collect()
    }

    fn called(memory: &ResponseMemory, held: &[MemoryClaim]) -> Vec<bool> {
        memory.look(memory.began + Duration::from_secs(100));
        held.iter().map(MemoryClaim::take_call).collect()
    }

    #[tokio::test]
    async fn the_slowest_lose_first_and_no_more_than_needed() {
        let memory = Arc::new(ResponseMemory::new(800, usize::MAX));
        let mut held = holding(&memory, HERE, &[(300, 5), (300, 90), (200, 30)]);
        assert_eq!(called(&memory, &held), [false; 3], "the budget is not used up");
        held.extend(holding(&memory, THERE, &[(100, 0)]));
        assert!(held.iter().all(MemoryClaim::is_tight));
        assert_eq!(called(&memory, &held), [false, true, false, false]);
        held[1].set(0, || None, Waker::noop());
        assert_eq!((called(&memory, &held), memory.held_bytes()), (vec![false; 4], 600));
        held.extend(holding(&memory, THERE, &[(600, 0)]));
        assert_eq!(called(&memory, &held), [true, false, true, false, false], "who takes bytes loses nothing");
        drop(held);
        assert_eq!(memory.held_bytes(), 0);
        assert!(memory.claims.lock().all.is_empty() && memory.claims.lock().by_address.is_empty());
    }

    #[tokio::test]
    async fn an_address_beyond_its_share_loses_alone() {
        let memory = Arc::new(ResponseMemory::new(10_000, 800));
        let mut held = holding(&memory, HERE, &[(400, 50), (400, 60)]);
        held.extend(holding(&memory, THERE, &[(700, 99)]));
        assert_eq!(called(&memory, &held), [false; 3]);
        held.extend(holding(&memory, HERE, &[(90, 40)]));
        assert_eq!(held.iter().map(MemoryClaim::is_tight).collect::<Vec<_>>(), [true, true, false, true]);
        assert_eq!(called(&memory, &held), [false, true, false, false]);
    }

    #[tokio::test]
    async fn one_that_was_called_upon_is_woken() {
        struct Flag(AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (memory, flag) = (Arc::new(ResponseMemory::new(100, 100)), Arc::new(Flag(AtomicBool::new(false))));
        let mut held = MemoryClaim::new(Arc::clone(&memory), None);
        assert!(!held.is_tight() && !held.take_call());
        held.set(101, || Some(memory.began), &Waker::from(Arc::clone(&flag)));
        memory.look(memory.began + STALL_MIN);
        assert!(flag.0.load(Ordering::Relaxed) && held.take_call() && !held.take_call());
    }
}
