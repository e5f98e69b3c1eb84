//! When a certificate is ordered: pure decisions over times that the caller reads, so that their tests need no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use devanture_config::limits::Limits;
use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 3_600_000;
/// How long orders rest at most after the authority itself could not be used: unlike a name whose DNS is wrong, it is
/// somebody's business to have it back soon.
const AUTHORITY_RETRY_MS_MAX: u64 = HOUR_MS;
/// Renewals are spread over this part of a certificate's life, so that those of one day do not all come due at once.
const SPREAD_OF_LIFE: u64 = 24;
/// How long is waited where the authority says that it is asked too often, and not for how long.
pub(crate) const LIMITED_WAIT_MS: u64 = HOUR_MS;
/// The longest wait that an authority may ask for.
const WAIT_MS_MAX: u64 = 7 * 24 * HOUR_MS;

/// From when to when a certificate is valid, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
}

impl Life {
    /// When it is renewed: at two thirds of its life, or up to a 24th of it earlier, as `spread` says, which is the
    /// certificate's own for good.
    pub(crate) fn renewal_ms(&self, spread: u32) -> u64 {
        let span = self.not_after_ms.saturating_sub(self.not_before_ms);
        let latest = self.not_before_ms.saturating_add(span / 3 * 2);
        latest.saturating_sub(part(span / SPREAD_OF_LIFE, spread))
    }

    /// Whether it is time to renew it. The authority's own word (RFC 9773), `window`, can only make it earlier.
    pub(crate) fn is_due(&self, spread: u32, window: Option<Window>, now_ms: u64) -> bool {
        let suggested = window.map_or(u64::MAX, |window| window.moment_ms(spread));
        now_ms >= self.renewal_ms(spread).min(suggested)
    }

    pub(crate) const fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.not_after_ms
    }
}

/// When the authority would have a certificate renewed (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
}

impl Window {
    const fn moment_ms(self, spread: u32) -> u64 {
        self.start_ms.saturating_add(part(self.end_ms.saturating_sub(self.start_ms), spread))
    }
}

/// `spread / 2³²` of `span`.
const fn part(span: u64, spread: u32) -> u64 {
    // By its upper half, which a product of it with a `u32` cannot overflow: 50 days are lost in no life of interest.
    (span >> 16).saturating_mul(spread as u64) >> 16
}

/// What must be waited for before the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Rest {
    /// Tries that failed since the last that did not.
    failures: u32,
    since_ms: u64,
    wait_ms: u64,
}

impl Rest {
    /// A clock that went back since does not make anybody wait longer.
    const fn is_over(&self, now_ms: u64) -> bool {
        now_ms < self.since_ms || now_ms - self.since_ms >= self.wait_ms
    }

    fn failed(&mut self, now_ms: u64, least_ms: u64, most_ms: u64, asked_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        self.since_ms = now_ms;
        self.wait_ms = backed_off_ms(self.failures, least_ms, most_ms).max(asked_ms.min(WAIT_MS_MAX));
    }
}

/// How long to wait after so many failures: `least_ms`, doubled by each further one, at most `most_ms`.
fn backed_off_ms(failures: u32, least_ms: u64, most_ms: u64) -> u64 {
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    least_ms.saturating_mul(doubled).min(most_ms)
}

/// The limits that orders keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) names_max: usize,
    orders_max: usize,
    orders_per_hour_max: usize,
    retry_ms_min: u64,
    retry_ms_max: u64,
}

impl Rules {
    pub(crate) fn new(limits: &Limits) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            names_max: size(limits.acme_names_max),
            orders_max: size(limits.acme_orders_max),
            orders_per_hour_max: size(limits.acme_orders_per_hour_max),
            retry_ms_min: limits.acme_retry_ms_min,
            retry_ms_max: limits.acme_retry_ms_max.max(limits.acme_retry_ms_min),
        }
    }
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A certificate is there.
    Issued,
    /// Not for this name. `asked_ms` is how long the authority wants to be left alone about it; `unproven`, that it did
    /// not find the proof, so that another way may do better.
    Failed { asked_ms: u64, unproven: bool },
    /// The authority could not be asked at all, so that it is nothing about the name.
    Unanswered { asked_ms: u64 },
    /// It was given up before anything was asked.
    Dropped,
}

/// What is remembered of orders, over restarts too: an edge that is restarted again and again is not to wear out the
/// authority's patience.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Books {
    names: BTreeMap<String, Note>,
    authority: Rest,
    /// When the orders of the last hour were begun.
    begun_ms: VecDeque<u64>,
    #[serde(skip)]
    under_way: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    rest: Rest,
    /// Which of the ways of proof is next: after one that failed another one, after a success the same.
    way: usize,
}

impl Books {
    /// Which of `wanted`, those that matter most first, are ordered now; they count as under way until
    /// [`Books::end`].
    pub(crate) fn begin(&mut self, wanted: Vec<String>, rules: &Rules, now_ms: u64) -> Vec<String> {
        self.begun_ms.retain(|begun| *begun <= now_ms && now_ms - begun < HOUR_MS);
        let free = rules.orders_max.saturating_sub(self.under_way.len());
        let room = free.min(rules.orders_per_hour_max.saturating_sub(self.begun_ms.len()));
        if room == 0 || self.authority_rests(now_ms) {
            return Vec::new();
        }
        // After it failed, one order finds out whether the authority is back.
        let room = match (self.authority.failures, self.under_way.len()) {
            (0, _) => room,
            (_, 0) => 1,
            (_, _) => return Vec::new(),
        };
        let failures = |name: &String| self.names.get(name).map_or(0, |note| note.rest.failures);
        let ready = |name: &String| {
            !self.under_way.contains(name) && self.names.get(name).is_none_or(|note| note.rest.is_over(now_ms))
        };
        let mut wanted: Vec<(u32, String)> =
            wanted.into_iter().filter(ready).map(|name| (failures(&name), name)).collect();
        // Names that fail again and again come after all others: they cannot use the hour up.
        wanted.sort_by_key(|(failures, _)| *failures);
        let begun: Vec<String> = wanted.into_iter().take(room).map(|(_, name)| name).collect();
        self.begun_ms.extend(begun.iter().map(|_| now_ms));
        self.under_way.extend(begun.iter().cloned());
        begun
    }

    /// Whether the authority is left alone for now.
    pub(crate) const fn authority_rests(&self, now_ms: u64) -> bool {
        !self.authority.is_over(now_ms)
    }

    /// Which of the ways of proof is used for `name`.
    pub(crate) fn way(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |note| note.way)
    }

    /// How often in a row orders for `name` failed.
    pub(crate) fn failures(&self, name: &str) -> u32 {
        self.names.get(name).map_or(0, |note| note.rest.failures)
    }

    pub(crate) fn end(&mut self, name: &str, ended: Ended, rules: &Rules, now_ms: u64) {
        self.under_way.remove(name);
        match ended {
            Ended::Issued => {
                self.authority = Rest::default();
                if let Some(note) = self.names.get_mut(name) {
                    note.rest = Rest::default();
                    if note.way == 0 {
                        self.names.remove(name);
                    }
                }
            }
            Ended::Failed { asked_ms, unproven } => {
                self.authority = Rest::default();
                let note = self.names.entry(name.to_owned()).or_default();
                note.rest.failed(now_ms, rules.retry_ms_min, rules.retry_ms_max, asked_ms);
                note.way = note.way.wrapping_add(usize::from(unproven));
            }
            Ended::Unanswered { asked_ms } => {
                let most_ms = rules.retry_ms_max.min(AUTHORITY_RETRY_MS_MAX.max(rules.retry_ms_min));
                // Orders that were begun together fail together: that is one failure.
                if self.authority.is_over(now_ms) {
                    self.authority.failed(now_ms, rules.retry_ms_min, most_ms, asked_ms);
                }
            }
            Ended::Dropped => {}
        }
    }

    /// Forgets names that nobody wants any more, once they would be tried again.
    pub(crate) fn forget(&mut self, is_wanted: impl Fn(&str) -> bool, now_ms: u64) {
        self.names.retain(|name, note| is_wanted(name) || !note.rest.is_over(now_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * HOUR_MS;

    fn life(from: u64, to: u64) -> Life {
        Life { not_before_ms: from * DAY_MS, not_after_ms: to * DAY_MS }
    }

    #[test]
    fn a_certificate_is_due_at_two_thirds_of_its_life_or_a_little_earlier() {
        #[rustfmt::skip]
        let cases = [
            // life in days, spread, window, now in days, due
            (life(0, 90),    0,        None,           0,   false),
            (life(0, 90),    0,        None,           59,  false),
            (life(0, 90),    0,        None,           60,  true),
            (life(0, 90),    0,        None,           91,  true),
            (life(0, 90),    u32::MAX, None,           56,  false), // 60 days less 90 / 24
            (life(0, 90),    u32::MAX, None,           57,  true),
            (life(100, 106), 0,        None,           103, false),
            (life(100, 106), 0,        None,           104, true),
            (life(0, 90),    0,        Some((10, 12)), 9,   false), // RFC 9773 §4.2
            (life(0, 90),    0,        Some((10, 12)), 10,  true),
            (life(0, 90),    u32::MAX, Some((10, 12)), 10,  false),
            (life(0, 90),    u32::MAX, Some((10, 12)), 12,  true),
            (life(0, 90),    0,        Some((80, 85)), 60,  true),  // it makes nothing later
            (life(0, 90),    7,        Some((12, 10)), 12,  true),  // a window that makes no sense
            (life(9, 9),     7,        None,           9,   true),
            (life(9, 3),     7,        None,           9,   true),
        ];
        for (life, spread, window, day, due) in cases {
            let window = window.map(|(start, end)| Window { start_ms: start * DAY_MS, end_ms: end * DAY_MS });
            assert_eq!(life.is_due(spread, window, day * DAY_MS), due, "{life:?} {spread} {window:?} {day}");
        }
        assert!(!life(0, 90).is_over(89 * DAY_MS) && life(0, 90).is_over(90 * DAY_MS));
        let forever = Life { not_before_ms: 0, not_after_ms: u64::MAX };
        assert!(!forever.is_due(u32::MAX, None, 100 * 365 * DAY_MS));
    }

    #[test]
    fn a_wait_doubles_up_to_its_limit() {
        let waits: Vec<u64> = (1..=12).map(|failures| backed_off_ms(failures, 1, 1_440)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440]);
        assert_eq!(backed_off_ms(u32::MAX, 1, 1_440), 1_440);
        assert_eq!(backed_off_ms(0, 1, 1_440), 1);
    }

    fn rules() -> Rules {
        Rules { names_max: 9, orders_max: 2, orders_per_hour_max: 5, retry_ms_min: 1_000, retry_ms_max: 4_000 }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_has_one_order_at_a_time_and_all_together_have_a_limit() {
        let (mut books, rules) = (Books::default(), rules());
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 0), ["a", "b"]);
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 1), [""; 0]);
        books.end("a", Ended::Issued, &rules, 2);
        assert_eq!(books.begin(names(&["b", "c"]), &rules, 2), ["c"]);
        books.end("b", Ended::Issued, &rules, 3);
        books.end("c", Ended::Issued, &rules, 3);
        // Five in an hour, and the first of them leaves the hour first.
        assert_eq!(books.begin(names(&["d", "e", "f"]), &rules, 4), ["d", "e"]);
        books.end("d", Ended::Issued, &rules, 5);
        books.end("e", Ended::Issued, &rules, 5);
        assert_eq!(books.begin(names(&["f"]), &rules, 6), [""; 0]);
        assert_eq!(books.begin(names(&["f"]), &rules, HOUR_MS - 1), [""; 0]);
        assert_eq!(books.begin(names(&["f"]), &rules, HOUR_MS), ["f"]);
    }

    #[test]
    fn a_name_that_failed_rests_longer_each_time_and_tries_another_way() {
        let (mut books, rules) = (Books::default(), rules());
        let mut now_ms = 0;
        for (failures, wait_ms) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 4_000)] {
            assert_eq!(books.begin(names(&["a"]), &rules, now_ms), ["a"]);
            assert_eq!(books.way("a"), failures as usize - 1);
            books.end("a", Ended::Failed { asked_ms: 0, unproven: true }, &rules, now_ms);
            assert_eq!(books.failures("a"), failures);
            assert_eq!(books.begin(names(&["a"]), &rules, now_ms + wait_ms - 1), [""; 0]);
            now_ms += wait_ms;
        }
        // What it has learnt outlives the process.
        let text = serde_json::to_string(&books).unwrap();
        let mut books: Books = serde_json::from_str(&text).unwrap();
        assert_eq!((books.failures("a"), books.way("a")), (4, 4));
        assert_eq!(books.begin(names(&["a"]), &rules, now_ms - 1), [""; 0]);
        assert_eq!(books.begin(names(&["a", "b"]), &rules, now_ms), ["b"], "those that never failed come first");
        books.end("b", Ended::Issued, &rules, now_ms);
        assert_eq!(books.begin(names(&["a"]), &rules, HOUR_MS), ["a"]);
        books.end("a", Ended::Issued, &rules, HOUR_MS);
        assert_eq!((books.failures("a"), books.way("a")), (0, 4), "the way that worked is kept");
        books.forget(|_| false, HOUR_MS);
        assert!(books.names.is_empty());
    }

    #[test]
    fn the_authority_is_left_alone_as_long_as_it_asks_for() {
        let (mut books, rules) = (Books::default(), rules());
        assert_eq!(books.begin(names(&["a"]), &rules, 0), ["a"]);
        books.end("a", Ended::Failed { asked_ms: 60_000, unproven: false }, &rules, 0);
        assert_eq!(books.begin(names(&["a"]), &rules, 59_999), [""; 0]);
        assert_eq!(books.begin(names(&["a"]), &rules, 60_000), ["a"]);
        books.end("a", Ended::Failed { asked_ms: u64::MAX, unproven: false }, &rules, 60_000);
        assert_eq!((books.names["a"].rest.wait_ms, books.way("a")), (WAIT_MS_MAX, 0), "the way is not at fault");
        // A clock that was wrong does not keep a name waiting for years.
        assert_eq!(books.begin(names(&["a"]), &rules, 1), ["a"]);
    }

    #[test]
    fn an_authority_that_is_down_is_tried_by_one_order_and_is_no_names_fault() {
        let (mut books, rules) = (Books::default(), rules());
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 0), ["a", "b"]);
        books.end("a", Ended::Unanswered { asked_ms: 0 }, &rules, 10);
        books.end("b", Ended::Unanswered { asked_ms: 0 }, &rules, 10);
        assert_eq!(books.failures("a"), 0);
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 1_009), [""; 0]);
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 1_010), ["a"]);
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 1_011), [""; 0]);
        books.end("a", Ended::Unanswered { asked_ms: 5_000 }, &rules, 1_012);
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 6_011), [""; 0]);
        assert_eq!(books.begin(names(&["a", "b", "c"]), &rules, 6_012), ["a"]);
        books.end("a", Ended::Issued, &rules, 6_013);
        assert_eq!(books.begin(names(&["b", "c"]), &rules, 6_014), ["b"], "four of five in this hour");
    }
}
