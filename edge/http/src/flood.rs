//! Budgets for work that a peer can cause without progress (RFC 9113 §10.5, RFC 9114 §10.5). The budgets refill over
//! time, and honest clients never exhaust them.

use std::time::Instant;

use super::limits::Limits;

/// Bytes of answers that pay for one control frame. Clients send a WINDOW_UPDATE or two per few kilobytes.
const BYTES_PER_FRAME: u64 = 512;
/// Credit of a request: the window update and the priority change that browsers send along.
const BYTES_PER_REQUEST: u64 = 4 * BYTES_PER_FRAME;
/// Maximum credit: the bytes that browsers receive before sending a window update.
const CREDIT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The peer exceeded a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flooded;

/// Leaky bucket with equal capacity and rate per second.
#[derive(Debug)]
struct Bucket {
    per_second: u32,
    level: u32,
    since: Option<Instant>,
}

impl Bucket {
    const fn new(per_second: u32) -> Self {
        Self { per_second, level: 0, since: None }
    }

    /// The clock is compared only when the bucket would be full.
    fn add(&mut self, now: Instant) -> Result<(), Flooded> {
        let since = *self.since.get_or_insert(now);
        if self.level >= self.per_second {
            let gone = now.saturating_duration_since(since).as_secs_f64() * f64::from(self.per_second);
            let leaked = if gone >= f64::from(self.level) {
                self.level
            } else {
                // Never negative, and within 32 bits.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the level")]
                let gone = gone as u32;
                gone
            };
            if leaked == 0 {
                return Err(Flooded);
            }
            self.level -= leaked;
            self.since = Some(now);
        }
        self.level += 1;
        Ok(())
    }
}

/// Budgets of one connection.
#[derive(Debug)]
pub(super) struct Floods {
    /// Resets of deferred answers, and of streams with mistakes.
    resets: Bucket,
    /// Resets of answers in memory.
    resets_at_hand: Bucket,
    control: Bucket,
    credit: u64,
}

impl Floods {
    pub(super) const fn new(limits: &Limits) -> Self {
        let (resets, control) = (limits.resets_per_second, Bucket::new(limits.control_frames_per_second));
        Self { resets: Bucket::new(resets), resets_at_hand: Bucket::new(resets), control, credit: 0 }
    }

    /// Credits a request.
    #[inline]
    pub(super) fn request(&mut self) {
        self.earn(BYTES_PER_REQUEST);
    }

    /// Credits sent body bytes.
    #[inline]
    pub(super) fn sent(&mut self, bytes: usize) {
        self.earn(u64::try_from(bytes).unwrap_or(0));
    }

    #[inline]
    fn earn(&mut self, bytes: u64) {
        self.credit = (self.credit + bytes).min(CREDIT_BYTES_MAX);
    }

    /// Credits a completed answer. An answer in memory costs next to nothing and does not pay for the reset of a
    /// deferred answer.
    #[inline]
    pub(super) fn completed(&mut self, is_begun: bool) {
        self.resets_at_hand.level = self.resets_at_hand.level.saturating_sub(1);
        if is_begun {
            self.resets.level = self.resets.level.saturating_sub(1);
        }
    }

    /// Charges a reset of an incomplete stream by the peer (CVE-2023-44487), or by a mistake of the peer
    /// (CVE-2025-8671).
    pub(super) fn reset(&mut self, is_begun: bool, now: Instant) -> Result<(), Flooded> {
        if is_begun { self.resets.add(now) } else { self.resets_at_hand.add(now) }
    }

    /// Charges a frame without a request or body bytes.
    #[inline]
    pub(super) fn control(&mut self, now: Instant) -> Result<(), Flooded> {
        match self.credit.checked_sub(BYTES_PER_FRAME) {
            Some(rest) => {
                self.credit = rest;
                Ok(())
            }
            None => self.control.add(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_takes_its_rate_at_once_and_then_as_time_goes_by() {
        let (mut bucket, start) = (Bucket::new(10), Instant::now());
        assert_eq!((0..20).filter(|_| bucket.add(start).is_ok()).count(), 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..20).filter(|_| bucket.add(later).is_ok()).count(), 5);
        let much_later = start + Duration::from_secs(100);
        assert_eq!((0..20).filter(|_| bucket.add(much_later).is_ok()).count(), 10);
        assert_eq!(bucket.add(start), Err(Flooded));
    }

    #[test]
    fn a_steady_rate_within_the_budget_never_is_a_flood() {
        let (mut bucket, start) = (Bucket::new(100), Instant::now());
        for number in 0..10_000 {
            assert_eq!(bucket.add(start + Duration::from_millis(10 * number)), Ok(()));
        }
    }

    fn floods() -> Floods {
        let bucket = || Bucket::new(10);
        Floods { resets: bucket(), resets_at_hand: bucket(), control: bucket(), credit: 0 }
    }

    #[test]
    fn a_client_that_takes_answers_may_update_windows_as_often_as_it_likes() {
        let (mut floods, now) = (floods(), Instant::now());
        for _ in 0..10_000 {
            floods.sent(16_375);
            for _ in 0..16 {
                assert_eq!(floods.control(now), Ok(()));
            }
        }
        floods.credit = 0;
        assert_eq!((0..20).filter(|_| floods.control(now).is_ok()).count(), 10);
    }

    #[test]
    fn credit_has_an_end() {
        let mut floods = floods();
        for _ in 0..10_000 {
            floods.sent(1 << 20);
        }
        let now = Instant::now();
        assert_eq!((0..1 << 20).filter(|_| floods.control(now).is_ok()).count(), (32 << 20) / 512 + 10);
    }

    #[test]
    fn streams_that_end_make_up_for_streams_that_are_reset() {
        let (mut floods, now) = (floods(), Instant::now());
        for is_begun in [true, false] {
            for _ in 0..1_000 {
                floods.completed(is_begun);
                assert_eq!(floods.reset(is_begun, now), Ok(()));
            }
            floods.completed(is_begun);
            assert_eq!((0..20).filter(|_| floods.reset(is_begun, now).is_ok()).count(), 10);
        }
    }

    #[test]
    fn answers_at_hand_do_not_make_up_for_resets_of_what_was_begun() {
        let (mut floods, now) = (floods(), Instant::now());
        let resets = (0..20).filter(|_| {
            floods.completed(false);
            floods.reset(true, now).is_ok()
        });
        assert_eq!(resets.count(), 10);
        assert_eq!(floods.reset(false, now), Ok(()));
    }
}
