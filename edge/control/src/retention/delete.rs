//! Deletions of versions: record, preview, and still-served assets of replaced versions. Deletions can be restored for
//! a while (`undelete.rs`).

use devanture_config::api::DeleteReport;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::Retention;
use crate::ledger::{Action, Actor, AuditEvent, Error, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::gone::{self, DeletedEnvironment, GoneVersion};
use devanture_store::records::pointer;
use devanture_store::records::signing::signatures_key;
use devanture_store::records::{self, AliasRecord, VersionRecord};

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
