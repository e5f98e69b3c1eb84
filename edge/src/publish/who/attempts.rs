//! How often somebody may try to log in, or change something: sliding windows by account and by address, in tables with an end.
//!
//! Each attempt counts in two windows: that of the address it comes from, and that of the account. All addresses from
//! which the account never logged in share one window of it, so that many addresses together gain nothing. An address
//! from which it did log in has a window of its own there: a stranger who tries and tries locks out other strangers, and
//! not the owner at their usual place. From elsewhere the owner waits until the oldest attempt is as old as the window;
//! attempts that are refused do not count, so that nobody can prolong that.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use devanture_config::limits::Limits;

/// Lines about refused tokens and logins in the log, …
const LINES_MAX: usize = 20;
/// … within so many milliseconds.
const LINES_WINDOW_MS: u64 = 10_000;
/// How long a change counts.
const WRITES_WINDOW_MS: u64 = 60_000;
/// Credentials whose changes are counted.
const WRITERS_MAX: usize = 10_000;

/// Sliding windows, one for each key.
struct Windows<K> {
    /// When each attempt was made that may still count, the oldest first.
    attempts: HashMap<K, VecDeque<u64>>,
    count_max: usize,
    keys_max: usize,
    window_ms: u64,
}

impl<K: Clone + Eq + Hash> Windows<K> {
    fn new(count_max: usize, keys_max: usize, window_ms: u64) -> Self {
        Self { attempts: HashMap::new(), count_max, keys_max, window_ms }
    }

    /// How many milliseconds are left until another attempt may be made; nothing where it may be made now.
    fn wait_ms(&mut self, key: &K, now_ms: u64) -> Option<u64> {
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
    fn add(&mut self, key: &K, now_ms: u64) {
        if self.attempts.len() >= self.keys_max && !self.attempts.contains_key(key) {
            self.make_room(now_ms);
        }
        self.attempts.entry(key.clone()).or_default().push_back(now_ms);
    }

    /// Counts the last attempt no longer.
    fn take_back(&mut self, key: &K) {
        if let Some(attempts) = self.attempts.get_mut(key) {
            attempts.pop_back();
        }
    }

    fn clear(&mut self, key: &K) {
        self.attempts.remove(key);
    }

    /// Forgets a part of the keys: first those whose attempts no longer count, then those with the fewest and oldest ones.
    /// Whoever fills the table with names tries each of them seldom; the account that they are after stays.
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

/// Where an attempt comes from, as far as it is told apart: a provider gives a whole /64 of IPv6 to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    Local,
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Network {
    fn of(from: Option<IpAddr>) -> Self {
        match from.map(|address| address.to_canonical()) {
            None => Self::Local,
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// The hash of a login as it was typed, so that a long one takes no more room.
type Login = [u8; 32];

/// All attempts to log in.
pub(super) struct Attempts {
    began: Instant,
    tables: Mutex<Tables>,
}

struct Tables {
    by_account: Windows<(Login, Option<Network>)>,
    by_address: Windows<Network>,
    /// From where accounts logged in: a window with one attempt each.
    known: Windows<(Login, Network)>,
}

/// One attempt that was let through.
#[derive(Debug)]
pub(super) struct Attempt {
    account: (Login, Option<Network>),
    network: Network,
}

impl Attempts {
    pub(super) fn new(limits: &Limits) -> Self {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let (keys_max, window_ms) = (size(limits.login_keys_max), limits.login_window_ms);
        let tables = Tables {
            by_account: Windows::new(size(limits.login_attempts_per_account_max), keys_max, window_ms),
            by_address: Windows::new(size(limits.login_attempts_per_address_max), keys_max, window_ms),
            known: Windows::new(1, keys_max, limits.refresh_token_ms_max),
        };
        Self { began: Instant::now(), tables: Mutex::new(tables) }
    }

    /// Counts an attempt before it is looked at, so that many at once are not more than one after the other.
    ///
    /// # Errors
    /// How long to wait, where there were too many.
    pub(super) fn begin(&self, login: &str, from: Option<IpAddr>) -> Result<Attempt, Duration> {
        self.begin_at(login, from, ms_since(self.began)).map_err(Duration::from_millis)
    }

    fn begin_at(&self, login: &str, from: Option<IpAddr>, now_ms: u64) -> Result<Attempt, u64> {
        let login: Login = *blake3::hash(login.to_ascii_lowercase().as_bytes()).as_bytes();
        let network = Network::of(from);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = tables.known.wait_ms(&(login, network), now_ms).is_some();
        let account = (login, is_known.then_some(network));
        let waits = [tables.by_account.wait_ms(&account, now_ms), tables.by_address.wait_ms(&network, now_ms)];
        if let Some(wait_ms) = waits.into_iter().flatten().max() {
            return Err(wait_ms);
        }
        tables.by_account.add(&account, now_ms);
        tables.by_address.add(&network, now_ms);
        Ok(Attempt { account, network })
    }

    /// The password was right: the account's attempts from there are forgotten, those of the address are not.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        let now_ms = ms_since(self.began);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.by_account.clear(&attempt.account);
        let known = (attempt.account.0, attempt.network);
        tables.known.clear(&known);
        tables.known.add(&known, now_ms);
    }

    /// The password was not looked at.
    pub(super) fn take_back(&self, attempt: &Attempt) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.by_account.take_back(&attempt.account);
        tables.by_address.take_back(&attempt.network);
    }
}

/// How many changes each credential makes in a minute, so that none of them fills the history and the disk.
pub(in crate::publish) struct Writes {
    began: Instant,
    windows: Mutex<Windows<String>>,
}

impl Writes {
    pub(in crate::publish) fn new(limits: &Limits) -> Self {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let windows = Windows::new(size(limits.writes_per_minute_max), WRITERS_MAX, WRITES_WINDOW_MS);
        Self { began: Instant::now(), windows: Mutex::new(windows) }
    }

    /// Counts a change before it is made.
    ///
    /// # Errors
    /// How many milliseconds to wait, where there were too many.
    pub(in crate::publish) fn begin(&self, writer: &String) -> Result<(), u64> {
        let now_ms = ms_since(self.began);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.wait_ms(writer, now_ms) {
            Some(wait_ms) => Err(wait_ms),
            None => {
                windows.add(writer, now_ms);
                Ok(())
            }
        }
    }

    /// The change was not made.
    pub(in crate::publish) fn take_back(&self, writer: &String) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).take_back(writer);
    }
}

/// So many times within a window, whoever it is.
pub(super) struct Quota {
    began: Instant,
    window: Mutex<Windows<()>>,
}

impl Quota {
    /// For lines of the log that strangers cause.
    pub(super) fn of_the_log() -> Self {
        Self { began: Instant::now(), window: Mutex::new(Windows::new(LINES_MAX, 1, LINES_WINDOW_MS)) }
    }

    /// Whether it may be done once more.
    pub(super) fn take(&self) -> bool {
        let now_ms = ms_since(self.began);
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let may = window.wait_ms(&(), now_ms).is_none();
        if may {
            window.add(&(), now_ms);
        }
        may
    }
}

fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attempts(per_account: u64, per_address: u64) -> Attempts {
        Attempts::new(&Limits {
            login_attempts_per_account_max: per_account,
            login_attempts_per_address_max: per_address,
            login_window_ms: 1_000,
            ..Limits::default()
        })
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_attempts_than_are_allowed(
            count_max in 1usize..6,
            window_ms in 1u64..50,
            steps in prop::collection::vec((0u64..20, 0u8..3), 1..200),
        ) {
            // As many keys as there are: none is forgotten.
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
                        // It says the truth about when: not a moment before, and then at once.
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
    fn an_account_is_locked_for_strangers_and_not_where_its_owner_logged_in() {
        let attempts = attempts(3, 100);
        let home = attempts.begin_at("ada", address("192.0.2.1"), 0).unwrap();
        attempts.succeeded(&home);
        for number in 0..3 {
            attempts.begin_at("ADA", address(&format!("198.51.100.{number}")), 10).unwrap();
        }
        assert_eq!(attempts.begin_at("ada", address("203.0.113.9"), 510).unwrap_err(), 500);
        attempts.begin_at("ada", address("192.0.2.1"), 510).unwrap();
        attempts.begin_at("bob", address("203.0.113.9"), 510).unwrap();
        // What was refused does not count.
        attempts.begin_at("ada", address("203.0.113.9"), 1_010).unwrap();
    }

    #[test]
    fn an_address_is_limited_whatever_it_gets_right_and_a_64_is_one() {
        let attempts = attempts(10, 3);
        for number in 1..=3 {
            let from = address(&format!("2001:db8::{number}"));
            let attempt = attempts.begin_at(&format!("name-{number}"), from, 0).unwrap();
            attempts.succeeded(&attempt);
        }
        assert_eq!(attempts.begin_at("other", address("2001:db8::ffff:1"), 1).unwrap_err(), 999);
        attempts.begin_at("other", address("2001:db8:0:1::1"), 1).unwrap();
        // An IPv4 address is the same in either form.
        for from in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
            attempts.begin_at("other", address(from), 1).unwrap();
        }
        attempts.begin_at("other", address("::ffff:192.0.2.1"), 1).unwrap_err();
    }

    #[test]
    fn an_attempt_that_was_not_looked_at_does_not_count() {
        let attempts = attempts(1, 1);
        let attempt = attempts.begin_at("ada", None, 0).unwrap();
        attempts.begin_at("ada", None, 0).unwrap_err();
        attempts.take_back(&attempt);
        attempts.begin_at("ada", None, 0).unwrap();
    }
}
