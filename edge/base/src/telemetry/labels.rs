//! Selection of the apps and environments with separate metric series, so that a scrape stays small for any number of
//! apps. The rest is summed under [`OTHER`] when counted: no counter ever goes back.
//!
//! The busiest have separate series. A series stays until a contender is twice as busy within the last minutes; then
//! the series ends, and later counts go into the sum.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::counters;

/// Label of the sums; no app and no environment has this name.
pub(super) const OTHER: &str = "_other";
/// Default maximum of environments with separate series.
const PLACES_MAX: usize = 100;
/// Interval of selecting the busiest again.
const REVIEW_EVERY: Duration = Duration::from_secs(300);

/// App and environment.
pub(super) type Place = (String, String);

/// Keys with and without separate series, each with the recent count.
struct SeriesSelection<K> {
    own: BTreeMap<K, u64>,
    others: BTreeMap<K, u64>,
    /// Keys of `own` that have gauges and no counts: they make room for keys with counts.
    idle: BTreeSet<K>,
}

impl<K: Ord + Clone> SeriesSelection<K> {
    const fn new() -> Self {
        Self { own: BTreeMap::new(), others: BTreeMap::new(), idle: BTreeSet::new() }
    }

    /// Records a count of `key`, and returns true if `key` has separate series. A new key gets series while there is
    /// room.
    fn note(&mut self, key: &K, count: u64, max: usize) -> bool {
        if let Some(lately) = self.own.get_mut(key) {
            *lately = lately.saturating_add(count);
            if count > 0 && !self.idle.is_empty() {
                self.idle.remove(key);
            }
            return true;
        }
        if self.own.len() >= max
            && count > 0
            && let Some(idle) = self.idle.pop_first()
        {
            self.own.remove(&idle);
        }
        if self.own.len() >= max {
            if count > 0 {
                let lately = self.others.entry(key.clone()).or_default();
                *lately = lately.saturating_add(count);
            }
            return false;
        }
        let before = self.others.remove(key).unwrap_or(0);
        self.own.insert(key.clone(), before.saturating_add(count));
        if count == 0 {
            self.idle.insert(key.clone());
        }
        true
    }

    /// Transfers series from keys with low counts to keys with more than twice the count, and returns the losing keys.
    fn review(&mut self) -> Vec<K> {
        let mut others: Vec<(u64, K)> = self.others.iter().map(|(key, lately)| (*lately, key.clone())).collect();
        let mut own: Vec<(u64, K)> = self.own.iter().map(|(key, lately)| (*lately, key.clone())).collect();
        others.sort_unstable_by(|a, b| b.cmp(a));
        own.sort_unstable();
        let mut lost = Vec::new();
        for ((more, gains), (less, loses)) in others.into_iter().zip(own) {
            if more <= less.saturating_mul(2) {
                break;
            }
            self.own.remove(&loses);
            self.idle.remove(&loses);
            self.others.remove(&gains);
            self.own.insert(gains, more);
            self.others.insert(loses.clone(), less);
            lost.push(loses);
        }
        // Older counts weigh less.
        self.own.values_mut().chain(self.others.values_mut()).for_each(|lately| *lately /= 2);
        self.others.retain(|_, lately| *lately > 0);
        lost
    }
}

/// Apps and environments with separate series.
pub(super) struct Labels {
    /// Only these apps; `None` selects the busiest.
    listed: Option<BTreeSet<String>>,
    max: usize,
    places: SeriesSelection<Place>,
    apps: SeriesSelection<String>,
    reviewed: Option<Instant>,
}

impl Labels {
    pub(super) const fn new(max: usize) -> Self {
        Self { listed: None, max, places: SeriesSelection::new(), apps: SeriesSelection::new(), reviewed: None }
    }

    fn is_listed(&self, app: &str) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.contains(app))
    }

    /// Records a count in an environment, and returns true if the environment has separate series.
    pub(super) fn note_place(&mut self, place: &Place, count: u64) -> bool {
        self.is_listed(&place.0) && self.places.note(place, count, self.max)
    }

    /// Records a count for the series of a whole app.
    pub(super) fn note_app(&mut self, app: &String, count: u64) -> bool {
        self.is_listed(app) && self.apps.note(app, count, self.max)
    }

    /// Returns true if an environment has separate series.
    pub(super) fn has_place(&self, place: &Place) -> bool {
        self.places.own.contains_key(place)
    }

    /// Returns true if an app has separate series.
    pub(super) fn has_app(&self, app: &String) -> bool {
        self.apps.own.contains_key(app)
    }

    /// Selects again, if due; returns the environments and apps that lost their series.
    pub(super) fn review(&mut self, now: Instant) -> (Vec<Place>, Vec<String>) {
        let reviewed = *self.reviewed.get_or_insert(now);
        if now.saturating_duration_since(reviewed) < REVIEW_EVERY {
            return (Vec::new(), Vec::new());
        }
        self.reviewed = Some(now);
        (self.places.review(), self.apps.review())
    }
}

static LABELS: Mutex<Labels> = Mutex::new(Labels::new(PLACES_MAX));

/// Sets the apps with separate series, at most `max` environments and `max` apps: the listed apps, or the busiest
/// without a list.
pub fn choose_apps(listed: Option<BTreeSet<String>>, max: usize) {
    let mut labels = lock();
    labels.listed = listed;
    labels.max = max;
}

/// Locked briefly to count by app and to gather all counts; never to count a request.
pub(super) fn lock() -> parking_lot::MutexGuard<'static, Labels> {
    LABELS.lock()
}

/// Selects again, if due.
pub(super) fn review(now: Instant) {
    let (places, apps) = lock().review(now);
    counters::end(&places, &apps);
}

/// Returns the label of an app for counts without series by environment.
#[must_use]
pub(super) fn app_label(app: &str) -> String {
    let app = app.to_owned();
    if lock().note_app(&app, 1) { app } else { OTHER.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(app: &str) -> Place {
        (app.to_owned(), "prod".to_owned())
    }

    #[test]
    fn the_busiest_have_series_of_their_own_and_keep_them_while_none_is_twice_as_busy() {
        let mut labels = Labels::new(2);
        let start = Instant::now();
        assert_eq!(labels.review(start), (vec![], vec![]));
        assert!(labels.note_place(&place("a"), 10) && labels.note_place(&place("b"), 10));
        assert!(!labels.note_place(&place("c"), 20), "there is no room");
        assert_eq!(labels.review(start + REVIEW_EVERY / 2).0, [], "it is not time yet");
        assert_eq!(labels.review(start + REVIEW_EVERY).0, [], "20 is not more than twice 10");
        // 5, 5 and 10 are left.
        assert!(!labels.note_place(&place("c"), 1));
        assert_eq!(labels.review(start + 2 * REVIEW_EVERY).0, [place("a")]);
        assert!(labels.note_place(&place("c"), 1) && labels.note_place(&place("b"), 1));
        assert!(!labels.note_place(&place("a"), 1) && !labels.has_place(&place("a")));
    }

    #[test]
    fn a_list_and_none_are_what_they_are_set_to() {
        let mut labels = Labels::new(1);
        labels.listed = Some(["a".to_owned(), "b".to_owned()].into());
        assert!(!labels.note_place(&place("c"), 1));
        assert!(labels.note_place(&place("a"), 1) && labels.note_app(&"a".to_owned(), 1));
        assert!(!labels.note_place(&place("b"), 1), "a list has the same bound");
        labels.listed = Some(BTreeSet::new());
        assert!(!labels.note_place(&place("a"), 1));
    }

    #[test]
    fn who_only_has_gauges_makes_room_for_who_counts() {
        let mut chosen = SeriesSelection::new();
        assert!(chosen.note(&"gauge", 0, 2) && chosen.note(&"counts", 0, 2));
        assert!(!chosen.note(&"another", 0, 2));
        assert!(chosen.note(&"counts", 1, 2));
        assert!(chosen.note(&"busy", 1, 2), "instead of `gauge`");
        assert!(!chosen.note(&"late", 1, 2) && !chosen.note(&"gauge", 0, 2));
    }

    #[test]
    fn who_counts_nothing_is_forgotten() {
        let mut chosen = SeriesSelection::new();
        chosen.note(&"a", 8, 1);
        for key in ["b", "c"] {
            chosen.note(&key, 1, 1);
        }
        assert_eq!(chosen.others.len(), 2);
        assert_eq!(chosen.review(), [""; 0]);
        assert_eq!(chosen.others.len(), 0);
    }
}
