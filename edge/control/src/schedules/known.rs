//! Schedules known to this node by environment, and the order of waiting runs.

use std::collections::BTreeMap;

use devanture_config::site_toml::{Schedule, ScheduleName};
use devanture_config::{AppName, Digest, PlaceName};

use super::due::{NextAction, counted_from, due};

/// Delay before retrying a due time after a failed claim, in milliseconds: the end of each attempt wakes the loop, so
/// without a delay the retry would be immediate.
const LEFT_MS: u64 = 1_000;

/// App, and an environment of the app.
pub(super) type Place = (AppName, PlaceName);

/// Schedule of the live version of an environment.
#[derive(Debug, Clone)]
pub(super) struct KnownSchedule {
    pub(super) schedule: Schedule,
    /// All due times up to this time are completed.
    pub(super) done_ms: u64,
    /// Time of the next check.
    pub(super) look_ms: u64,
    /// Due time waiting to start.
    pub(super) waiting: Option<u64>,
    /// In a cluster, the due times left to other nodes while `done_ms` is implausibly far ahead.
    pub(super) left: Option<LeftToOthers>,
    /// Set to true if a terminated edge process may have abandoned a run.
    pub(super) has_others: bool,
}

/// Due times left to other nodes, recorded at the first sight of an implausible record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftToOthers {
    /// Time in the record.
    done_ms: u64,
    /// First due time of the schedule after the first sight.
    until_ms: u64,
}

impl KnownSchedule {
    /// Checks the clock: records a due time, and the time of the next check. Returns a missed due time.
    ///
    /// On a single node, due times count from `now_ms` again after a large step back of the clock. The new start is
    /// stored, because a later check would otherwise start from a later time and find no due time.
    pub(super) fn look(&mut self, now_ms: u64, is_alone: bool) -> Option<u64> {
        let done_ms = if is_alone {
            self.done_ms = counted_from(self.done_ms, now_ms);
            self.done_ms
        } else {
            self.counted_beside_others(now_ms)
        };
        match due(&self.schedule, done_ms, now_ms) {
            NextAction::Now(at) => {
                self.waiting = Some(at);
                self.look_ms = self.schedule.cron.next_after(&self.schedule.zone, now_ms).unwrap_or(u64::MAX);
            }
            // A due time in the queue was reached in time and is not missed.
            NextAction::Missed(at) => return self.waiting.is_none().then_some(at),
            NextAction::At(at) => self.look_ms = at,
            NextAction::Never => self.look_ms = u64::MAX,
        }
        None
    }

    /// Returns the start for counting due times in a cluster. An implausible record was either written by a wrong
    /// clock, or the clock of this node is far behind. A single due time is left to the other nodes: with correct
    /// clocks, another node runs the schedule and writes the record, and this node waits again; without a run, due
    /// times count from there.
    fn counted_beside_others(&mut self, now_ms: u64) -> u64 {
        if counted_from(self.done_ms, now_ms) == self.done_ms {
            self.left = None;
            return self.done_ms;
        }
        let seen = self.left.filter(|left| left.done_ms == self.done_ms);
        let left = seen.unwrap_or_else(|| {
            let next_ms = self.schedule.cron.next_after(&self.schedule.zone, now_ms);
            LeftToOthers { done_ms: self.done_ms, until_ms: next_ms.unwrap_or(now_ms) }
        });
        self.left = Some(left);
        left.until_ms
    }
}

/// Schedule with a due time reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) name: ScheduleName,
    pub(super) due_ms: u64,
}

/// All known schedules.
#[derive(Debug, Default)]
pub(super) struct AllKnown {
    places: BTreeMap<Place, BTreeMap<ScheduleName, KnownSchedule>>,
}

impl AllKnown {
    /// Sets the schedules of an environment.
    pub(super) fn set(&mut self, place: Place, schedules: BTreeMap<ScheduleName, KnownSchedule>) {
        if schedules.is_empty() {
            self.places.remove(&place);
        } else {
            self.places.insert(place, schedules);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn places(&self) -> Vec<Place> {
        self.places.keys().cloned().collect()
    }

    pub(super) fn get(&self, place: &Place, name: &ScheduleName) -> Option<&KnownSchedule> {
        self.places.get(place)?.get(name)
    }

    /// Marks due times of a schedule as completed, unless later due times are completed already.
    pub(super) fn done(&mut self, place: &Place, name: &ScheduleName, done_ms: u64) {
        self.change(place, name, |known| {
            if known.done_ms != done_ms {
                (known.done_ms, known.look_ms) = (done_ms, 0);
            }
            known.waiting = known.waiting.filter(|waiting| *waiting > done_ms);
        });
    }

    /// Records if another edge process runs the schedule.
    pub(super) fn has_others(&mut self, place: &Place, name: &ScheduleName, has_others: bool) {
        self.change(place, name, |known| known.has_others = has_others);
    }

    /// Removes a due time from the queue.
    pub(super) fn begun(&mut self, place: &Place, name: &ScheduleName) {
        self.change(place, name, |known| known.waiting = None);
    }

    /// Schedules a retry of a due time after a delay.
    pub(super) fn leave(&mut self, place: &Place, name: &ScheduleName, now_ms: u64) {
        self.change(place, name, |known| known.look_ms = now_ms.saturating_add(LEFT_MS));
    }

    /// Schedules an immediate check of all schedules.
    pub(super) fn look_at_all(&mut self) {
        self.places.values_mut().flat_map(BTreeMap::values_mut).for_each(|known| known.look_ms = 0);
    }

    fn change(&mut self, place: &Place, name: &ScheduleName, change: impl FnOnce(&mut KnownSchedule)) {
        self.places.get_mut(place).and_then(|schedules| schedules.get_mut(name)).map(change).unwrap_or_default();
    }

    fn all(&self) -> impl Iterator<Item = (&Place, &ScheduleName, &KnownSchedule)> {
        let places = self.places.iter();
        places.flat_map(|(place, schedules)| schedules.iter().map(move |(name, known)| (place, name, known)))
    }

    /// Returns the schedules run by another edge process.
    pub(super) fn with_others(&self) -> Vec<(Place, ScheduleName)> {
        let others = self.all().filter(|(_, _, known)| known.has_others);
        others.map(|(place, name, _)| (place.clone(), name.clone())).collect()
    }

    /// Returns the schedules with a due check.
    pub(super) fn due_for_a_look(&mut self, now_ms: u64) -> impl Iterator<Item = (&Place, &mut KnownSchedule)> {
        let all =
            self.places.iter_mut().flat_map(|(place, schedules)| schedules.values_mut().map(move |one| (place, one)));
        all.filter(move |(_, known)| known.look_ms <= now_ms)
    }

    /// Returns the waiting schedules by due time. The order among equal due times depends on `node`, so nodes do not
    /// all start with the same schedule.
    pub(super) fn waiting(&self, node: &str) -> Vec<Waiting> {
        let waits = self.all().filter_map(|(place, name, known)| {
            Some(Waiting { place: place.clone(), name: name.clone(), due_ms: known.waiting? })
        });
        let mut waiting: Vec<Waiting> = waits.collect();
        let order = |one: &Waiting| {
            let (app, environment) = &one.place;
            (one.due_ms, Digest::of(format!("{app}/{environment}/{}/{node}", one.name).as_bytes()))
        };
        waiting.sort_by_cached_key(order);
        waiting
    }
}

/// Divisor for the part of a node's runs reserved for apps without a run.
const RESERVE: u64 = 4;

/// Runs in progress on this node.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<Place, u64>);

impl Shares {
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Takes a permit; false if the app or the node is at the limit. An environment without a run gets a permit beyond
    /// the limit of the app. A reserve is left to apps without a run (law 11).
    pub(super) fn take(&mut self, place: &Place, total_max: u64, app_max: u64) -> bool {
        let own: u64 = self.0.iter().filter(|((app, _), _)| *app == place.0).map(|(_, runs)| runs).sum();
        let (left, is_first) = (total_max.saturating_sub(self.total()), !self.0.contains_key(place));
        let is_free = match own {
            0 => left > 0,
            own => (own < app_max || is_first) && left > total_max / RESERVE,
        };
        if is_free {
            let runs = self.0.entry(place.clone()).or_default();
            *runs = runs.saturating_add(1);
        }
        is_free
    }

    pub(super) fn give_back(&mut self, place: &Place) {
        if let Some(own) = self.0.get_mut(place) {
            *own = own.saturating_sub(1);
        }
        self.0.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(waiting: Option<u64>) -> KnownSchedule {
        let schedule = Schedule {
            name: "digest".parse().unwrap(),
            command: vec!["digest".to_owned()],
            cron: "0 8 * * *".parse().unwrap(),
            zone: Default::default(),
            missed: Default::default(),
            overlap: false,
            timeout_ms: None,
        };
        KnownSchedule { schedule, done_ms: 0, look_ms: 0, waiting, left: None, has_others: false }
    }

    #[test]
    fn a_thousand_apps_at_eight_begin_a_few_at_a_time_and_none_is_left_out() {
        let mut all = AllKnown::default();
        let place = |number: u32| (format!("app-{number}").parse().unwrap(), "prod".parse().unwrap());
        for number in 0..1_000 {
            all.set(place(number), [("digest".parse().unwrap(), known(Some(8)))].into());
        }
        let orders = [all.waiting("node-1"), all.waiting("node-2")];
        assert_ne!(orders[0], orders[1]);
        let (mut shares, mut rounds) = (Shares::default(), 0);
        while !all.waiting("node-1").is_empty() {
            let begun: Vec<Waiting> =
                all.waiting("node-1").into_iter().filter(|one| shares.take(&one.place, 8, 2)).collect();
            assert_eq!(begun.len(), 8);
            for one in begun {
                all.done(&one.place, &one.name, one.due_ms);
                shares.give_back(&one.place);
            }
            rounds += 1;
        }
        assert_eq!((rounds, shares.total()), (125, 0));
    }

    #[test]
    fn a_time_that_could_not_be_claimed_is_looked_for_again_after_a_pause() {
        let (mut all, name): (_, ScheduleName) = (AllKnown::default(), "digest".parse().unwrap());
        let place: Place = ("shop".parse().unwrap(), "prod".parse().unwrap());
        all.set(place.clone(), [(name.clone(), known(Some(8)))].into());
        all.begun(&place, &name);
        all.leave(&place, &name, 10_000);
        let looks = [10_000, 10_999, 11_000].map(|now_ms| all.due_for_a_look(now_ms).count());
        assert_eq!((all.waiting("node-1").len(), looks), (0, [0, 0, 1]));
    }

    #[test]
    fn times_go_on_after_a_clock_that_was_years_ahead_is_set_right() {
        // Midnight of 2026-03-02, UTC.
        let (midnight, hour, year) = (1_772_409_600_000, 3_600_000, 365 * 24 * 3_600_000);
        let (eight, ahead) = (midnight + 8 * hour, midnight + 4 * year);
        for (is_alone, expected) in [(true, Some(eight)), (false, None)] {
            let mut one = KnownSchedule { done_ms: ahead, ..known(None) };
            assert_eq!((one.look(midnight, is_alone), one.waiting, one.look_ms), (None, None, eight));
            assert_eq!((one.look(eight + 500, is_alone), one.waiting), (None, expected));
            // In a cluster, another node had the chance to run by then.
            let next = eight + 24 * hour;
            one.waiting = None;
            assert_eq!((one.look(next + 500, is_alone), one.waiting), (None, Some(next)));
        }
    }

    #[test]
    fn a_node_that_is_far_behind_leaves_all_times_to_those_that_run_them() {
        let (midnight, hour, day) = (1_772_409_600_000, 3_600_000, 24 * 3_600_000);
        let (mut all, name): (_, ScheduleName) = (AllKnown::default(), "digest".parse().unwrap());
        let place: Place = ("shop".parse().unwrap(), "prod".parse().unwrap());
        all.set(place.clone(), [(name.clone(), known(None))].into());
        // The other nodes are ten days ahead of this node, and run each of their due times; the due times of this node
        // come six hours later.
        for number in 0..30 {
            let of_others = midnight + number * day + 2 * hour;
            all.done(&place, &name, of_others + 10 * day);
            for now_ms in [of_others, of_others + 6 * hour, of_others + 12 * hour] {
                let missed: Vec<u64> =
                    all.due_for_a_look(now_ms).filter_map(|(_, one)| one.look(now_ms, false)).collect();
                assert_eq!((missed, all.waiting("node-1")), (Vec::new(), Vec::new()), "day {number}");
            }
        }
    }

    #[test]
    fn law_11_no_app_takes_every_turn_and_no_environment_those_of_another() {
        let place = |app: &str, name: &str| (app.parse().unwrap(), name.parse().unwrap());
        let (staging, prod, other) = (place("own", "staging"), place("own", "prod"), place("other", "prod"));
        let mut shares = Shares::default();
        let mut taken = |of: &Place| (0..50).filter(|_| shares.take(of, 8, 2)).count();
        assert_eq!((taken(&staging), taken(&prod), taken(&other)), (2, 1, 2));
        // An extra permit for the environment, and two are left to apps without a run.
        assert_eq!((taken(&place("third", "prod")), taken(&place("own", "preview"))), (1, 0));
        assert_eq!((taken(&place("fourth", "prod")), taken(&place("fifth", "prod"))), (1, 1));
        assert_eq!(taken(&place("sixth", "prod")), 0);
        shares.give_back(&prod);
        assert!(!shares.take(&staging, 8, 2) && shares.take(&place("sixth", "prod"), 8, 2));
        let mut few = Shares::default();
        assert_eq!((0..9).filter(|_| few.take(&prod, 2, 2)).count(), 2);
    }
}
