//! Purges deleted items: ends them at once without a restoration, and deletes their unreferenced files without the
//! grace period or a stay in `collected/`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{DeleteReport, PlaceDeleteReport, PurgeRemains, PurgeRemoved, PurgeReport, Scope};
use devanture_config::problem::Code;
use devanture_config::{AppName, IdPrefix, Manifest, PlaceName, VersionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Pass;
use super::mark::Marked;
use crate::ledger::{Action, Actor, AuditEvent, Error, lost, update};
use crate::retention::Retention;
use devanture_base::clock;
use devanture_store::blobs::Key;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Change, Check, Commit, Record};
use devanture_store::records;
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment, GoneVersion};

/// Pause between two attempts while leftovers of instances remain.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// Item to purge, already deleted.
#[derive(Debug, Clone)]
enum Purge {
    App(AppName),
    Environment(AppName, PlaceName),
    Version(AppName, VersionId),
}

impl Purge {
    const fn app(&self) -> &AppName {
        match self {
            Self::App(app) | Self::Environment(app, _) | Self::Version(app, _) => app,
        }
    }

    /// Returns the app and environment whose instances end with the item.
    const fn place(&self) -> Option<(&AppName, Option<&PlaceName>)> {
        match self {
            Self::App(app) => Some((app, None)),
            Self::Environment(app, environment) => Some((app, Some(environment))),
            Self::Version(..) => None,
        }
    }
}

impl Retention {
    /// Deletes a version permanently, also a deleted and still restorable version. A `dry_run` only reports.
    ///
    /// # Errors
    /// As [`Retention::delete_version`].
    pub async fn purge_version(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppName,
        typed: &str,
        dry_run: bool,
    ) -> Result<DeleteReport, Error> {
        // The records that name the dictionary are deleted with the version.
        let dictionary = match self.ledger.resolve_version(app, typed).await {
            Ok(version) => self.dictionary_of(app, &version).await?,
            Err(_gone) => None,
        };
        let mut report = match self.delete_version(actor, app, typed, dry_run).await {
            Ok(report) => report,
            Err(error) if error.0.code == Code::NotFound => match self.restorable(app, typed).await? {
                Some(version) => {
                    DeleteReport { dry_run, app: app.clone(), version, until_ms: 0, held_in: Vec::new(), purged: None }
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        if dry_run {
            report.until_ms = clock::now_ms();
            return Ok(report);
        }
        let event = AuditEvent::of(Action::PurgeVersion).app(app).what(report.version.short());
        let end = |gone: &mut GoneVersion, now_ms| {
            gone.stored_ms = gone.stored_since_ms();
            (gone.until_ms, gone.record) = (now_ms, None);
        };
        let key = gone::gone_key(app, &report.version);
        let gone = self.ledger.catalog.get(&key).await?;
        let mut made = gone.map(|record| made_of(&key, &record)).unwrap_or_default();
        made.extend(dictionary);
        report.until_ms = self.expire(actor, event, key, end).await?;
        report.purged = Some(self.purge(actor, Purge::Version(app.clone(), report.version), made).await?);
        Ok(report)
    }

    /// Deletes an app or environment permanently, also a deleted and still restorable one.
    ///
    /// # Errors
    /// As [`Retention::delete_app`] and [`Retention::delete_environment`].
    pub async fn purge_place(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppName,
        environment: Option<&PlaceName>,
        dry_run: bool,
    ) -> Result<PlaceDeleteReport, Error> {
        let deleted = match environment {
            Some(environment) => self.record_deletion(actor, app, environment, dry_run).await,
            None => self.delete_app(actor, app, dry_run).await,
        };
        let mut report = match deleted {
            Ok(report) => report,
            Err(error) if error.0.code == Code::Deleted => self.place_report(app, environment, dry_run).await?,
            Err(error) => return Err(error),
        };
        report.until_ms = clock::now_ms();
        if dry_run {
            return Ok(report);
        }
        let purge = match environment {
            Some(environment) => {
                let key = gone::deleted_environment_key(app, environment);
                let event = AuditEvent::of(Action::PurgeEnvironment).place(app, environment);
                let end = |deleted: &mut DeletedEnvironment, now_ms| deleted.until_ms = now_ms;
                report.until_ms = self.expire(actor, event, key, end).await?;
                Purge::Environment(app.clone(), environment.clone())
            }
            None => {
                let end = |deleted: &mut DeletedApp, now_ms| deleted.until_ms = now_ms;
                let event = AuditEvent::of(Action::PurgeApp).app(app);
                report.until_ms = self.expire(actor, event, gone::deleted_app_key(app), end).await?;
                Purge::App(app.clone())
            }
        };
        report.purged = Some(self.purge(actor, purge, Vec::new()).await?);
        Ok(report)
    }

    /// Returns a deleted and still restorable version.
    async fn restorable(&self, app: &AppName, typed: &str) -> Result<Option<VersionId>, Error> {
        let Ok(prefix) = typed.parse::<IdPrefix>() else { return Ok(None) };
        let found = self.ledger.catalog.list(&format!("{}{prefix}", gone::gone_prefix(app)), None, false, 2).await?;
        let [(key, record)] = found.as_slice() else { return Ok(None) };
        let gone: GoneVersion = records::read(key, record)?;
        Ok(gone.record.and_then(|_| key.rsplit('/').next()?.parse().ok()))
    }

    /// Ends the restoration time of an item; returns the end. A record deleted meanwhile is no error.
    async fn expire<T: DeserializeOwned + Serialize>(
        &self,
        actor: &Actor,
        event: AuditEvent,
        key: String,
        end: impl Fn(&mut T, u64),
    ) -> Result<u64, Error> {
        update(&key, || async {
            let now_ms = clock::now_ms();
            let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(Some(now_ms)) };
            let mut ended: T = records::read(&key, &record)?;
            end(&mut ended, now_ms);
            let checks = vec![Check::At(key.clone(), record.revision)];
            let changes = vec![Change::Put(key.clone(), records::write(&ended)?)];
            if self.ledger.commit(actor, event.clone(), Commit { checks, changes }).await? {
                return Ok(Some(now_ms));
            }
            Ok(None)
        })
        .await
    }

    /// Ends an expired item, after the end of its instances and of a running collection; also deletes files `made` from
    /// the item that no record names any more. Runs to completion even if the caller is dropped.
    async fn purge(self: &Arc<Self>, actor: &Actor, what: Purge, made: Vec<(Key, u64)>) -> Result<PurgeReport, Error> {
        let (this, sees_edge) = (Arc::clone(self), actor.may_in_every_app(Scope::Admin).is_ok());
        let pass = tokio::spawn(async move {
            let until = Instant::now() + Duration::from_millis(this.ledger.limits().purge_wait_ms_max);
            if let Some((app, environment)) = what.place() {
                this.await_instances(app, environment, until).await?;
            }
            loop {
                let report = this.run_purge(&what, &made, sees_edge).await?;
                if report.remains.is_none() || Instant::now() >= until {
                    return Ok(report);
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        pass.await.map_err(|error| lost(&error)).flatten()
    }

    /// Makes one attempt. With `sees_edge` the report includes figures of the whole edge.
    async fn run_purge(&self, what: &Purge, made: &[(Key, u64)], sees_edge: bool) -> Result<PurgeReport, Error> {
        let _one = self.collecting.lock().await;
        // Another edge may own the files by now.
        self.ledger.catalog.check_in_place()?;
        let _duty = self.take_duty().await?;
        let mut pass = Pass::for_good(clock::now_ms());
        let app = what.app().clone();
        let (versions, mut files) = self.versions_of(what).await?;
        files.extend_from_slice(made);
        self.end_purged(what, &mut pass).await?;
        let has_ended = self.has_ended(what).await?;
        // From here on as in a collection, for the item's files only.
        let watch = self.ledger.catalog.watch();
        let mut marked = self.mark(&pass).await?;
        // Blobs sent by another app, and not yet in a version, stay: the other push may resume after a restart.
        self.mark_sent_by_others(&mut marked, &app).await?;
        self.add_files_of(&versions, &mut files).await;
        let own = self.mark_app(&pass, &app).await?;
        self.end_sent_of(&app, &files).await?;
        self.sweep_listed(&mut pass, marked, watch, &files).await?;
        self.uploads.refresh(&HashSet::from([app.clone()]), pass.began_ms).await?;
        let swept = pass.report;
        tracing::info!(%app, ?what, files = swept.files, bytes = swept.bytes, "purged");
        for version in &swept.unreadable {
            tracing::warn!(%app, %version, "a manifest cannot be read, so a purge removes no file: push its bundle again, or delete the version");
        }
        let remains = (!has_ended).then(|| PurgeRemains {
            files: u64::try_from(files.len()).unwrap_or(u64::MAX),
            bytes: files.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size)),
            why: "its instances have not ended yet; the next collection removes the rest".to_owned(),
        });
        let (files, bytes) = released(&files, &own);
        let removed = sees_edge.then_some(PurgeRemoved { files: swept.files, bytes: swept.bytes });
        let unreadable = if sees_edge { swept.unreadable } else { own.unreadable };
        Ok(PurgeReport { files, bytes, removed, unreadable, remains })
    }

    /// Returns true if the deletion record of an app or environment is gone, and with it the backend.
    async fn has_ended(&self, what: &Purge) -> Result<bool, Error> {
        let key = match what {
            Purge::App(app) => gone::deleted_app_key(app),
            Purge::Environment(app, name) => gone::deleted_environment_key(app, name),
            Purge::Version(..) => return Ok(true),
        };
        Ok(self.ledger.catalog.get(&key).await?.is_none())
    }

    /// Returns the versions to delete, and their derived files.
    async fn versions_of(&self, what: &Purge) -> Result<(Vec<VersionId>, Vec<(Key, u64)>), Error> {
        let app = match what {
            Purge::App(app) => app,
            // Versions belong to the app: another environment may use the version.
            Purge::Environment(..) => return Ok((Vec::new(), Vec::new())),
            Purge::Version(_, version) => return Ok((vec![*version], Vec::new())),
        };
        let (mut versions, mut made) = (Vec::new(), Vec::new());
        for prefix in [records::versions_prefix(app), gone::gone_prefix(app)] {
            let mut found = Scan::new(&*self.ledger.catalog, prefix);
            while let Some((key, record)) = found.next().await? {
                let Some(version) = key.rsplit('/').next().and_then(|id| id.parse().ok()) else { continue };
                made.extend(made_of(&key, &record));
                made.extend(self.dictionary_of(app, &version).await?);
                versions.push(version);
            }
        }
        Ok((versions, made))
    }

    /// Returns the dictionary shared by pages of a version.
    async fn dictionary_of(&self, app: &AppName, version: &VersionId) -> Result<Option<(Key, u64)>, Error> {
        let record = self.ledger.catalog.get(&records::dictionaries_key(app, version)).await?;
        // An unreadable dictionary is useless.
        let pages = record.and_then(|record| records::pages_dictionary(record.value.as_ref()).ok().flatten());
        Ok(pages.map(|pages| (Key::Blob(pages.blob), pages.size)))
    }

    async fn end_purged(&self, what: &Purge, pass: &mut Pass) -> Result<(), Error> {
        match what {
            Purge::App(app) => {
                let key = gone::deleted_app_key(app);
                let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(()) };
                self.end_app(app, key, record, pass).await
            }
            Purge::Environment(app, name) => {
                let key = gone::deleted_environment_key(app, name);
                let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(()) };
                self.end_environment(app, name, key, record, pass).await
            }
            Purge::Version(..) => Ok(()),
        }
    }

    /// Adds the stored files of versions, each once. Files of an unreadable manifest are left to a collection.
    async fn add_files_of(&self, versions: &[VersionId], files: &mut Vec<(Key, u64)>) {
        for version in versions {
            let Ok(canonical) = self.blobs.get(Key::Manifest(*version)).await else { continue };
            if let Ok(manifest) = Manifest::read(&canonical) {
                files.extend(manifest.blobs().map(|(digest, size)| (Key::Blob(digest), size)));
            }
            files.push((Key::Manifest(*version), u64::try_from(canonical.len()).unwrap_or(u64::MAX)));
        }
        let mut seen = HashSet::new();
        files.retain(|(key, _)| seen.insert(*key));
    }

    async fn sweep_listed(
        &self,
        pass: &mut Pass,
        mut marked: Marked,
        mut watch: tokio::sync::broadcast::Receiver<catalog::Committed>,
        files: &[(Key, u64)],
    ) -> Result<(), Error> {
        for batch in files.chunks(self.batch()) {
            // Files with uncertain references are left to the next collection.
            if !marked.unreadable.is_empty() || !self.sweep_batch(pass, &mut marked, &mut watch, batch).await? {
                break;
            }
        }
        pass.report.unreadable = marked.unreadable;
        Ok(())
    }
}

/// Returns the files derived from a version, by its record or tombstone. An unreadable record names none; a collection
/// finds the files.
fn made_of(key: &str, record: &Record) -> Vec<(Key, u64)> {
    let files = records::made_files(record.value.as_ref()).unwrap_or_else(|error| {
        tracing::warn!(key, %error, "a record of a version cannot be read");
        Vec::new()
    });
    files.into_iter().map(|file| (Key::Blob(file.hash), file.size)).collect()
}

/// Returns number and bytes of the purged files no longer held by the app. The owner must not learn which files left
/// the disk, since that would reveal files of other apps (law 11), and neither their compressed forms.
fn released(files: &[(Key, u64)], own: &Marked) -> (u64, u64) {
    if !own.unreadable.is_empty() {
        // The files still held by the app are unknown.
        return (0, 0);
    }
    let released = files.iter().filter(|(key, _)| !own.holds(*key));
    released
        .fold((0, 0), |(files, bytes): (u64, u64), (_, size)| (files.saturating_add(1), bytes.saturating_add(*size)))
}
