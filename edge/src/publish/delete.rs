//! Deletes versions: the record goes, and with it the preview and what the version still answered after a switch. For a
//! while it can be had back (`undelete.rs`).

use std::collections::BTreeSet;

use devanture_config::api::{DeleteReport, Deploy, Outcome};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, VersionId};

use super::audit::{Action, Deed};
use super::swap::TRIES;
use super::{Actor, Error, Publisher};
use crate::catalog::gone::{self, DeletedEnvironment, GoneVersion};
use crate::catalog::records::{self, AliasRecord};
use crate::catalog::{self, Change, Check, Commit, pointer};
use crate::telemetry;

impl Publisher {
    /// Deletes a version that is live nowhere, that no alias points at and that nothing comes back to. When this returns, no hostname of this node
    /// answers from it. Its files stay for as long as it can be had back.
    ///
    /// # Errors
    /// `not_found`, `version_collected`, `ambiguous_id`, `version_in_use`.
    pub async fn delete_version(&self, actor: &Actor, app: &AppName, typed: &str) -> Result<DeleteReport, Error> {
        let version = self.resolve_version(app, typed).await?;
        let key = records::version_key(app, &version);
        for _ in 0..TRIES {
            let Some(record) = self.catalog.get(&key).await? else {
                return Err(self.gone_problem(app, &version).await?);
            };
            let mut checks = vec![Check::At(key.clone(), record.revision)];
            // Whoever makes a new pointer writes this record, see `hold_version`.
            let app_key = records::app_key(app);
            if let Some(record) = self.catalog.get(&app_key).await? {
                checks.push(Check::At(app_key, record.revision));
            }
            self.check_unused(app, &version, &mut checks).await?;
            let at_ms = telemetry::now_ms();
            let until_ms = at_ms.saturating_add(self.retention.undelete_ms());
            let gone = GoneVersion {
                at_ms,
                collected: false,
                until_ms,
                who: actor.name.clone(),
                record: Some(records::read(&key, &record)?),
            };
            let keep = Change::Put(gone::gone_key(app, &version), records::write(&gone)?);
            // What of it serves as dictionaries is found out again where it comes back.
            let dictionaries = Change::Delete(records::dictionaries_key(app, &version));
            let commit = Commit { checks, changes: vec![Change::Delete(key.clone()), dictionaries, keep] };
            let deed = Deed::of(Action::DeleteVersion).app(app).what(version.short());
            if self.made(actor, deed, commit).await? {
                tracing::info!(app = %app, version = %version, who = actor.name, "a version was deleted");
                return Ok(DeleteReport { app: app.clone(), version, until_ms, purged: None });
            }
        }
        Err(catalog::Error::Conflict { key }.into())
    }

    /// Refuses where something points at the version, and adds checks that nothing will.
    async fn check_unused(&self, app: &AppName, version: &VersionId, checks: &mut Vec<Check>) -> Result<(), Error> {
        let mut users = Vec::new();
        for (key, record) in self.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
            let name = key.rsplit('/').next().unwrap_or_default();
            if let Ok(environment) = name.parse()
                && pointer::pointer_of(&*self.catalog, app, &environment, &record).await?.version == *version
            {
                users.push(format!("live in {name}"));
            }
            checks.push(Check::At(key, record.revision));
        }
        for (key, record) in self.catalog.list(&records::alias_prefix(app), None, false, usize::MAX).await? {
            if records::read::<AliasRecord>(&key, &record)?.version == *version {
                users.push(format!("what the alias {} points at", key.rsplit('/').next().unwrap_or_default()));
            }
            checks.push(Check::At(key, record.revision));
        }
        for (key, record) in self.catalog.list(&gone::deleted_environments_prefix(app), None, false, usize::MAX).await?
        {
            if records::read::<DeletedEnvironment>(&key, &record)?.pointer.version == *version {
                let name = key.rsplit('/').next().unwrap_or_default();
                users.push(format!("what the deleted environment {name} comes back to"));
            }
            checks.push(Check::At(key, record.revision));
        }
        if self.leases.may_go_back(app, version) {
            users.push("what a switch that is watched would go back to".to_owned());
        }
        if users.is_empty() {
            return Ok(());
        }
        let detail = format!("{} is {}.", version.short(), users.join(", and "));
        Err(Problem::new(Code::VersionInUse, detail)
            .hint("make another version live there (`devanture rollback`), or delete the alias, then delete this one")
            .into())
    }

    /// Adds to a commit that points at a version what keeps it apart from the version's deletion: whichever of the two
    /// comes second fails.
    ///
    /// # Errors
    /// `not_found` and `version_collected` where the version went in the meantime.
    pub(crate) async fn hold_version(
        &self,
        commit: &mut Commit,
        app: &AppName,
        version: &VersionId,
        is_new_pointer: bool,
    ) -> Result<(), Error> {
        let key = records::version_key(app, version);
        let Some(record) = self.catalog.get(&key).await? else { return Err(self.gone_problem(app, version).await?) };
        commit.checks.push(Check::At(key, record.revision));
        // Of an app that was deleted nothing goes live.
        commit.checks.push(Check::Absent(gone::deleted_app_key(app)));
        if is_new_pointer {
            // A deletion checks every pointer that it finds; of a new one it learns by this record. It never changes.
            let app_key = records::app_key(app);
            if let Some(record) = self.catalog.get(&app_key).await? {
                commit.changes.push(Change::Put(app_key, record.value));
            }
        }
        Ok(())
    }

    /// Whether a version is stored, and was not deleted.
    pub(crate) async fn is_stored(&self, app: &AppName, version: &VersionId) -> Result<bool, Error> {
        Ok(self.catalog.get(&records::version_key(app, version)).await?.is_some())
    }

    /// Checks that a version is stored.
    ///
    /// # Errors
    /// `not_found` and `version_collected`.
    pub(crate) async fn must_be_stored(&self, app: &AppName, version: &VersionId) -> Result<(), Error> {
        if self.is_stored(app, version).await? { Ok(()) } else { Err(self.gone_problem(app, version).await?) }
    }

    /// The versions of these deploys that were deleted since, and those that were collected; a deploy that failed may
    /// never have stored its version.
    pub(crate) async fn gone(
        &self,
        app: &AppName,
        deploys: &[Deploy],
    ) -> Result<(Vec<VersionId>, Vec<VersionId>), Error> {
        let stored = deploys.iter().filter(|deploy| deploy.outcome != Outcome::Failed);
        let versions: Vec<VersionId> =
            stored.map(|deploy| deploy.version).collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<String> = versions.iter().map(|version| records::version_key(app, version)).collect();
        let found = self.catalog.get_all(&keys).await?;
        let missing = versions.into_iter().zip(found).filter(|(_, record)| record.is_none());
        let missing: Vec<VersionId> = missing.map(|(version, _)| version).collect();
        let keys: Vec<String> = missing.iter().map(|version| gone::gone_key(app, version)).collect();
        let found = self.catalog.get_all(&keys).await?;
        let (mut deleted, mut collected) = (Vec::new(), Vec::new());
        for ((version, key), record) in missing.into_iter().zip(keys).zip(found) {
            let gone: Option<GoneVersion> = record.map(|record| records::read(&key, &record)).transpose()?;
            let list = if gone.is_some_and(|gone| gone.collected) { &mut collected } else { &mut deleted };
            list.push(version);
        }
        Ok((deleted, collected))
    }
}
