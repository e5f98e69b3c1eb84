//! Refusals in the log: a flood of them is no flood of lines.

use std::sync::atomic::{AtomicU64, Ordering};

/// Seconds between two lines of the log about refused connections of one reason.
pub const NOTED_EVERY_S: u64 = 60;

/// Refused connections since a line of the log named them.
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
    /// None was refused yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { at_s: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Adds one of this moment. Whether a line is due, where it names no number.
    pub fn is_due(&self) -> bool {
        self.add(crate::clock::since_epoch().as_secs()).is_some()
    }

    /// Adds one, and gives the number of those that the next line names, where one is due.
    pub fn add(&self, now_s: u64) -> Option<u64> {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let at_s = self.at_s.load(Ordering::Relaxed);
        // A clock that was set back is no reason for silence.
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
