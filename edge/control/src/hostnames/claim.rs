//! Hostnames listed by a manifest: checked at the begin of a push, granted before a switch, assigned in the commit of
//! the switch.

use std::collections::{BTreeSet, HashSet};

use devanture_config::problem::Problem;
use devanture_config::{AppName, HostPattern, Hostname, Manifest, PlaceName, VersionId};
use tokio::sync::OnceCell;

use super::Hostnames;
use super::others::OtherNames;
use super::{HostnameRequirement, OwnHostnames, forbidden, full, proof, taken};
use crate::ledger::{Actor, Error};
use crate::places::admin_hostname;
use devanture_base::clock;
use devanture_store::catalog::{self, Change, Check, Commit};
use devanture_store::records::{self, HostnameRecord, ListedHostnames, VersionRecord};

/// Hostnames listed by a version for an environment, and the subset to assign if free.
pub(crate) struct Claims {
    listed: ListedHostnames,
    granted: HashSet<HostPattern>,
    is_rollback: bool,
}

/// Trust in the author of the names listed by a version.
#[derive(Clone, Copy, Default)]
struct AuthorTrust {
    /// Admin of the app in the target environment.
    by_admin: bool,
    /// Admin of every app.
    by_admin_of_all: bool,
}

impl AuthorTrust {
    fn by(actor: &Actor, environment: &PlaceName) -> Self {
        Self { by_admin: actor.is_admin_in(environment), by_admin_of_all: actor.is_admin_of_all() }
    }
}

/// Names by requirement.
#[derive(Default)]
struct ClaimDecision {
    granted: HashSet<HostPattern>,
    forbidden: Vec<(HostPattern, &'static str)>,
    /// Reason why a name cannot be assigned by any actor.
    reserved: Option<Problem>,
    to_prove: Vec<Hostname>,
}

impl ClaimDecision {
    /// # Errors
    /// `name_reserved`, `hostname_taken`, `forbidden`.
    fn check(&self) -> Result<(), Error> {
        match (&self.reserved, self.forbidden.first()) {
            (Some(problem), _) => Err(problem.clone().into()),
            (None, Some((host, needed))) => Err(forbidden(host, needed).into()),
            (None, None) => Ok(()),
        }
    }
}

impl Hostnames {
    /// Checks at the begin of a push that the actor may list the hostnames of the manifest. Names granted by admins are
    /// checked in all tables, because a switch by another actor makes them live; names proven by DNS only in the target
    /// of the push.
    ///
    /// # Errors
    /// `forbidden`, `hostname_unproven`, `hostname_taken`, `hostnames_full`, `name_reserved`.
    pub(crate) async fn check_hostnames(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        manifest: &Manifest,
        is_switching: bool,
    ) -> Result<(), Error> {
        let base = manifest.base.hostnames.iter().map(|hosts| (environment, hosts));
        let tables = manifest.env.iter().filter_map(|(name, table)| Some((name, table.hostnames.as_ref()?)));
        for (place, hosts) in base.chain(tables) {
            if hosts.len() > self.hostnames_max() {
                return Err(full(place, self.hostnames_max()).into());
            }
            let sorted = self.sort_hostnames(actor, app, place, hosts, AuthorTrust::by(actor, place)).await?;
            sorted.check()?;
        }
        if !is_switching {
            return Ok(());
        }
        self.check_address(actor, (app, environment)).await?;
        let listed = manifest.serving_for(environment.as_str()).hostnames.unwrap_or_default();
        self.check_owners(app, environment, &listed).await?;
        self.check_hostname_room(app, environment, &listed).await?;
        let sorted = self.sort_hostnames(actor, app, environment, &listed, AuthorTrust::by(actor, environment)).await?;
        self.prove(app, &sorted.to_prove).await
    }

    /// Returns the hostnames listed by a version for an environment, and the names that the environment may take.
    ///
    /// # Errors
    /// `forbidden`, `hostname_taken`, `hostname_unproven` and `name_reserved`; a rollback skips the name instead.
    pub(crate) async fn claims(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
        is_rollback: bool,
    ) -> Result<Claims, Error> {
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        let serving = manifest.serving_for(environment.as_str());
        // DNS may take long: the manifest is freed first.
        drop(manifest);
        let listed = ListedHostnames { hostnames: serving.hostnames.unwrap_or_default(), canonical: serving.canonical };
        // The actor of a switch does not vouch for names in the bundle of another author: an admin must have pushed the
        // bundle.
        let key = records::version_key(app, &version);
        let stored: Option<VersionRecord> =
            self.ledger.catalog.get(&key).await?.map(|found| records::read(&key, &found)).transpose()?;
        let vouched = stored.map_or_else(AuthorTrust::default, |stored| AuthorTrust {
            by_admin: stored.is_trusted_in(environment.as_str()),
            by_admin_of_all: stored.is_of_edge_admin(),
        });
        let sorted = self.sort_hostnames(actor, app, environment, &listed.hostnames, vouched).await?;
        if !is_rollback {
            sorted.check()?;
            self.check_address(actor, (app, environment)).await?;
        }
        let mut granted = sorted.granted;
        if !is_rollback {
            // Checked before DNS: a proof never takes a name from another owner.
            self.check_owners(app, environment, &listed.hostnames).await?;
            self.prove(app, &sorted.to_prove).await?;
            granted.extend(sorted.to_prove.into_iter().map(HostPattern::from));
        }
        Ok(Claims { listed, granted, is_rollback })
    }

    /// Adds the assignment of the listed hostnames to the commit, and returns the newly assigned hostnames. Names
    /// listed by earlier versions stay.
    pub(crate) async fn claim_hostnames(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        claims: &Claims,
        commit: &mut Commit,
    ) -> Result<Vec<HostPattern>, Error> {
        // A name now owned elsewhere must never block a rollback.
        let is_rollback = claims.is_rollback;
        let own = self.own_hostnames(app, environment).await?;
        // Before the first switch, no version answers at the environment's own address, and a wildcard may cover the
        // address.
        let address = self.address_loss(actor, (app, environment)).await?;
        address.check()?;
        let (mut added, mut losses) = (Vec::new(), vec![address]);
        for host in claims.listed.hostnames.iter().collect::<BTreeSet<_>>() {
            let key = records::hostname_key(host);
            match self.ledger.catalog.get(&key).await? {
                None if is_rollback && own.names.len().saturating_add(added.len()) >= self.hostnames_max() => {}
                None if is_rollback && self.check_hostnames_of_app(app, own.of_app, added.len() + 1).is_err() => {}
                None if claims.granted.contains(host) => {
                    // Another place may have gained visitors at the name since the check.
                    let loss = self.loss(actor, (app, environment), host).await?;
                    match loss.check() {
                        Ok(()) => losses.push(loss),
                        Err(_refused) if is_rollback => continue,
                        Err(refused) => return Err(refused),
                    }
                    let record = HostnameRecord {
                        app: app.clone(),
                        environment: environment.clone(),
                        added_ms: clock::now_ms(),
                        by_api: false,
                        canonical: false,
                        who: actor.name.clone(),
                    };
                    commit.checks.push(Check::Absent(key.clone()));
                    commit.changes.push(Change::Put(key, records::write(&record)?));
                    added.push(host.clone());
                }
                None if is_rollback => {}
                // The name was taken from the environment since the check: check again.
                None => return Err(catalog::Error::Conflict { key }.into()),
                Some(found) => {
                    let owner = records::read::<HostnameRecord>(&key, &found)?;
                    if owner.is_of(app, environment) {
                        commit.checks.push(Check::At(key, found.revision));
                    } else if !is_rollback {
                        return Err(of_another(host, &owner, app).into());
                    }
                }
            }
        }
        self.check_added(app, environment, &own, added.len())?;
        self.note_losses(actor, losses, commit).await?;
        note_listed(&own, &claims.listed, added.len(), commit)?;
        Ok(added)
    }

    /// Sorts the `hosts` that the environment does not have yet.
    async fn sort_hostnames(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        hosts: &[HostPattern],
        vouched: AuthorTrust,
    ) -> Result<ClaimDecision, Error> {
        let (mut sorted, others) = (ClaimDecision::default(), OnceCell::new());
        for host in hosts {
            let owner = self.hostname_owner(host).await?;
            if owner.as_ref().is_some_and(|owner| owner.is_of(app, environment)) {
                continue;
            }
            if let Some(problem) = admin_hostname(&self.places.names, host) {
                sorted.reserved = sorted.reserved.or(Some(problem));
                continue;
            }
            // A version's list never moves a name of another place.
            if owner.is_none()
                && let Some(problem) = self.loss(actor, (app, environment), host).await?.into_refusal()
            {
                sorted.reserved = sorted.reserved.or(Some(problem));
                continue;
            }
            let others = others.get_or_try_init(|| OtherNames::read(&*self.ledger.catalog, app)).await?;
            match self.needed(host, others) {
                HostnameRequirement::AdminOfAll if !actor.is_admin_of_all() => {
                    sorted.forbidden.push((host.clone(), "an admin token for every app"));
                }
                HostnameRequirement::AdminOfAll => {
                    match self.address_of(self.other_app_named(app, host).as_ref(), host).await? {
                        Some(problem) => sorted.reserved = sorted.reserved.or(Some(problem)),
                        None => {
                            sorted.granted.insert(host.clone());
                        }
                    }
                }
                HostnameRequirement::Admin if !vouched.by_admin && !actor.is_admin_in(environment) => {
                    sorted.forbidden.push((host.clone(), "an admin token"));
                }
                HostnameRequirement::Proof if !vouched.by_admin => sorted.to_prove.extend(host.exact()),
                HostnameRequirement::ProofBesideAnother if !vouched.by_admin_of_all => {
                    sorted.to_prove.extend(host.exact());
                }
                HostnameRequirement::Admin | HostnameRequirement::Proof | HostnameRequirement::ProofBesideAnother => {
                    sorted.granted.insert(host.clone());
                }
            }
        }
        Ok(sorted)
    }

    /// Checks that all names are free or owned by the environment.
    async fn check_owners(&self, app: &AppName, environment: &PlaceName, hosts: &[HostPattern]) -> Result<(), Error> {
        for host in hosts {
            if let Some(owner) = self.hostname_owner(host).await?.filter(|owner| !owner.is_of(app, environment)) {
                return Err(of_another(host, &owner, app).into());
            }
        }
        Ok(())
    }

    /// Checks that the free names among `hosts` fit the limits.
    async fn check_hostname_room(
        &self,
        app: &AppName,
        environment: &PlaceName,
        hosts: &[HostPattern],
    ) -> Result<(), Error> {
        let mut added = BTreeSet::new();
        for host in hosts {
            if self.hostname_owner(host).await?.is_none() {
                added.insert(host);
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        let own = self.own_hostnames(app, environment).await?;
        self.check_added(app, environment, &own, added.len())
    }

    /// Checks that an environment and its app may have `added` more hostnames.
    fn check_added(
        &self,
        app: &AppName,
        environment: &PlaceName,
        own: &OwnHostnames,
        added: usize,
    ) -> Result<(), Error> {
        if added > 0 && own.names.len().saturating_add(added) > self.hostnames_max() {
            return Err(full(environment, self.hostnames_max()).into());
        }
        self.check_hostnames_of_app(app, own.of_app, added)
    }

    pub(super) async fn hostname_owner(&self, host: &HostPattern) -> Result<Option<HostnameRecord>, Error> {
        let key = records::hostname_key(host);
        Ok(self.ledger.catalog.get(&key).await?.map(|found| records::read(&key, &found)).transpose()?)
    }

    async fn prove(&self, app: &AppName, hosts: &[Hostname]) -> Result<(), Error> {
        let unproven = self.prover.unproven(app, hosts).await?;
        if unproven.is_empty() { Ok(()) } else { Err(proof::problem(app, &unproven).into()) }
    }
}

/// Adds the record of listed and canonical names to the commit, if the record or the names change.
fn note_listed(own: &OwnHostnames, listed: &ListedHostnames, added: usize, commit: &mut Commit) -> Result<(), Error> {
    if added == 0 && own.listed.names == *listed {
        return Ok(());
    }
    own.listed.write(listed, commit)
}

fn of_another(host: &HostPattern, owner: &HostnameRecord, app: &AppName) -> Problem {
    if owner.app == *app {
        let place = &owner.environment;
        return taken(
            host,
            &format!("`devanture hostnames add {host}` moves it here from {place}, or take it out of `hostnames`"),
        );
    }
    taken(host, "take it out of `hostnames`; an admin token for every app can move it here")
}
