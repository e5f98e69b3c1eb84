//! Signatures at a switch: checked before the preparation, and checked again in the commit, which adds the live-log
//! entry.

use devanture_config::api::Deploy;

use super::intent::Intent;
use super::switcher::Switcher;
use crate::ledger::{Error, Moves};
use devanture_store::catalog::Commit;
use devanture_store::records::LivePointer;

impl Switcher {
    /// Checks that the version has the signatures required by the environment; the commit checks again.
    ///
    /// # Errors
    /// `not_signed`.
    pub(super) async fn check_signed(&self, intent: &Intent<'_>) -> Result<(), Error> {
        let live = self.ledger.live_version_id(intent.app, intent.environment).await?;
        let (place, is_live) = ((intent.app, intent.environment), live == Some(intent.version));
        self.environments.signing.signed(place, &intent.version, is_live).await?;
        Ok(())
    }

    /// Adds to the commit the check of the signatures, and the entry of the live log.
    ///
    /// # Errors
    /// `not_signed`.
    pub(super) async fn hold_signed(
        &self,
        intent: &Intent<'_>,
        (pointer, deploy): (&LivePointer, &Deploy),
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let place = (intent.app, intent.environment);
        let is_live = deploy.previous == Some(intent.version);
        let signed = self.environments.signing.signed(place, &intent.version, is_live).await?;
        commit.checks.extend(signed.checks);
        let (kind, at_ms) = (deploy.kind, deploy.at_ms);
        let moves = Moves { actor: intent.actor, kind, at_ms, deploy: intent.deploy, signed_by: signed.by };
        self.ledger.log_live(commit, place, pointer, moves).await
    }
}
