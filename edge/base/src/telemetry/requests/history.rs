//! Recent answers of the versions of each environment, for charts: in slots of a minute for some hours, and of a
//! quarter of an hour for a week. Fed when request counts are gathered, never when a request is counted.
//!
//! The rows of an app are limited; beyond the limit, the oldest rows are dropped. Beyond the maximum number of apps,
//! the apps with the fewest recent answers are dropped. Both only touch the dropped rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{BUCKETS, Counted};
use crate::telemetry::labels::Place;

/// Kind of slots: length and retention, both in seconds.
#[derive(Debug, Clone, Copy)]
struct Kind {
    slot_s: u64,
    kept_s: u64,
}

const MINUTES: Kind = Kind { slot_s: 60, kept_s: 3 * 3_600 };
const QUARTERS: Kind = Kind { slot_s: 900, kept_s: 7 * 86_400 };
/// Seconds by which the clock may be set back without a loss of rows.
const AHEAD_S_MAX: u64 = 3_600;
/// Longest name of an environment, in bytes.
const NAME_BYTES_MAX: usize = 20;
/// Default maximum bytes of one app, …
const APP_BYTES_MAX: usize = 262_144;
/// … and default maximum number of apps.
const APPS_MAX: usize = 256;

/// Answers of a version within a time span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrafficFigures {
    /// Number of requests.
    pub requests: u64,
    /// Requests answered with a status of 500 or higher.
    pub errors: u64,
    /// Requests answered with a status of 4xx. Zero from a node of the previous release.
    #[serde(default)]
    pub client_errors: u64,
    /// Bytes of the sent bodies.
    pub bytes: u64,
    /// Bytes saved by deltas.
    pub saved: u64,
    /// Requests by latency bucket.
    by_bucket: [u64; BUCKETS],
}

/// Answers of a version within a step.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrafficRow {
    /// Beginning of the step, in seconds since 1970 UTC.
    pub at_s: u64,
    /// Short id of the version.
    pub version: String,
    /// Answers of the version.
    pub figures: TrafficFigures,
}

/// Time span in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrafficSpan {
    /// Beginning in seconds since 1970 UTC; a multiple of the step.
    pub from_s: u64,
    /// End, exclusive.
    pub to_s: u64,
    /// Step in seconds.
    pub step_s: u64,
    /// Slots that ended before are left out, even if the step began before.
    #[serde(default)]
    since_s: u64,
}

impl TrafficSpan {
    /// Returns the span from `from_s` to `to_s`, limited to the rows kept at `now_s`, with steps of `step_s` or the
    /// shortest available steps.
    #[must_use]
    pub fn of(from_s: u64, to_s: u64, step_s: u64, now_s: u64) -> Self {
        let from_s = from_s.max(now_s.saturating_sub(QUARTERS.kept_s));
        let is_late = from_s >= now_s.saturating_sub(MINUTES.kept_s);
        let slot_s = if is_late { MINUTES.slot_s } else { QUARTERS.slot_s };
        let step_s = step_s.clamp(1, QUARTERS.kept_s).div_ceil(slot_s).saturating_mul(slot_s);
        Self { from_s: from_s - from_s % step_s, to_s: to_s.min(now_s.saturating_add(1)), step_s, since_s: 0 }
    }

    /// Leaves out slots that ended before `since_s`.
    #[must_use]
    pub const fn since(self, since_s: u64) -> Self {
        Self { since_s, ..self }
    }

    const fn kind(self) -> Kind {
        if self.step_s.is_multiple_of(QUARTERS.slot_s) { QUARTERS } else { MINUTES }
    }
}

/// Version in an environment in one slot.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Number of the slot since 1970 UTC.
    slot: u32,
    environment: Name,
    version: u64,
    requests: u32,
    errors: u32,
    client_errors: u32,
    bytes: u64,
    saved: u64,
    by_bucket: [u32; BUCKETS],
}

/// Name of an environment, stored inline: rows come and go without allocations.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Name([u8; NAME_BYTES_MAX], u8);

impl Name {
    /// Returns `None` for an invalid environment name.
    fn of(name: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self(bytes, u8::try_from(name.len()).ok()?))
    }
}

/// Returns the number of a short id.
fn number_of(version: &str) -> Option<u64> {
    u64::from_str_radix(version, 16).ok()
}

fn short_of(number: u64) -> String {
    format!("{number:012x}")
}

/// Converts a count to the width of a row.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Rows of an app for one kind of slots, oldest first.
#[derive(Default)]
struct Rows(VecDeque<Row>);

impl Rows {
    fn add(&mut self, kind: Kind, (environment, version): (Name, u64), news: &Counted, now_s: u64, rows_max: usize) {
        let slot = narrow(now_s / kind.slot_s);
        let oldest = slot.saturating_sub(narrow(kind.kept_s / kind.slot_s));
        while self.0.front().is_some_and(|row| row.slot < oldest) {
            self.0.pop_front();
        }
        // Rows written while the clock was ahead belong to no time in a chart, and would absorb all later rows.
        let ahead = slot.saturating_add(narrow(AHEAD_S_MAX / kind.slot_s));
        while self.0.back().is_some_and(|row| row.slot > ahead) {
            self.0.pop_back();
        }
        // A clock set back slightly does not change the order.
        let slot = self.0.back().map_or(slot, |last| last.slot.max(slot));
        let mut current = self.0.iter_mut().rev().take_while(|row| row.slot == slot);
        if let Some(row) = current.find(|row| row.environment == environment && row.version == version) {
            row.add(news);
            return;
        }
        let rows_max = rows_max.max(1);
        while self.0.len() >= rows_max {
            self.0.pop_front();
        }
        if self.0.len() == self.0.capacity() {
            // Doubles the capacity, at most to the limit of the app.
            self.0.reserve_exact(self.0.len().max(1).min(rows_max - self.0.len()));
        }
        let mut row = Row { slot, environment, version, ..Row::default() };
        row.add(news);
        self.0.push_back(row);
    }
}

impl Row {
    fn add(&mut self, news: &Counted) {
        let [.., client_errors, errors] = news.by_class;
        self.requests = self.requests.saturating_add(narrow(news.requests()));
        self.errors = self.errors.saturating_add(errors);
        self.client_errors = self.client_errors.saturating_add(client_errors);
        self.bytes = self.bytes.saturating_add(news.bytes);
        self.saved = self.saved.saturating_add(news.saved);
        for (to, news) in self.by_bucket.iter_mut().zip(&news.by_bucket) {
            *to = to.saturating_add(*news);
        }
    }
}

/// Rows of one app.
#[derive(Default)]
struct OfApp {
    minutes: Rows,
    quarters: Rows,
    /// Minute of the last requests.
    used: u64,
}

/// Rows of all apps.
pub(super) struct History {
    apps: BTreeMap<String, OfApp>,
    /// Apps by the minute of their last requests.
    by_use: BTreeSet<(u64, String)>,
    app_bytes_max: usize,
    apps_max: usize,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { apps: BTreeMap::new(), by_use: BTreeSet::new(), app_bytes_max: APP_BYTES_MAX, apps_max: APPS_MAX }
    }

    /// Sets the limits.
    pub(super) fn set_bounds(&mut self, app_bytes_max: usize, apps_max: usize) {
        (self.app_bytes_max, self.apps_max) = (app_bytes_max, apps_max);
        if self.is_off() {
            self.apps.clear();
            self.by_use.clear();
        }
    }

    const fn is_off(&self) -> bool {
        self.app_bytes_max == 0 || self.apps_max == 0
    }

    pub(super) fn add(&mut self, (app, environment): &Place, version: &str, news: &Counted, now_s: u64) {
        if self.is_off() || news.requests() == 0 {
            return;
        }
        let Some(of) = Name::of(environment).zip(number_of(version)) else { return };
        self.note_use(app, now_s / MINUTES.slot_s);
        // Half of the bytes for each kind of slots.
        let rows_max = self.app_bytes_max / size_of::<Row>() / 2;
        let Some(of_app) = self.apps.get_mut(app) else { return };
        of_app.minutes.add(MINUTES, of, news, now_s, rows_max);
        of_app.quarters.add(QUARTERS, of, news, now_s, rows_max);
    }

    /// Records requests of an app, and drops the least recently used apps beyond the maximum.
    fn note_use(&mut self, app: &str, minute: u64) {
        match self.apps.get_mut(app) {
            Some(of_app) if of_app.used == minute => return,
            Some(of_app) => {
                self.by_use.remove(&(of_app.used, app.to_owned()));
                of_app.used = minute;
            }
            None => drop(self.apps.insert(app.to_owned(), OfApp { used: minute, ..OfApp::default() })),
        }
        self.by_use.insert((minute, app.to_owned()));
        let gone = minute.saturating_sub(QUARTERS.kept_s / MINUTES.slot_s);
        while self.apps.len() > self.apps_max || self.by_use.first().is_some_and(|(used, _)| *used < gone) {
            let Some((_, least)) = self.by_use.pop_first() else { return };
            self.apps.remove(&least);
        }
    }

    /// Forgets an app, or one environment.
    pub(super) fn forget(&mut self, app: &str, environment: Option<&str>) {
        if let Some(environment) = environment {
            let Some((of_app, gone)) = self.apps.get_mut(app).zip(Name::of(environment)) else { return };
            of_app.minutes.0.retain(|row| row.environment != gone);
            of_app.quarters.0.retain(|row| row.environment != gone);
        } else if let Some(of_app) = self.apps.remove(app) {
            self.by_use.remove(&(of_app.used, app.to_owned()));
        }
    }

    /// Returns the answers of an environment within a span, by step and version.
    pub(super) fn rows(&self, app: &str, environment: &str, span: TrafficSpan) -> Vec<TrafficRow> {
        let (Some(of_app), Some(environment)) = (self.apps.get(app), Name::of(environment)) else { return Vec::new() };
        let kind = span.kind();
        let rows = if kind.slot_s == MINUTES.slot_s { &of_app.minutes } else { &of_app.quarters };
        let mut steps: BTreeMap<(u64, u64), TrafficFigures> = BTreeMap::new();
        for row in rows.0.iter().filter(|row| row.environment == environment) {
            let at_s = u64::from(row.slot).saturating_mul(kind.slot_s);
            let is_over = at_s.saturating_add(kind.slot_s) <= span.since_s;
            if is_over || at_s < span.from_s || at_s >= span.to_s {
                continue;
            }
            steps.entry((at_s - at_s % span.step_s, row.version)).or_default().add_row(row);
        }
        let row = |((at_s, version), figures)| TrafficRow { at_s, version: short_of(version), figures };
        steps.into_iter().map(row).collect()
    }
}

impl TrafficFigures {
    fn add_row(&mut self, row: &Row) {
        let by_bucket = row.by_bucket.map(u64::from);
        let (requests, errors, client_errors) = (row.requests.into(), row.errors.into(), row.client_errors.into());
        self.add(&Self { requests, errors, client_errors, bytes: row.bytes, saved: row.saved, by_bucket });
    }

    /// Adds the answers of another node.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.client_errors = self.client_errors.saturating_add(other.client_errors);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.saved = self.saved.saturating_add(other.saved);
        for (to, more) in self.by_bucket.iter_mut().zip(&other.by_bucket) {
            *to = to.saturating_add(*more);
        }
    }

    /// Returns the time in milliseconds within which `percent` of the requests were answered: exact to the bucket, and
    /// interpolated within the bucket. For requests beyond the last bound, returns the last bound.
    #[must_use]
    pub fn latency_ms(&self, percent: u32) -> f64 {
        let total: u64 = self.by_bucket.iter().fold(0, |sum, count| sum.saturating_add(*count));
        let wanted = (total.saturating_mul(percent.into())).div_ceil(100).max(1);
        let mut before = 0_u64;
        let mut from_ns = 0_u64;
        for (bound_ns, count) in super::BOUNDS_NS.iter().zip(&self.by_bucket) {
            if before.saturating_add(*count) >= wanted {
                let within = exact(wanted - before) / exact((*count).max(1));
                return (exact(from_ns) + exact(bound_ns - from_ns) * within) / 1_000_000.0;
            }
            (before, from_ns) = (before.saturating_add(*count), *bound_ns);
        }
        exact(if total == 0 { 0 } else { from_ns }) / 1_000_000.0
    }
}

/// Converts a number to a float: the loss beyond 2⁵³ is invisible in a chart.
#[expect(clippy::cast_precision_loss, reason = "as above")]
const fn exact(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn news(requests: u32, errors: u32, nanoseconds: u64) -> Counted {
        let sum = u64::from(requests);
        let mut news = Counted { bytes: sum * 10, saved: sum, ..Counted::NONE };
        (news.by_class[1], news.by_class[4]) = (requests - errors, errors);
        news.by_bucket[super::super::bucket_of(nanoseconds)] = requests;
        news
    }

    fn place(app: &str, environment: &str) -> Place {
        (app.to_owned(), environment.to_owned())
    }

    fn requests(history: &History, app: &str, span: TrafficSpan) -> Vec<(u64, String, u64)> {
        let rows = history.rows(app, "prod", span).into_iter();
        rows.map(|row| ((row.at_s - span.from_s) / span.step_s, row.version, row.figures.requests)).collect()
    }

    #[test]
    fn minutes_are_kept_for_hours_and_quarters_of_an_hour_for_a_week() {
        let (mut history, shop) = (History::new(), place("shop", "prod"));
        let (one, two) = ("4f2a91bc03de", "00000000000a");
        let begin_s = NOW_S - NOW_S % 900;
        for minute in 0..7 * 24 * 60 {
            let version = if minute < 1_000 { one } else { two };
            history.add(&shop, version, &news(2, 1, 1), begin_s + minute * 60);
            history.add(&shop, version, &news(1, 0, 1), begin_s + minute * 60 + 59);
        }
        let now_s = begin_s + 7 * 86_400 - 1;
        let last = TrafficSpan::of(now_s - 179 * 60, now_s, 60, now_s);
        let found = requests(&history, "shop", last);
        assert_eq!((found.len(), last.step_s), (180, 60));
        assert!(found.iter().all(|(_, version, requests)| version == two && *requests == 3), "{found:?}");
        // Minutes of a day ago are not kept, and the steps are longer.
        let day = TrafficSpan::of(now_s - 86_400, now_s, 60, now_s);
        let found = requests(&history, "shop", day);
        assert_eq!((day.step_s, found.len(), found[0].2), (900, 97, 45));
        let week = TrafficSpan::of(0, u64::MAX, 86_400, now_s);
        let found = history.rows("shop", "prod", week);
        let all = found.iter().map(|row| row.figures.requests).sum::<u64>();
        assert_eq!((week.step_s, all), (86_400, 7 * 24 * 60 * 3));
        assert_eq!((found[0].version.as_str(), found.last().unwrap().version.as_str()), (one, two));
        let figures = found.last().unwrap().figures;
        assert_eq!(
            (figures.errors * 3, figures.bytes, figures.saved),
            (figures.requests, figures.requests * 10, figures.requests)
        );
        assert_eq!(history.rows("shop", "staging", week), []);
        assert_eq!(history.rows("blog", "prod", week), []);
        let of_app = &history.apps["shop"];
        assert!(of_app.minutes.0.len() <= 181 && of_app.quarters.0.len() <= 673);
    }

    /// Law 11: answers for a former owner of the name appear in no step of the next owner.
    #[test]
    fn a_step_that_begins_before_its_app_has_only_what_came_since() {
        let (mut history, shop) = (History::new(), place("shop", "prod"));
        // A week begins at a multiple of its length.
        let begin_s = NOW_S - NOW_S % (7 * 86_400);
        let made_s = begin_s + 2 * 86_400 + 30;
        for at_s in [begin_s, made_s - 1_000, made_s - 90] {
            history.add(&shop, "00000000000a", &news(1, 0, 1), at_s);
        }
        history.add(&shop, "00000000000b", &news(5, 0, 1), made_s + 1);
        let now_s = made_s + 3_600;
        for step_s in [60, 900, 86_400, 7 * 86_400] {
            let span = TrafficSpan::of(made_s, now_s, step_s, now_s);
            let rows = history.rows("shop", "prod", span.since(made_s));
            let of = |version: &str| {
                let of_version = rows.iter().filter(|row| row.version == version);
                of_version.map(|row| row.figures.requests).sum::<u64>()
            };
            assert_eq!((of("00000000000a"), of("00000000000b")), (0, 5), "{step_s}");
        }
    }

    #[test]
    fn an_app_beyond_its_bytes_loses_its_oldest_rows_and_no_other_app_notices() {
        let mut history = History::new();
        history.set_bounds(40 * size_of::<Row>(), 10);
        let all = TrafficSpan::of(NOW_S - 3_600, NOW_S + 3_600, 60, NOW_S + 3_600);
        history.add(&place("blog", "prod"), "00000000000b", &news(1, 0, 1), NOW_S);
        for number in 0..1_000_u64 {
            history.add(&place("shop", "prod"), &short_of(number), &news(1, 0, 1), NOW_S + number / 100 * 60);
        }
        let found = requests(&history, "shop", all);
        let of_shop = &history.apps["shop"];
        assert_eq!((found.len(), of_shop.minutes.0.capacity(), of_shop.quarters.0.capacity()), (20, 20, 20));
        assert!(found.iter().all(|(_, version, _)| number_of(version).unwrap() >= 980), "{found:?}");
        assert_eq!(requests(&history, "blog", all).len(), 1);
    }

    #[test]
    fn beyond_the_number_of_apps_the_one_without_requests_for_the_longest_time_goes() {
        let mut history = History::new();
        history.set_bounds(APP_BYTES_MAX, 2);
        let add = |history: &mut History, app: &str, minute: u64| {
            history.add(&place(app, "prod"), "00000000000b", &news(1, 0, 1), NOW_S + minute * 60);
        };
        add(&mut history, "a", 0);
        add(&mut history, "b", 1);
        add(&mut history, "a", 2);
        add(&mut history, "c", 3);
        assert_eq!(history.apps.keys().collect::<Vec<_>>(), ["a", "c"]);
        // After a week without requests no rows are left.
        add(&mut history, "c", 8 * 24 * 60);
        assert_eq!(history.apps.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(history.by_use.len(), 1);
        history.set_bounds(0, 2);
        add(&mut history, "c", 8 * 24 * 60);
        assert!(history.apps.is_empty() && history.by_use.is_empty());
    }

    #[test]
    fn what_is_no_version_of_an_environment_and_a_clock_that_goes_back_do_no_harm() {
        let mut history = History::new();
        for (environment, version) in [("x".repeat(21).as_str(), "00000000000b"), ("prod", "_other"), ("prod", "")] {
            history.add(&place("shop", environment), version, &news(1, 0, 1), NOW_S);
        }
        assert!(history.apps.is_empty());
        history.add(&place("shop", "prod"), "00000000000b", &news(1, 0, 1), NOW_S);
        history.add(&place("shop", "prod"), "00000000000b", &news(1, 0, 1), NOW_S - 600);
        let span = TrafficSpan::of(NOW_S - 3_600, NOW_S + 1, 60, NOW_S);
        assert_eq!(history.rows("shop", "prod", span).iter().map(|row| row.figures.requests).sum::<u64>(), 2);
    }

    /// All later answers were added to a single slot in the future, and charts were empty.
    #[test]
    fn requests_are_of_their_time_again_once_a_clock_that_was_ahead_is_right() {
        let (mut history, shop) = (History::new(), place("shop", "prod"));
        for at_s in [NOW_S + 365 * 86_400, NOW_S, NOW_S + 60] {
            history.add(&shop, "00000000000b", &news(1, 0, 1), at_s);
        }
        for (step_s, steps) in [(60, 2), (900, 1)] {
            let span = TrafficSpan::of(NOW_S - 3_600, u64::MAX, step_s, NOW_S + 60);
            assert_eq!(requests(&history, "shop", span).len(), steps);
        }
    }

    #[test]
    fn an_environment_is_forgotten_without_the_others_of_its_app() {
        let mut history = History::new();
        for environment in ["prod", "staging"] {
            history.add(&place("shop", environment), "00000000000b", &news(1, 0, 1), NOW_S);
        }
        history.forget("shop", Some("staging"));
        let of_shop = &history.apps["shop"];
        assert_eq!((of_shop.minutes.0.len(), of_shop.quarters.0.len()), (1, 1));
    }

    #[test]
    fn a_latency_lies_in_the_bucket_of_its_request() {
        let mut figures = TrafficFigures::default();
        assert!(figures.latency_ms(50) < f64::EPSILON);
        // 90 within 1 ms and 10 within 2.5 ms: the bounds of their buckets.
        (figures.by_bucket[3], figures.by_bucket[4]) = (90, 10);
        assert!((0.5..=1.0).contains(&figures.latency_ms(50)) && (0.5..=1.0).contains(&figures.latency_ms(90)));
        assert!((1.0..=2.5).contains(&figures.latency_ms(99)) && figures.latency_ms(99) > figures.latency_ms(91));
        figures.by_bucket[BUCKETS - 1] = 1_000;
        assert!((figures.latency_ms(99) - 10_000.0).abs() < 1e-9);
    }
}
