//! Ends deleted items past their restoration time: versions, environments, apps, with all their records.

use std::time::Duration;

use devanture_config::api::{CollectedEnvironment, WhyCollected};
use devanture_config::{AppName, PlaceName, VersionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Pass;
use super::purge::AGAIN;
use crate::ledger::{Error, PART_CHANGES_MAX, SystemWrite};
use crate::retention::Retention;
use devanture_base::clock;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Change, Check, Commit, Record, Revision};
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment, GoneVersion};
use devanture_store::records::{self, VersionRecord};
use devanture_store::records::{belongs, identities};

/// Parses a record; a damaged record keeps its item.
fn or_stays<T: DeserializeOwned>(key: &str, record: &Record) -> Option<T> {
    records::read(key, record).inspect_err(|error| tracing::error!(%error, "what was deleted stays")).ok()
}

impl Retention {
    /// Ends all expired items.
    pub(super) async fn end_deleted(&self, pass: &mut Pass) -> Result<(), Error> {
        for (key, record) in self.ledger.catalog.list(gone::DELETED_APPS_PREFIX, None, false, usize::MAX).await? {
            let Some(deleted) = or_stays::<DeletedApp>(&key, &record) else { continue };
            let app = key.strip_prefix(gone::DELETED_APPS_PREFIX).and_then(|name| name.parse().ok());
            if let Some(app) = app.filter(|_| deleted.until_ms <= pass.restorable_until_ms) {
                self.end_app(&app, key, record, pass).await?;
            }
        }
        for (key, record) in
            self.ledger.catalog.list(gone::DELETED_ENVIRONMENTS_PREFIX, None, false, usize::MAX).await?
        {
            let Some(deleted) = or_stays::<DeletedEnvironment>(&key, &record) else { continue };
            let place = key.strip_prefix(gone::DELETED_ENVIRONMENTS_PREFIX).and_then(|rest| rest.split_once('/'));
            let place = place.and_then(|(app, name)| Some((app.parse().ok()?, name.parse().ok()?)));
            if let Some((app, name)) = place.filter(|_| deleted.until_ms <= pass.restorable_until_ms) {
                self.end_environment(&app, &name, key, record, pass).await?;
            }
        }
        self.end_versions(pass).await
    }

    /// Deletes the records that make versions restorable.
    async fn end_versions(&self, pass: &mut Pass) -> Result<(), Error> {
        let mut versions = Scan::new(&*self.ledger.catalog, gone::GONE_PREFIX);
        while let Some((key, record)) = versions.next().await? {
            let Some(gone) = or_stays::<GoneVersion>(&key, &record) else { continue };
            let Some(stored) = gone.record.as_ref().filter(|_| gone.until_ms <= pass.restorable_until_ms) else {
                continue;
            };
            let mut parts = key.split('/').skip(1);
            let (Some(app), Some(id)) = (parts.next(), parts.next()) else { continue };
            let (Ok(app), Ok(id)) = (app.parse::<AppName>(), id.parse::<VersionId>()) else { continue };
            if pass.versions_left == 0 {
                pass.report.more = true;
                return Ok(());
            }
            let stored_ms = stored.stored_ms;
            let ended = Change::Put(key.clone(), records::write(&GoneVersion { stored_ms, record: None, ..gone })?);
            if pass.dry_run || self.claim(key, record.revision, ended).await?.is_some() {
                pass.take(&app, id, WhyCollected::VersionDeleted, stored_ms);
            }
        }
        Ok(())
    }

    /// Ends an environment deleted without a live version, after its instances, and frees its name. An end not possible
    /// within `purge_wait_ms_max` is left to the next collection.
    pub(in crate::retention) async fn end_unused(&self, app: &AppName, name: &PlaceName) {
        let until = Instant::now() + Duration::from_millis(self.ledger.limits().purge_wait_ms_max);
        let ended = async {
            self.await_instances(app, Some(name), until).await?;
            while !self.try_to_end_unused(app, name).await? {
                if Instant::now() >= until {
                    return Ok(false);
                }
                tokio::time::sleep(AGAIN).await;
            }
            Ok::<_, Error>(true)
        };
        match ended.await {
            Ok(true) => {}
            Ok(false) => tracing::info!(%app, environment = %name, "the next collection ends what was deleted"),
            Err(error) => {
                tracing::warn!(%app, environment = %name, %error, "the next collection ends what was deleted");
            }
        }
    }

    /// Makes one attempt. Returns false if the environment has not ended.
    async fn try_to_end_unused(&self, app: &AppName, name: &PlaceName) -> Result<bool, Error> {
        let _one = self.collecting.lock().await;
        self.ledger.catalog.check_in_place()?;
        let _duty = self.take_duty().await?;
        let key = gone::deleted_environment_key(app, name);
        let mut pass = Pass::for_good(clock::settled_ms());
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(true) };
        if records::read::<DeletedEnvironment>(&key, &record)?.until_ms > pass.restorable_until_ms {
            // The environment has ended, and a later environment of the same name was deleted and is restorable.
            return Ok(true);
        }
        self.end_environment(app, name, key.clone(), record, &mut pass).await?;
        Ok(self.ledger.catalog.get(&key).await?.is_none())
    }

    /// Waits, up to a deadline, for the end of the instances of an app or environment.
    pub(super) async fn await_instances(
        &self,
        app: &AppName,
        environment: Option<&PlaceName>,
        until: Instant,
    ) -> Result<(), Error> {
        if let Some(runner) = self.environments.instances.runner_if_any()
            && !self.has_previews(app, environment).await?
        {
            runner.wait_until_ended(app, environment, until).await;
        }
        Ok(())
    }

    /// Returns true for the environment `preview` while previews use its protection, settings and user id, which stay
    /// until the app ends.
    async fn has_previews(&self, app: &AppName, environment: Option<&PlaceName>) -> Result<bool, Error> {
        match environment {
            Some(environment) if environment.is_preview() => {
                Ok(belongs::has_previews(&*self.ledger.catalog, app).await?)
            }
            _ => Ok(false),
        }
    }

    pub(super) async fn end_environment(
        &self,
        app: &AppName,
        name: &PlaceName,
        key: String,
        record: Record,
        pass: &mut Pass,
    ) -> Result<(), Error> {
        if !pass.dry_run {
            let end = |deleted: &mut DeletedEnvironment| deleted.until_ms = deleted.until_ms.min(pass.began_ms);
            let Some(revision) = self.begin_end(&key, &record, end).await? else { return Ok(()) };
            let has_previews = self.has_previews(app, Some(name)).await?;
            if !has_previews && !self.end_backend(app, Some(name)).await? {
                return Ok(());
            }
            self.end_records(app, Some(name), has_previews).await?;
            self.access_log.forget(app.as_str(), Some(name.as_str()));
            self.claim(key.clone(), revision, Change::Delete(key)).await?;
            tracing::info!(app = %app, environment = %name, "an environment that was deleted has ended");
        }
        pass.report.environments.push(CollectedEnvironment { app: app.clone(), environment: name.clone() });
        Ok(())
    }

    pub(super) async fn end_app(
        &self,
        app: &AppName,
        key: String,
        record: Record,
        pass: &mut Pass,
    ) -> Result<(), Error> {
        let versions = self.ledger.catalog.list(&records::versions_prefix(app), None, false, usize::MAX).await?;
        let claimed = match pass.dry_run {
            true => None,
            false => {
                let end = |deleted: &mut DeletedApp| deleted.until_ms = deleted.until_ms.min(pass.began_ms);
                let Some(revision) = self.begin_end(&key, &record, end).await? else { return Ok(()) };
                // The name is free afterwards; its next owner must not find the backend's data.
                if !self.end_backend(app, None).await? {
                    return Ok(());
                }
                Some(revision)
            }
        };
        for (version_key, record) in &versions {
            let id = version_key.rsplit('/').next().and_then(|id| id.parse::<VersionId>().ok());
            // A damaged record is deleted with the rest: it must not block the end in this and every later collection.
            let stored_ms = records::read::<VersionRecord>(version_key, record).map_or(0, |stored| stored.stored_ms);
            if let Some(id) = id {
                pass.take(app, id, WhyCollected::AppDeleted, stored_ms);
            }
        }
        pass.report.apps.push(app.clone());
        let Some(revision) = claimed else { return Ok(()) };
        self.end_records(app, None, false).await?;
        self.access_log.forget(app.as_str(), None);
        self.uploads.forget_app(app).await;
        let changes = vec![Change::Delete(records::app_key(app)), Change::Delete(key.clone())];
        let last = Commit { checks: vec![Check::At(key, revision)], changes };
        if self.collected(last).await?.is_some() {
            tracing::info!(app = %app, "an app that was deleted has ended; its name is free");
        }
        Ok(())
    }

    /// Blocks the restoration of an item about to lose its records, even before its time is over. Returns the revision
    /// of its record; `None` if a concurrent restoration won.
    async fn begin_end<T: DeserializeOwned + Serialize>(
        &self,
        key: &str,
        record: &Record,
        end: impl Fn(&mut T),
    ) -> Result<Option<Revision>, Error> {
        let mut deleted: T = records::read(key, record)?;
        end(&mut deleted);
        let ended = Change::Put(key.to_owned(), records::write(&deleted)?);
        self.claim(key.to_owned(), record.revision, ended).await
    }

    /// Removes the backend's data of an app or environment, and frees its user ids. Returns false if not yet possible.
    async fn end_backend(&self, app: &AppName, environment: Option<&PlaceName>) -> Result<bool, Error> {
        let Some(runner) = self.environments.instances.runner_if_any() else { return Ok(true) };
        match runner.forget(app, environment).await {
            Ok(clean) => {
                for place in clean {
                    self.environments.instances.free_uid(app, &place).await?;
                }
                Ok(true)
            }
            Err(error) => {
                let environment = environment.map(PlaceName::as_str);
                tracing::warn!(%app, environment, %error, "what was deleted stays until what its backend kept is gone");
                Ok(false)
            }
        }
    }

    /// Deletes all records of an app or environment, except the deletion record and, with `has_previews`, the records
    /// used by previews.
    async fn end_records(
        &self,
        app: &AppName,
        environment: Option<&PlaceName>,
        has_previews: bool,
    ) -> Result<(), Error> {
        let catalog = &*self.ledger.catalog;
        loop {
            let found = belongs::records_of(catalog, app, environment, has_previews, PART_CHANGES_MAX).await?;
            if found.is_empty() {
                return Ok(());
            }
            // A login or use written meanwhile would be orphaned: in that case the search starts again.
            let carries =
                |key: &str| key.starts_with(identities::ACCOUNTS_PREFIX) || key.starts_with(records::TOKENS_PREFIX);
            let carriers = found.iter().filter(|(key, _)| carries(key));
            let checks = carriers.map(|(key, record)| Check::At(key.clone(), record.revision)).collect();
            let changes = found.into_iter().map(|(key, _)| Change::Delete(key)).collect();
            self.collected(Commit { checks, changes }).await?;
        }
    }

    /// Changes a record, if unchanged meanwhile; returns the new revision.
    async fn claim(&self, key: String, at: Revision, change: Change) -> Result<Option<Revision>, Error> {
        let commit = Commit { checks: vec![Check::At(key, at)], changes: vec![change] };
        self.collected(commit).await
    }

    /// Commits for the collection, and waits until requests see the commit; `None` if another commit won the race.
    pub(super) async fn collected(&self, commit: Commit) -> Result<Option<Revision>, Error> {
        self.ledger.commit_system(SystemWrite::Collection, commit).await
    }
}
