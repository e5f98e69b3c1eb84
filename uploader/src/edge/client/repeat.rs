//! Attempts: the failures that may be temporary, the number of repetitions, and the pauses between.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use devanture_config::problem::Code;

use super::waits::Waits;
use crate::output::exit::Failure;

/// Upper bound of attempts of a repeatable request.
pub(crate) const QUESTIONS_MAX: u32 = 5;
/// Upper bound of attempts to send a blob: already uploaded blobs justify some patience.
pub(crate) const BLOB_TRIES_MAX: u32 = 7;
/// The first pause before a repetition; each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause chosen by this program.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for an edge during a takeover.
const RESTART_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest obeyed `Retry-After`; a longer one is reported at once.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A failed request, repeatable or not.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request had no effect; with the wait that the edge asks for, if any.
    Again(Failure, Option<Duration>),
    /// A repetition would end the same.
    Final(Failure),
}

impl Refusal {
    /// Returns the failure of either kind.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Again(failure, _) | Self::Final(failure) => failure,
        }
    }

    /// Waits a moment if an edge is taking over, for less than [`RESTART_TIME_MAX`] since `begun`. Returns true in that
    /// case. The request was not carried out.
    pub(super) async fn wait_for_takeover(&self, begun: Instant, waits: &Waits) -> bool {
        match self {
            Self::Again(failure, wait) if failure.is(Code::Restarting) && begun.elapsed() < RESTART_TIME_MAX => {
                let pause = wait.unwrap_or(PAUSE).min(RETRY_AFTER_MAX);
                waits.note(failure, pause);
                tokio::time::sleep(pause).await;
                true
            }
            _ => false,
        }
    }
}

/// Runs `attempt` up to `tries_max` times while a repetition may help, with pauses between; long pauses are noted by
/// `waits`.
///
/// # Errors
/// The last failure.
pub(crate) async fn repeat<T, F>(waits: &Waits, tries_max: u32, attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let mut pause = PAUSE;
    let begun = Instant::now();
    let mut tries = 1;
    while tries < tries_max {
        let refusal = match attempt().await {
            Ok(value) => return Ok(value),
            Err(refusal) => refusal,
        };
        if refusal.wait_for_takeover(begun, waits).await {
            continue;
        }
        tries += 1;
        match refusal {
            Refusal::Final(failure) => return Err(failure),
            Refusal::Again(failure, Some(wait)) if wait > RETRY_AFTER_MAX => {
                return Err(failure.asked_to_wait(wait));
            }
            Refusal::Again(failure, wait) => {
                let wait = wait.unwrap_or_else(|| jittered(pause, random()));
                waits.note(&failure, wait);
                tokio::time::sleep(wait).await;
            }
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    attempt().await.map_err(Refusal::into_failure)
}

/// Returns a pause between half of `pause` and all of it, so that many clients that were cut off at once do not return
/// at once.
fn jittered(pause: Duration, random: u64) -> Duration {
    let half = pause / 2;
    let rest = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % rest)
}

/// Returns a number that differs between processes: the standard library seeds its hashers at random.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::progress::{Progress, Volume};
    use std::collections::BTreeMap;

    #[test]
    fn a_pause_is_never_longer_and_never_less_than_half() {
        for random in [0, 1, 49_999, 50_000, u64::MAX] {
            let pause = jittered(PAUSE, random);
            assert!(PAUSE / 2 <= pause && pause <= PAUSE, "{pause:?}");
        }
        assert_eq!(jittered(Duration::ZERO, 7), Duration::ZERO);
        assert_ne!(random(), random());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_edge_asks_for_is_waited_for_unless_that_is_too_long() {
        let failure = || Failure::new(Code::Busy, "It is busy.");
        let waits = Waits::new(Progress::new(&BTreeMap::new(), Volume::Quiet));
        for (wait, tries, seconds) in [(Some(7), 3, 14), (Some(61), 1, 0), (None, 3, 0)] {
            let (begun, count) = (tokio::time::Instant::now(), std::cell::Cell::new(0));
            let attempt = async || {
                count.set(count.get() + 1);
                Err::<(), _>(Refusal::Again(failure(), wait.map(Duration::from_secs)))
            };
            let failed = repeat(&waits, 3, attempt).await.unwrap_err();
            assert!(failed.is(Code::Busy));
            assert_eq!(count.get(), tries, "{wait:?}");
            assert_eq!(begun.elapsed().as_secs(), seconds, "{wait:?}");
            assert_eq!(failed.hint.is_some(), wait == Some(61));
        }
    }
}
