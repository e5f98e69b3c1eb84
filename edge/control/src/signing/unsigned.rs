//! Changes without a signature in environments with required signatures: permissions, and entries in the live log.

use devanture_config::api::{ConfirmedAction, DeployKind, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::Signing;
use crate::ledger::{Actor, Error, Moves, SystemWrite, check_confirmed, update};
use devanture_base::clock;
use devanture_store::catalog::{Check, Commit};
use devanture_store::records::signing::{live_log_prefix, signers_key, signers_prefix};
use devanture_store::records::{LivePointer, StoredDeploy, gone};

impl Signing {
    /// Returns the environments of an app with required signatures.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn with_signers(&self, app: &AppName) -> Result<Vec<PlaceName>, Error> {
        let prefix = signers_prefix(app);
        let found = self.ledger.catalog.list(&prefix, None, false, usize::MAX).await?;
        Ok(found.iter().filter_map(|(key, _)| key.strip_prefix(&prefix)?.parse().ok()).collect())
    }

    /// Returns true if an environment requires signatures; also true for an unreadable record.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn wants_signatures(&self, app: &AppName, environment: &PlaceName) -> Result<bool, Error> {
        Ok(self.ledger.catalog.get(&signers_key(app, environment)).await?.is_some())
    }

    /// Checks that an actor may change the responses of an environment without a signature. If the environment requires
    /// signatures, only an admin of the environment may.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) async fn check_unsigned(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
    ) -> Result<(), Error> {
        let is_admin = actor.may(Scope::Admin, app, Some(environment)).is_ok();
        if is_admin || !self.wants_signatures(app, environment).await? {
            return Ok(());
        }
        let detail = format!(
            "{environment} of {app} wants signatures, and nobody signs this: {} lacks the scope admin there.",
            actor.shown().replacen("The", "the", 1)
        );
        let hint = "have an admin of the environment do it; what is in a version is signed with it";
        Err(Problem::new(Code::Forbidden, detail).hint(hint).into())
    }

    /// Checks that an actor may change the responses of an environment without a signature: [`Self::check_unsigned`],
    /// and for `prod` also the confirmation if the app requires confirmation.
    ///
    /// # Errors
    /// `forbidden`, `confirmation_required`.
    pub(crate) async fn check_change(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
    ) -> Result<(), Error> {
        self.check_unsigned(actor, (app, environment)).await?;
        if environment.is_prod() {
            check_confirmed(&*self.ledger.catalog, actor, app, Some(ConfirmedAction::Promote)).await?;
        }
        Ok(())
    }

    /// Enters an unsigned change into the live log, if the environment requires signatures. `operation` is the
    /// operation id in the API description.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn log_unsigned(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        operation: &str,
    ) -> Result<(), Error> {
        update(&live_log_prefix(app, environment), || async {
            let mut commit = Commit::default();
            self.note_unsigned(actor, (app, environment), operation, &mut commit).await?;
            if commit.changes.is_empty() {
                return Ok(Some(()));
            }
            let deleted = [gone::deleted_app_key(app), gone::deleted_environment_key(app, environment)];
            commit.checks.extend(deleted.map(Check::Absent));
            Ok::<_, Error>(self.ledger.commit_system(SystemWrite::LiveLog, commit).await?.map(drop))
        })
        .await
    }

    /// Adds the entry of [`Self::log_unsigned`] to a commit, if the environment requires signatures and has a live
    /// version: without a live version, the change has no visible effect.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn note_unsigned(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        operation: &str,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        if !self.wants_signatures(app, environment).await? {
            return Ok(());
        }
        let live = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let Some(pointer) = live.filter(LivePointer::is_known) else { return Ok(()) };
        let signed_by = self.live_signed_by((app, environment), &pointer.version).await;
        let (kind, at_ms) = (DeployKind::Change, clock::now_ms());
        let moves = Moves { actor, kind, at_ms, deploy: operation, signed_by };
        self.ledger.log_live(commit, (app, environment), &pointer, moves).await
    }

    /// Adds the entry of the live log to a commit that removes or restores the live pointer of an environment.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn note_moved(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        pointer: &LivePointer,
        deploy: &StoredDeploy,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let signed_by = self.live_signed_by((app, environment), &pointer.version).await;
        let moves = Moves { actor, kind: deploy.kind.into(), at_ms: deploy.at_ms, deploy: &deploy.id, signed_by };
        self.ledger.log_live(commit, (app, environment), pointer, moves).await
    }

    /// Returns the fingerprints of the signers of the live version. Empty for a damaged record, so deletions stay
    /// possible.
    async fn live_signed_by(&self, place: (&AppName, &PlaceName), version: &VersionId) -> Vec<String> {
        match self.signed(place, version, true).await {
            Ok(signed) => signed.by,
            Err(error) => {
                tracing::error!(%error, "an entry of a live log names no signers");
                Vec::new()
            }
        }
    }
}
