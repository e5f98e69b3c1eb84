//! Refusals in the log: a flood of refusals does not flood the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Seconds between two log lines about refused connections for one reason.
pub const NOTED_EVERY_S: u64 = 60;

/// Number of refused connections since the last log line.
#[derive(Debug)]
pub struct Noted {
    at_s: AtomicU64,
    refused: AtomicU64,
}

impl Default for Noted {
    fn default() -> Self {
        Self::new()
    }
}

impl Noted {
    /// Creates a counter without refusals.
    #[must_use]
    pub const fn new() -> Self {
        Self { at_s: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Counts a refusal at the current time. Returns true if a line without a number is due.
    pub fn is_due(&self) -> bool {
        self.add(crate::clock::since_epoch().as_secs()).is_some()
    }

    /// Counts a refusal, and returns the number for the next line, if due.
    pub fn add(&self, now_s: u64) -> Option<u64> {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let at_s = self.at_s.load(Ordering::Relaxed);
        // A clock that was set back must not silence the log.
        let is_due = now_s.abs_diff(at_s) >= NOTED_EVERY_S;
        let is_ours = is_due && self.at_s.compare_exchange(at_s, now_s, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ours.then(|| {
            self.refused.fetch_sub(refused, Ordering::Relaxed);
            refused
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_the_first_refused_connection_and_the_number_of_the_others_a_minute_later() {
        let noted = Noted::new();
        assert_eq!([noted.add(1_000), noted.add(1_001), noted.add(1_059)], [Some(1), None, None]);
        assert_eq!([noted.add(1_060), noted.add(1_061)], [Some(3), None]);
        assert_eq!(noted.add(900), Some(2), "the clock was set back");
    }
}
