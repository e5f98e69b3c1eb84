//! How many pushes each app began within the last hour, by minutes, so that an app takes the same few bytes however
//! often it pushes. In memory alone: an edge that starts alone begins at none, and one that takes over goes on.

use std::collections::HashMap;
use std::time::Instant;

use devanture_config::AppName;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The minutes that count: the one that is under way, and sixty whole ones, so that no hour has more than is allowed.
const MINUTES: usize = 61;
const MINUTE_S: u64 = 60;

/// Pushes of each app.
pub(super) struct PushRate {
    began: Instant,
    by_app: Mutex<HashMap<AppName, LastHour>>,
}

impl Default for PushRate {
    fn default() -> Self {
        Self { began: Instant::now(), by_app: Mutex::default() }
    }
}

/// Pushes of an app within the last hour, for the edge that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedPushes {
    app: AppName,
    /// Minutes ago, and the pushes of that minute.
    by_age: Vec<(u64, u32)>,
}

impl PushRate {
    /// Seconds since an hour before this edge began, which the pushes of the edge before are in.
    fn now_s(&self) -> u64 {
        self.began.elapsed().as_secs().saturating_add(MINUTES as u64 * MINUTE_S)
    }

    /// What the next edge goes on from.
    pub(super) fn counted(&self) -> Vec<CountedPushes> {
        let now_s = self.now_s();
        let mut by_app = self.by_app.lock();
        let counted =
            by_app.iter_mut().map(|(app, hour)| CountedPushes { app: app.clone(), by_age: hour.by_age(now_s) });
        counted.filter(|counted| !counted.by_age.is_empty()).collect()
    }

    /// Goes on from what the edge before has counted.
    pub(super) fn go_on(&self, counted: Vec<CountedPushes>) {
        let now_s = self.now_s();
        let mut by_app = self.by_app.lock();
        for CountedPushes { app, by_age } in counted {
            by_app.entry(app).or_default().add_by_age(now_s, &by_age);
        }
    }

    /// Counts a push, unless `count_max` of the app were begun within the hour; 0 is no limit.
    ///
    /// # Errors
    /// As [`PushRate::check`].
    pub(super) fn count(&self, app: &AppName, count_max: u64) -> Result<(), Reached> {
        let now_s = self.now_s();
        let mut by_app = self.by_app.lock();
        // Those that count nothing any more go whenever the table would have to grow.
        if by_app.len() == by_app.capacity() && !by_app.contains_key(app) {
            by_app.retain(|_, hour| hour.count(now_s) > 0);
        }
        let hour = by_app.entry(app.clone()).or_default();
        hour.check(now_s, count_max)?;
        hour.add(now_s);
        Ok(())
    }

    /// Checks that a push may begin.
    ///
    /// # Errors
    /// How many were begun, and when there may be another.
    pub(super) fn check(&self, app: &AppName, count_max: u64) -> Result<(), Reached> {
        let now_s = self.now_s();
        self.by_app.lock().get_mut(app).map_or(Ok(()), |hour| hour.check(now_s, count_max))
    }

    /// Pushes of an app that were begun within the hour.
    pub(super) fn begun(&self, app: &AppName) -> u64 {
        let now_s = self.now_s();
        self.by_app.lock().get_mut(app).map_or(0, |hour| hour.count(now_s))
    }
}

/// As many pushes were begun as are allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Pushes within the hour.
    pub(super) begun: u64,
    /// Seconds until there may be another.
    pub(super) wait_s: u64,
}

/// Pushes of one app by minutes.
struct LastHour {
    /// The latest minute that was looked at.
    minute: u64,
    /// The pushes of each minute, which has its place by its number.
    by_minute: [u32; MINUTES],
}

impl Default for LastHour {
    fn default() -> Self {
        Self { minute: 0, by_minute: [0; MINUTES] }
    }
}

impl LastHour {
    fn place(minute: u64) -> usize {
        usize::try_from(minute % MINUTES as u64).unwrap_or(0)
    }

    /// Forgets minutes that no longer count.
    fn advance(&mut self, now_s: u64) {
        let minute = now_s / MINUTE_S;
        let passed = minute.saturating_sub(self.minute).min(MINUTES as u64);
        for old in 1..=passed {
            if let Some(count) = self.by_minute.get_mut(Self::place(self.minute.saturating_add(old))) {
                *count = 0;
            }
        }
        if passed == MINUTES as u64 {
            self.by_minute = [0; MINUTES];
        }
        self.minute = self.minute.max(minute);
    }

    fn count(&mut self, now_s: u64) -> u64 {
        self.advance(now_s);
        self.by_minute.iter().map(|count| u64::from(*count)).sum()
    }

    /// The pushes of each minute that has some, by how long ago it was.
    fn by_age(&mut self, now_s: u64) -> Vec<(u64, u32)> {
        self.advance(now_s);
        let ages = (0..MINUTES as u64).filter_map(|age| Some((age, self.minute.checked_sub(age)?)));
        let counts = ages.filter_map(|(age, minute)| Some((age, *self.by_minute.get(Self::place(minute))?)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Adds the pushes of minutes so long ago; older ones count no longer.
    fn add_by_age(&mut self, now_s: u64, by_age: &[(u64, u32)]) {
        self.advance(now_s);
        for (age, count) in by_age.iter().filter(|(age, _)| *age < MINUTES as u64) {
            let Some(minute) = self.minute.checked_sub(*age) else { continue };
            if let Some(here) = self.by_minute.get_mut(Self::place(minute)) {
                *here = here.saturating_add(*count);
            }
        }
    }

    fn add(&mut self, now_s: u64) {
        self.advance(now_s);
        if let Some(count) = self.by_minute.get_mut(Self::place(self.minute)) {
            *count = count.saturating_add(1);
        }
    }

    fn check(&mut self, now_s: u64, count_max: u64) -> Result<(), Reached> {
        let begun = self.count(now_s);
        if count_max == 0 || begun < count_max {
            return Ok(());
        }
        // As many have to be forgotten as there are too many, those of the oldest minutes first.
        let mut surplus = begun.saturating_sub(count_max).saturating_add(1);
        for age in (0..MINUTES as u64).rev() {
            let Some(minute) = self.minute.checked_sub(age) else { continue };
            let here = self.by_minute.get(Self::place(minute)).copied().map_or(0, u64::from);
            if here >= surplus {
                let free_s = minute.saturating_add(MINUTES as u64).saturating_mul(MINUTE_S);
                return Err(Reached { begun, wait_s: free_s.saturating_sub(now_s).max(1) });
            }
            surplus = surplus.saturating_sub(here);
        }
        Err(Reached { begun, wait_s: MINUTE_S })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_hour_ever_has_more_pushes_than_are_allowed_and_the_wait_is_true(
            count_max in 1u64..5,
            steps in prop::collection::vec(0u64..2_500, 1..120),
        ) {
            let (mut hour, mut now_s, mut allowed) = (LastHour::default(), 0, Vec::new());
            for step_s in steps {
                now_s += step_s;
                match hour.check(now_s, count_max) {
                    Ok(()) => {
                        hour.add(now_s);
                        allowed.push(now_s);
                    }
                    Err(Reached { begun, wait_s }) => {
                        prop_assert_eq!(begun, count_max);
                        let mut later = LastHour { minute: hour.minute, by_minute: hour.by_minute };
                        prop_assert!(later.check(now_s + wait_s - 1, count_max).is_err());
                        prop_assert!(later.check(now_s + wait_s, count_max).is_ok());
                    }
                }
            }
            for (index, begin) in allowed.iter().enumerate() {
                let within = allowed[index..].iter().filter(|at| *at - begin < 3_600).count();
                prop_assert!(within as u64 <= count_max, "{within} within an hour of {begin}: {allowed:?}");
            }
        }
    }

    #[test]
    fn the_wait_is_true_where_the_limit_was_lowered() {
        let (mut hour, minutes) = (LastHour::default(), [(0, 2), (10, 3)]);
        for (minute, pushes) in minutes {
            for _ in 0..pushes {
                hour.add(minute * MINUTE_S);
            }
        }
        let now_s = 10 * MINUTE_S;
        // Of five, four have to be forgotten: those of both minutes.
        let free_s = (10 + MINUTES as u64) * MINUTE_S;
        assert_eq!(hour.check(now_s, 2), Err(Reached { begun: 5, wait_s: free_s - now_s }));
        assert!(hour.check(free_s, 2).is_ok());
    }

    #[test]
    fn apps_are_counted_apart_and_without_a_limit_too() {
        let rate = PushRate::default();
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        for _ in 0..3 {
            rate.count(&shop, 0).unwrap();
        }
        assert_eq!((rate.begun(&shop), rate.begun(&blog)), (3, 0));
        assert_eq!(rate.count(&shop, 3).unwrap_err().begun, 3);
        assert!(rate.check(&shop, 4).is_ok());
        rate.count(&blog, 1).unwrap();
        assert!(rate.check(&blog, 1).is_err());
        assert_eq!(rate.begun(&shop), 3, "what was refused does not count");
    }

    #[test]
    fn the_next_edge_goes_on_from_what_was_counted() {
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let mut before = PushRate::default();
        before.count(&shop, 0).unwrap();
        before.began = before.began.checked_sub(Duration::from_secs(40 * MINUTE_S)).unwrap();
        before.count(&shop, 0).unwrap();
        before.count(&blog, 0).unwrap();
        let counted = before.counted();
        let text = serde_json::to_string(&counted).unwrap();
        let mut next = PushRate::default();
        next.go_on(serde_json::from_str(&text).unwrap());
        assert_eq!((next.begun(&shop), next.begun(&blog)), (2, 1), "{text}");
        assert_eq!(next.check(&shop, 2).unwrap_err().begun, 2);
        // The first one is forgotten an hour after it, and not an hour after the takeover.
        next.began = next.began.checked_sub(Duration::from_secs(30 * MINUTE_S)).unwrap();
        assert_eq!((next.begun(&shop), next.begun(&blog)), (1, 1), "{text}");
        next.began = next.began.checked_sub(Duration::from_secs(40 * MINUTE_S)).unwrap();
        assert_eq!((next.begun(&shop), next.counted()), (0, Vec::new()));
    }

    #[test]
    fn apps_take_memory_only_while_they_have_pushes_that_count() {
        let mut rate = PushRate::default();
        let name = |number: usize| format!("app-{number}").parse::<AppName>().unwrap();
        for number in 0..100 {
            rate.count(&name(number), 0).unwrap();
        }
        assert!((0..100).all(|number| rate.begun(&name(number)) == 1), "those of others stay counted");
        rate.began = rate.began.checked_sub(Duration::from_secs(2 * 60 * MINUTE_S)).unwrap();
        // Enough to make the table grow, were those of the hour before still in it.
        let more = rate.by_app.lock().capacity();
        for number in 100..100 + more {
            rate.count(&name(number), 0).unwrap();
        }
        assert_eq!(rate.by_app.lock().len(), more, "those of the hour before are forgotten");
        assert!((100..100 + more).all(|number| rate.begun(&name(number)) == 1));
    }
}
