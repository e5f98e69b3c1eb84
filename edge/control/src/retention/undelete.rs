//! Deleted items: refused during the deletion, listed, and restorable within their time.

use devanture_config::api::{DeletedThing, DeployKind, UndeleteReport, UndeleteRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::date_time;
use devanture_config::{AppName, HostPattern, IdPrefix, PlaceName};

use super::Retention;
use crate::ledger::{Action, Actor, AuditEvent, Error, ambiguous, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment, GoneVersion};
use devanture_store::records::{self, HostnameRecord};

impl Retention {
    /// Returns the restorable items of an app: the app, environments, versions. A token for one environment sees that
    /// environment only; versions belong to all environments.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn deleted_things(&self, actor: &Actor, app: &AppName) -> Result<Vec<DeletedThing>, Error> {
        self.ledger.must_exist(app).await?;
        let now_ms = clock::now_ms();
        let mut things = Vec::new();
        let thing = |deleted_ms, until_ms, who| DeletedThing {
            app: app.clone(),
            environment: None,
            version: None,
            deleted_ms,
            until_ms,
            who,
        };
        let key = gone::deleted_app_key(app);
        if let Some(record) = self.ledger.catalog.get(&key).await? {
            let record: DeletedApp = records::read(&key, &record)?;
            things.push(thing(record.at_ms, record.until_ms, record.who));
        }
        let prefix = gone::deleted_environments_prefix(app);
        for (key, record) in self.ledger.catalog.list(&prefix, None, false, usize::MAX).await? {
            let environment = key.strip_prefix(&prefix).and_then(|name| name.parse().ok());
            let record: DeletedEnvironment = records::read(&key, &record)?;
            things.push(DeletedThing { environment, ..thing(record.at_ms, record.until_ms, record.who) });
        }
        let prefix = gone::gone_prefix(app);
        for (key, record) in self.ledger.catalog.list(&prefix, None, false, usize::MAX).await? {
            let version = key.strip_prefix(&prefix).and_then(|id| id.parse().ok());
            let record: GoneVersion = records::read(&key, &record)?;
            if record.record.is_some() {
                things.push(DeletedThing { version, ..thing(record.at_ms, record.until_ms, record.who) });
            }
        }
        let is_seen = |thing: &DeletedThing| match (&actor.environment, &thing.environment) {
            (None, _) => true,
            (Some(own), Some(environment)) => own == environment,
            (Some(_), None) => thing.version.is_none(),
        };
        things.retain(|thing| thing.until_ms > now_ms && is_seen(thing));
        Ok(things)
    }

    /// Restores a deleted item unchanged; the report lists hostnames moved elsewhere meanwhile. A `dry_run` only
    /// reports.
    ///
    /// # Errors
    /// `not_found` for an item not deleted or past its time; `version_collected`; `deleted` for an item of a deleted
    /// app; `bad_request` for two items at once.
    pub async fn undelete(
        &self,
        actor: &Actor,
        app: &AppName,
        wanted: &UndeleteRequest,
        dry_run: bool,
    ) -> Result<UndeleteReport, Error> {
        self.ledger.must_exist(app).await?;
        let report = match (&wanted.environment, wanted.version.as_deref()) {
            (None, None) => self.undelete_app(actor, app, dry_run).await?,
            (Some(environment), None) => self.undelete_environment(actor, (app, environment), dry_run).await?,
            (None, Some(typed)) => self.undelete_version(actor, app, typed, dry_run).await?,
            (Some(_), Some(_)) => {
                return Err(
                    Problem::new(Code::BadRequest, "An environment or a version is restored, one at a time.").into()
                );
            }
        };
        if dry_run {
            return Ok(report);
        }
        tracing::info!(app = %app, environment = ?report.environment, version = ?report.version, who = actor.name, "what was deleted was restored");
        Ok(report)
    }

    async fn undelete_app(&self, actor: &Actor, app: &AppName, dry_run: bool) -> Result<UndeleteReport, Error> {
        let key = gone::deleted_app_key(app);
        update(&key, || async {
            let Some(record) = self.ledger.catalog.get(&key).await? else {
                return Err(not_deleted(&format!("The app {app}")));
            };
            let DeletedApp { until_ms, hostnames, .. } = records::read(&key, &record)?;
            in_time(&format!("The app {app}"), until_ms)?;
            let checks = vec![Check::At(key.clone(), record.revision)];
            let mut commit = Commit { checks, changes: vec![Change::Delete(key.clone())] };
            self.note_all(actor, app, "undelete", &mut commit).await?;
            if dry_run || self.ledger.commit(actor, AuditEvent::of(Action::Undelete).app(app), commit).await? {
                let lost_hostnames = self.hostnames_of_others((app, None), hostnames).await?;
                let (app, environment, version) = (app.clone(), None, None);
                return Ok(Some(UndeleteReport { dry_run, app, environment, version, lost_hostnames }));
            }
            Ok(None)
        })
        .await
    }

    async fn undelete_environment(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        dry_run: bool,
    ) -> Result<UndeleteReport, Error> {
        let key = gone::deleted_environment_key(app, environment);
        let live_key = records::live_key(app, environment);
        update(&key, || async {
            self.ledger.check_there(app, None).await?;
            let what = format!("The environment {environment} of the app {app}");
            let Some(record) = self.ledger.catalog.get(&key).await? else { return Err(not_deleted(&what)) };
            let DeletedEnvironment { until_ms, pointer, hostnames, .. } = records::read(&key, &record)?;
            in_time(&what, until_ms)?;
            let _lease = self.ledger.leases.version(pointer.version).await;
            let at_ms = clock::now_ms();
            let (entry_key, entry) =
                self.ledger.note(actor, (app, environment), DeployKind::Undelete, &pointer, at_ms, None).await?;
            let mut commit = Commit {
                checks: vec![
                    Check::At(key.clone(), record.revision),
                    Check::Absent(live_key.clone()),
                    Check::Absent(entry_key.clone()),
                ],
                changes: vec![
                    Change::Delete(key.clone()),
                    Change::Put(live_key.clone(), records::write(&pointer)?),
                    Change::Put(entry_key, records::write(&entry)?),
                ],
            };
            // The write lets followers of the recreated environment see the pause.
            let paused_key = records::paused_key(app, environment);
            if let Some(paused) = self.ledger.catalog.get(&paused_key).await? {
                commit.checks.push(Check::At(paused_key.clone(), paused.revision));
                commit.changes.push(Change::Put(paused_key, paused.value));
            }
            self.ledger.hold_version(&mut commit, app, &pointer.version, true).await?;
            let place = (app, environment);
            self.environments.signing.note_moved(actor, place, &pointer, &entry.deploy, &mut commit).await?;
            // Meanwhile a wildcard of another one may have answered there.
            self.environments.hostnames.take_address(actor, place, &mut commit).await?;
            let event = AuditEvent::of(Action::Undelete).place(app, environment);
            if dry_run || self.ledger.commit(actor, event, commit).await? {
                let lost_hostnames = self.hostnames_of_others((app, Some(environment)), hostnames).await?;
                let (environment, version) = (Some(environment.clone()), Some(pointer.version));
                return Ok(Some(UndeleteReport { dry_run, app: app.clone(), environment, version, lost_hostnames }));
            }
            Ok(None)
        })
        .await
    }

    /// Returns those of `hostnames` that no longer belong to the restored item.
    async fn hostnames_of_others(
        &self,
        (app, environment): (&AppName, Option<&PlaceName>),
        hostnames: Vec<HostPattern>,
    ) -> Result<Vec<HostPattern>, Error> {
        let mut lost = Vec::new();
        for host in hostnames {
            let key = records::hostname_key(&host);
            let found = self.ledger.catalog.get(&key).await?;
            let owner = found.as_ref().and_then(|found| records::hostname(&key, found));
            let is_own =
                |owner: HostnameRecord| owner.app == *app && environment.is_none_or(|name| owner.environment == *name);
            if !owner.is_some_and(is_own) {
                lost.push(host);
            }
        }
        Ok(lost)
    }

    async fn undelete_version(
        &self,
        actor: &Actor,
        app: &AppName,
        typed: &str,
        dry_run: bool,
    ) -> Result<UndeleteReport, Error> {
        let prefix: IdPrefix = typed
            .parse()
            .map_err(|error: devanture_config::BadIdPrefix| Problem::new(Code::BadRequest, format!("{error}.")))?;
        update(&gone::gone_prefix(app), || async {
            self.ledger.check_there(app, None).await?;
            let found =
                self.ledger.catalog.list(&format!("{}{prefix}", gone::gone_prefix(app)), None, false, 2).await?;
            let (key, record) = match found.as_slice() {
                [one] => one.clone(),
                [] => return Err(not_deleted(&format!("The version {prefix} of the app {app}"))),
                _ => return Err(ambiguous(&prefix)),
            };
            let Some(version) = key.rsplit('/').next().and_then(|id| id.parse().ok()) else {
                return Err(not_deleted(&format!("The version {prefix} of the app {app}")));
            };
            let gone: GoneVersion = records::read(&key, &record)?;
            let Some(stored) = gone.record.filter(|_| gone.until_ms > clock::now_ms()) else {
                return Err(self.ledger.gone_problem(app, &version).await?);
            };
            let version_key = records::version_key(app, &version);
            let commit = Commit {
                checks: vec![
                    Check::At(key.clone(), record.revision),
                    Check::Absent(version_key.clone()),
                    Check::Absent(gone::deleted_app_key(app)),
                ],
                changes: vec![Change::Delete(key), Change::Put(version_key, records::write(&stored)?)],
            };
            let event = AuditEvent::of(Action::Undelete).app(app).what(version.short());
            if dry_run || self.ledger.commit(actor, event, commit).await? {
                return Ok(Some(UndeleteReport {
                    dry_run,
                    app: app.clone(),
                    environment: None,
                    version: Some(version),
                    lost_hostnames: Vec::new(),
                }));
            }
            Ok(None)
        })
        .await
    }
}

fn not_deleted(what: &str) -> Error {
    Problem::new(Code::NotFound, format!("{what} is not deleted."))
        .hint("`devanture undelete` lists what can be restored")
        .into()
}

/// Checks that an item is still restorable.
fn in_time(what: &str, until_ms: u64) -> Result<(), Error> {
    if until_ms > clock::now_ms() {
        return Ok(());
    }
    let detail = format!("{what} could be restored until {}.", date_time(until_ms));
    Err(Problem::new(Code::NotFound, detail).hint("the next collection ends it; then its name is free").into())
}
