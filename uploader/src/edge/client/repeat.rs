//! Attempts: which failures of a request may go by themselves, how often it is sent, and the pauses between.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use devanture_config::problem::Code;

use super::waits::Waits;
use crate::output::exit::Failure;

/// Most attempts of a request that may be repeated.
pub(crate) const QUESTIONS_MAX: u32 = 5;
/// Most attempts to send a blob: the blobs that have arrived are worth some patience.
pub(crate) const BLOB_TRIES_MAX: u32 = 7;
/// The first pause before a repetition; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause that this program chooses.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for an edge that takes over from another one.
const RESTART_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest `Retry-After` that is waited for; a longer one is reported at once.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Whether a request that failed may be sent again.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing came of it; the edge may have said how long to wait.
    Again(Failure, Option<Duration>),
    /// Sending it again would end the same.
    Final(Failure),
}

impl Refusal {
    /// The failure, whichever it is.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Again(failure, _) | Self::Final(failure) => failure,
        }
    }

    /// Waits a moment where an edge is taking over from another one, which has gone on for less than
    /// [`RESTART_TIME_MAX`] since `begun`; says whether that is so. The request was not carried out.
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

/// Carries `attempt` out up to `tries_max` times while that may help, with pauses between; long ones are noted by
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

/// A pause between half of it and all of it, so that many who were cut off at once do not come back at once.
fn jittered(pause: Duration, random: u64) -> Duration {
    let half = pause / 2;
    let rest = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % rest)
}

/// A number that no two processes share: the standard library seeds its hashers at random.
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
