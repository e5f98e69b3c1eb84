//! Backends of versions at a switch: permission, user, preparation, number of instances. `runner` runs backends; the
//! present module decides and records.

use devanture_config::{AppName, PlaceName, VersionId};

use super::deploys::Steps;
use super::intent::{CanaryMove, Intent};
use super::switcher::Switcher;
use crate::ledger::Error;
use crate::runner::{BackendSpec, InstanceLease};
use devanture_store::records::settings;

impl Switcher {
    /// Returns the backend of a version; `None` without a backend. Without a revision of the settings, the
    /// environment's settings in force apply.
    ///
    /// # Errors
    /// `not_ready` for an unreadable manifest; `runner_off`, `runner_forbidden`.
    pub(crate) async fn backend_of(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
        settings: Option<u64>,
    ) -> Result<Option<BackendSpec>, Error> {
        let Some(managed) = self.environments.instances.managed_in((app, environment), version).await? else {
            return Ok(None);
        };
        let settings = match (settings, self.ledger.live_pointer(app, environment).await?) {
            (Some(revision), _) => revision,
            (None, Some((_, pointer))) => pointer.settings,
            // As decided by the switch, see `Switcher::compose`.
            (None, None) => settings::held(&*self.ledger.catalog, app, environment).await?.newest,
        };
        Ok(Some(self.environments.instances.wanted((app, environment), version, managed, settings).await?))
    }

    /// Runs the backend's release command once before a switch. A rollback runs no command: the earlier release has
    /// nothing to undo.
    pub(super) async fn release(
        &self,
        intent: &Intent<'_>,
        wanted: &BackendSpec,
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let server = &wanted.managed.server;
        // The canary's release command ran at its beginning.
        let finishes = matches!(intent.canary, CanaryMove::Finishes(_));
        if finishes || intent.movement.is_rollback() || (server.release.is_none() && server.snapshot.is_none()) {
            return Ok(());
        }
        // One at a time in an environment, whichever nodes are pushed to, and none for what will not go live.
        let _one_at_a_time = self.environments.instances.take_turn(intent.app, intent.environment).await?;
        let live = self.ledger.live_pointer(intent.app, intent.environment).await?;
        intent.expected.condition.check(live.as_ref().map(|(revision, _)| *revision))?;
        self.may_replace(intent, live.as_ref().map(|(_, pointer)| pointer))?;
        if live.is_some_and(|(_, pointer)| pointer.version == intent.version) {
            return Ok(());
        }
        drop(self.claims(intent).await?);
        let runner = self.environments.instances.runner()?;
        if server.snapshot.is_some() {
            let made = async {
                let name = runner.data_before_release((intent.app, intent.environment)).await?;
                Ok(((), name.map_or_else(|| "there is no data yet".to_owned(), |name| name.to_string())))
            };
            steps.run("snapshot", made).await?;
        }
        let Some(command) = &server.release else { return Ok(()) };
        let reporter = steps.reporter("release");
        let run = async {
            runner.release(wanted, &|line| reporter.report(line)).await?;
            Ok(((), command.join(" ")))
        };
        steps.run("release", run).await
    }

    /// Prepares the instances, and reports each.
    pub(crate) async fn prepare_instances(
        &self,
        wanted: Option<&BackendSpec>,
        report: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Option<InstanceLease>, Error> {
        match wanted {
            Some(wanted) => Ok(Some(self.environments.instances.runner()?.prepare(wanted, report).await?)),
            None => Ok(None),
        }
    }
}
