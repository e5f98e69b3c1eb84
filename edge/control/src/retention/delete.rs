//! Deletions of versions: record, preview, and still-served assets of replaced versions. Deletions can be restored for
//! a while (`undelete.rs`).

use devanture_base::clock;
use devanture_config::api::{DeleteReport, DeployKind, PlaceDeleteReport};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::gone::{DeletedApp, DeletedEnvironment, GoneVersion};
use devanture_store::records::signing::signatures_key;
use devanture_store::records::{self, AliasRecord, LivePointer, VersionRecord, gone, pointer};

use super::Retention;
use crate::ledger::{Action, Actor, AuditEvent, Error, update};

impl Retention {
    /// Deletes a version without references: not live, without an alias, and no target of a pending return. On return,
    /// no hostname of the node serves the version. Its files stay while restorable. A `dry_run` only reports.
    ///
    /// # Errors
    /// `not_found`, `version_collected`, `ambiguous_id`, `version_in_use`.
    pub async fn delete_version(
        &self,
        actor: &Actor,
        app: &AppName,
        typed: &str,
        dry_run: bool,
    ) -> Result<DeleteReport, Error> {
        let version = self.ledger.resolve_version(app, typed).await?;
        let key = records::version_key(app, &version);
        update(&key, || async {
            let Some(record) = self.ledger.catalog.get(&key).await? else {
                return Err(self.ledger.gone_problem(app, &version).await?);
            };
            let mut checks = vec![Check::At(key.clone(), record.revision)];
            // Every new pointer writes the record, see `hold_version`.
            let app_key = records::app_key(app);
            if let Some(record) = self.ledger.catalog.get(&app_key).await? {
                checks.push(Check::At(app_key, record.revision));
            }
            let held_in = self.check_unused(app, &version, &mut checks).await?;
            let at_ms = clock::now_ms();
            let until_ms = at_ms.saturating_add(self.policy().undelete_ms());
            let report = DeleteReport { dry_run, app: app.clone(), version, until_ms, held_in, purged: None };
            if dry_run {
                return Ok(Some(report));
            }
            let stored: VersionRecord = records::read(&key, &record)?;
            let gone = GoneVersion {
                at_ms,
                collected: false,
                until_ms,
                who: actor.name.clone(),
                stored_ms: stored.stored_ms,
                record: Some(stored),
            };
            let keep = Change::Put(gone::gone_key(app, &version), records::write(&gone)?);
            // After a restoration, dictionaries are computed again and signatures are required again.
            let dictionaries = Change::Delete(records::dictionaries_key(app, &version));
            let signatures = Change::Delete(signatures_key(app, &version));
            let commit = Commit { checks, changes: vec![Change::Delete(key.clone()), dictionaries, signatures, keep] };
            let event = AuditEvent::of(Action::DeleteVersion).app(app).what(version.short());
            if self.ledger.commit(actor, event, commit).await? {
                tracing::info!(app = %app, version = %version, who = actor.name, "a version was deleted");
                return Ok(Some(report));
            }
            Ok(None)
        })
        .await
    }

    /// Refuses a referenced version, and adds checks against new references. Returns the environments with visitors
    /// pinned on the version.
    async fn check_unused(
        &self,
        app: &AppName,
        version: &VersionId,
        checks: &mut Vec<Check>,
    ) -> Result<Vec<PlaceName>, Error> {
        let (mut users, mut held_in) = (Vec::new(), Vec::new());
        for (key, record) in self.ledger.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
            let name = key.rsplit('/').next().unwrap_or_default();
            if let Ok(environment) = name.parse::<PlaceName>() {
                let pointer = pointer::pointer_of(&*self.ledger.catalog, app, &environment, &record).await?;
                if pointer.version == *version {
                    users.push(format!("live in {name}"));
                } else if pointer.versions().any(|live| live == *version) {
                    users.push(format!("the canary of {name}"));
                } else if self.environments.pinned(app, &environment, &pointer).contains(version) {
                    held_in.push(environment);
                }
            }
            checks.push(Check::At(key, record.revision));
        }
        for (key, record) in self.ledger.catalog.list(&records::alias_prefix(app), None, false, usize::MAX).await? {
            if records::read::<AliasRecord>(&key, &record)?.version == *version {
                users.push(format!("what the alias {} points at", key.rsplit('/').next().unwrap_or_default()));
            }
            checks.push(Check::At(key, record.revision));
        }
        for (key, record) in
            self.ledger.catalog.list(&gone::deleted_environments_prefix(app), None, false, usize::MAX).await?
        {
            if records::read::<DeletedEnvironment>(&key, &record)?.pointer.version == *version {
                let name = key.rsplit('/').next().unwrap_or_default();
                users.push(format!("what the deleted environment {name} comes back to"));
            }
            checks.push(Check::At(key, record.revision));
        }
        if self.ledger.leases.may_go_back(app, version) {
            users.push("what a switch that is watched would go back to".to_owned());
        }
        if users.is_empty() {
            return Ok(held_in);
        }
        let detail = format!("{} is {}.", version.short(), users.join(", and "));
        Err(Problem::new(Code::VersionInUse, detail)
            .hint("make another version live there (`devanture rollback`), or delete the alias, then delete this one")
            .into())
    }
}

// Deletions of apps and environments: immediately unserved, and restorable for a while.
//
// The deletion of an app is one record; all other records stay until a collection ends the app. The deletion of an
// environment is one record with its live pointer; the environment keeps its hostnames. An environment without a live
// version ends at once.

impl Retention {
    /// Deletes an app with all its contents. On return, no hostname of the app is served by the node; its name stays
    /// reserved until a collection ends the app.
    ///
    /// # Errors
    /// `not_found`; `deleted` for a deleted app.
    pub async fn delete_app(&self, actor: &Actor, app: &AppName, dry_run: bool) -> Result<PlaceDeleteReport, Error> {
        let (app_key, key) = (records::app_key(app), gone::deleted_app_key(app));
        update(&key, || async {
            self.ledger.check_there(app, None).await?;
            self.ledger.must_exist(app).await?;
            let Some(record) = self.ledger.catalog.get(&app_key).await? else { return Ok(None) };
            let report = self.place_report(app, None, dry_run).await?;
            if dry_run {
                return Ok(Some(report));
            }
            let at_ms = clock::now_ms();
            let hostnames = hostnames_of(&report);
            let deleted = DeletedApp { at_ms, until_ms: report.until_ms, who: actor.name.clone(), hostnames };
            let checks = vec![Check::Absent(key.clone()), Check::At(app_key.clone(), record.revision)];
            let changes = vec![Change::Put(key.clone(), records::write(&deleted)?)];
            let mut commit = Commit { checks, changes };
            self.note_all(actor, app, "deleteApp", &mut commit).await?;
            let event = AuditEvent::of(Action::DeleteApp).app(app);
            if self.ledger.commit(actor, event, commit).await? {
                self.uploads.end_of(app, None);
                tracing::info!(app = %app, who = actor.name, until_ms = report.until_ms, "an app was deleted");
                return Ok(Some(report));
            }
            Ok(None)
        })
        .await
    }

    /// Adds live-log entries to a commit that deletes or restores a whole app, for environments with required
    /// signatures.
    pub(super) async fn note_all(
        &self,
        actor: &Actor,
        app: &AppName,
        operation: &str,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        for environment in self.environments.signing.with_signers(app).await? {
            self.environments.signing.note_unsigned(actor, (app, &environment), operation, commit).await?;
        }
        Ok(())
    }

    /// Deletes an environment. On return, none of its hostnames is served by the node; the environment keeps its
    /// hostnames. Without a live version there is nothing to restore, and the environment ends.
    ///
    /// # Errors
    /// `nothing_live` for an environment without any record; `not_found` for an unknown app; `deleted` for a deleted
    /// environment.
    pub async fn delete_environment(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        dry_run: bool,
    ) -> Result<PlaceDeleteReport, Error> {
        let report = self.record_deletion(actor, app, environment, dry_run).await?;
        if !dry_run && report.environments.is_empty() {
            self.end_unused(app, environment).await;
        }
        Ok(report)
    }

    /// Deletes an environment as [`Retention::delete_environment`] does, and leaves its end to the caller.
    pub(super) async fn record_deletion(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        dry_run: bool,
    ) -> Result<PlaceDeleteReport, Error> {
        let (key, live_key) = (gone::deleted_environment_key(app, environment), records::live_key(app, environment));
        update(&key, || async {
            self.ledger.check_there(app, Some(environment)).await?;
            self.ledger.must_exist(app).await?;
            let report = self.place_report(app, Some(environment), dry_run).await?;
            let Some((revision, pointer)) = self.ledger.live_pointer(app, environment).await? else {
                return self.delete_unused(actor, (app, environment), report).await;
            };
            if dry_run {
                return Ok(Some(report));
            }
            let at_ms = clock::now_ms();
            let (entry_key, entry) =
                self.ledger.note(actor, (app, environment), DeployKind::Delete, &pointer, at_ms, None).await?;
            let (who, hostnames) = (actor.name.clone(), hostnames_of(&report));
            // A restored environment has one version for all visitors.
            let pointer = LivePointer { canary: None, pins: None, ..pointer };
            let deleted = DeletedEnvironment { at_ms, until_ms: report.until_ms, who, pointer, hostnames };
            let checks = vec![
                Check::Absent(key.clone()),
                Check::At(live_key.clone(), revision),
                Check::Absent(entry_key.clone()),
                Check::Absent(gone::deleted_app_key(app)),
            ];
            let changes = vec![
                Change::Put(key.clone(), records::write(&deleted)?),
                Change::Delete(live_key.clone()),
                Change::Put(entry_key, records::write(&entry)?),
            ];
            let mut commit = Commit { checks, changes };
            let place = (app, environment);
            self.environments.signing.note_moved(actor, place, &deleted.pointer, &entry.deploy, &mut commit).await?;
            let event = AuditEvent::of(Action::DeleteEnvironment).place(app, environment);
            if self.ledger.commit(actor, event, commit).await? {
                self.uploads.end_of(app, Some(environment));
                tracing::info!(app = %app, environment = %environment, who = actor.name, until_ms = report.until_ms, "an environment was deleted");
                return Ok(Some(report));
            }
            Ok(None)
        })
        .await
    }

    /// Records the deletion of an environment without a live version, which cannot be restored: during its end, no new
    /// operation may write records or data there. `None` if another commit won the race.
    async fn delete_unused(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        report: PlaceDeleteReport,
    ) -> Result<Option<PlaceDeleteReport>, Error> {
        if !self.environments.places.has_environment(app, environment).await? {
            let detail = format!("Nothing is live in {environment} of the app {app}.");
            let hint = "`devanture status` lists the environments";
            return Err(Problem::new(Code::NothingLive, detail).hint(hint).into());
        }
        let at_ms = clock::now_ms();
        let report = PlaceDeleteReport { until_ms: at_ms, ..report };
        if report.dry_run {
            return Ok(Some(report));
        }
        let deleted = DeletedEnvironment {
            at_ms,
            // The clock used by collections.
            until_ms: clock::settled_ms(),
            who: actor.name.clone(),
            pointer: LivePointer::unknown(),
            hostnames: hostnames_of(&report),
        };
        let key = gone::deleted_environment_key(app, environment);
        let checks = vec![
            Check::Absent(key.clone()),
            Check::Absent(records::live_key(app, environment)),
            Check::Absent(gone::deleted_app_key(app)),
        ];
        let changes = vec![Change::Put(key, records::write(&deleted)?)];
        let event = AuditEvent::of(Action::DeleteEnvironment).place(app, environment).what("nothing was live in it");
        if !self.ledger.commit(actor, event, Commit { checks, changes }).await? {
            return Ok(None);
        }
        self.uploads.end_of(app, Some(environment));
        tracing::info!(app = %app, environment = %environment, who = actor.name, "an environment was deleted that nothing was live in");
        Ok(Some(report))
    }

    pub(super) async fn place_report(
        &self,
        app: &AppName,
        environment: Option<&PlaceName>,
        dry_run: bool,
    ) -> Result<PlaceDeleteReport, Error> {
        let live = self.ledger.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await?;
        let all = live.iter().filter_map(|(key, _)| key.rsplit('/').next()?.parse::<PlaceName>().ok());
        let environments: Vec<PlaceName> = all.filter(|name| environment.is_none_or(|wanted| wanted == name)).collect();
        let mut pinned = Vec::new();
        for name in &environments {
            if let Some((_, pointer)) = self.ledger.live_pointer(app, name).await? {
                pinned.extend(self.environments.pinned(app, name, &pointer));
            }
        }
        pinned.sort_unstable();
        pinned.dedup();
        let mut hostnames = Vec::new();
        for (key, record) in self.ledger.catalog.list(records::HOSTNAMES_PREFIX, None, false, usize::MAX).await? {
            let Some(owner) = records::hostname(&key, &record) else { continue };
            if owner.app == *app && environment.is_none_or(|wanted| owner.environment == *wanted) {
                hostnames.extend(key.strip_prefix(records::HOSTNAMES_PREFIX).map(str::to_owned));
            }
        }
        let versions = match environment {
            Some(_) => 0,
            None => self.ledger.catalog.list(&records::versions_prefix(app), None, false, usize::MAX).await?.len(),
        };
        Ok(PlaceDeleteReport {
            dry_run,
            app: app.clone(),
            environment: environment.cloned(),
            until_ms: clock::now_ms().saturating_add(self.policy().undelete_ms()),
            environments,
            hostnames,
            versions: u64::try_from(versions).unwrap_or(u64::MAX),
            pinned,
            purged: None,
        })
    }
}

fn hostnames_of(report: &PlaceDeleteReport) -> Vec<HostPattern> {
    report.hostnames.iter().filter_map(|name| name.parse().ok()).collect()
}
