//! Custom hostnames of environments: permissions, and changes by the API.
//!
//! A name below the edge's domains is granted by the operator of the edge, a wildcard by an `admin` token, any other
//! name by an `admin` token or with a DNS proof (`proof.rs`). `claim.rs` covers the names listed by a manifest.

mod claim;
mod https_record;
mod losses;
mod others;
mod proof;

use std::net::SocketAddr;
use std::sync::Arc;

use devanture_config::api::{
    HostnameList, HostnameOwner, HostnameRemoved, HostnameRequest, HostnameSet, HostnameSource, HostnameStatus, Scope,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, HostPattern, Hostname, PlaceName};

pub(crate) use claim::Claims;
pub use https_record::{VisitorPorts, https_records};
pub(crate) use proof::Prover;

use crate::ledger::{Action, Actor, Attempts, AuditEvent, Error, Ledger, Page, update};
use crate::places::{Places, admin_hostname};
use crate::signing::Signing;
use devanture_base::clock;
use devanture_serve::live;
use devanture_store::blobs::Blobs;
use devanture_store::catalog::{Catalog, Change, Check, Commit, Record, Revision};
use devanture_store::records::gone;
use devanture_store::records::{self, HostnameRecord, ListedHostnames};
use losses::VisitorLoss;
use others::OtherNames;

/// Requirement for assigning a free name to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostnameRequirement {
    /// Scope `admin`.
    Admin,
    /// Scope `admin` for every app.
    AdminOfAll,
    /// Proof, or the scope `admin`.
    Proof,
    /// Proof, or the scope `admin` for every app. Another app has a wildcard covering the name, or a name above or
    /// below the name, so cookies of either app may reach the other.
    ProofBesideAnother,
}

/// Hostnames listed by the live version of an environment. The record is written again with each new name of the
/// environment, so of two concurrent changes the second fails and retries.
struct ListedNames {
    key: String,
    found: Option<Record>,
    names: ListedHostnames,
}

impl ListedNames {
    async fn read(catalog: &dyn Catalog, app: &AppName, environment: &PlaceName) -> Result<Self, Error> {
        let key = records::listed_key(app, environment);
        let found = catalog.get(&key).await?;
        let names = found.as_ref().map(|found| records::read(&key, found)).transpose()?.unwrap_or_default();
        Ok(Self { key, found, names })
    }

    /// Adds the check that the names of the environment are unchanged since the read.
    fn check(&self, commit: &mut Commit) {
        commit.checks.push(Check::of(self.key.clone(), self.found.as_ref().map(|found| found.revision)));
    }

    /// Adds the check of [`Self::check`], and writes `names` as the new list.
    fn write(&self, names: &ListedHostnames, commit: &mut Commit) -> Result<(), Error> {
        self.check(commit);
        commit.changes.push(Change::Put(self.key.clone(), records::write(names)?));
        Ok(())
    }
}

/// Hostnames of an environment in the catalog.
struct OwnHostnames {
    names: Vec<(HostPattern, HostnameRecord, Revision)>,
    /// Number of hostnames of the app, over all environments.
    of_app: usize,
    listed: ListedNames,
}

impl OwnHostnames {
    fn canonical(&self) -> Option<Hostname> {
        live::canonical(Some(&self.listed.names), self.names.iter().map(|(name, record, _)| (name, record)))
    }

    fn find(&self, host: &HostPattern) -> Option<&(HostPattern, HostnameRecord, Revision)> {
        self.names.iter().find(|(name, ..)| name == host)
    }
}

/// Hostnames of the environments.
pub struct Hostnames {
    ledger: Arc<Ledger>,
    blobs: Arc<dyn Blobs>,
    places: Arc<Places>,
    signing: Arc<Signing>,
    prover: Prover,
    /// DNS servers for proofs; empty for the resolvers of the system.
    dns_servers: Vec<SocketAddr>,
}

impl Hostnames {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        blobs: Arc<dyn Blobs>,
        places: Arc<Places>,
        signing: Arc<Signing>,
        dns_servers: Vec<SocketAddr>,
    ) -> Self {
        let limits = ledger.limits();
        let (time_ms_max, lookups_max) = (limits.dns_time_ms_max, limits.dns_lookups_max);
        let prover = Prover::new(Arc::clone(&ledger.catalog), &dns_servers, time_ms_max, lookups_max);
        Self { ledger, blobs, places, signing, prover, dns_servers }
    }

    /// Returns the DNS servers for proofs; empty for the resolvers of the system.
    pub(crate) fn dns_servers(&self) -> &[SocketAddr] {
        &self.dns_servers
    }
}

impl Hostnames {
    /// Returns a page of the custom hostnames of an environment, in order of the ASCII forms.
    ///
    /// # Errors
    /// `not_found` for an unknown app; `bad_request` for an unknown cursor.
    pub async fn hostnames(&self, app: &AppName, environment: &PlaceName, page: &Page) -> Result<HostnameList, Error> {
        self.ledger.must_exist(app).await?;
        if page.after.as_ref().is_some_and(|after| after.parse::<HostPattern>().is_err()) {
            return Err(page.bad_cursor());
        }
        let own = self.own_hostnames(app, environment).await?;
        let canonical = own.canonical();
        let hostnames = own.names.iter().map(|(name, record, _)| self.hostname_status(&own, name, record)).collect();
        let (hostnames, next) = page.of(hostnames, |status: &HostnameStatus| status.name.to_string());
        Ok(HostnameList { app: app.clone(), environment: environment.clone(), canonical, hostnames, next })
    }

    /// Assigns a hostname to an environment, or changes the canonical flag (redirects from all other hostnames); with
    /// `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `forbidden` and `hostname_unproven` if the actor may not have the name, `hostname_taken` for a name of another
    /// app or environment, `confirmation_required` for a name of a `prod` with required confirmations, `name_reserved`
    /// for a name of the admin listener, `hostnames_full`; `not_found` for an unknown app.
    pub async fn set_hostname(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        host: &HostPattern,
        request: &HostnameRequest,
        dry_run: bool,
    ) -> Result<HostnameSet, Error> {
        let same_app = self.ledger.same_app(app).await?;
        if request.canonical == Some(true) && host.is_wildcard() {
            let detail = format!("{host} stands for many names, so no other can lead to it.");
            return Err(Problem::new(Code::BadRequest, detail).hint("name one of them").into());
        }
        let key = records::hostname_key(host);
        let mut allowed_from = None;
        let mut attempts = Attempts::default();
        loop {
            attempts.begin(&key)?;
            self.ledger.check_place(app, environment).await?;
            let found = self.ledger.catalog.get(&key).await?;
            let before: Option<HostnameRecord> = found.as_ref().map(|found| records::read(&key, found)).transpose()?;
            let is_own = before.as_ref().is_some_and(|before| before.is_of(app, environment));
            // DNS is queried once over all retries of the commit, as long as the owner of the name is unchanged.
            let owner = before.as_ref().map(|before| (before.app.clone(), before.environment.clone()));
            if let Some(problem) = admin_hostname(&self.places.names, host).filter(|_| !is_own) {
                return Err(problem.into());
            }
            if !is_own && allowed_from.as_ref() != Some(&owner) {
                self.may_have(actor, app, host, before.as_ref()).await?;
                allowed_from = Some(owner);
            }
            let loss = if is_own { VisitorLoss::default() } else { self.loss(actor, (app, environment), host).await? };
            loss.check()?;
            let named = self.other_app_named(app, host).filter(|_| !is_own);
            if let Some(problem) = self.address_of(named.as_ref(), host).await? {
                return Err(problem.into());
            }
            let mut own = self.own_hostnames(app, environment).await?;
            if !is_own && own.names.len() >= self.hostnames_max() {
                return Err(full(environment, self.hostnames_max()).into());
            }
            let is_of_app = before.as_ref().is_some_and(|before| before.app == *app);
            self.check_hostnames_of_app(app, own.of_app, usize::from(!is_of_app))?;
            let _making = self.places.make_environment(app, environment, is_own).await?;
            let record = HostnameRecord {
                app: app.clone(),
                environment: environment.clone(),
                added_ms: before.as_ref().filter(|_| is_own).map_or_else(clock::now_ms, |before| before.added_ms),
                by_api: true,
                canonical: request
                    .canonical
                    .unwrap_or_else(|| before.as_ref().is_some_and(|before| is_own && before.canonical)),
                who: before.as_ref().filter(|_| is_own).map_or_else(|| actor.name.clone(), |before| before.who.clone()),
            };
            let changed = before.as_ref() != Some(&record);
            let mut commit = put(&key, found.map(|found| found.revision), &record)?;
            commit.checks.push(same_app.check(&*self.ledger.catalog).await?);
            commit.checks.extend(named.map(|named| Check::Absent(records::app_key(&named))));
            // An alias of the same name may have been created since the check.
            commit.checks.push(Check::Absent(records::alias_key(app, environment)));
            commit.checks.push(Check::Absent(gone::deleted_app_key(app)));
            commit.checks.push(Check::Absent(gone::deleted_environment_key(app, environment)));
            own.listed.write(&own.listed.names, &mut commit)?;
            self.note_losses(actor, vec![loss], &mut commit).await?;
            if record.canonical {
                unmark_others(&mut own, host, &mut commit)?;
            }
            own.names.retain(|(name, ..)| name != host);
            own.names.push((host.clone(), record.clone(), 0));
            let event = AuditEvent::of(Action::AddHostname).place(app, environment).what(host);
            if changed && !dry_run && !self.ledger.commit(actor, event, commit).await? {
                continue;
            }
            let moved_from = before.filter(|_| !is_own);
            return Ok(HostnameSet {
                dry_run,
                app: app.clone(),
                environment: environment.clone(),
                changed,
                moved_from: moved_from.map(|from| HostnameOwner { app: from.app, environment: from.environment }),
                hostname: self.hostname_status(&own, host, &record),
            });
        }
    }

    /// Removes a hostname from an environment; with `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `not_found` if the environment does not have the name.
    pub async fn remove_hostname(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        host: &HostPattern,
        dry_run: bool,
    ) -> Result<HostnameRemoved, Error> {
        self.ledger.must_exist(app).await?;
        let key = records::hostname_key(host);
        update(&key, || async {
            let mut own = self.own_hostnames(app, environment).await?;
            let Some((_, _, revision)) = own.find(host) else {
                let detail = format!("The environment {environment} of the app {app} does not have {host}.");
                return Err(Problem::new(Code::NotFound, detail).hint("`devanture hostnames list` lists them").into());
            };
            let checks = vec![Check::At(key.clone(), *revision)];
            let commit = Commit { checks, changes: vec![Change::Delete(key.clone())] };
            let event = AuditEvent::of(Action::RemoveHostname).place(app, environment).what(host);
            if !dry_run && !self.ledger.commit(actor, event, commit).await? {
                return Ok(None);
            }
            own.names.retain(|(name, ..)| name != host);
            let hint = own.listed.names.hostnames.contains(host).then(|| {
                "the live version's `hostnames` list it: take it out of devanture.toml, or the next push takes it again"
                    .to_owned()
            });
            Ok(Some(HostnameRemoved {
                dry_run,
                app: app.clone(),
                environment: environment.clone(),
                removed: host.clone(),
                canonical: own.canonical(),
                hint,
            }))
        })
        .await
    }

    /// Returns the app encoded in a hostname below the edge's domains, unless the app equals `app`.
    fn other_app_named(&self, app: &AppName, host: &HostPattern) -> Option<AppName> {
        self.ledger.live.domains().app_of(host.exact()?.as_str()).filter(|named| named != app)
    }

    /// Returns the problem of `host` as an address of the app `named`; `None` if the app does not exist.
    async fn address_of(&self, named: Option<&AppName>, host: &HostPattern) -> Result<Option<Problem>, Error> {
        let Some(named) = named else { return Ok(None) };
        if self.ledger.catalog.get(&records::app_key(named)).await?.is_none() {
            return Ok(None);
        }
        let detail = format!("{host} is an address of the app {named}.");
        Ok(Some(Problem::new(Code::HostnameTaken, detail).hint("choose another hostname, or leave it out")))
    }

    /// Checks that the actor may assign `host` to `app`; `before` is the current owner.
    async fn may_have(
        &self,
        actor: &Actor,
        app: &AppName,
        host: &HostPattern,
        before: Option<&HostnameRecord>,
    ) -> Result<(), Error> {
        if actor.is_admin_of_all() {
            return Ok(());
        }
        let needed = self.needed(host, &OtherNames::read(&*self.ledger.catalog, app).await?);
        let is_admin = actor.scope == Scope::Admin;
        if let Some(before) = before {
            // Within an app, the name is proven already; a token for both environments may move the name.
            let is_movable = before.app == *app && actor.may(Scope::Push, app, Some(&before.environment)).is_ok();
            if !is_movable
                || (needed == HostnameRequirement::AdminOfAll)
                || (needed == HostnameRequirement::Admin && !is_admin)
            {
                return Err(taken(host, "only an admin token for every app can move it here").into());
            }
            return Ok(());
        }
        match needed {
            HostnameRequirement::AdminOfAll => Err(forbidden(host, "an admin token for every app").into()),
            HostnameRequirement::Admin if !is_admin => Err(forbidden(host, "an admin token").into()),
            HostnameRequirement::Proof if is_admin => Ok(()),
            HostnameRequirement::Admin => Ok(()),
            HostnameRequirement::Proof | HostnameRequirement::ProofBesideAnother => {
                let hosts: Vec<Hostname> = host.exact().into_iter().collect();
                let unproven = self.prover.unproven(app, &hosts).await?;
                if unproven.is_empty() { Ok(()) } else { Err(proof::problem(app, &unproven).into()) }
            }
        }
    }

    /// Returns the requirement for having a name, given the names of `others`.
    fn needed(&self, host: &HostPattern, others: &OtherNames) -> HostnameRequirement {
        // Each name below the edge's domains belongs to an app, or may in future (law 11).
        if self.ledger.live.domains().holds(host) {
            return HostnameRequirement::AdminOfAll;
        }
        let Some(exact) = host.exact() else {
            // A wildcard over a top-level domain covers names of other apps (law 11).
            let is_of_one_label = !host.base().as_str().contains('.');
            return if is_of_one_label || others.are_around(host) {
                HostnameRequirement::AdminOfAll
            } else {
                HostnameRequirement::Admin
            };
        };
        // A token without rights on another app must not take over an address of the other app.
        let is_anothers = HostPattern::wildcard_of(&exact).is_some_and(|wildcard| others.have(&wildcard));
        if is_anothers || others.are_around(host) {
            HostnameRequirement::ProofBesideAnother
        } else {
            HostnameRequirement::Proof
        }
    }

    async fn own_hostnames(&self, app: &AppName, environment: &PlaceName) -> Result<OwnHostnames, Error> {
        // Read before the names: the check detects changes in between.
        let listed = ListedNames::read(&*self.ledger.catalog, app, environment).await?;
        let (mut names, mut of_app) = (Vec::new(), 0_usize);
        for (key, found) in self.ledger.catalog.list(records::HOSTNAMES_PREFIX, None, false, usize::MAX).await? {
            let record: HostnameRecord = records::read(&key, &found)?;
            of_app += usize::from(record.app == *app);
            let name = key.strip_prefix(records::HOSTNAMES_PREFIX).and_then(|name| name.parse().ok());
            if let Some(name) = name.filter(|_| record.is_of(app, environment)) {
                names.push((name, record, found.revision));
            }
        }
        Ok(OwnHostnames { names, of_app, listed })
    }

    /// Adds the check that an alias `name` does not take over hostnames of an environment.
    ///
    /// # Errors
    /// `alias_taken`.
    pub(crate) async fn hold_no_hostnames(
        &self,
        app: &AppName,
        name: &PlaceName,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let own = self.own_hostnames(app, name).await?;
        if let Some((host, ..)) = own.names.first() {
            let detail = format!("{name} has hostnames as an environment of the app {app}: {host}.");
            let hint = format!("choose another name, or take them away with `devanture hostnames remove --env {name}`");
            return Err(Problem::new(Code::AliasTaken, detail).hint(hint).into());
        }
        own.listed.check(commit);
        Ok(())
    }

    fn hostname_status(&self, own: &OwnHostnames, name: &HostPattern, record: &HostnameRecord) -> HostnameStatus {
        let canonical = own.canonical();
        let exact = name.exact();
        let is_canonical = exact.is_some() && exact == canonical;
        HostnameStatus {
            name: name.clone(),
            unicode: name.unicode(),
            canonical: is_canonical,
            redirects_to: canonical.filter(|_| exact.is_some() && !is_canonical),
            source: if record.by_api { HostnameSource::Api } else { HostnameSource::Manifest },
            listed: own.listed.names.hostnames.contains(name),
            url: exact.map(|exact| self.ledger.live.domains().url(exact.as_str())),
            // Certificates are outside this module: the API adds the certificate and dependent fields.
            certificate: None,
            https_records: Vec::new(),
        }
    }

    /// Checks that an app may have `added` more hostnames.
    ///
    /// # Errors
    /// `hostnames_full`.
    pub(super) fn check_hostnames_of_app(&self, app: &AppName, count: usize, added: usize) -> Result<(), Error> {
        let max = self.ledger.limits().for_app(app).hostnames_per_app_max;
        if added == 0 || u64::try_from(count.saturating_add(added)).is_ok_and(|count| count <= max) {
            return Ok(());
        }
        let detail = format!("The app {app} would have more than {}.", counted(max, "hostname"));
        let used = u64::try_from(count).unwrap_or(u64::MAX);
        Err(Problem::new(Code::HostnamesFull, detail).limit("hostnames_per_app_max", max, used).into())
    }

    fn hostnames_max(&self) -> usize {
        usize::try_from(self.ledger.limits().hostnames_max).unwrap_or(usize::MAX)
    }
}

fn put(key: &str, before: Option<Revision>, record: &HostnameRecord) -> Result<Commit, Error> {
    let check = Check::of(key.to_owned(), before);
    Ok(Commit { checks: vec![check], changes: vec![Change::Put(key.to_owned(), records::write(record)?)] })
}

/// Clears the canonical flag of all other names: at most a single name is canonical.
fn unmark_others(own: &mut OwnHostnames, host: &HostPattern, commit: &mut Commit) -> Result<(), Error> {
    for (name, record, revision) in &mut own.names {
        if name != host && record.canonical {
            record.canonical = false;
            let key = records::hostname_key(name);
            commit.checks.push(Check::At(key.clone(), *revision));
            commit.changes.push(Change::Put(key, records::write(record)?));
        }
    }
    Ok(())
}

fn forbidden(host: &HostPattern, needed: &str) -> Problem {
    Problem::new(Code::Forbidden, format!("Only {needed} may give {host} to an app."))
        .hint(format!("use {needed}, or leave the hostname out"))
}

fn taken(host: &HostPattern, hint: &str) -> Problem {
    let detail = format!("{host} belongs to another app or environment.");
    Problem::new(Code::HostnameTaken, detail).hint(hint)
}

fn full(environment: &PlaceName, max: usize) -> Problem {
    let detail = format!("The environment {environment} would have more than {}.", counted(max, "hostname"));
    Problem::new(Code::HostnamesFull, detail).hint("`hostnames_max` in edge.toml is the limit")
}
