//! The counts of requests: additions to counters that a thread has nearly for itself, gathered when somebody looks. The
//! exporter never drops a series, and keeps each sample of a histogram until it looks at them one by one; so those by
//! version or environment are kept and written here.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use metrics::{Counter, counter};
use parking_lot::{Mutex, MutexGuard};

use super::series::SeriesMap;
use super::tally::{Count, STRIPES, Slot};

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
/// Status classes, `1xx` to `5xx`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Forms of deltas, as their metric names them.
const DELTA_FORMS: [&str; 2] = ["dcb", "dcz"];
/// The name of the histogram, and its sentence, as `describe` says it.
const SECONDS: &str = "devanture_request_seconds";
const SECONDS_HELP: &str = "Seconds from a request's head to its answer's last byte.";
/// The same of the counters.
const REQUESTS: &str = "devanture_requests_total";
const REQUESTS_HELP: &str = "Requests answered, by app, environment, version and status class.";
const BYTES: &str = "devanture_response_bytes_total";
const BYTES_HELP: &str = "Bytes of response bodies sent, by app and environment.";

fn seconds_of(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// Counters of one stripe, or of all of them. Those of a fast answer of a file are in the first cache line;
/// two lines are one to the processor, as it fetches them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Figures<T> {
    by_class: [T; 5],
    bytes: T,
    nanoseconds: T,
    /// Of requests whose time is in this bucket and in none before.
    by_bucket: [T; BUCKETS],
    by_delta_form: [T; 2],
    saved: T,
}

/// Durations and bytes of an environment's requests.
#[derive(Default)]
struct OfPlace {
    bytes: u64,
    nanoseconds: u64,
    by_bucket: [u64; BUCKETS],
}

/// An app and its environment.
type Place = (String, String);
/// A version in one.
type Served = (Place, String);

/// Counts of one version, until they are gathered.
struct Counts {
    stripes: [Figures<Count>; STRIPES],
    /// Counts gathered so far; locked together with the list of versions.
    gathered: Mutex<Figures<u64>>,
    by_delta_form: [Counter; 2],
    saved: Counter,
    served: Served,
}

/// All that count, and the series that they count for.
struct Known {
    counts: Vec<Arc<Counts>>,
    /// Requests by the class of their status.
    versions: SeriesMap<Served, [u64; 5]>,
    places: SeriesMap<Place, OfPlace>,
}

static KNOWN: Mutex<Known> =
    Mutex::new(Known { counts: Vec::new(), versions: SeriesMap::new(), places: SeriesMap::new() });

/// Locked where a version is loaded or dropped and where all is gathered; never where a request is counted.
fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock()
}

/// Moves the counts of all versions to where they are rendered from, and drops the series of those that are long gone.
pub(super) fn gather() {
    let mut known = known();
    known.gather();
    known.forget(Instant::now());
}

/// Gathers, and writes the series by version and environment in Prometheus' text form; the others are the recorder's.
pub(super) fn gather_and_render() -> String {
    let mut known = known();
    known.gather();
    known.render()
}

/// The counters of one version in one place, ready for the hot path: no look-up by name is left. Counts are rendered
/// when it was gathered: every few seconds, whenever the metrics are rendered, and when this is dropped.
pub struct RequestMetrics(Arc<Counts>);

impl RequestMetrics {
    /// Prepares the counters for `app`, `environment` and the short id `version`.
    #[must_use]
    pub fn new(app: &str, environment: &str, version: &str) -> Self {
        let counts = Arc::new(Counts {
            stripes: Default::default(),
            gathered: Mutex::default(),
            by_delta_form: DELTA_FORMS
                .map(|form| counter!("devanture_delta_answers_total", "app" => app.to_owned(), "form" => form)),
            saved: counter!("devanture_delta_saved_bytes_total", "app" => app.to_owned()),
            served: ((app.to_owned(), environment.to_owned()), version.to_owned()),
        });
        let mut known = known();
        known.versions.begin(&counts.served);
        known.places.begin(&counts.served.0);
        known.counts.push(Arc::clone(&counts));
        Self(counts)
    }

    /// Counts one request that took `time`: no lock, no memory, no clock.
    pub fn count(&self, status: StatusCode, body_bytes: u64, time: Duration) {
        let slot = Slot::here();
        let Some(stripe) = self.0.stripes.get(slot.stripe) else { return };
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
        let Some(stripe) = self.0.stripes.get(slot.stripe) else { return };
        if let Some(answers) = stripe.by_delta_form.get(form) {
            answers.add(1, slot);
        }
        stripe.saved.add(saved_bytes, slot);
    }
}

/// The first bucket whose bound is not exceeded; the one after all bounds otherwise. From the first one on: most
/// answers are quick, and are done with after one comparison.
fn bucket_of(nanoseconds: u64) -> usize {
    BOUNDS_NS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS_NS.len())
}

impl Drop for RequestMetrics {
    /// Nobody counts here any more: what was not gathered yet is now.
    fn drop(&mut self) {
        let mut known = known();
        known.gather_of(&self.0);
        known.counts.retain(|counts| !Arc::ptr_eq(counts, &self.0));
        let now = Instant::now();
        known.versions.end(&self.0.served, now);
        known.places.end(&self.0.served.0, now);
    }
}

impl Counts {
    /// The counts so far.
    fn totals(&self) -> Figures<u64> {
        let sum = |count: &dyn Fn(&Figures<Count>) -> u64| self.stripes.iter().map(count).fold(0, u64::wrapping_add);
        let at = |counts: &[Count], place: usize| counts.get(place).map_or(0, Count::get);
        Figures {
            by_class: std::array::from_fn(|class| sum(&|stripe| at(&stripe.by_class, class))),
            bytes: sum(&|stripe| stripe.bytes.get()),
            nanoseconds: sum(&|stripe| stripe.nanoseconds.get()),
            by_bucket: std::array::from_fn(|bucket| sum(&|stripe| at(&stripe.by_bucket, bucket))),
            by_delta_form: std::array::from_fn(|form| sum(&|stripe| at(&stripe.by_delta_form, form))),
            saved: sum(&|stripe| stripe.saved.get()),
        }
    }

    /// Moves what was counted since the last time. The gatherer holds the lock of all that is known, so nothing is on
    /// its way when somebody tells.
    fn gather(&self, versions: &mut SeriesMap<Served, [u64; 5]>, places: &mut SeriesMap<Place, OfPlace>) {
        let mut gathered = self.gathered.lock();
        let totals = self.totals();
        let deltas = totals.by_delta_form.iter().zip(&gathered.by_delta_form).zip(&self.by_delta_form);
        for ((total, before), to) in deltas.chain([((&totals.saved, &gathered.saved), &self.saved)]) {
            match total.wrapping_sub(*before) {
                0 => {}
                count => to.increment(count),
            }
        }
        let add = |to: &mut u64, total: u64, before: u64| *to = to.saturating_add(total.wrapping_sub(before));
        if let Some(by_class) = versions.value(&self.served) {
            for ((total, before), to) in totals.by_class.iter().zip(&gathered.by_class).zip(by_class) {
                add(to, *total, *before);
            }
        }
        if let Some(place) = places.value(&self.served.0) {
            add(&mut place.bytes, totals.bytes, gathered.bytes);
            add(&mut place.nanoseconds, totals.nanoseconds, gathered.nanoseconds);
            for ((total, before), to) in totals.by_bucket.iter().zip(&gathered.by_bucket).zip(&mut place.by_bucket) {
                add(to, *total, *before);
            }
        }
        *gathered = totals;
    }
}

impl Known {
    fn gather(&mut self) {
        for counts in &self.counts {
            counts.gather(&mut self.versions, &mut self.places);
        }
    }

    fn gather_of(&mut self, counts: &Counts) {
        counts.gather(&mut self.versions, &mut self.places);
    }

    fn forget(&mut self, now: Instant) {
        self.versions.forget(now);
        self.places.forget(now);
    }

    /// The series, written as the exporter writes the others. A string takes whatever is written.
    fn render(&self) -> String {
        let mut text = String::new();
        if self.places.iter().next().is_none() {
            return text;
        }
        writeln!(text, "# HELP {REQUESTS} {REQUESTS_HELP}\n# TYPE {REQUESTS} counter").ok();
        for ((place, version), by_class) in self.versions.iter() {
            let labels = format!("{},version=\"{}\"", labels_of(place), escaped(version));
            for (class, requests) in CLASSES.iter().zip(by_class) {
                writeln!(text, "{REQUESTS}{{{labels},status=\"{class}\"}} {requests}").ok();
            }
        }
        writeln!(text, "\n# HELP {BYTES} {BYTES_HELP}\n# TYPE {BYTES} counter").ok();
        for (place, OfPlace { bytes, .. }) in self.places.iter() {
            writeln!(text, "{BYTES}{{{}}} {bytes}", labels_of(place)).ok();
        }
        text.push('\n');
        text + &self.render_latency()
    }

    fn render_latency(&self) -> String {
        let mut text = format!("# HELP {SECONDS} {SECONDS_HELP}\n# TYPE {SECONDS} histogram\n");
        for (place, latency) in self.places.iter() {
            let labels = labels_of(place);
            let mut count: u64 = 0;
            let mut bounds = BOUNDS_NS.iter();
            for requests in latency.by_bucket {
                count = count.saturating_add(requests);
                match bounds.next() {
                    Some(bound) => {
                        writeln!(text, "{SECONDS}_bucket{{{labels},le=\"{}\"}} {count}", seconds_of(*bound)).ok()
                    }
                    None => writeln!(text, "{SECONDS}_bucket{{{labels},le=\"+Inf\"}} {count}").ok(),
                };
            }
            writeln!(text, "{SECONDS}_sum{{{labels}}} {}", seconds_of(latency.nanoseconds)).ok();
            writeln!(text, "{SECONDS}_count{{{labels}}} {count}").ok();
        }
        text.push('\n');
        text
    }
}

fn labels_of((app, environment): &Place) -> String {
    format!("app=\"{}\",environment=\"{}\"", escaped(app), escaped(environment))
}

/// The value of a label, as the text form has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::series::{GONE_KEPT, GONE_MAX};

    /// Held by tests of which one lets the other's series be forgotten, where both run in one process.
    static FORGETTING: Mutex<()> = Mutex::new(());

    fn recorder() -> PrometheusRecorder {
        let matcher = Matcher::Full(SECONDS.to_owned());
        PrometheusBuilder::new().set_buckets_for_metric(matcher, &BOUNDS_NS.map(seconds_of)).unwrap().build_recorder()
    }

    /// The value of a series.
    fn value(text: &str, series: &str) -> String {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).to_owned()
    }

    /// All lines of one app.
    fn series_of(text: &str, app: &str) -> Vec<String> {
        let label = format!("{{app=\"{app}\",");
        text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
    }

    /// Latency's lines of one app.
    fn lines_of(text: &str, app: &str) -> Vec<String> {
        let label = format!("{{app=\"{app}\",");
        text.lines().filter(|line| line.starts_with(SECONDS) && line.contains(&label)).map(str::to_owned).collect()
    }

    #[test]
    fn nothing_is_lost_and_nothing_reported_twice_while_threads_count_and_others_gather() {
        const THREADS: u64 = 20;
        const EACH: u64 = 5_000;
        let recorder = recorder();
        let metrics = metrics::with_local_recorder(&recorder, || RequestMetrics::new("threads", "prod", "one"));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        gather();
                    }
                });
            }
            let count = || {
                for _ in 0..EACH {
                    metrics.count(StatusCode::OK, 7, Duration::from_nanos(100_000));
                    metrics.count(StatusCode::NOT_FOUND, 0, Duration::from_nanos(100_001));
                }
            };
            let counting: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
            counting.into_iter().for_each(|thread| thread.join().unwrap());
            is_over.store(true, Ordering::Relaxed);
        });
        let text = gather_and_render();
        let all = THREADS * EACH;
        let requests = |class: &str| {
            value(
                &text,
                &format!(
                    "devanture_requests_total{{app=\"threads\",environment=\"prod\",version=\"one\",status=\"{class}\"}}"
                ),
            )
        };
        assert_eq!(CLASSES.map(requests), [0, all, 0, all, 0].map(|count| count.to_string()));
        let labels = "app=\"threads\",environment=\"prod\"";
        assert_eq!(value(&text, &format!("devanture_response_bytes_total{{{labels}}}")), (all * 7).to_string());
        assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"0.0001\"}}")), all.to_string());
        assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"0.00025\"}}")), (2 * all).to_string());
        assert_eq!(value(&text, &format!("{SECONDS}_count{{{labels}}}")), (2 * all).to_string());
        assert_eq!(value(&text, &format!("{SECONDS}_sum{{{labels}}}")), seconds_of(all * 200_001).to_string());
        assert_eq!(
            series_of(&gather_and_render(), "threads"),
            series_of(&text, "threads"),
            "nothing is gathered twice"
        );
    }

    #[test]
    fn a_version_that_is_dropped_has_reported_everything_and_the_next_one_counts_on() {
        let _one_at_a_time = FORGETTING.lock();
        let recorder = recorder();
        for version in ["one", "two"] {
            let metrics = metrics::with_local_recorder(&recorder, || RequestMetrics::new("dropped", "prod", version));
            metrics.count(StatusCode::OK, 5, Duration::from_secs(11));
        }
        // Read without gathering: the drop did.
        let known = known();
        let text = known.render();
        for version in ["one", "two"] {
            let series = format!(
                "devanture_requests_total{{app=\"dropped\",environment=\"prod\",version=\"{version}\",status=\"2xx\"}}"
            );
            assert_eq!(value(&text, &series), "1");
        }
        let labels = "app=\"dropped\",environment=\"prod\"";
        assert_eq!(value(&text, &format!("devanture_response_bytes_total{{{labels}}}")), "10");
        assert!(known.counts.iter().all(|counts| counts.served.0.0 != "dropped"), "nothing of them is kept");
        assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"10\"}}")), "0");
        assert_eq!(value(&text, &format!("{SECONDS}_bucket{{{labels},le=\"+Inf\"}}")), "2");
        assert_eq!(value(&text, &format!("{SECONDS}_sum{{{labels}}}")), "22");
    }

    #[test]
    fn versions_that_are_gone_leave_no_series_and_what_is_live_counts_on() {
        let _one_at_a_time = FORGETTING.lock();
        let load = |version: &str| {
            let metrics = RequestMetrics::new("pushed", "prod", version);
            metrics.count(StatusCode::OK, 1, Duration::from_millis(1));
            metrics
        };
        let live = load("live");
        // A push a minute, for weeks.
        for number in 0..2 * GONE_MAX {
            drop(load(&number.to_string()));
            drop(RequestMetrics::new("pushed", &format!("branch-{number}"), "one"));
        }
        gather();
        let count = |known: &Known| series_of(&known.render(), "pushed").len();
        assert!(count(&known()) < 40 * GONE_MAX, "{}", count(&known()));
        live.count(StatusCode::OK, 1, Duration::from_millis(1));
        let mut known = known();
        known.gather();
        known.forget(Instant::now() + GONE_KEPT);
        let text = known.render();
        let labels = "app=\"pushed\",environment=\"prod\"";
        assert_eq!(count(&known), CLASSES.len() + 1 + BUCKETS + 2, "of one version and one environment");
        assert_eq!(value(&text, &format!("{REQUESTS}{{{labels},version=\"live\",status=\"2xx\"}}")), "2");
        let all = (2 * GONE_MAX + 2).to_string();
        assert_eq!(value(&text, &format!("{BYTES}{{{labels}}}")), all);
        assert_eq!(value(&text, &format!("{SECONDS}_count{{{labels}}}")), all);
        drop(known);
        drop(live);
    }

    #[test]
    fn the_sentences_are_those_that_are_described() {
        for (name, help) in [(SECONDS, SECONDS_HELP), (REQUESTS, REQUESTS_HELP), (BYTES, BYTES_HELP)] {
            assert!(include_str!("metrics.rs").contains(&format!("(\"{name}\", \"{help}\")")), "{name}");
        }
    }

    proptest! {
        /// Every time near a bound, and any between: in the bucket where a recorded sample of as many seconds is, in
        /// the same text.
        #[test]
        fn the_histogram_reads_as_if_each_request_had_been_recorded(
            times in prop::collection::vec(
                prop_oneof![
                    (prop::sample::select(BOUNDS_NS.to_vec()), 0..3_u64).prop_map(|(bound, step)| bound + step - 1),
                    0..20_000_000_000_u64,
                ],
                0..50,
            ),
            environment in "[a-z0-9-]{1,8}",
        ) {
            static CASES: AtomicU64 = AtomicU64::new(0);
            let app = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
            let recorder = recorder();
            let labels = [("app", app.clone()), ("environment", environment.clone())];
            let (direct, ours) = metrics::with_local_recorder(&recorder, || {
                metrics::describe_histogram!(SECONDS, SECONDS_HELP);
                (metrics::histogram!(SECONDS, &labels), RequestMetrics::new(&app, &environment, "one"))
            });
            for time in times.iter().map(|time| Duration::from_nanos(*time)) {
                direct.record(time.as_secs_f64());
                ours.count(StatusCode::OK, 1, time);
            }
            let (ours, direct) = (gather_and_render(), recorder.handle().render());
            for line in ours.lines().filter(|line| line.starts_with('#') && line.contains(SECONDS)) {
                prop_assert!(direct.contains(line), "{}", line);
            }
            let (ours, direct) = (lines_of(&ours, &app), lines_of(&direct, &app));
            prop_assert_eq!(ours.len(), BUCKETS + 2);
            prop_assert_eq!(ours.len(), direct.len());
            for (ours, direct) in ours.iter().zip(&direct) {
                if !ours.starts_with(&format!("{SECONDS}_sum")) {
                    prop_assert_eq!(ours, direct);
                    continue;
                }
                // The exporter rounds after each addition; ours is rounded once.
                let ((ours, sum), (direct, rounded)) = (ours.rsplit_once(' ').unwrap(), direct.rsplit_once(' ').unwrap());
                prop_assert_eq!(ours, direct);
                let exact = Duration::from_nanos(times.iter().sum()).as_secs_f64();
                prop_assert_eq!(sum, exact.to_string());
                prop_assert!((rounded.parse::<f64>().unwrap() - exact).abs() < 1e-9);
            }
        }
    }
}
