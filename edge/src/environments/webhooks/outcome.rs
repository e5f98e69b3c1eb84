//! What follows from an attempt to send a message: pure, from the answer, the number of the attempt and the clock.

use devanture_config::api::WebhookAttempt;

const S: u64 = 1_000;
const M: u64 = 60 * S;
const H: u64 = 60 * M;

/// Pauses after attempts that failed, in milliseconds, as Standard Webhooks suggests them: three days in all.
const PAUSES_MS: [u64; 9] = [5 * S, 5 * M, 30 * M, 2 * H, 5 * H, 10 * H, 14 * H, 20 * H, 24 * H];
/// Longest pause that a receiver may ask for by `Retry-After`, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 24 * H;
/// The status by which a receiver says that it is gone for good.
const GONE: u16 = 410;

/// An attempt, and what the receiver asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempted {
    pub(super) attempt: WebhookAttempt,
    /// The pause that the receiver asks for, in milliseconds.
    pub(super) retry_after_ms: Option<u64>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It was taken.
    Delivered,
    /// It is sent again at this time.
    Again(u64),
    /// It is not sent again.
    GivenUp,
    /// It is not sent again, nor is any other.
    Gone,
}

/// The pause after an attempt that failed; `None` after the last one. `spread` is between 0 and 1: what failed together is
/// not all tried again together.
pub(super) fn pause_ms(attempts: u64, spread: f64) -> Option<u64> {
    let index = usize::try_from(attempts.saturating_sub(1)).ok()?;
    let pause_ms = *PAUSES_MS.get(index)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is small"
    )]
    let more_ms = (pause_ms as f64 * 0.1 * spread.clamp(0.0, 1.0)) as u64;
    Some(pause_ms.saturating_add(more_ms))
}

/// What follows from the attempt of this number, which ended at `now_ms`.
pub(super) fn next(attempted: &Attempted, attempts: u64, now_ms: u64, spread: f64) -> Next {
    if attempted.attempt.error.is_none() {
        return Next::Delivered;
    }
    if attempted.attempt.status == Some(GONE) {
        return Next::Gone;
    }
    let Some(pause_ms) = pause_ms(attempts, spread) else { return Next::GivenUp };
    let asked_ms = attempted.retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
    Next::Again(now_ms.saturating_add(pause_ms.max(asked_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempted(status: Option<u16>, error: Option<&str>, retry_after_ms: Option<u64>) -> Attempted {
        let error = error.map(str::to_owned);
        let attempt = WebhookAttempt { at_ms: 0, ms: 1, status, error, answer: String::new() };
        Attempted { attempt, retry_after_ms }
    }

    #[test]
    fn what_fails_is_sent_again_with_growing_pauses_for_three_days() {
        let failed = attempted(Some(500), Some("it answers 500"), None);
        let mut now_ms = 0;
        for attempts in 1..=9 {
            let Next::Again(at_ms) = next(&failed, attempts, now_ms, 0.0) else { panic!("{attempts}") };
            assert!(at_ms > now_ms);
            now_ms = at_ms;
        }
        assert_eq!(now_ms / H, 75);
        assert_eq!(next(&failed, 10, now_ms, 0.0), Next::GivenUp);
        assert_eq!(next(&failed, 1, 0, 1.0), Next::Again(5_500));
        assert_eq!(next(&attempted(Some(204), None, None), 3, 0, 0.0), Next::Delivered);
        assert_eq!(next(&attempted(Some(410), Some("it answers 410"), None), 1, 0, 0.0), Next::Gone);
        let busy = |ms| attempted(Some(429), Some("it answers 429"), Some(ms));
        assert_eq!(next(&busy(60_000), 1, 0, 0.0), Next::Again(60_000));
        assert_eq!(next(&busy(1), 1, 0, 0.0), Next::Again(5_000));
        assert_eq!(next(&busy(u64::MAX), 1, 0, 0.0), Next::Again(24 * H));
    }
}
