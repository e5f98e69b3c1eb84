//! All request counts and their series: gathered, dropped and written here.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::history::History;
use super::{BOUNDS_NS, BUCKETS, Counted, Counts, Served};
use crate::clock;
use crate::telemetry::labels::{self, Labels, OTHER, Place};
use crate::telemetry::series::SeriesMap;
use crate::telemetry::{descriptions, escaped};

/// Status classes, `1xx` to `5xx`.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Delta formats, as named by the metric.
pub(super) const DELTA_FORMS: [&str; 2] = ["dcb", "dcz"];
/// Names of the metrics.
pub(super) const SECONDS: &str = "devanture_request_seconds";
pub(super) const REQUESTS: &str = "devanture_requests_total";
pub(super) const BYTES: &str = "devanture_response_bytes_total";
const HELD: &str = "devanture_held_requests_total";
const DELTAS: &str = "devanture_delta_answers_total";
const SAVED: &str = "devanture_delta_saved_bytes_total";

pub(super) fn seconds_of(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// Durations and bytes of an environment's requests, and the number of requests by held visitors.
#[derive(Default)]
struct OfPlace {
    bytes: u64,
    nanoseconds: u64,
    by_bucket: [u64; BUCKETS],
    held: u64,
}

/// Deltas of an app.
#[derive(Default)]
struct OfApp {
    by_form: [u64; 2],
    saved: u64,
}

/// All counts and their series.
pub(super) struct Known {
    pub(super) counts: Vec<Arc<Counts>>,
    /// Requests by status class.
    versions: SeriesMap<Served, [u64; 5]>,
    places: SeriesMap<Place, OfPlace>,
    apps: SeriesMap<String, OfApp>,
    /// Sums of environments without separate series at gathering time.
    others: Others,
    /// Recent answers of the versions.
    pub(super) history: History,
}

/// Sums of environments without separate series.
struct Others {
    by_class: [u64; 5],
    of_places: OfPlace,
    of_apps: OfApp,
}

static KNOWN: Mutex<Known> = Mutex::new(Known::new());

/// Locked to load or drop a version and to gather all counts; never to count a request.
pub(super) fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock()
}

/// Moves the counts of all versions to the rendered state, and drops expired series.
pub(in crate::telemetry) fn gather() {
    let mut known = known();
    known.gather(&mut labels::lock());
    known.forget(Instant::now());
}

/// Gathers, and writes the series by version and environment in Prometheus text format; the recorder writes the rest.
pub(in crate::telemetry) fn gather_and_render() -> String {
    let mut known = known();
    let mut labels = labels::lock();
    known.gather(&mut labels);
    known.render(&labels)
}

fn add_all(to: &mut [u64], news: &[u32]) {
    for (to, news) in to.iter_mut().zip(news) {
        *to = to.saturating_add((*news).into());
    }
}

impl OfPlace {
    const fn new() -> Self {
        Self { bytes: 0, nanoseconds: 0, by_bucket: [0; BUCKETS], held: 0 }
    }

    fn add(&mut self, news: &Counted) {
        self.bytes = self.bytes.saturating_add(news.bytes);
        self.nanoseconds = self.nanoseconds.saturating_add(news.nanoseconds);
        add_all(&mut self.by_bucket, &news.by_bucket);
        self.held = self.held.saturating_add(news.held.into());
    }

    fn requests(&self) -> u64 {
        self.by_bucket.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl OfApp {
    fn add(&mut self, news: &Counted) {
        add_all(&mut self.by_form, &news.by_delta_form);
        self.saved = self.saved.saturating_add(news.saved);
    }
}

impl Known {
    pub(super) const fn new() -> Self {
        let of_apps = OfApp { by_form: [0; 2], saved: 0 };
        Self {
            counts: Vec::new(),
            versions: SeriesMap::new(),
            places: SeriesMap::new(),
            apps: SeriesMap::new(),
            others: Others { by_class: [0; 5], of_places: OfPlace::new(), of_apps },
            history: History::new(),
        }
    }

    pub(super) fn begin(&mut self, counts: &Arc<Counts>) {
        self.counts.push(Arc::clone(counts));
    }

    /// Begins the series of a version with the first separately counted requests: most versions of an edge with many
    /// apps have no requests.
    fn begin_series(&mut self, served: &Served) {
        self.versions.begin(served);
        self.places.begin(&served.0);
        self.apps.begin(&served.0.0);
    }

    pub(super) fn end(&mut self, counts: &Arc<Counts>, labels: &mut Labels, now: Instant) {
        self.gather_of(counts, labels);
        self.counts.retain(|other| !Arc::ptr_eq(other, counts));
        if counts.has_series.load(Ordering::Relaxed) {
            self.versions.end(&counts.served, now);
            self.places.end(&counts.served.0, now);
            self.apps.end(&counts.served.0.0, now);
        }
    }

    pub(super) fn gather(&mut self, labels: &mut Labels) {
        let all = std::mem::take(&mut self.counts);
        all.iter().for_each(|counts| self.gather_of(counts, labels));
        self.counts = all;
    }

    fn gather_of(&mut self, counts: &Counts, labels: &mut Labels) {
        let Some(news) = counts.take() else { return };
        let (place, app) = (&counts.served.0, &counts.served.0.0);
        // Uses the settled clock: a clock that leaps ahead would expire every row.
        self.history.add(place, &counts.served.1, &news, clock::settled_ms() / 1_000);
        let of_place = labels.note_place(place, news.requests());
        let of_app = labels.note_app(app, news.requests());
        if (of_place || of_app) && !counts.has_series.swap(true, Ordering::Relaxed) {
            self.begin_series(&counts.served);
        }
        if of_place {
            if let Some(by_class) = self.versions.value(&counts.served) {
                add_all(by_class, &news.by_class);
            }
            if let Some(of_place) = self.places.value(place) {
                of_place.add(&news);
            }
        } else {
            add_all(&mut self.others.by_class, &news.by_class);
            self.others.of_places.add(&news);
        }
        match self.apps.value(app).filter(|_| of_app) {
            Some(of_app) => of_app.add(&news),
            None => self.others.of_apps.add(&news),
        }
    }

    /// Returns the number of all kept series.
    #[cfg(test)]
    pub(super) fn series_count(&self) -> usize {
        self.versions.iter().count() + self.places.iter().count() + self.apps.iter().count()
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.versions.forget(now);
        self.places.forget(now);
        self.apps.forget(now);
    }

    /// Writes the series with counts in the exporter's format. Writing to a string cannot fail.
    pub(super) fn render(&self, labels: &Labels) -> String {
        let mut text = String::new();
        let other = (OTHER.to_owned(), OTHER.to_owned());
        let places: Vec<(&Place, &OfPlace)> = self
            .places
            .iter()
            .filter(|(place, _)| labels.has_place(place))
            .chain([(&other, &self.others.of_places)])
            .filter(|(_, of_place)| of_place.requests() > 0)
            .collect();
        if places.is_empty() {
            return text;
        }
        descriptions::write_head(&mut text, REQUESTS);
        let of_others = (other.clone(), OTHER.to_owned());
        let versions = self.versions.iter().filter(|((place, _), _)| labels.has_place(place));
        for ((place, version), by_class) in versions.chain([(&of_others, &self.others.by_class)]) {
            for (class, requests) in CLASSES.iter().zip(by_class).filter(|(_, requests)| **requests > 0) {
                let (labels, version) = (labels_of(place), escaped(version));
                writeln!(text, "{REQUESTS}{{{labels},version=\"{version}\",status=\"{class}\"}} {requests}").ok();
            }
        }
        text.push('\n');
        descriptions::write_head(&mut text, BYTES);
        for (place, OfPlace { bytes, .. }) in &places {
            writeln!(text, "{BYTES}{{{}}} {bytes}", labels_of(place)).ok();
        }
        text.push('\n');
        render_held(&mut text, &places);
        render_latency(&mut text, &places);
        self.render_deltas(&mut text, labels);
        text
    }

    fn render_deltas(&self, text: &mut String, labels: &Labels) {
        let other = OTHER.to_owned();
        let apps = self.apps.iter().filter(|(app, _)| labels.has_app(app)).chain([(&other, &self.others.of_apps)]);
        let apps: Vec<_> = apps.filter(|(_, of_app)| of_app.by_form.iter().any(|count| *count > 0)).collect();
        if apps.is_empty() {
            return;
        }
        descriptions::write_head(text, DELTAS);
        for (app, of_app) in &apps {
            for (form, count) in DELTA_FORMS.iter().zip(&of_app.by_form).filter(|(_, count)| **count > 0) {
                writeln!(text, "{DELTAS}{{app=\"{}\",form=\"{form}\"}} {count}", escaped(app)).ok();
            }
        }
        text.push('\n');
        descriptions::write_head(text, SAVED);
        for (app, OfApp { saved, .. }) in &apps {
            writeln!(text, "{SAVED}{{app=\"{}\"}} {saved}", escaped(app)).ok();
        }
        text.push('\n');
    }
}

fn render_held(text: &mut String, places: &[(&Place, &OfPlace)]) {
    let mut held = places.iter().filter(|(_, of_place)| of_place.held > 0).peekable();
    if held.peek().is_none() {
        return;
    }
    descriptions::write_head(text, HELD);
    for (place, OfPlace { held, .. }) in held {
        writeln!(text, "{HELD}{{{}}} {held}", labels_of(place)).ok();
    }
    text.push('\n');
}

fn render_latency(text: &mut String, places: &[(&Place, &OfPlace)]) {
    descriptions::write_head(text, SECONDS);
    for (place, latency) in places {
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
}

fn labels_of((app, environment): &Place) -> String {
    format!("app=\"{}\",environment=\"{}\"", escaped(app), escaped(environment))
}
