//! The backends that come with versions: whether they may run, whose user they are, making them ready for a switch, how
//! many instances there are. What runs them is `runner`; here is what is decided and recorded about them.

use devanture_config::api::DeployKind;
use devanture_config::parts::{self, Parts};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Manifest, PlaceName};

use super::Publisher;
use super::steps::Steps;
use super::swap::Intent;
use crate::catalog::{self};
use crate::ledger::{Actor, Error};
use crate::runner::{Held, Wanted};

impl Publisher {
    /// Whether the backend of a bundle may run here at all, before anything is sent for it.
    ///
    /// # Errors
    /// `runner_off`, `runner_forbidden`, `too_many`.
    pub(crate) fn check_backend(&self, actor: &Actor, manifest: &Manifest) -> Result<(), Error> {
        if manifest.server.is_none() {
            return Ok(());
        }
        self.environments.runner()?.check(actor.is_admin_of_all())?;
        for place in manifest.env.keys().map(PlaceName::as_str).chain([""]) {
            let Some(managed) = manifest.managed_in(&manifest.serving_for(place)) else { continue };
            let processes = managed.server.processes.iter().map(|process| process.instances.per_node());
            self.environments.check_instances(processes.fold(0, u64::saturating_add))?;
        }
        Ok(())
    }

    /// Checks that a push removes no whole part of the live version: pages, routes, the backend or one of its
    /// processes.
    ///
    /// # Errors
    /// `warnings`, unless the push lets doubts pass.
    pub(crate) fn check_parts_stay(
        &self,
        app: &AppName,
        environment: &PlaceName,
        manifest: &Manifest,
        allow_warnings: bool,
    ) -> Result<(), Error> {
        let Some(live) = self.environments.live_parts(app, environment).filter(|_| !allow_warnings) else {
            return Ok(());
        };
        let lost = live.lost(&Parts::of(manifest, environment.as_str()));
        if lost.is_empty() {
            return Ok(());
        }
        let detail = parts::lost_text(environment.as_str(), &lost);
        Err(Problem::new(Code::Warnings, detail).hint(parts::LOST_HINT).into())
    }

    /// What is to run where the intent's version is live; `None` if it brings no backend.
    ///
    /// # Errors
    /// `not_ready` where the manifest cannot be read; `runner_off`, `runner_forbidden`.
    pub(super) async fn backend_of(&self, intent: &Intent<'_>) -> Result<Option<Wanted>, Error> {
        let place = (intent.app, intent.environment);
        let Some(managed) = self.environments.managed_in(intent.environment, intent.version).await? else {
            return Ok(None);
        };
        let settings = match (intent.settings, self.ledger.live_pointer(intent.app, intent.environment).await?) {
            (Some(revision), _) => revision,
            (None, Some((_, pointer))) => pointer.settings,
            // As the switch decides it, see `Publisher::compose`.
            (None, None) => catalog::settings::held(&*self.catalog, intent.app, intent.environment).await?.newest,
        };
        Ok(Some(self.environments.wanted(place, intent.version, managed, settings).await?))
    }

    /// Runs what the backend wants run once before a switch. Going back runs nothing: what it would undo, it did not
    /// do.
    pub(super) async fn release(&self, intent: &Intent<'_>, wanted: &Wanted, steps: &mut Steps) -> Result<(), Error> {
        let is_wanted = matches!(intent.kind, DeployKind::Push | DeployKind::Switch | DeployKind::Promote);
        let Some(command) = wanted.managed.server.release.as_ref().filter(|_| is_wanted) else { return Ok(()) };
        // One at a time in an environment, and none for what will not go live.
        let place = self.environments.turn(intent.app, intent.environment);
        let _one_at_a_time = place.lock().await;
        let live = self.ledger.live_pointer(intent.app, intent.environment).await?;
        intent.condition.check(live.as_ref().map(|(revision, _)| *revision))?;
        self.may_replace(intent, live.as_ref().map(|(_, pointer)| pointer))?;
        if live.is_some_and(|(_, pointer)| pointer.version == intent.version) {
            return Ok(());
        }
        drop(self.claims(intent).await?);
        let (runner, teller) = (self.environments.runner()?, steps.teller("release"));
        let run = async {
            runner.release(wanted, &|line| teller.tell(line)).await?;
            Ok(((), command.join(" ")))
        };
        steps.run("release", run).await
    }

    /// Prepares the instances, and reports each.
    pub(super) async fn prepare_instances(
        &self,
        wanted: Option<&Wanted>,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Option<Held>, Error> {
        match wanted {
            Some(wanted) => Ok(Some(self.environments.runner()?.prepare(wanted, tell).await?)),
            None => Ok(None),
        }
    }
}
