//! The counts of requests: additions to counters that a thread has nearly for itself, gathered when somebody looks. The
//! exporter never drops a series, and keeps each sample of a histogram until it looks at them one by one; so those by
//! version or environment are kept and written here.
//!
//! A series without traffic is not written. Environments that have no series of their own ([`labels`]) count together:
//! what they count is added to the sum when it is gathered, and stays there.

mod history;
mod known;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;

use super::labels::{self, Place};
use super::tally::{Count, STRIPES, Slot};
pub use history::{TrafficFigures, TrafficRow, TrafficSpan};
use known::known;
pub(super) use known::{gather, gather_and_render};

/// Upper bounds of the latency histogram, in nanoseconds. Whole numbers of them, so that the counts are those that the
/// bounds in seconds would give.
const BOUNDS_NS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// Of the histogram: one for each bound, and one for what took longer than the last.
const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Counters of one stripe, or of all of them. Those of a fast answer of a file are in the first cache line;
/// two lines are one to the processor, as it fetches them in pairs.
#[derive(Default, PartialEq, Eq)]
#[repr(align(128))]
struct Figures<T> {
    by_class: [T; 5],
    bytes: T,
    nanoseconds: T,
    /// Of requests whose time is in this bucket and in none before.
    by_bucket: [T; BUCKETS],
    by_delta_form: [T; 2],
    saved: T,
    /// Of visitors who are held on the version though another one is live.
    held: T,
}

/// A version in an environment.
type Served = (Place, String);

/// Counts of one version, until they are gathered.
struct Counts {
    /// Made by the first request of a thread: most versions of an edge with many apps have none for long.
    stripes: [OnceLock<Box<Figures<Count>>>; STRIPES],
    /// Counts gathered so far, once there were any; locked together with the list of versions.
    gathered: Mutex<Option<Box<Figures<u64>>>>,
    /// Whether it counts for series, its own or its app's; changed under the same lock.
    has_series: AtomicBool,
    served: Served,
}

/// The counters of one version in one place, ready for the hot path: no look-up by name is left. Counts are rendered
/// when it was gathered: every few seconds, whenever the metrics are rendered, and when this is dropped.
pub struct RequestMetrics(Arc<Counts>);

impl RequestMetrics {
    /// Prepares the counters for `app`, `environment` and the short id `version`.
    #[must_use]
    pub fn new(app: &str, environment: &str, version: &str) -> Self {
        let counts = Arc::new(Counts::new(app, environment, version));
        known().begin(&counts);
        Self(counts)
    }

    /// Counts one request that took `time`: no lock, no clock, and no memory but for a thread's first one.
    pub fn count(&self, status: StatusCode, body_bytes: u64, time: Duration) {
        let slot = Slot::here();
        let Some(stripe) = self.0.stripe(slot) else { return };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(requests) = stripe.by_class.get(class) {
            requests.add(1, slot);
        }
        stripe.bytes.add(body_bytes, slot);
        let nanoseconds = time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into());
        stripe.nanoseconds.add(nanoseconds, slot);
        if let Some(requests) = stripe.by_bucket.get(bucket_of(nanoseconds)) {
            requests.add(1, slot);
        }
    }

    /// Counts an answer that is a delta, and what it saves; the forms are numbered in the order of `DELTA_FORMS`.
    pub fn count_delta(&self, form: usize, saved_bytes: u64) {
        let slot = Slot::here();
        let Some(stripe) = self.0.stripe(slot) else { return };
        if let Some(answers) = stripe.by_delta_form.get(form) {
            answers.add(1, slot);
        }
        stripe.saved.add(saved_bytes, slot);
    }

    /// Counts a request of a visitor who is held on the version though another one is live.
    pub fn count_held(&self) {
        let slot = Slot::here();
        if let Some(stripe) = self.0.stripe(slot) {
            stripe.held.add(1, slot);
        }
    }
}

/// Says how much is kept of what versions answered lately: bytes of one app, and apps; 0 of either keeps nothing.
pub fn keep_traffic(app_bytes_max: usize, apps_max: usize) {
    known().history.set_bounds(app_bytes_max, apps_max);
}

/// Forgets what was kept of an app that is gone.
pub fn forget_traffic(app: &str) {
    let mut known = known();
    // What was counted for it until now goes, too.
    known.gather(&mut labels::lock());
    known.history.forget(app);
}

/// What the versions of an environment answered within a time, by step and version.
#[must_use]
pub fn traffic(app: &str, environment: &str, span: TrafficSpan) -> Vec<TrafficRow> {
    let mut known = known();
    known.gather(&mut labels::lock());
    known.history.rows(app, environment, span)
}

/// The first bucket whose bound is not exceeded; the one after all bounds otherwise. From the first one on: most
/// answers are quick, and are done with after one comparison.
fn bucket_of(nanoseconds: u64) -> usize {
    BOUNDS_NS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS_NS.len())
}

impl Drop for RequestMetrics {
    /// Nobody counts here any more: what was not gathered yet is now.
    fn drop(&mut self) {
        known().end(&self.0, &mut labels::lock(), Instant::now());
    }
}

impl Counts {
    fn new(app: &str, environment: &str, version: &str) -> Self {
        Self {
            stripes: Default::default(),
            gathered: Mutex::default(),
            has_series: AtomicBool::new(false),
            served: ((app.to_owned(), environment.to_owned()), version.to_owned()),
        }
    }

    #[inline]
    fn stripe(&self, slot: Slot) -> Option<&Figures<Count>> {
        Some(self.stripes.get(slot.stripe)?.get_or_init(Box::default))
    }

    /// The counts so far; `None` if there are none.
    fn totals(&self) -> Option<Figures<u64>> {
        let mut stripes = self.stripes.iter().filter_map(OnceLock::get).peekable();
        stripes.peek()?;
        let stripes: Vec<&Figures<Count>> = stripes.map(|stripe| &**stripe).collect();
        let sum = |count: &dyn Fn(&Figures<Count>) -> u64| {
            stripes.iter().map(|stripe| count(stripe)).fold(0, u64::wrapping_add)
        };
        let at = |counts: &[Count], place: usize| counts.get(place).map_or(0, Count::get);
        Some(Figures {
            by_class: std::array::from_fn(|class| sum(&|stripe| at(&stripe.by_class, class))),
            bytes: sum(&|stripe| stripe.bytes.get()),
            nanoseconds: sum(&|stripe| stripe.nanoseconds.get()),
            by_bucket: std::array::from_fn(|bucket| sum(&|stripe| at(&stripe.by_bucket, bucket))),
            by_delta_form: std::array::from_fn(|form| sum(&|stripe| at(&stripe.by_delta_form, form))),
            saved: sum(&|stripe| stripe.saved.get()),
            held: sum(&|stripe| stripe.held.get()),
        })
    }

    /// What was counted since the last time. The caller holds the lock of all that is known, so nothing is on its way
    /// when somebody reads; `None` if nothing was.
    fn take(&self) -> Option<Figures<u64>> {
        let totals = self.totals()?;
        let mut gathered = self.gathered.lock();
        let news = totals.since(gathered.as_deref().unwrap_or(&Figures::NONE));
        if news == Figures::NONE {
            return None;
        }
        **gathered.get_or_insert_default() = totals;
        Some(news)
    }
}

impl Figures<u64> {
    const NONE: Self = Self {
        by_class: [0; 5],
        bytes: 0,
        nanoseconds: 0,
        by_bucket: [0; BUCKETS],
        by_delta_form: [0; 2],
        saved: 0,
        held: 0,
    };

    fn since(&self, before: &Self) -> Self {
        let at = |counts: &[u64], place: usize| counts.get(place).copied().unwrap_or(0);
        let since = |now: &[u64], before: &[u64], place: usize| at(now, place).wrapping_sub(at(before, place));
        Self {
            by_class: std::array::from_fn(|class| since(&self.by_class, &before.by_class, class)),
            bytes: self.bytes.wrapping_sub(before.bytes),
            nanoseconds: self.nanoseconds.wrapping_sub(before.nanoseconds),
            by_bucket: std::array::from_fn(|bucket| since(&self.by_bucket, &before.by_bucket, bucket)),
            by_delta_form: std::array::from_fn(|form| since(&self.by_delta_form, &before.by_delta_form, form)),
            saved: self.saved.wrapping_sub(before.saved),
            held: self.held.wrapping_sub(before.held),
        }
    }

    /// Requests, whatever their status.
    fn requests(&self) -> u64 {
        self.by_class.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
