//! What nobody signs, in environments that want signatures: who may change it, and its entries in the live log.

use devanture_config::api::DeployKind;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use super::Environments;
use crate::catalog::{Check, Commit};
use crate::ledger::{Actor, Error, Moves, SystemWrite, update};
use crate::records::signing::{live_log_prefix, signers_key, signers_prefix};
use crate::records::{LivePointer, gone};
use crate::telemetry;

impl Environments {
    /// The environments of an app that want signatures.
    ///
    /// # Errors
    /// Where the catalog fails.
    pub(crate) async fn with_signers(&self, app: &AppName) -> Result<Vec<PlaceName>, Error> {
        let prefix = signers_prefix(app);
        let found = self.ledger.catalog.list(&prefix, None, false, usize::MAX).await?;
        Ok(found.iter().filter_map(|(key, _)| key.strip_prefix(&prefix)?.parse().ok()).collect())
    }

    /// Whether an environment wants signatures. A record that cannot be read counts as well.
    ///
    /// # Errors
    /// Where the catalog fails.
    pub(crate) async fn wants_signatures(&self, app: &AppName, environment: &PlaceName) -> Result<bool, Error> {
        Ok(self.ledger.catalog.get(&signers_key(app, environment)).await?.is_some())
    }

    /// Checks that an actor may change what visitors of an environment get by something that nobody signs: an admin of
    /// it alone, if it wants signatures.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) async fn check_unsigned(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
    ) -> Result<(), Error> {
        if actor.is_admin_in(environment) || !self.wants_signatures(app, environment).await? {
            return Ok(());
        }
        let detail = format!(
            "{environment} of {app} wants signatures, and nobody signs this: {} lacks the scope admin there.",
            actor.shown().replacen("The", "the", 1)
        );
        let hint = "have an admin of the environment do it; what is in a version is signed with it";
        Err(Problem::new(Code::Forbidden, detail).hint(hint).into())
    }

    /// Enters in the live log that an actor changes something that nobody signs, if the environment wants signatures.
    /// `operation` is its id in the description of the API.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(crate) async fn log_unsigned(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        operation: &str,
    ) -> Result<(), Error> {
        if !self.wants_signatures(app, environment).await? {
            return Ok(());
        }
        update(&live_log_prefix(app, environment), || async {
            let live = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
            // Of an environment that nothing is live in, nobody sees anything.
            let Some(pointer) = live.filter(LivePointer::is_known) else { return Ok(Some(())) };
            let deleted = [gone::deleted_app_key(app), gone::deleted_environment_key(app, environment)];
            let mut commit = Commit { checks: deleted.map(Check::Absent).into(), changes: Vec::new() };
            let signed = self.signed((app, environment), &pointer.version, true).await?;
            let (kind, at_ms) = (DeployKind::Change, telemetry::now_ms());
            let moves = Moves { actor, kind, at_ms, deploy: operation, signed_by: signed.by };
            self.ledger.log_live(&mut commit, (app, environment), &pointer, moves).await?;
            Ok::<_, Error>(self.ledger.commit_system(SystemWrite::LiveLog, commit).await?.map(drop))
        })
        .await
    }
}
