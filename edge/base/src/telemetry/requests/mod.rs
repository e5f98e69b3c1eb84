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

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;

use super::labels::{self, Place};
use super::stripes::{Count, ShortCount, Slot, Stripes};
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

/// Counters of one stripe, or of all of them: `N` counts requests, and `S` sums up. Those of a fast answer of a file
/// are first, in one cache line. All are two lines, which are one to the processor, as it fetches them in pairs.
#[derive(Default, PartialEq, Eq)]
#[repr(C, align(128))]
struct Figures<N, S> {
    bytes: S,
    nanoseconds: S,
    by_class: [N; 5],
    /// Of requests whose time is in this bucket and in none before.
    by_bucket: [N; BUCKETS],
    /// Of visitors who are held on the version though another one is live.
    held: N,
    by_delta_form: [N; 2],
    saved: S,
}

/// What one thread counts.
type Counting = Figures<ShortCount, Count>;

/// What all threads have counted, which begins again at 0 as their counts do, or since the last look.
type Counted = Figures<u32, u64>;

/// A version in an environment.
type Served = (Place, String);

/// Counts of one version, until they are gathered.
struct Counts {
    /// Made by the first request of a thread: most versions of an edge with many apps have none for long.
    stripes: Stripes<Counting>,
    /// Counts gathered so far, once there were any; locked together with the list of versions.
    gathered: Mutex<Option<Box<Counted>>>,
    /// Whether it counts for series, its own or its app's; changed under the same lock.
    has_series: AtomicBool,
    served: Served,
}

/// The counters of one version in one place, ready for the hot path: no look-up by name is left. Counts are rendered
/// when it was gathered: every few seconds, whenever the metrics are rendered, and when this is dropped.
pub struct RequestMetrics {
    stripes: Stripes<Counting>,
    counts: Arc<Counts>,
}

impl RequestMetrics {
    /// Prepares the counters for `app`, `environment` and the short id `version`.
    #[must_use]
    pub fn new(app: &str, environment: &str, version: &str) -> Self {
        let metrics = Self::unknown(app, environment, version);
        known().begin(&metrics.counts);
        metrics
    }

    /// Those that nobody gathers yet.
    fn unknown(app: &str, environment: &str, version: &str) -> Self {
        let stripes = Stripes::default();
        let counts = Counts {
            stripes: stripes.clone(),
            gathered: Mutex::default(),
            has_series: AtomicBool::new(false),
            served: ((app.to_owned(), environment.to_owned()), version.to_owned()),
        };
        Self { stripes, counts: Arc::new(counts) }
    }

    /// Counts one request that took `time`: no lock, no clock, and no memory but for a thread's first one.
    #[inline]
    pub fn count(&self, status: StatusCode, body_bytes: u64, time: Duration) {
        let slot = Slot::here();
        let Some(stripe) = self.stripes.at(slot) else { return };
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
        let Some(stripe) = self.stripes.at(slot) else { return };
        if let Some(answers) = stripe.by_delta_form.get(form) {
            answers.add(1, slot);
        }
        stripe.saved.add(saved_bytes, slot);
    }

    /// Counts a request of a visitor who is held on the version though another one is live.
    pub fn count_held(&self) {
        let slot = Slot::here();
        if let Some(stripe) = self.stripes.at(slot) {
            stripe.held.add(1, slot);
        }
    }
}

/// Says how much is kept of what versions answered lately: bytes of one app, and apps; 0 of either keeps nothing.
pub fn keep_traffic(app_bytes_max: usize, apps_max: usize) {
    known().history.set_bounds(app_bytes_max, apps_max);
}

/// Forgets what was kept of an app that is gone, or of one environment of it.
pub fn forget_traffic(app: &str, environment: Option<&str>) {
    let mut known = known();
    // What was counted for it until now goes, too.
    known.gather(&mut labels::lock());
    known.history.forget(app, environment);
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
        known().end(&self.counts, &mut labels::lock(), Instant::now());
    }
}

impl Counts {
    /// The counts so far; `None` if there are none.
    fn totals(&self) -> Option<Counted> {
        let mut totals = None;
        for stripe in self.stripes.iter() {
            totals.get_or_insert(Counted::NONE).add(stripe);
        }
        totals
    }

    /// What was counted since the last time. The caller holds the lock of all that is known, so nothing is on its way
    /// when somebody reads; `None` if nothing was.
    fn take(&self) -> Option<Counted> {
        let totals = self.totals()?;
        let mut gathered = self.gathered.lock();
        let news = totals.since(gathered.as_deref().unwrap_or(&Counted::NONE));
        if news == Counted::NONE {
            return None;
        }
        **gathered.get_or_insert_default() = totals;
        Some(news)
    }
}

/// Adds the counts of a stripe to sums that begin again at 0 as they do.
fn add_counts(to: &mut [u32], counts: &[ShortCount]) {
    for (to, count) in to.iter_mut().zip(counts) {
        *to = to.wrapping_add(count.get());
    }
}

impl Counted {
    const NONE: Self = Self {
        bytes: 0,
        nanoseconds: 0,
        by_class: [0; 5],
        by_bucket: [0; BUCKETS],
        held: 0,
        by_delta_form: [0; 2],
        saved: 0,
    };

    /// Adds what one thread has counted.
    fn add(&mut self, stripe: &Counting) {
        self.bytes = self.bytes.wrapping_add(stripe.bytes.get());
        self.nanoseconds = self.nanoseconds.wrapping_add(stripe.nanoseconds.get());
        add_counts(&mut self.by_class, &stripe.by_class);
        add_counts(&mut self.by_bucket, &stripe.by_bucket);
        self.held = self.held.wrapping_add(stripe.held.get());
        add_counts(&mut self.by_delta_form, &stripe.by_delta_form);
        self.saved = self.saved.wrapping_add(stripe.saved.get());
    }

    fn since(&self, before: &Self) -> Self {
        let at = |counts: &[u32], place: usize| counts.get(place).copied().unwrap_or(0);
        let since = |now: &[u32], before: &[u32], place: usize| at(now, place).wrapping_sub(at(before, place));
        Self {
            bytes: self.bytes.wrapping_sub(before.bytes),
            nanoseconds: self.nanoseconds.wrapping_sub(before.nanoseconds),
            by_class: std::array::from_fn(|class| since(&self.by_class, &before.by_class, class)),
            by_bucket: std::array::from_fn(|bucket| since(&self.by_bucket, &before.by_bucket, bucket)),
            held: self.held.wrapping_sub(before.held),
            by_delta_form: std::array::from_fn(|form| since(&self.by_delta_form, &before.by_delta_form, form)),
            saved: self.saved.wrapping_sub(before.saved),
        }
    }

    /// Requests, whatever their status.
    fn requests(&self) -> u64 {
        self.by_class.iter().fold(0, |sum, count| sum.saturating_add((*count).into()))
    }
}
