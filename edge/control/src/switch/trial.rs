//! Automatic undo of a switch if all its started instances fail soon afterwards.
//!
//! Like a watch, a trial exists only in the local process. A trial runs beside the caller of the switch, and ends with
//! the process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::intent::Intent;
use super::swap::SwitchOutcome;
use super::switcher::Switcher;
use super::watch::Switched;
use crate::ledger::Error;
use devanture_store::records::LivePointer;

/// Longest delay of a trial's end at the stop of the edge.
const STOP_LOOK: Duration = Duration::from_millis(500);

impl Switcher {
    /// Starts the trial of a switch, if a previous version exists.
    pub(super) fn begin_trial(self: &Arc<Self>, intent: &Intent<'_>, moved: &SwitchOutcome) {
        // A rollback is a deliberate choice of version, and is not undone.
        let span = Duration::from_millis(self.ledger.limits().instance_trial_ms);
        if intent.movement.is_rollback()
            || !moved.switched
            || self.environments.instances.runner_if_any().is_none()
            || span.is_zero()
        {
            return;
        }
        let Some(replaced) = moved.before.clone() else { return };
        let (this, switched) = (Arc::clone(self), Switched::of(intent));
        self.tasks.spawn(async move {
            if let Err(error) = this.try_instances(&switched, &replaced, span).boxed().await {
                let (app, environment) = (&switched.app, &switched.environment);
                tracing::warn!(%app, %environment, %error, "the new instances are not watched any longer");
            }
        });
    }

    async fn try_instances(&self, switched: &Switched, replaced: &LivePointer, span: Duration) -> Result<(), Error> {
        let until = Instant::now() + span;
        let (app, environment) = (&switched.app, &switched.environment);
        let Some(managed) = self.environments.instances.managed_in((app, environment), switched.version).await? else {
            return Ok(());
        };
        let before = self.environments.instances.managed_in((app, environment), replaced.version).await?;
        if before.is_some_and(|before| before.digest == managed.digest) {
            // Instances from before the switch: an undo would change nothing.
            return Ok(());
        }
        let failure = self.environments.instances.failure((app, environment), switched.version, managed.digest);
        let mut failure = std::pin::pin!(failure);
        let why = loop {
            if Instant::now() >= until || self.tasks.is_closed() {
                return Ok(());
            }
            if let Ok(ended) = timeout(STOP_LOOK, &mut failure).await {
                break ended;
            }
        };
        let Some(why) = why? else { return Ok(()) };
        if let (_, Err(Error(problem))) = self.undo(switched, replaced, "edge", &why).await {
            tracing::error!(%app, %environment, detail = problem.detail, "the new instances failed");
        }
        Ok(())
    }
}
