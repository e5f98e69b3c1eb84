//! Delay before the restart of an ended instance.

use std::time::Duration;

/// Healthy time after which an end counts as unrelated to earlier ends, and the first delay applies.
pub(super) const STEADY: Duration = Duration::from_secs(60);

/// Doubling delays.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    next: Duration,
    least: Duration,
    most: Duration,
    /// Consecutive ends without a minute of health in between.
    pub(super) ends: u64,
}

impl Backoff {
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { next: least.min(most), least: least.min(most), most, ends: 0 }
    }

    /// Records an end after a healthy time; returns the delay.
    pub(super) fn ended(&mut self, healthy: Option<Duration>) -> Duration {
        if healthy.is_some_and(|healthy| healthy >= STEADY) {
            self.reset();
        }
        self.ends = self.ends.saturating_add(1);
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.most);
        wait
    }

    /// Forgets all earlier ends.
    pub(super) fn reset(&mut self) {
        (self.next, self.ends) = (self.least, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_again_after_a_minute_of_health() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::new(s(1), s(5));
        let waits: Vec<Duration> = (0..5).map(|_| backoff.ended(None)).collect();
        assert_eq!(waits, [s(1), s(2), s(4), s(5), s(5)]);
        assert_eq!((backoff.ended(Some(s(59))), backoff.ends), (s(5), 6));
        assert_eq!((backoff.ended(Some(s(60))), backoff.ends), (s(1), 1));
        assert_eq!(backoff.ended(None), s(2));
        backoff.reset();
        assert_eq!(backoff.ended(None), s(1));
        assert_eq!(Backoff::new(s(9), s(2)).ended(None), s(2));
    }
}
