//! The common loop of changes: read, decide, commit, and repeat after a lost race.

use devanture_store::catalog;

/// Most attempts of a change.
const ATTEMPTS_MAX: usize = 16;

/// Calls `attempt` until a result is returned. Each attempt reads its records anew, and returns `None` if a record had
/// changed at its commit.
///
/// # Errors
/// `conflict`, with `key`, after [`ATTEMPTS_MAX`] attempts; errors of an attempt.
pub(crate) async fn update<T, E, F>(key: &str, mut attempt: impl FnMut() -> F) -> Result<T, E>
where
    E: From<catalog::Error>,
    F: Future<Output = Result<Option<T>, E>>,
{
    let mut attempts = Attempts::default();
    loop {
        attempts.begin(key)?;
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
    }
}

/// Attempt counter for changes that keep state between attempts, unlike [`update`].
#[derive(Debug, Default)]
pub(crate) struct Attempts(usize);

impl Attempts {
    /// Begins an attempt.
    ///
    /// # Errors
    /// `conflict`, with `key`, after [`ATTEMPTS_MAX`] attempts.
    pub(crate) fn begin(&mut self, key: &str) -> Result<(), catalog::Error> {
        if self.0 == ATTEMPTS_MAX {
            return Err(catalog::Error::Conflict { key: key.to_owned() });
        }
        self.0 = self.0.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ledger::Error;
    use devanture_config::problem::{Code, Problem};

    /// Runs `update` with `answer` by attempt number, from 1; returns the number of attempts and the result.
    async fn counted(answer: impl Fn(usize) -> Result<Option<usize>, Error>) -> (usize, Result<usize, Code>) {
        let attempts = AtomicUsize::new(0);
        let done = update("live/shop/prod", || async { answer(attempts.fetch_add(1, Ordering::Relaxed) + 1) }).await;
        (attempts.into_inner(), done.map_err(|error| error.0.code))
    }

    #[tokio::test]
    async fn a_change_begins_again_until_no_other_was_quicker() {
        assert_eq!(counted(|number| Ok((number == 3).then_some(number))).await, (3, Ok(3)));
    }

    #[tokio::test]
    async fn a_change_that_others_always_outrun_gives_up_with_a_conflict() {
        assert_eq!(counted(|_number| Ok(None)).await, (ATTEMPTS_MAX, Err(Code::Conflict)));
    }

    #[tokio::test]
    async fn an_error_ends_a_change_at_once() {
        let locked = || Err(Problem::new(Code::Locked, "It is locked.").into());
        assert_eq!(counted(|_number| locked()).await, (1, Err(Code::Locked)));
    }
}
