//! Clock of the day, and the settled clock for irreversible expiry.
//!
//! If the machine's clock leaps ahead, the settled clock goes on as before until the leap has lasted for a day: a
//! machine's clock may be wrong at the start and right a minute later.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Distance ahead beyond which a clock has leapt.
const LEAP: Duration = Duration::from_secs(2 * 3_600);
/// Time after which a leap is believed.
const HOLD: Duration = Duration::from_secs(24 * 3_600);

static CLOCK: Mutex<Option<SettledClock>> = Mutex::new(None);
#[cfg(any(test, feature = "testing"))]
thread_local! {
    /// Clock of a test's thread, set by [`settle_own_clock_from`].
    static OWN: std::cell::Cell<Option<SettledClock>> = const { std::cell::Cell::new(None) };
}

/// Returns the time since 1970 UTC. The only clock for timestamps in records.
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns milliseconds since 1970 UTC.
#[must_use]
pub fn now_ms() -> u64 {
    millis(since_epoch())
}

/// Machine's clock when last believed.
#[derive(Debug, Clone, Copy)]
struct SettledClock {
    /// Milliseconds since 1970 UTC.
    known_ms: u64,
    at: Instant,
    /// Start of the current leap.
    leapt: Option<Instant>,
}

impl SettledClock {
    const fn new(known_ms: u64, at: Instant) -> Self {
        Self { known_ms, at, leapt: None }
    }

    /// Returns the settled time while the machine's clock reads `now_ms`.
    fn read(&mut self, now_ms: u64, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.at);
        let expected_ms = self.known_ms.saturating_add(millis(passed));
        if now_ms <= expected_ms.saturating_add(millis(LEAP)) {
            *self = Self::new(now_ms, at);
            return now_ms;
        }
        let hours = (now_ms - expected_ms) / 3_600_000;
        let since = *self.leapt.get_or_insert_with(|| {
            tracing::warn!(
                hours,
                "the clock has leapt ahead: for a day, nothing ends for good by it; if it is wrong, set it right"
            );
            at
        });
        if at.saturating_duration_since(since) < HOLD {
            return expected_ms;
        }
        tracing::info!(hours, "the clock has been ahead for a day: what is over by it ends from now on");
        *self = Self::new(now_ms, at);
        now_ms
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns milliseconds since 1970 UTC for irreversible expiry and removal: [`now_ms`], unless the clock has leapt
/// ahead within a day; then the time without the leap.
#[must_use]
pub fn settled_ms() -> u64 {
    let (now_ms, at) = (now_ms(), Instant::now());
    with_clock(|clock| clock.get_or_insert_with(|| SettledClock::new(now_ms, at)).read(now_ms, at))
}

/// Continues the clock from the last time known to an earlier process.
pub fn settle_clock_from(known_ms: u64) {
    with_clock(|clock| *clock = Some(SettledClock::new(known_ms, Instant::now())));
}

/// For tests: continues the clock of this thread alone from `known_ms`.
#[cfg(any(test, feature = "testing"))]
pub fn settle_own_clock_from(known_ms: u64) {
    OWN.set(Some(SettledClock::new(known_ms, Instant::now())));
}

fn with_clock<R>(work: impl FnOnce(&mut Option<SettledClock>) -> R) -> R {
    #[cfg(any(test, feature = "testing"))]
    if let own @ Some(_) = OWN.get() {
        let mut own = own;
        let done = work(&mut own);
        OWN.set(own);
        return done;
    }
    work(&mut CLOCK.lock())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

    /// Reads a clock that was right at 1,000 hours, after the given hours and with the given offsets of the machine's
    /// clock.
    fn reads(offsets: &[(u64, i64)]) -> Vec<u64> {
        let (began, known_ms) = (Instant::now(), 1_000 * HOUR_MS);
        let mut clock = SettledClock::new(known_ms, began);
        let read = offsets.iter().map(|(hours, offset_ms)| {
            let right_ms = known_ms + hours * HOUR_MS;
            let at = began + Duration::from_millis(hours * HOUR_MS);
            clock.read(right_ms.saturating_add_signed(*offset_ms), at) / HOUR_MS
        });
        read.collect()
    }

    #[test]
    fn a_leap_is_believed_once_it_has_lasted_for_a_day() {
        let year = YEAR_MS.cast_signed();
        assert_eq!(reads(&[(0, 0), (5, 0), (6, year), (7, year), (8, 0)]), [1_000, 1_005, 1_006, 1_007, 1_008]);
        assert_eq!(reads(&[(1, year), (24, year), (25, year), (26, year)]), [1_001, 1_024, 9_785, 9_786]);
        // A second leap meanwhile does not restart the day.
        assert_eq!(reads(&[(1, year), (20, 2 * year), (25, 2 * year)]), [1_001, 1_020, 18_545]);
        // A leap back and ahead does.
        assert_eq!(reads(&[(1, year), (2, 0), (3, year), (26, year), (27, year)]), [1_001, 1_002, 1_003, 1_026, 9_787]);
    }

    #[test]
    fn a_clock_that_is_set_back_or_a_little_ahead_is_believed() {
        let hour = HOUR_MS.cast_signed();
        assert_eq!(reads(&[(1, -500 * hour), (2, -500 * hour), (3, -499 * hour)]), [501, 502, 504]);
        assert_eq!(reads(&[(1, hour), (2, 2 * hour), (3, 0)]), [1_002, 1_004, 1_003]);
    }

    #[test]
    fn it_is_that_of_the_machine_where_nothing_else_is_known() {
        assert!(settled_ms().abs_diff(now_ms()) < HOUR_MS);
    }
}
