//! What the visitors of one app take at once, where that is limited: requests under way, and bytes sent in a second.
//!
//! An app without such a limit has no [`Traffic`], and a request to it asks no more than whether there is one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use devanture_config::AppName;
use devanture_config::limits::Limits;
use parking_lot::Mutex;

/// How long an app may have sent nothing and send as much at once: a page comes as fast as without a limit.
const BURST: Duration = Duration::from_secs(1);
/// How far ahead of its time a piece may be sent. Timers are not exact, and a wait for each piece of a fast connection
/// would make it slow.
const AHEAD: Duration = Duration::from_millis(10);
const SECOND_NS: u64 = 1_000_000_000;

/// The visitors of one app.
pub struct Traffic {
    requests_max: u64,
    requests: AtomicU64,
    pace: Option<Mutex<Pace>>,
}

/// A request under way, until it is dropped.
pub struct Entered(Arc<Traffic>);

/// What visitors of an app take at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrafficUsage {
    /// Requests under way.
    pub requests: u64,
    /// Bytes sent in the last whole second; `None` where they are not limited.
    pub bytes_per_second: Option<u64>,
}

impl Traffic {
    /// Counts the visitors of an app within its limits; `None` where it has none.
    fn new(limits: &Limits) -> Option<Self> {
        let (requests_max, per_second) = (limits.requests_per_app_max, limits.sent_bytes_per_second_per_app_max);
        (requests_max > 0 || per_second > 0).then(|| Self {
            requests_max,
            requests: AtomicU64::new(0),
            pace: (per_second > 0).then(|| Mutex::new(Pace::new(per_second, Instant::now()))),
        })
    }

    /// Counts a request until what this returns is dropped; `None` if as many are under way as are allowed.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Entered> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        // Dropped at once, it takes itself back.
        let entered = Entered(Arc::clone(self));
        (self.requests_max == 0 || before < self.requests_max).then_some(entered)
    }

    /// Whether bytes have to wait.
    #[must_use]
    pub const fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// Books bytes that are to be sent. Returns when they may be, if that is not now.
    pub(crate) fn book(&self, bytes: usize) -> Option<Instant> {
        let mut pace = self.pace.as_ref()?.lock();
        pace.book(u64::try_from(bytes).unwrap_or(u64::MAX), Instant::now())
    }

    fn usage(&self) -> TrafficUsage {
        TrafficUsage {
            requests: self.requests.load(Ordering::Relaxed),
            bytes_per_second: self.pace.as_ref().map(|pace| pace.lock().last_second(Instant::now())),
        }
    }
}

impl Entered {
    /// The app's visitors, this one among them.
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

/// The bytes of one app: each connection books the next piece when its last one is sent, so that those that wait take
/// turns.
struct Pace {
    per_second: u64,
    /// All times count from here.
    began: Instant,
    /// When all that was booked is paid for, in nanoseconds.
    paid_ns: u64,
    /// The second that is counted, its bytes, and those of the one before.
    second: u64,
    bytes: u64,
    bytes_before: u64,
}

impl Pace {
    const fn new(per_second: u64, began: Instant) -> Self {
        Self { per_second, began, paid_ns: 0, second: 0, bytes: 0, bytes_before: 0 }
    }

    fn book(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let now_ns = nanoseconds(now.saturating_duration_since(self.began));
        let cost_ns = u128::from(bytes) * u128::from(SECOND_NS) / u128::from(self.per_second.max(1));
        // What was not used is kept for a while, and no longer.
        let from_ns = self.paid_ns.max(now_ns.saturating_sub(nanoseconds(BURST)));
        self.paid_ns = from_ns.saturating_add(u64::try_from(cost_ns).unwrap_or(u64::MAX));
        let at_ns = Some(self.paid_ns).filter(|paid_ns| *paid_ns > now_ns.saturating_add(nanoseconds(AHEAD)));
        self.count(bytes, at_ns.unwrap_or(now_ns));
        at_ns.and_then(|at_ns| self.began.checked_add(Duration::from_nanos(at_ns)))
    }

    fn count(&mut self, bytes: u64, at_ns: u64) {
        self.turn_to(at_ns / SECOND_NS);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn turn_to(&mut self, second: u64) {
        if second > self.second {
            self.bytes_before = if second == self.second.saturating_add(1) { self.bytes } else { 0 };
            (self.second, self.bytes) = (second, 0);
        }
    }

    fn last_second(&mut self, now: Instant) -> u64 {
        self.turn_to(nanoseconds(now.saturating_duration_since(self.began)) / SECOND_NS);
        self.bytes_before
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The visitors of every app that is loaded and has such a limit.
pub struct Traffics {
    limits: Limits,
    by_app: Mutex<HashMap<AppName, Weak<Traffic>>>,
}

impl Traffics {
    /// Counts within these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), by_app: Mutex::default() }
    }

    /// The visitors of `app`, all its versions together; `None` where nothing of it is limited.
    #[must_use]
    pub fn of(&self, app: &AppName) -> Option<Arc<Traffic>> {
        let new = Traffic::new(&self.limits.for_app(app))?;
        let mut by_app = self.by_app.lock();
        if let Some(traffic) = by_app.get(app).and_then(Weak::upgrade) {
            return Some(traffic);
        }
        by_app.retain(|_, traffic| traffic.strong_count() > 0);
        let traffic = Arc::new(new);
        by_app.insert(app.clone(), Arc::downgrade(&traffic));
        Some(traffic)
    }

    /// What visitors of `app` take at the moment; `None` where nothing of it is limited.
    #[must_use]
    pub fn usage(&self, app: &AppName) -> Option<TrafficUsage> {
        let known = self.by_app.lock().get(app).and_then(Weak::upgrade);
        Some(known.or_else(|| self.of(app))?.usage())
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
        assert!(traffics.of(&blog).is_none() && traffics.usage(&blog).is_none());
        let traffic = traffics.of(&shop).unwrap();
        let first = traffic.enter().unwrap();
        let second = traffics.of(&shop).unwrap().enter().unwrap();
        assert!(traffic.enter().is_none());
        assert_eq!(traffics.usage(&shop), Some(TrafficUsage { requests: 2, bytes_per_second: None }));
        drop(first);
        drop(traffic.enter().unwrap());
        assert_eq!(traffics.usage(&shop).unwrap().requests, 1);
        drop(second);
        assert!(!traffic.is_paced() && traffic.book(1 << 40).is_none());
    }

    proptest! {
        #[test]
        fn no_span_has_more_bytes_than_its_seconds_and_one_more_allow(
            per_second in 1_000u64..1_000_000,
            steps in prop::collection::vec((0u64..200, 1u64..20_000), 1..150),
        ) {
            let began = Instant::now();
            let (mut pace, mut now) = (Pace::new(per_second, began), began);
            let mut sent: Vec<(Duration, u64)> = Vec::new();
            for (rest_ms, bytes) in steps {
                now += Duration::from_millis(rest_ms);
                let at = pace.book(bytes, now);
                now = at.unwrap_or(now);
                sent.push((now - began, bytes));
            }
            for (index, (from, _)) in sent.iter().enumerate() {
                // A piece is sent when it is paid for as a whole.
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
    fn the_last_second_is_what_was_sent_in_it() {
        let began = Instant::now();
        let mut pace = Pace::new(1_000, began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(pace.book(900, at(1_100)), None);
        assert_eq!(pace.last_second(at(1_900)), 0);
        assert_eq!(pace.last_second(at(2_000)), 900);
        assert_eq!(pace.last_second(at(3_000)), 0);
    }
}
