//! Metric series with a limited life: a series stays while a counter uses the series, and long enough afterwards for a
//! scrape of the last value. So the memory of an edge with a push per minute does not grow with each version.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::time::{Duration, Instant};

/// Time for which a series outlives the last counter: longer than rare scrape intervals, so that a version loaded again
/// meanwhile continues the series.
pub(super) const GONE_KEPT: Duration = Duration::from_secs(3_600);
/// Maximum number of series of one metric without counters, the latest ones.
pub(super) const GONE_MAX: usize = 200;

/// Series of a metric by label values.
pub(super) struct SeriesMap<K, T>(BTreeMap<K, Series<T>>);

struct Series<T> {
    value: T,
    /// Number of counters in the series.
    counters: usize,
    /// Time of the last counter's end.
    gone: Option<Instant>,
}

impl<K: Ord + Clone, T: Default> SeriesMap<K, T> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a counter; the series is new unless still kept.
    pub(super) fn begin(&mut self, key: &K) {
        let new = || Series { value: T::default(), counters: 0, gone: None };
        let series = self.0.entry(key.clone()).or_insert_with(new);
        series.counters += 1;
        series.gone = None;
    }

    /// Removes a counter.
    pub(super) fn end(&mut self, key: &K, now: Instant) {
        if let Some(series) = self.0.get_mut(key) {
            series.counters = series.counters.saturating_sub(1);
            series.gone = (series.counters == 0).then_some(now);
        }
    }

    pub(super) fn value(&mut self, key: &K) -> Option<&mut T> {
        self.0.get_mut(key).map(|series| &mut series.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        let all: Iter<'_, K, Series<T>> = self.0.iter();
        all.map(|(key, series)| (key, &series.value))
    }

    /// Drops series without counters for too long, or beyond the maximum.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, series| series.gone.is_none_or(|gone| now.saturating_duration_since(gone) < GONE_KEPT));
        let mut gone: Vec<Instant> = self.0.values().filter_map(|series| series.gone).collect();
        let Some(beyond) = gone.len().checked_sub(GONE_MAX).and_then(|beyond| beyond.checked_sub(1)) else { return };
        let (_, last, _) = gone.select_nth_unstable(beyond);
        let last = *last;
        self.0.retain(|_, series| series.gone.is_none_or(|gone| gone > last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_stays_while_something_counts_and_a_while_after() {
        let mut map: SeriesMap<&str, u64> = SeriesMap::new();
        let start = Instant::now();
        for key in ["live", "gone", "gone", "back"] {
            map.begin(&key);
            *map.value(&key).unwrap() += 1;
        }
        map.end(&"gone", start);
        map.forget(start + 2 * GONE_KEPT);
        assert!(map.value(&"gone").is_some(), "one of two counters is left");
        map.end(&"gone", start);
        map.end(&"back", start);
        map.forget(start + GONE_KEPT - Duration::from_secs(1));
        assert_eq!(map.iter().count(), 3);
        map.begin(&"back");
        map.forget(start + GONE_KEPT);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&"back", &1), (&"live", &1)]);
        map.begin(&"gone");
        assert_eq!(map.value(&"gone"), Some(&mut 0));
    }

    #[test]
    fn no_more_series_stay_than_may_and_the_oldest_go_first() {
        let mut map: SeriesMap<usize, u64> = SeriesMap::new();
        let start = Instant::now();
        for number in 0..3 * GONE_MAX {
            map.begin(&number);
            if number > 0 {
                map.end(&number, start + Duration::from_millis(number as u64));
            }
        }
        map.forget(start + Duration::from_secs(60));
        let kept: Vec<usize> = map.iter().map(|(number, _)| *number).collect();
        assert_eq!((kept.len(), kept[0], kept[1]), (GONE_MAX + 1, 0, 2 * GONE_MAX));
    }
}
