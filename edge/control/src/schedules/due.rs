//! Due times of a schedule: pure functions of the expression, the last run, and the clock.

use devanture_config::site_toml::{Missed, Schedule};

/// Delay after which a due time counts as missed, in milliseconds.
const LATE_MS: u64 = 60_000;
/// Maximum lag of the clock behind a completed due time, in milliseconds, before due times count from the clock again.
/// A clock set back by less repeats no due time.
const CLOCK_BACK_MS_MAX: u64 = 3_600_000;

/// Next action for a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAction {
    /// Run the schedule for this due time.
    Now(u64),
    /// Skip this due time.
    Missed(u64),
    /// Check again at this time.
    At(u64),
    /// The schedule has no further due times.
    Never,
}

/// Returns the next action at `now_ms` for a schedule with all due times up to `done_ms` completed. The latest of
/// several passed due times stands for all.
pub(super) fn due(schedule: &Schedule, done_ms: u64, now_ms: u64) -> NextAction {
    let (cron, zone) = (&schedule.cron, &schedule.zone);
    let done_ms = counted_from(done_ms, now_ms);
    match cron.last_within(zone, done_ms, now_ms) {
        Some(due) if schedule.missed == Missed::Skip && now_ms.saturating_sub(due) > LATE_MS => NextAction::Missed(due),
        Some(due) => NextAction::Now(due),
        None => cron.next_after(zone, done_ms.max(now_ms)).map_or(NextAction::Never, NextAction::At),
    }
}

/// Returns the start for counting due times: `done_ms`, or `now_ms` after a large step back of the clock.
pub(super) fn counted_from(done_ms: u64, now_ms: u64) -> u64 {
    if done_ms > now_ms.saturating_add(CLOCK_BACK_MS_MAX) { now_ms } else { done_ms }
}

/// Returns true if `due_ms` is among the completed due times up to `done_ms`. False after a large step back of the
/// clock, when the record no longer counts.
pub(super) fn is_done(due_ms: u64, done_ms: u64, now_ms: u64) -> bool {
    done_ms >= due_ms && done_ms <= now_ms.saturating_add(CLOCK_BACK_MS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    /// 2026-03-02 00:00 UTC.
    const START: u64 = 1_772_409_600_000;

    fn schedule(cron: &str, missed: Missed) -> Schedule {
        Schedule {
            name: "digest".parse().unwrap(),
            command: vec!["digest".to_owned()],
            cron: cron.parse().unwrap(),
            zone: "UTC".parse().unwrap(),
            missed,
            overlap: false,
            timeout_ms: None,
        }
    }

    #[test]
    fn a_time_is_waited_for_and_runs_when_it_has_come() {
        let daily = schedule("0 8 * * *", Missed::Skip);
        let eight = START + 8 * HOUR;
        assert_eq!(due(&daily, START, eight - 1), NextAction::At(eight));
        assert_eq!(due(&daily, START, eight), NextAction::Now(eight));
        assert_eq!(due(&daily, START, eight + MINUTE), NextAction::Now(eight));
        assert_eq!(due(&daily, eight, eight + MINUTE), NextAction::At(eight + DAY));
    }

    #[test]
    fn times_that_were_missed_are_one_run_or_none() {
        let later = START + 5 * DAY;
        let last = START + 4 * DAY + 8 * HOUR;
        assert_eq!(due(&schedule("0 8 * * *", Missed::Once), START, later), NextAction::Now(last));
        assert_eq!(due(&schedule("0 8 * * *", Missed::Skip), START, later), NextAction::Missed(last));
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_no_time_and_stops_nothing_for_long() {
        let (hourly, ten) = (schedule("0 * * * *", Missed::Once), START + 10 * HOUR);
        assert_eq!(due(&hourly, ten, ten - 30 * MINUTE), NextAction::At(ten + HOUR));
        let years = 4 * 365 * DAY;
        assert_eq!(due(&hourly, ten + years, ten + MINUTE), NextAction::At(ten + HOUR));
    }

    proptest! {
        #[test]
        fn no_time_runs_twice_however_the_clock_goes(steps in prop::collection::vec(-3_000_i64..90_000_000, 1..60)) {
            let schedule = schedule("*/20 * * * *", Missed::Once);
            let (mut now, mut done, mut ran) = (START, START, Vec::new());
            for step in steps {
                now = now.saturating_add_signed(step);
                match due(&schedule, done, now) {
                    NextAction::Now(at) => {
                        prop_assert!(at <= now && at % (20 * MINUTE) == 0);
                        ran.push(at);
                        done = at;
                    }
                    NextAction::At(at) => prop_assert!(at > now),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert!(ran.is_sorted_by(|a, b| a < b), "{:?}", ran);
        }
    }
}
