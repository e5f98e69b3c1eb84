//! Deletes versions: the record goes, and with it the preview and what the version still answered after a switch.

use std::collections::BTreeSet;

use devanture_config::api::{DeleteReport, Deploy, Outcome, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, VersionId};

use super::audit::{Action, Deed};
use super::switch::TRIES;
use super::{Actor, Error, Publisher};
use crate::catalog::records::{self, AliasRecord, LivePointer};
use crate::catalog::{self, Change, Check, Commit};

impl Actor {
    /// Whether this actor may do what `scope` allows in every environment of an app: what is meant reaches all of its
    /// hostnames.
    ///
    /// # Errors
    /// As [`Actor::may`]; `forbidden` for a token of one environment.
    pub fn may_everywhere(&self, scope: Scope, app: &AppName) -> Result<(), Error> {
        self.may(scope, app, None)?;
        let Some(environment) = &self.environment else { return Ok(()) };
        let detail = format!("The token `{}` is for {environment} alone; this reaches every hostname.", self.name);
        let hint = format!("a token of the whole app with the scope {scope} is needed");
        Err(Problem::new(Code::Forbidden, detail).hint(hint).into())
    }
}

impl Publisher {
    /// Deletes a version that is live nowhere and that no alias points at. When this returns, no hostname of this node
    /// answers from it.
    ///
    /// # Errors
    /// `not_found`, `ambiguous_id`, `version_in_use`.
    pub async fn delete_version(&self, actor: &Actor, app: &AppName, typed: &str) -> Result<DeleteReport, Error> {
        let version = self.resolve_version(app, typed).await?;
        let key = records::version_key(app, &version);
        for _ in 0..TRIES {
            let Some(record) = self.catalog.get(&key).await? else { return Err(missing(app, &version)) };
            let mut checks = vec![Check::At(key.clone(), record.revision)];
            // Whoever makes a new pointer writes this record, see `hold_version`.
            let app_key = records::app_key(app);
            if let Some(record) = self.catalog.get(&app_key).await? {
                checks.push(Check::At(app_key, record.revision));
            }
            self.check_unused(app, &version, &mut checks).await?;
            let commit = Commit { checks, changes: vec![Change::Delete(key.clone())] };
            let deed = Deed::of(Action::DeleteVersion).app(app).what(version.short());
            match self.audit.commit(actor, deed, commit).await {
                Ok(revision) => {
                    self.live.wait_for(revision).await;
                    tracing::info!(app = %app, version = %version, who = actor.name, "a version was deleted");
                    return Ok(DeleteReport { app: app.clone(), version });
                }
                Err(catalog::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(catalog::Error::Conflict { key }.into())
    }

    /// Refuses where something points at the version, and adds checks that nothing will.
    async fn check_unused(&self, app: &AppName, version: &VersionId, checks: &mut Vec<Check>) -> Result<(), Error> {
        let mut users = Vec::new();
        for (key, record) in self.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
            if records::read::<LivePointer>(&key, &record)?.version == *version {
                users.push(format!("live in {}", key.rsplit('/').next().unwrap_or_default()));
            }
            checks.push(Check::At(key, record.revision));
        }
        for (key, record) in self.catalog.list(&records::alias_prefix(app), None, false, usize::MAX).await? {
            if records::read::<AliasRecord>(&key, &record)?.version == *version {
                users.push(format!("what the alias {} points at", key.rsplit('/').next().unwrap_or_default()));
            }
            checks.push(Check::At(key, record.revision));
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
    /// `not_found` where the version was deleted in the meantime.
    pub(crate) async fn hold_version(
        &self,
        commit: &mut Commit,
        app: &AppName,
        version: &VersionId,
        is_new_pointer: bool,
    ) -> Result<(), Error> {
        let key = records::version_key(app, version);
        let Some(record) = self.catalog.get(&key).await? else { return Err(missing(app, version)) };
        commit.checks.push(Check::At(key, record.revision));
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

    /// The versions of these deploys that were deleted since; a deploy that failed may never have stored its version.
    pub(crate) async fn deleted(&self, app: &AppName, deploys: &[Deploy]) -> Result<Vec<VersionId>, Error> {
        let stored = deploys.iter().filter(|deploy| deploy.outcome != Outcome::Failed);
        let versions: BTreeSet<VersionId> = stored.map(|deploy| deploy.version).collect();
        let mut deleted = Vec::new();
        for version in versions {
            if !self.is_stored(app, &version).await? {
                deleted.push(version);
            }
        }
        Ok(deleted)
    }
}

fn missing(app: &AppName, version: &VersionId) -> Error {
    Problem::new(Code::NotFound, format!("The app {app} has no version {}.", version.short()))
        .hint("it was deleted; push its bundle again to store it anew")
        .into()
}
