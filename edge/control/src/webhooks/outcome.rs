//! Consequences of a delivery attempt: pure functions of the response, the number of the attempt and the clock.

use devanture_config::api::WebhookAttempt;
use devanture_config::text::counted;

use devanture_store::records::webhooks::WebhookRecord;

const S: u64 = 1_000;
const M: u64 = 60 * S;
const H: u64 = 60 * M;

/// Delays after failed attempts, in milliseconds, as suggested by Standard Webhooks: three days in total.
const PAUSES_MS: [u64; 9] = [5 * S, 5 * M, 30 * M, 2 * H, 5 * H, 10 * H, 14 * H, 20 * H, 24 * H];
/// Maximum delay accepted from `Retry-After`, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 24 * H;
/// Maximum time until a message is due, in milliseconds: longer than any delay. A later due time was set by a clock
/// that was ahead.
const DUE_MS_MAX: u64 = 27 * H;
/// Maximum time between two failed attempts of the same outage, in milliseconds: longer than any delay. After a longer
/// silence, the receiver may have recovered in between.
const QUIET_MS_MAX: u64 = 27 * H;
/// Minimum number of failed attempts before a webhook is disabled.
const FAILURES_MIN: u64 = 5;
/// Status of a receiver that is gone permanently.
const GONE: u16 = 410;

/// Attempt, and the delay requested by the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptResult {
    pub(super) attempt: WebhookAttempt,
    /// Delay requested by the receiver, in milliseconds.
    pub(super) retry_after_ms: Option<u64>,
}

impl AttemptResult {
    /// Returns an attempt that reached no receiver, with the reason.
    pub(super) fn unsent(at_ms: u64, why: String) -> Self {
        let attempt = WebhookAttempt { at_ms, ms: 0, status: None, error: Some(why), answer: String::new() };
        Self { attempt, retry_after_ms: None }
    }
}

/// Next state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageState {
    /// Accepted by the receiver.
    Delivered,
    /// To be sent again at this time.
    Again(u64),
    /// Not to be sent again.
    GivenUp,
    /// Not to be sent again, and the webhook is to be disabled.
    Gone,
}

/// Returns the delay after a failed attempt; `None` after the last attempt. `spread` is between 0 and 1, and
/// distributes the retries of concurrent failures over time.
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

/// Returns true if a message is due, or was postponed by a clock that was ahead.
pub(super) const fn is_due(due_ms: u64, now_ms: u64) -> bool {
    due_ms <= now_ms || due_ms > now_ms.saturating_add(DUE_MS_MAX)
}

/// Returns the next state of a message after an attempt that ended at `now_ms`.
pub(super) fn next(attempted: &AttemptResult, attempts: u64, now_ms: u64, spread: f64) -> MessageState {
    if attempted.attempt.error.is_none() {
        return MessageState::Delivered;
    }
    if attempted.attempt.status == Some(GONE) {
        return MessageState::Gone;
    }
    let Some(pause_ms) = pause_ms(attempts, spread) else { return MessageState::GivenUp };
    let asked_ms = attempted.retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
    MessageState::Again(now_ms.saturating_add(pause_ms.max(asked_ms)))
}

/// Returns a webhook record after a failed attempt, and the reason if the webhook is to be disabled.
pub(super) fn failed(
    webhook: &WebhookRecord,
    attempted: &AttemptResult,
    failing_ms_max: u64,
) -> (WebhookRecord, Option<String>) {
    let at_ms = attempted.attempt.at_ms;
    let is_same = webhook.failed_ms.is_some_and(|last_ms| at_ms.saturating_sub(last_ms) <= QUIET_MS_MAX);
    let since_ms = webhook.failing_since_ms.filter(|_| is_same).unwrap_or(at_ms);
    let failures = if is_same { webhook.failures.saturating_add(1) } else { 1 };
    let failing_ms = at_ms.saturating_sub(since_ms);
    let reason = match &attempted.attempt.error {
        _ if attempted.attempt.status == Some(GONE) => Some("Its receiver says that it is gone (410).".to_owned()),
        Some(error) if failing_ms >= failing_ms_max && failures >= FAILURES_MIN => {
            Some(format!("Its receiver has taken no message for {}: {error}.", lasting(failing_ms)))
        }
        _ => None,
    };
    // Concurrent attempts to a webhook may end in a different order.
    let failed_ms = webhook.failed_ms.filter(|_| is_same).unwrap_or(at_ms).max(at_ms);
    let failing_since_ms = Some(since_ms.min(at_ms));
    (WebhookRecord { failing_since_ms, failed_ms: Some(failed_ms), failures, ..webhook.clone() }, reason)
}

/// Formats a duration in the largest whole unit.
fn lasting(ms: u64) -> String {
    let (count, unit) = match ms {
        _ if ms >= 24 * H => (ms / (24 * H), "day"),
        _ if ms >= H => (ms / H, "hour"),
        _ => (ms / M, "minute"),
    };
    counted(count, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_disabled_by_a_failure_that_lasts_and_not_by_two_that_are_far_apart() {
        let mut webhook = WebhookRecord::sample();
        let at = |at_ms| {
            let AttemptResult { attempt, retry_after_ms } = attempted(Some(503), Some("it answers 503"), None);
            AttemptResult { attempt: WebhookAttempt { at_ms, ..attempt }, retry_after_ms }
        };
        for (at_h, failures, is_disabled) in [
            (0, 1, false),
            (170, 1, false),
            (171, 2, false),
            (190, 3, false),
            (216, 4, false),
            (242, 5, false),
            (268, 6, false),
            (291, 7, true),
        ] {
            let (after, reason) = failed(&webhook, &at(at_h * H), 5 * 24 * H);
            assert_eq!((after.failures, reason.is_some()), (failures, is_disabled), "{at_h}");
            webhook = after;
        }
        assert_eq!(webhook.failing_since_ms, Some(170 * H));
        let few = WebhookRecord { failures: 1, failing_since_ms: Some(0), failed_ms: Some(0), ..webhook.clone() };
        assert_eq!(failed(&few, &at(2 * M), M).1, None, "two attempts say little");
        assert_eq!(webhook.taken(1).failing_since_ms, None);
        assert_eq!([lasting(2 * M), lasting(H), lasting(50 * H)], ["2 minutes", "1 hour", "2 days"]);
    }

    fn attempted(status: Option<u16>, error: Option<&str>, retry_after_ms: Option<u64>) -> AttemptResult {
        let error = error.map(str::to_owned);
        let attempt = WebhookAttempt { at_ms: 0, ms: 1, status, error, answer: String::new() };
        AttemptResult { attempt, retry_after_ms }
    }

    #[test]
    fn what_fails_is_sent_again_with_growing_pauses_for_three_days() {
        let failed = attempted(Some(500), Some("it answers 500"), None);
        let mut now_ms = 0;
        for attempts in 1..=9 {
            let MessageState::Again(at_ms) = next(&failed, attempts, now_ms, 0.0) else { panic!("{attempts}") };
            assert!(at_ms > now_ms);
            now_ms = at_ms;
        }
        assert_eq!(now_ms / H, 75);
        assert_eq!(next(&failed, 10, now_ms, 0.0), MessageState::GivenUp);
        assert_eq!(next(&failed, 1, 0, 1.0), MessageState::Again(5_500));
        assert_eq!(next(&attempted(Some(204), None, None), 3, 0, 0.0), MessageState::Delivered);
        assert_eq!(next(&attempted(Some(410), Some("it answers 410"), None), 1, 0, 0.0), MessageState::Gone);
        let busy = |ms| attempted(Some(429), Some("it answers 429"), Some(ms));
        assert_eq!(next(&busy(60_000), 1, 0, 0.0), MessageState::Again(60_000));
        assert_eq!(next(&busy(1), 1, 0, 0.0), MessageState::Again(5_000));
        assert_eq!(next(&busy(u64::MAX), 1, 0, 0.0), MessageState::Again(24 * H));
    }
}
