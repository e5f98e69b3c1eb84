//! Pause of supervision during a handover.

use std::future::pending;

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Still,
    /// The next edge has the instances.
    Left,
}

/// Pause state, followed by all parts of a runner.
pub(in crate::runner) struct Standstill(watch::Sender<State>);

impl Default for Standstill {
    fn default() -> Self {
        Self(watch::Sender::new(State::Runs))
    }
}

impl Standstill {
    /// Pauses all supervision.
    pub(super) fn begin(&self) {
        self.0.send_replace(State::Still);
    }

    /// Ends the pause, unless the next edge has the instances.
    pub(super) fn end(&self) {
        self.0.send_if_modified(|state| {
            let is_still = *state == State::Still;
            if is_still {
                *state = State::Runs;
            }
            is_still
        });
    }

    /// Records that the next edge has the instances. Returns true only during or after a pause.
    pub(super) fn leave(&self) -> bool {
        self.0.send_if_modified(|state| {
            let is_still = *state == State::Still;
            if is_still {
                *state = State::Left;
            }
            is_still
        })
    }

    /// Returns true if the next edge has the instances.
    pub(in crate::runner) fn has_left(&self) -> bool {
        *self.0.borrow() == State::Left
    }

    /// Waits for the beginning of a pause.
    pub(in crate::runner) async fn begun(&self) {
        self.reached(|state| state != State::Runs).await;
    }

    /// Waits for the end of a pause; forever if the next edge has the instances.
    pub(in crate::runner) async fn ended(&self) {
        self.reached(|state| state == State::Runs).await;
    }

    /// Waits until the next edge has the instances.
    pub(in crate::runner) async fn left(&self) {
        self.reached(|state| state == State::Left).await;
    }

    async fn reached(&self, is_meant: impl Fn(State) -> bool) {
        if self.0.subscribe().wait_for(|state| is_meant(*state)).await.is_err() {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_was_left_to_the_next_edge_never_goes_on() {
        let standstill = Standstill::default();
        assert!(!standstill.leave() && standstill.ended().now_or_never().is_some());
        standstill.begin();
        assert!(standstill.ended().now_or_never().is_none() && standstill.begun().now_or_never().is_some());
        standstill.end();
        assert!(standstill.ended().now_or_never().is_some() && !standstill.has_left());
        standstill.begin();
        assert!(standstill.leave());
        standstill.end();
        assert!(standstill.has_left() && standstill.ended().now_or_never().is_none());
    }
}
