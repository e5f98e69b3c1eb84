//! Request counts: additions to counters nearly exclusive to a thread, gathered on read. The exporter never drops a
//! series, and keeps each sample of a histogram until the next read; so the series by version or environment are kept
//! and written here.
//!
//! A series without traffic is not written. Environments without separate series ([`labels`]) are counted together:
//! their counts are added to the sum at gathering time, and stay there.

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

/// Upper bounds of the latency histogram, in whole nanoseconds, so that the counts equal those by bounds in seconds.
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
/// Number of buckets: one per bound, and one for times beyond the last bound.
const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Counters of one stripe, or of all stripes: `N` counts requests, and `S` holds sums. The counters of a fast file
/// answer come first, in one cache line. All counters take two lines, which a processor fetches as a pair.
#[derive(Default, PartialEq, Eq)]
#[repr(C, align(128))]
struct Figures<N, S> {
    bytes: S,
    nanoseconds: S,
    by_class: [N; 5],
    /// Requests by bucket, each counted in exactly one bucket.
    by_bucket: [N; BUCKETS],
    /// Requests of visitors held on the version while another version is live.
    held: N,
    by_delta_form: [N; 2],
    saved: S,
}

/// Counters of one thread.
type Counting = Figures<ShortCount, Count>;

/// Counts of all threads: totals that wrap around like the thread counters, or differences since the last read.
type Counted = Figures<u32, u64>;

/// Version in an environment.
type Served = (Place, String);

/// Counts of one version until gathered.
struct Counts {
    /// Created by the first request of a thread: most versions of an edge with many apps have no requests for long.
    stripes: Stripes<Counting>,
    /// Counts gathered so far, if any; locked together with the list of versions.
    gathered: Mutex<Option<Box<Counted>>>,
    /// True if the counts belong to series of the version or the app; changed under the same lock.
    has_series: AtomicBool,
    served: Served,
}

/// Counters of one version in one environment for the hot path, without look-ups by name. Counts are rendered once
/// gathered: every few seconds, whenever the metrics are rendered, and on drop.
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

    /// Creates counters that are not gathered yet.
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

    /// Counts one request that took `time`, without a lock or a clock; allocates only for a thread's first request.
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

    /// Counts an answer sent as a delta and the saved bytes; `form` is an index into `DELTA_FORMS`.
    pub fn count_delta(&self, form: usize, saved_bytes: u64) {
        let slot = Slot::here();
        let Some(stripe) = self.stripes.at(slot) else { return };
        if let Some(answers) = stripe.by_delta_form.get(form) {
            answers.add(1, slot);
        }
        stripe.saved.add(saved_bytes, slot);
    }

    /// Counts a request of a visitor held on the version while another version is live.
    pub fn count_held(&self) {
        let slot = Slot::here();
        if let Some(stripe) = self.stripes.at(slot) {
            stripe.held.add(1, slot);
        }
    }
}

/// Sets the limits of recent answers: bytes per app, and apps; 0 for either keeps nothing.
pub fn keep_traffic(app_bytes_max: usize, apps_max: usize) {
    known().history.set_bounds(app_bytes_max, apps_max);
}

/// Forgets the recent answers of a removed app, or of one environment.
pub fn forget_traffic(app: &str, environment: Option<&str>) {
    let mut known = known();
    // Counts made so far are dropped, too.
    known.gather(&mut labels::lock());
    known.history.forget(app, environment);
}

/// Returns the answers of an environment's versions within a span, by step and version.
#[must_use]
pub fn traffic(app: &str, environment: &str, span: TrafficSpan) -> Vec<TrafficRow> {
    let mut known = known();
    known.gather(&mut labels::lock());
    known.history.rows(app, environment, span)
}

/// Returns the first bucket with a bound not below the value; otherwise the bucket after all bounds. Linear search,
/// since most answers are quick and need one comparison.
fn bucket_of(nanoseconds: u64) -> usize {
    BOUNDS_NS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS_NS.len())
}

impl Drop for RequestMetrics {
    /// The counts end here: gathers the rest.
    fn drop(&mut self) {
        known().end(&self.counts, &mut labels::lock(), Instant::now());
    }
}

impl Counts {
    /// Returns the counts so far; `None` without counts.
    fn totals(&self) -> Option<Counted> {
        let mut totals = None;
        for stripe in self.stripes.iter() {
            totals.get_or_insert(Counted::NONE).add(stripe);
        }
        totals
    }

    /// Returns the counts since the last call; `None` without new counts. The caller holds the lock of all counts, so a
    /// reader never finds counts in transit.
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

/// Adds the counts of a stripe to totals that wrap around equally.
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

    /// Adds the counts of one thread.
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

    /// Returns the number of requests with any status.
    fn requests(&self) -> u64 {
        self.by_class.iter().fold(0, |sum, count| sum.saturating_add((*count).into()))
    }
}
