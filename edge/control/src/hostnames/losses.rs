//! Hostnames that come to one place from another: by the rules of the place that loses visitors, whichever app it is of
//! and by whichever way the name comes.

use std::collections::HashSet;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, HostPattern, Hostname, PlaceName};

use super::Hostnames;
use super::taken;
use crate::ledger::{Actor, Error};
use devanture_store::catalog::{Check, Commit};
use devanture_store::records::{self, HostnameRecord};

/// The entry of the live log of a place that loses a hostname: the operation that gives names to places.
const LOST: &str = "addHostname";

/// The visitors that a place loses when another one gets a hostname.
#[derive(Default)]
pub(super) struct VisitorLoss {
    /// The place; `None` where nobody else has visitors at the hostname.
    of: Option<(AppName, PlaceName)>,
    /// Why the actor may not take them from it.
    refused: Option<Problem>,
    /// That the place is still the one.
    checks: Vec<Check>,
}

impl VisitorLoss {
    /// # Errors
    /// `hostname_taken` where the place wants signatures and the actor is no admin of it, `confirmation_required` where
    /// it is `prod` of an app that has what replaces its live version confirmed.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.refused.clone().map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// Why the actor may not take the visitors.
    pub(super) fn into_refusal(self) -> Option<Problem> {
        self.refused
    }
}

impl Hostnames {
    /// The visitors that another place than `place` loses if that one gets `host`, and whether the actor may take them.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(super) async fn loss(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        host: &HostPattern,
    ) -> Result<VisitorLoss, Error> {
        self.loss_of(actor, place, host, self.reached_by(place.0, host).await?).await
    }

    /// The visitors that the wildcard of another place loses once something answers at the address of its own of an
    /// environment or alias, which goes before wildcards, and whether the actor may take them. `None` if something
    /// is live there already, or if somebody was given that very name, which goes before it.
    ///
    /// # Errors
    /// Those of the catalog.
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

    /// Checks that an actor may let something answer at the address of its own of an environment or alias.
    ///
    /// # Errors
    /// As [`VisitorLoss::check`].
    pub(crate) async fn check_address(&self, actor: &Actor, place: (&AppName, &PlaceName)) -> Result<(), Error> {
        self.address_loss(actor, place).await?.check()
    }

    /// The same, for the commit that does it and gives no other names: it holds only if the wildcard is as it was.
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

    /// What `place` takes of whom visitors reach by `host`, with the checks that they do.
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
                    // It does not betray what another app wants.
                    Code::Forbidden => Some(taken(host, SIGNED_HINT)),
                    Code::ConfirmationRequired => Some(*problem),
                    _ => return Err(Error(problem)),
                },
            },
            None => None,
        };
        Ok(VisitorLoss { of, refused, checks })
    }

    /// Adds to the commit that gives hostnames to a place that each comes from where it was looked for, and the entries
    /// in the live logs of the places that lose them and want signatures.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(super) async fn note_losses(
        &self,
        actor: &Actor,
        losses: Vec<VisitorLoss>,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        // One commit writes one entry of a log.
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

    /// The place that visitors reach by `host` before `app` gets it: who has it, who answers there below the edge's
    /// domains, or who has the wildcard that stands for it.
    async fn reached_by(
        &self,
        app: &AppName,
        host: &HostPattern,
    ) -> Result<(Option<(AppName, PlaceName)>, Vec<Check>), Error> {
        if let Some(owner) = self.hostname_owner(host).await? {
            // Each commit that changes the owner checks that by itself.
            return Ok((Some((owner.app, owner.environment)), Vec::new()));
        }
        let Some(exact) = host.exact() else { return Ok((None, Vec::new())) };
        if let Some(environment) = self.addressed(app, &exact).await? {
            return Ok((Some((app.clone(), environment)), Vec::new()));
        }
        self.covered_by(&exact).await
    }

    /// The place that has the wildcard which stands for a name.
    async fn covered_by(&self, host: &Hostname) -> Result<(Option<(AppName, PlaceName)>, Vec<Check>), Error> {
        let Some(wildcard) = HostPattern::wildcard_of(host) else { return Ok((None, Vec::new())) };
        let key = records::hostname_key(&wildcard);
        let found = self.ledger.catalog.get(&key).await?;
        let owner = found.as_ref().map(|found| records::read::<HostnameRecord>(&key, found)).transpose()?;
        let check = Check::of(key, found.map(|found| found.revision));
        Ok((owner.map(|owner| (owner.app, owner.environment)), vec![check]))
    }

    /// The environment of an app that answers at `host` as its own address, of those whose visitors anything protects:
    /// `prod`, and those that want signatures. No app is given an address of another one.
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

/// The hint where an environment that wants signatures has the visitors of a name.
const SIGNED_HINT: &str =
    "an environment that wants signatures answers there, also by a wildcard: have an admin of it give the name away";
