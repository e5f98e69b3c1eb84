//! Per-app limits on pushes, with their current use, and the rate of pushes within the last hour.

use std::collections::HashMap;
use std::time::Instant;

use devanture_config::api::{AppUsage, LimitUsage};
use devanture_config::limits::{PER_APP, zero_is_no_limit};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::publisher::Publisher;
use crate::ledger::Error;

impl Publisher {
    /// Checks that an app may begin another push.
    ///
    /// # Errors
    /// `too_many_pushes`.
    pub(super) fn check_pushes(&self, app: &AppName) -> Result<(), Error> {
        let max = self.pushes_per_hour_max(app);
        self.uploads.push_rate.check(app, max).map_err(|reached| too_many_pushes(app, max, &reached).into())
    }

    /// Counts a new push.
    ///
    /// # Errors
    /// As [`Publisher::check_pushes`].
    pub(super) fn count_push(&self, app: &AppName) -> Result<(), Error> {
        let max = self.pushes_per_hour_max(app);
        self.uploads.push_rate.count(app, max).map_err(|reached| too_many_pushes(app, max, &reached).into())
    }

    fn pushes_per_hour_max(&self, app: &AppName) -> u64 {
        self.ledger.limits().for_app(app).pushes_per_hour_per_app_max
    }

    /// Checks the app's space for a push, besides its other running pushes.
    ///
    /// # Errors
    /// `storage_full`.
    pub(super) async fn check_stored_bytes(&self, app: &AppName, missing: &HashMap<Digest, u64>) -> Result<(), Error> {
        let max = self.ledger.limits().for_app(app).stored_bytes_per_app_max;
        // A push without new bytes always fits, even after the limit was lowered.
        if max == 0 || missing.is_empty() {
            return Ok(());
        }
        let mut coming = self.uploads.pushes.coming(app);
        let others = coming.iter().filter(|(digest, _)| !missing.contains_key(digest));
        let others: HashMap<Digest, u64> = others.map(|(digest, bytes)| (*digest, *bytes)).collect();
        coming.extend(missing);
        let wanted = self.uploads.owned.bytes_with(app, &coming).await?;
        if wanted <= max {
            return Ok(());
        }
        let used = self.uploads.owned.bytes_with(app, &others).await?;
        let more = counted(wanted.saturating_sub(used), "byte");
        let detail = format!(
            "The app {app} stores {}, and this push brings {more} more; {max} are allowed.",
            counted(used, "byte")
        );
        Err(Problem::new(Code::StorageFull, detail)
            .hint("delete old versions with `devanture delete version ID --purge`, or push fewer bytes")
            .limit("stored_bytes_per_app_max", max, used)
            .into())
    }

    /// Returns the use of every limit that can be set per app.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn usage(&self, app: &AppName) -> Result<AppUsage, Error> {
        self.ledger.must_exist(app).await?;
        let of_all = self.ledger.limits();
        let limits = of_all.for_app(app);
        let counts = self.environments.places.counts(app).await?;
        let stored_bytes = self.uploads.owned.bytes_with(app, &self.uploads.pushes.coming(app)).await?;
        let traffic = self.switcher.loader.traffic(app);
        let used = |name: &str| match name {
            "stored_bytes_per_app_max" => Some(stored_bytes),
            "versions_max" => Some(counts.versions),
            "bundle_files_max" => Some(counts.version_files_most),
            "aliases_max" => Some(counts.aliases),
            "environments_max" => Some(counts.environments),
            "hostnames_per_app_max" => Some(counts.hostnames),
            "pushes_per_hour_per_app_max" => Some(self.uploads.push_rate.begun(app)),
            "requests_per_app_max" => traffic.requests,
            "sent_bytes_per_second_per_app_max" => traffic.bytes_per_second,
            _ => None,
        };
        let usage = |name: &&str| {
            let max = limits.value(name)?;
            let has_limit = max > 0 || !zero_is_no_limit(name);
            Some(LimitUsage {
                name: (*name).to_owned(),
                used: used(name),
                max: has_limit.then_some(max),
                own: of_all.value(name) != Some(max),
            })
        };
        Ok(AppUsage { app: app.clone(), limits: PER_APP.iter().filter_map(usage).collect() })
    }
}

fn too_many_pushes(app: &AppName, max: u64, reached: &Reached) -> Problem {
    let Reached { begun, wait_s } = *reached;
    let detail = format!("The app {app} has begun {} within an hour; {max} are allowed.", counted(begun, "push"));
    Problem::new(Code::TooManyPushes, detail)
        .hint(format!("try again in {}", counted(wait_s.div_ceil(60).min(60), "minute")))
        .limit("pushes_per_hour_per_app_max", max, begun)
        .retry_after(wait_s)
}

// Pushes of each app within the last hour, counted by minute, in constant memory per app. In memory only: a fresh edge
// starts at zero, and a successor in a takeover continues the counts.

/// Counted minutes: the current minute and sixty complete minutes, so that no hour exceeds the limit.
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

/// Pushes of an app within the last hour, passed to the edge's successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedPushes {
    app: AppName,
    /// Age in minutes, and the pushes of the minute.
    by_age: Vec<(u64, u32)>,
}

impl PushRate {
    /// Seconds since one hour before the start of the edge, to include pushes of the predecessor.
    fn now_s(&self) -> u64 {
        self.began.elapsed().as_secs().saturating_add(MINUTES as u64 * MINUTE_S)
    }

    /// Returns the counts for the successor.
    pub(super) fn counted(&self) -> Vec<CountedPushes> {
        let now_s = self.now_s();
        let mut by_app = self.by_app.lock();
        let counted =
            by_app.iter_mut().map(|(app, hour)| CountedPushes { app: app.clone(), by_age: hour.by_age(now_s) });
        counted.filter(|counted| !counted.by_age.is_empty()).collect()
    }

    /// Continues the counts of the predecessor.
    pub(super) fn go_on(&self, counted: Vec<CountedPushes>) {
        let now_s = self.now_s();
        let mut by_app = self.by_app.lock();
        for CountedPushes { app, by_age } in counted {
            by_app.entry(app).or_default().add_by_age(now_s, &by_age);
        }
    }

    /// Counts a push, unless the app has begun `count_max` pushes within the hour; 0 is no limit.
    ///
    /// # Errors
    /// As [`PushRate::check`].
    pub(super) fn count(&self, app: &AppName, count_max: u64) -> Result<(), Reached> {
        let now_s = self.now_s();
        let mut by_app = self.by_app.lock();
        // Expired entries are removed whenever the table would have to grow.
        if by_app.len() == by_app.capacity() && !by_app.contains_key(app) {
            by_app.retain(|_, hour| hour.count(now_s) > 0);
        }
        let hour = by_app.entry(app.clone()).or_default();
        hour.check(now_s, count_max)?;
        hour.add(now_s);
        Ok(())
    }

    /// Checks the limit of an app.
    ///
    /// # Errors
    /// The number of begun pushes, and the wait for the next.
    pub(super) fn check(&self, app: &AppName, count_max: u64) -> Result<(), Reached> {
        let now_s = self.now_s();
        self.by_app.lock().get_mut(app).map_or(Ok(()), |hour| hour.check(now_s, count_max))
    }

    /// Returns the pushes of an app begun within the hour.
    pub(super) fn begun(&self, app: &AppName) -> u64 {
        let now_s = self.now_s();
        self.by_app.lock().get_mut(app).map_or(0, |hour| hour.count(now_s))
    }
}

/// The limit of pushes is reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Pushes within the hour.
    pub(super) begun: u64,
    /// Seconds until the next push is allowed.
    pub(super) wait_s: u64,
}

/// Pushes of an app by minute.
struct LastHour {
    /// Latest minute seen.
    minute: u64,
    /// Pushes by minute, indexed by minute number.
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

    /// Clears expired minutes.
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

    /// Returns the age and count of each minute with pushes.
    fn by_age(&mut self, now_s: u64) -> Vec<(u64, u32)> {
        self.advance(now_s);
        let ages = (0..MINUTES as u64).filter_map(|age| Some((age, self.minute.checked_sub(age)?)));
        let counts = ages.filter_map(|(age, minute)| Some((age, *self.by_minute.get(Self::place(minute))?)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Adds pushes by age of their minute; expired minutes are ignored.
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
        // The surplus must expire first, oldest minutes first.
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

    use proptest::prelude::*;

    use super::*;

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
        // Of five pushes, four must expire, those of both minutes.
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
        // The first push expires an hour after its beginning, rather than an hour after the takeover.
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
        // Enough apps to grow the table if it still held the apps of the hour before.
        let more = rate.by_app.lock().capacity();
        for number in 100..100 + more {
            rate.count(&name(number), 0).unwrap();
        }
        assert_eq!(rate.by_app.lock().len(), more, "those of the hour before are forgotten");
        assert!((100..100 + more).all(|number| rate.begun(&name(number)) == 1));
    }
}
