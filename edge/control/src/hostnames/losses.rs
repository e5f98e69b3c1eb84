//! Hostnames moving between places: the rules of the losing place apply, for every app and for every kind of change.

use std::collections::HashSet;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, HostPattern, Hostname, PlaceName};

use super::Hostnames;
use super::taken;
use crate::ledger::{Actor, Error};
use devanture_store::catalog::{Check, Commit};
use devanture_store::records::{self, HostnameRecord};

/// Operation in the live log entry of a place that loses a hostname: the operation that assigns hostnames.
const LOST: &str = "addHostname";

/// Visitors lost by a place through the assignment of a hostname to another place.
#[derive(Default)]
pub(super) struct VisitorLoss {
    /// Losing place; `None` if no other place has visitors at the hostname.
    of: Option<(AppName, PlaceName)>,
    /// Reason why the actor may not take the visitors.
    refused: Option<Problem>,
    /// Checks that the losing place is unchanged at the commit.
    checks: Vec<Check>,
}

impl VisitorLoss {
    /// # Errors
    /// `hostname_taken` if the place requires signatures and the actor is no admin of the place,
    /// `confirmation_required` for a `prod` with required confirmations.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.refused.clone().map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// Returns the reason why the actor may not take the visitors.
    pub(super) fn into_refusal(self) -> Option<Problem> {
        self.refused
    }
}

impl Hostnames {
    /// Returns the loss of visitors by another place if `place` gets `host`, with the decision about the actor.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(super) async fn loss(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        host: &HostPattern,
    ) -> Result<VisitorLoss, Error> {
        self.loss_of(actor, place, host, self.reached_by(place.0, host).await?).await
    }

    /// Returns the loss of a wildcard of another place once a version answers at the own address of an environment or
    /// alias, which takes precedence over wildcards. Empty if a version is live already, or if the exact name is
    /// assigned, which takes precedence over the address.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(super) async fn address_loss(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
    ) -> Result<VisitorLoss, Error> {
        let (app, name) = place;
        let Ok(host) = self.ledger.live.domains().place_host(app, name).parse::<Hostname>() else {
            return Ok(VisitorLoss::default());
        };
        let pattern = HostPattern::from(host.clone());
        let is_there = self.ledger.live_pointer(app, name).await?.is_some();
        if is_there || self.hostname_owner(&pattern).await?.is_some() {
            return Ok(VisitorLoss::default());
        }
        self.loss_of(actor, place, &pattern, self.covered_by(&host).await?).await
    }

    /// Checks that an actor may go live at the own address of an environment or alias.
    ///
    /// # Errors
    /// As [`VisitorLoss::check`].
    pub(crate) async fn check_address(&self, actor: &Actor, place: (&AppName, &PlaceName)) -> Result<(), Error> {
        self.address_loss(actor, place).await?.check()
    }

    /// Performs [`Self::check_address`] for a commit that goes live without assigning names: the commit fails if the
    /// wildcard has changed.
    ///
    /// # Errors
    /// As [`VisitorLoss::check`].
    pub(crate) async fn take_address(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let loss = self.address_loss(actor, place).await?;
        loss.check()?;
        self.note_losses(actor, vec![loss], commit).await
    }

    /// Returns the loss of the place reached by `host` to `place`, with the checks of the lookup.
    async fn loss_of(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        host: &HostPattern,
        (reached, checks): (Option<(AppName, PlaceName)>, Vec<Check>),
    ) -> Result<VisitorLoss, Error> {
        let of = reached.filter(|(app, environment)| (app, environment) != place);
        let refused = match &of {
            Some((app, environment)) => match self.signing.check_change(actor, (app, environment)).await {
                Ok(()) => None,
                Err(Error(problem)) => match problem.code {
                    // The refusal must not reveal the requirements of another app.
                    Code::Forbidden => Some(taken(host, SIGNED_HINT)),
                    Code::ConfirmationRequired => Some(*problem),
                    _ => return Err(Error(problem)),
                },
            },
            None => None,
        };
        Ok(VisitorLoss { of, refused, checks })
    }

    /// Adds to a commit that assigns hostnames the checks of the losses, and the live log entries of losing places that
    /// require signatures.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(super) async fn note_losses(
        &self,
        actor: &Actor,
        losses: Vec<VisitorLoss>,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        // A commit writes at most a single entry per log.
        let mut places = HashSet::new();
        for VisitorLoss { of, checks, .. } in losses {
            commit.checks.extend(checks);
            places.extend(of);
        }
        for (app, environment) in &places {
            self.signing.note_unsigned(actor, (app, environment), LOST, commit).await?;
        }
        Ok(())
    }

    /// Returns the place reached by `host` before the assignment to `app`: the owner, the environment with the address
    /// below the edge's domains, or the owner of the covering wildcard.
    async fn reached_by(
        &self,
        app: &AppName,
        host: &HostPattern,
    ) -> Result<(Option<(AppName, PlaceName)>, Vec<Check>), Error> {
        if let Some(owner) = self.hostname_owner(host).await? {
            // Commits that change the owner include the check already.
            return Ok((Some((owner.app, owner.environment)), Vec::new()));
        }
        let Some(exact) = host.exact() else { return Ok((None, Vec::new())) };
        if let Some(environment) = self.addressed(app, &exact).await? {
            return Ok((Some((app.clone(), environment)), Vec::new()));
        }
        self.covered_by(&exact).await
    }

    /// Returns the place with the wildcard covering a name.
    async fn covered_by(&self, host: &Hostname) -> Result<(Option<(AppName, PlaceName)>, Vec<Check>), Error> {
        let Some(wildcard) = HostPattern::wildcard_of(host) else { return Ok((None, Vec::new())) };
        let key = records::hostname_key(&wildcard);
        let found = self.ledger.catalog.get(&key).await?;
        let owner = found.as_ref().map(|found| records::read::<HostnameRecord>(&key, found)).transpose()?;
        let check = Check::of(key, found.map(|found| found.revision));
        Ok((owner.map(|owner| (owner.app, owner.environment)), vec![check]))
    }

    /// Returns the environment of an app with `host` as its own address. Only environments with protected visitors
    /// count: `prod`, and environments that require signatures. No app is given an address of another app.
    async fn addressed(&self, app: &AppName, host: &Hostname) -> Result<Option<PlaceName>, Error> {
        let domains = self.ledger.live.domains();
        if domains.app_of(host.as_str()).as_ref() != Some(app) {
            return Ok(None);
        }
        let mut environments = self.signing.with_signers(app).await?;
        environments.push(PlaceName::prod());
        let found = environments.into_iter().find(|name| domains.place_host(app, name) == host.as_str());
        let Some(name) = found else { return Ok(None) };
        let is_live = self.ledger.live_pointer(app, &name).await?.is_some();
        Ok(is_live.then_some(name))
    }
}

/// Hint for a name with visitors of an environment that requires signatures.
const SIGNED_HINT: &str =
    "an environment that wants signatures answers there, also by a wildcard: have an admin of it give the name away";
