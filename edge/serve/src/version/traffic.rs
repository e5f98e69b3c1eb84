//! Traffic limits of one app's visitors: simultaneous requests, and bytes sent per second.
//!
//! Every loaded app has a [`Traffic`]. Without limits, a request reads one flag and counts nothing. Limits change while
//! the edge runs: for new requests, and for pieces that wait for their send time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use devanture_config::AppName;
use devanture_config::limits::Limits;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Idle time whose unused rate an app may send at once: a page is as fast as without a limit.
const BURST: Duration = Duration::from_secs(1);
/// Time by which a piece may be sent early. Timers are not exact, and a wait for each piece would slow a fast
/// connection.
const AHEAD: Duration = Duration::from_millis(10);
const SECOND_NS: u64 = 1_000_000_000;

/// Limits of one app's visitors that [`Traffics::set_limits`] changes.
pub const LIMITS_APPLIED: &[&str] = &["requests_per_app_max", "sent_bytes_per_second_per_app_max"];

/// The traffic of one app.
pub struct Traffic {
    /// True if requests are counted; read by every request.
    is_limited: AtomicBool,
    /// Maximum simultaneous requests; 0 is no limit.
    requests_max: AtomicU64,
    requests: AtomicU64,
    /// `None` without a rate limit, without memory for the pacing.
    pacing: Mutex<Option<Box<Pacing>>>,
}

/// Send rate of an app.
struct Pacing {
    pace: Pace,
    /// Cancelled by a change of the limit.
    changed: CancellationToken,
}

/// Booked bytes that must wait. Dropping the turn before its time cancels the booking: a reset stream must not delay
/// other visitors.
pub(crate) struct SendTurn {
    traffic: Arc<Traffic>,
    bytes: u64,
    /// The send time.
    pub(crate) at: Instant,
    /// Cancelled by an earlier change of the limit: the bytes are then booked again.
    pub(crate) changed: CancellationToken,
}

/// A running request, until dropped.
pub struct Entered(Arc<Traffic>);

/// Current traffic of an app; `None` for an unlimited quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficUsage {
    /// Running requests.
    pub requests: Option<u64>,
    /// Bytes sent in the last whole second.
    pub bytes_per_second: Option<u64>,
}

impl Traffic {
    fn new(limits: &Limits) -> Self {
        let traffic = Self {
            is_limited: AtomicBool::new(false),
            requests_max: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            pacing: Mutex::default(),
        };
        traffic.set_limits(limits);
        traffic
    }

    /// Changes the limits. Running requests continue, except for waiting pieces: the send time under the old limit may
    /// be hours away.
    fn set_limits(&self, limits: &Limits) {
        let (requests_max, per_second) = (limits.requests_per_app_max, limits.sent_bytes_per_second_per_app_max);
        let mut pacing = self.pacing.lock();
        if pacing.as_ref().map_or(0, |pacing| pacing.pace.per_second) != per_second {
            let new = (per_second > 0)
                .then(|| Pacing { pace: Pace::new(per_second, Instant::now()), changed: CancellationToken::new() });
            if let Some(before) = std::mem::replace(&mut *pacing, new.map(Box::new)) {
                before.changed.cancel();
            }
        }
        self.requests_max.store(requests_max, Ordering::Relaxed);
        self.is_limited.store(requests_max > 0 || per_second > 0, Ordering::Relaxed);
    }

    /// Returns true if any limit is set.
    #[must_use]
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    /// Counts a request until the result is dropped; `None` at the limit.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Entered> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        // Dropped at once, the value undoes the count.
        let entered = Entered(Arc::clone(self));
        let max = self.requests_max.load(Ordering::Relaxed);
        (max == 0 || before < max).then_some(entered)
    }

    /// Returns true if the rate is limited.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.pacing.lock().is_some()
    }

    /// Books bytes to send. Returns the turn to wait for, if the bytes cannot be sent now.
    pub(crate) fn book(self: &Arc<Self>, bytes: usize) -> Option<SendTurn> {
        let mut pacing = self.pacing.lock();
        let pacing = pacing.as_mut()?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let at = pacing.pace.book(bytes, Instant::now())?;
        Some(SendTurn { traffic: Arc::clone(self), bytes, at, changed: pacing.changed.clone() })
    }

    fn usage(&self) -> TrafficUsage {
        let is_counted = self.requests_max.load(Ordering::Relaxed) > 0;
        TrafficUsage {
            requests: is_counted.then(|| self.requests.load(Ordering::Relaxed)),
            bytes_per_second: self.pacing.lock().as_mut().map(|pacing| pacing.pace.last_second(Instant::now())),
        }
    }
}

impl Entered {
    /// The traffic of the app, including the request.
    #[must_use]
    pub const fn traffic(&self) -> &Arc<Traffic> {
        &self.0
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for SendTurn {
    fn drop(&mut self) {
        let mut pacing = self.traffic.pacing.lock();
        // The bytes were never booked under the present limit.
        if let Some(pacing) = pacing.as_mut().filter(|_| !self.changed.is_cancelled()) {
            pacing.pace.give_back((self.bytes, self.at), Instant::now());
        }
    }
}

/// Booking of one app's bytes: each connection books the next piece after sending the last, so that waiting connections
/// take turns.
struct Pace {
    per_second: u64,
    /// Origin of all times.
    began: Instant,
    /// Time at which all booked bytes are paid for, in nanoseconds.
    paid_ns: u64,
    /// Start of the uncounted time before `paid_ns`. Waiting bytes count as sent evenly: a piece of many seconds would
    /// otherwise count in a single second.
    uncounted_from_ns: u64,
    /// The counted second, its bytes, and the bytes of the previous second, both in billionths.
    second: u64,
    bytes: u128,
    bytes_before: u128,
}

impl Pace {
    const fn new(per_second: u64, began: Instant) -> Self {
        Self { per_second, began, paid_ns: 0, uncounted_from_ns: 0, second: 0, bytes: 0, bytes_before: 0 }
    }

    fn book(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let now_ns = nanoseconds(now.saturating_duration_since(self.began));
        self.count_until(now_ns);
        // Unused rate is kept for a while only.
        let from_ns = self.paid_ns.max(now_ns.saturating_sub(nanoseconds(BURST)));
        if self.paid_ns <= now_ns {
            self.uncounted_from_ns = from_ns;
        }
        self.paid_ns = from_ns.saturating_add(self.cost_ns(bytes));
        let at_ns = Some(self.paid_ns).filter(|paid_ns| *paid_ns > now_ns.saturating_add(nanoseconds(AHEAD)));
        // A piece without a wait is sent now, as is the part of a piece that idle time pays for.
        self.count(at_ns.map_or(self.paid_ns, |_| now_ns));
        at_ns.and_then(|at_ns| self.began.checked_add(Duration::from_nanos(at_ns)))
    }

    /// Cancels bytes booked for a time, as far as the time is still to come: past time cannot be used any more. Later
    /// bookings keep their times, and new bookings come earlier.
    fn give_back(&mut self, (bytes, at): (u64, Instant), now: Instant) {
        let [at_ns, now_ns] = [at, now].map(|time| nanoseconds(time.saturating_duration_since(self.began)));
        self.count_until(now_ns);
        let left_ns = at_ns.min(self.paid_ns).saturating_sub(now_ns);
        self.paid_ns = self.paid_ns.saturating_sub(self.cost_ns(bytes).min(left_ns));
    }

    /// The time for which `bytes` take the whole rate.
    fn cost_ns(&self, bytes: u64) -> u64 {
        let cost_ns = u128::from(bytes) * u128::from(SECOND_NS) / u128::from(self.per_second.max(1));
        u64::try_from(cost_ns).unwrap_or(u64::MAX)
    }

    /// Counts the bytes sent until now, in their seconds.
    fn count_until(&mut self, now_ns: u64) {
        let end_ns = self.paid_ns.min(now_ns);
        // Earlier seconds are never read.
        let first_ns = (end_ns / SECOND_NS).saturating_sub(2).saturating_mul(SECOND_NS);
        self.uncounted_from_ns = self.uncounted_from_ns.max(first_ns);
        while self.uncounted_from_ns < end_ns {
            let second = self.uncounted_from_ns / SECOND_NS;
            self.turn_to(second);
            self.count(end_ns.min(second.saturating_add(1).saturating_mul(SECOND_NS)));
        }
        self.turn_to(now_ns / SECOND_NS);
    }

    /// Counts the bytes paid for until a time, in the current second.
    fn count(&mut self, until_ns: u64) {
        let time_ns = until_ns.saturating_sub(self.uncounted_from_ns);
        self.bytes = self.bytes.saturating_add(u128::from(self.per_second) * u128::from(time_ns));
        self.uncounted_from_ns = self.uncounted_from_ns.max(until_ns);
    }

    fn turn_to(&mut self, second: u64) {
        if second > self.second {
            self.bytes_before = if second == self.second.saturating_add(1) { self.bytes } else { 0 };
            (self.second, self.bytes) = (second, 0);
        }
    }

    fn last_second(&mut self, now: Instant) -> u64 {
        self.count_until(nanoseconds(now.saturating_duration_since(self.began)));
        u64::try_from(self.bytes_before.div_ceil(u128::from(SECOND_NS))).unwrap_or(u64::MAX)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The traffic of every loaded app.
pub struct Traffics(Mutex<WeakTable>);

struct WeakTable {
    limits: Limits,
    by_app: HashMap<AppName, Weak<Traffic>>,
}

impl Traffics {
    /// Counts within the limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Mutex::new(WeakTable { limits: limits.clone(), by_app: HashMap::new() }))
    }

    /// Changes the limits in [`LIMITS_APPLIED`], also for single apps.
    pub fn set_limits(&self, limits: &Limits) {
        let mut known = self.0.lock();
        known.limits = limits.clone();
        for (app, traffic) in &known.by_app {
            if let Some(traffic) = traffic.upgrade() {
                traffic.set_limits(&known.limits.for_app(app));
            }
        }
    }

    /// The traffic of `app`, all its versions together.
    #[must_use]
    pub fn of(&self, app: &AppName) -> Arc<Traffic> {
        let WeakTable { limits, by_app } = &mut *self.0.lock();
        if let Some(traffic) = by_app.get(app).and_then(Weak::upgrade) {
            return traffic;
        }
        // Only before the map grows: loading apps one after the other must not scan all apps each time.
        if by_app.len() == by_app.capacity() {
            by_app.retain(|_, traffic| traffic.strong_count() > 0);
            by_app.reserve(by_app.len().max(1));
        }
        let traffic = Arc::new(Traffic::new(&limits.for_app(app)));
        by_app.insert(app.clone(), Arc::downgrade(&traffic));
        traffic
    }

    /// The current traffic of `app`.
    #[must_use]
    pub fn usage(&self, app: &AppName) -> TrafficUsage {
        self.of(app).usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn law_11_requests_of_one_app_have_an_end_and_others_do_not_see_it() {
        let mut limits = Limits { requests_per_app_max: 2, ..Limits::default() };
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        limits.apps.set(blog.clone(), vec![("requests_per_app_max", 0)]);
        let traffics = Traffics::new(&limits);
        assert!(!traffics.of(&blog).is_limited());
        assert_eq!(traffics.usage(&blog), TrafficUsage::default());
        let traffic = traffics.of(&shop);
        let first = traffic.enter().unwrap();
        let second = traffics.of(&shop).enter().unwrap();
        assert!(traffic.is_limited() && traffic.enter().is_none());
        assert_eq!(traffics.usage(&shop), TrafficUsage { requests: Some(2), bytes_per_second: None });
        drop(first);
        drop(traffic.enter().unwrap());
        assert_eq!(traffics.usage(&shop).requests, Some(1));
        drop(second);
        assert!(!traffic.is_paced() && traffic.book(1 << 40).is_none());
    }

    #[test]
    fn limits_change_for_apps_that_are_loaded_and_what_waits_is_booked_again() {
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let traffics = Traffics::new(&Limits::default());
        let (traffic, other) = (traffics.of(&shop), traffics.of(&blog));
        // A request that began uncounted ends uncounted, too.
        assert!(!traffic.is_limited());
        let mut limits = Limits { requests_per_app_max: 1, ..Limits::default() };
        limits.apps.set(blog, vec![("requests_per_app_max", 2), ("sent_bytes_per_second_per_app_max", 1)]);
        traffics.set_limits(&limits);
        let entered = [traffic.enter(), other.enter(), other.enter()];
        assert!(entered.iter().all(Option::is_some) && traffic.enter().is_none() && other.enter().is_none());
        assert!(!traffic.is_paced() && other.is_paced());
        let waiting = other.book(1_000_000).unwrap();
        // Equal limits leave waiting pieces unchanged.
        traffics.set_limits(&limits);
        assert!(!waiting.changed.is_cancelled());
        traffics.set_limits(&Limits { sent_bytes_per_second_per_app_max: 1_000_000_000, ..Limits::default() });
        assert!(waiting.changed.is_cancelled());
        drop(waiting);
        assert!(other.book(1_000_000).is_none(), "what was owed under the limit before is forgotten");
        assert!(traffic.enter().is_some() && traffic.is_limited());
        traffics.set_limits(&Limits::default());
        assert!(!traffic.is_limited() && !other.is_limited());
        drop(entered);
        assert_eq!(traffic.requests.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn apps_that_are_not_loaded_any_more_take_no_memory() {
        let traffics = Traffics::new(&Limits::default());
        for number in 0..10_000 {
            drop(traffics.of(&format!("app-{number}").parse().unwrap()));
        }
        assert!(traffics.0.lock().by_app.len() < 100);
    }

    proptest! {
        #[test]
        fn no_span_has_more_bytes_than_its_seconds_and_one_more_allow(
            per_second in 1_000u64..1_000_000,
            steps in prop::collection::vec((0u64..200, 1u64..20_000, prop::option::of(0u64..500)), 1..150),
        ) {
            let began = Instant::now();
            let (mut pace, mut now) = (Pace::new(per_second, began), began);
            let mut sent: Vec<(Duration, u64)> = Vec::new();
            for (rest_ms, bytes, patience_ms) in steps {
                now += Duration::from_millis(rest_ms);
                let at = pace.book(bytes, now);
                let leaves = patience_ms.map(|ms| now + Duration::from_millis(ms));
                if let (Some(at), Some(leaves)) = (at, leaves)
                    && leaves < at
                {
                    now = leaves;
                    pace.give_back((bytes, at), now);
                    prop_assert!(pace.paid_ns <= nanoseconds(now - began + AHEAD), "bytes that nobody waits for");
                    continue;
                }
                now = at.unwrap_or(now);
                sent.push((now - began, bytes));
            }
            for (index, (from, _)) in sent.iter().enumerate() {
                // A piece is sent once paid for as a whole.
                let mut bytes = 0;
                for (at, more) in &sent[index + 1..] {
                    bytes += more;
                    let seconds = (*at - *from + BURST + AHEAD).as_secs_f64();
                    prop_assert!(bytes as f64 <= (per_second as f64).mul_add(seconds, 1.0), "{bytes} in {seconds} s");
                }
            }
        }
    }

    #[test]
    fn what_is_not_waited_for_any_more_is_taken_back_as_far_as_its_time_is_to_come() {
        let began = Instant::now();
        let mut pace = Pace::new(1_000, began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(pace.book(4_000, at(0)), Some(at(4_000)));
        assert_eq!(pace.book(2_000, at(0)), Some(at(6_000)));
        pace.give_back((4_000, at(4_000)), at(1_000));
        assert_eq!(pace.book(1_000, at(1_000)), Some(at(4_000)), "one of four seconds is over");
        // The time has come: the piece was sent.
        pace.give_back((1_000, at(4_000)), at(4_000));
        assert_eq!(pace.book(1_000, at(4_000)), Some(at(5_000)));
        pace.give_back((1_000, at(5_000)), at(4_000));
        pace.give_back((2_000, at(6_000)), at(4_000));
        assert_eq!(pace.book(1_000, at(4_000)), Some(at(5_000)), "no more is taken back than was booked");
        assert_eq!(pace.last_second(at(4_000)), 1_000);
    }

    #[test]
    fn the_last_second_is_what_was_sent_in_it() {
        let began = Instant::now();
        let mut pace = Pace::new(1_000, began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(pace.book(900, at(1_100)), None);
        assert_eq!(pace.last_second(at(1_900)), 0);
        assert_eq!(pace.last_second(at(2_000)), 900);
        assert_eq!(pace.last_second(at(3_000)), 0);
    }

    /// Regression: a piece was counted in the one second of its sending, so that `usage` was 0 in all other seconds.
    #[test]
    fn a_piece_that_waits_for_many_seconds_counts_in_each_of_them() {
        let began = Instant::now();
        let mut pace = Pace::new(1_000, began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(pace.book(8_000, at(5_000)), Some(at(12_000)));
        assert_eq!(pace.last_second(at(6_000)), 2_000, "the second without bytes before it counts, too");
        assert_eq!(pace.last_second(at(9_500)), 1_000);
        // Another connection waits behind the piece.
        assert_eq!(pace.book(8_000, at(10_500)), Some(at(20_000)));
        for ms in [11_000, 12_500, 13_001, 20_500] {
            assert_eq!(pace.last_second(at(ms)), 1_000, "{ms}");
        }
        assert_eq!(pace.last_second(at(21_000)), 0);
        assert_eq!(pace.book(500, at(90_000)), None);
        assert_eq!((pace.last_second(at(90_999)), pace.last_second(at(91_000))), (0, 500));
    }
}
