//! Sliding windows: counts of recent attempts by key, in a bounded table; and rate limits, which are windows with a
//! clock.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

use parking_lot::Mutex;

/// Rate limit: a maximum count per key within a sliding window. In memory only: a new process begins at zero.
pub struct RateLimit<K> {
    began: Instant,
    windows: Mutex<Windows<K>>,
}

impl<K: Clone + Eq + Hash> RateLimit<K> {
    /// Creates a limit; see [`Windows::new`].
    #[must_use]
    pub fn new(count_max: usize, keys_max: usize, window_ms: u64) -> Self {
        Self { began: Instant::now(), windows: Mutex::new(Windows::new(count_max, keys_max, window_ms)) }
    }

    /// Counts an attempt of `key` before the attempt is made.
    ///
    /// # Errors
    /// Milliseconds to wait, if the limit is reached.
    pub fn take(&self, key: &K) -> Result<(), u64> {
        let now_ms = ms_since(self.began);
        let mut windows = self.windows.lock();
        match windows.wait_ms(key, now_ms) {
            Some(wait_ms) => Err(wait_ms),
            None => {
                windows.add(key, now_ms);
                Ok(())
            }
        }
    }

    /// Uncounts the last attempt, which was not made.
    pub fn give_back(&self, key: &K) {
        self.windows.lock().take_back(key);
    }
}

/// Sliding windows by key. A decision may use several keys under one lock.
pub struct Windows<K> {
    /// Times of the attempts that may still count, oldest first.
    attempts: HashMap<K, VecDeque<u64>>,
    count_max: usize,
    keys_max: usize,
    window_ms: u64,
}

impl<K: Clone + Eq + Hash> Windows<K> {
    /// Creates windows with `count_max` attempts per key within `window_ms`, for at most `keys_max` keys.
    #[must_use]
    pub fn new(count_max: usize, keys_max: usize, window_ms: u64) -> Self {
        Self { attempts: HashMap::new(), count_max, keys_max, window_ms }
    }

    /// Returns the milliseconds until the next permitted attempt; `None` if permitted now.
    pub fn wait_ms(&mut self, key: &K, now_ms: u64) -> Option<u64> {
        let attempts = self.attempts.get_mut(key)?;
        let window_ms = self.window_ms;
        while attempts.front().is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) >= window_ms) {
            attempts.pop_front();
        }
        if attempts.len() < self.count_max {
            return None;
        }
        attempts.front().map(|at_ms| at_ms.saturating_add(window_ms).saturating_sub(now_ms).max(1))
    }

    /// Counts an attempt.
    pub fn add(&mut self, key: &K, now_ms: u64) {
        if self.attempts.len() >= self.keys_max && !self.attempts.contains_key(key) {
            self.make_room(now_ms);
        }
        self.attempts.entry(key.clone()).or_default().push_back(now_ms);
    }

    /// Uncounts the last attempt.
    pub fn take_back(&mut self, key: &K) {
        if let Some(attempts) = self.attempts.get_mut(key) {
            attempts.pop_back();
        }
    }

    /// Forgets all attempts of a key.
    pub fn clear(&mut self, key: &K) {
        self.attempts.remove(key);
    }

    /// Forgets some keys: first keys with only expired attempts, then keys with the fewest and oldest attempts. An
    /// attacker who fills the table with names tries each name rarely; the attacked account stays.
    fn make_room(&mut self, now_ms: u64) {
        let window_ms = self.window_ms;
        let is_over =
            |attempts: &VecDeque<u64>| attempts.back().is_none_or(|at_ms| now_ms.saturating_sub(*at_ms) >= window_ms);
        self.attempts.retain(|_, attempts| !is_over(attempts));
        let keep = self.keys_max - self.keys_max / 8 - 1;
        if self.attempts.len() <= keep {
            return;
        }
        let weight = |attempts: &VecDeque<u64>| (attempts.len(), attempts.back().copied());
        let mut keys: Vec<_> = self.attempts.iter().map(|(key, attempts)| (weight(attempts), key.clone())).collect();
        keys.sort_by_key(|(weight, _)| *weight);
        let surplus = keys.len() - keep;
        for (_, key) in keys.into_iter().take(surplus) {
            self.attempts.remove(&key);
        }
    }
}

/// Returns the milliseconds since `began`.
#[must_use]
pub fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_window_ever_holds_more_attempts_than_are_allowed(
            count_max in 1usize..6,
            window_ms in 1u64..50,
            steps in prop::collection::vec((0u64..20, 0u8..3), 1..200),
        ) {
            // As many keys as slots: no key is forgotten.
            let mut windows = Windows::new(count_max, 3, window_ms);
            let mut allowed: HashMap<u8, Vec<u64>> = HashMap::new();
            let mut now_ms = 0;
            for (step_ms, key) in steps {
                now_ms += step_ms;
                match windows.wait_ms(&key, now_ms) {
                    None => {
                        windows.add(&key, now_ms);
                        allowed.entry(key).or_default().push(now_ms);
                    }
                    Some(wait_ms) => {
                        // The wait is exact: refused a moment before, permitted afterwards.
                        prop_assert!(windows.wait_ms(&key, now_ms + wait_ms - 1).is_some());
                        let mut later = Windows { attempts: windows.attempts.clone(), ..Windows::new(count_max, 3, window_ms) };
                        prop_assert!(later.wait_ms(&key, now_ms + wait_ms).is_none());
                    }
                }
            }
            for times in allowed.values() {
                for (index, begin) in times.iter().enumerate() {
                    let within = times[index..].iter().filter(|at| *at - begin < window_ms).count();
                    prop_assert!(within <= count_max, "{within} within {window_ms} ms of {begin}: {times:?}");
                }
            }
        }

        #[test]
        fn the_table_has_an_end(keys_max in 100usize..200, keys in prop::collection::vec(any::<u16>(), 0..2_000)) {
            let mut windows = Windows::new(3, keys_max, 1_000_000);
            for (now_ms, key) in keys.into_iter().enumerate() {
                windows.add(&key, now_ms as u64);
                prop_assert!(windows.attempts.len() <= keys_max);
            }
        }
    }

    #[test]
    fn keys_are_counted_apart_and_what_was_not_done_does_not_count() {
        let sends = RateLimit::new(2, 100, 60_000);
        for _ in 0..5 {
            sends.take(&"shop").unwrap();
            sends.give_back(&"shop");
        }
        assert!(sends.take(&"shop").is_ok() && sends.take(&"shop").is_ok());
        assert!(sends.take(&"shop").is_err_and(|wait_ms| (1..=60_000).contains(&wait_ms)));
        assert!(sends.take(&"blog").is_ok());
    }

    #[test]
    fn who_fills_the_table_with_names_does_not_free_the_account_that_they_are_after() {
        let mut windows = Windows::new(5, 100, 1_000_000);
        for now_ms in 0..5 {
            windows.add(&0, now_ms);
        }
        for name in 1..10_000 {
            windows.add(&name, 10);
        }
        assert!(windows.wait_ms(&0, 10).is_some());
    }

    #[test]
    fn what_no_longer_counts_makes_room_first_and_then_the_oldest_of_those_with_fewest() {
        let mut windows = Windows::new(5, 8, 100);
        for now_ms in [900, 900, 900] {
            windows.add(&"over", now_ms);
        }
        for (name, now_ms) in
            [("b", 951), ("a", 950), ("c", 952), ("d", 953), ("e", 954), ("twice", 901), ("twice", 902)]
        {
            windows.add(&name, now_ms);
        }
        windows.add(&"f", 960);
        windows.add(&"g", 1_000);
        let mut left: Vec<_> = windows.attempts.keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, ["b", "c", "d", "e", "f", "g", "twice"]);
        windows.clear(&"twice");
        assert!(!windows.attempts.contains_key("twice"));
    }
}
