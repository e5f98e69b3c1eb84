//! Versions protected from retention, whatever their age.

use std::collections::HashSet;

use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};

use crate::ledger::Error;
use crate::retention::Retention;
use devanture_store::catalog::{Catalog, Check, Record};
use devanture_store::records::gone::{self, DeletedEnvironment};
use devanture_store::records::pointer;
use devanture_store::records::{self, AliasRecord, LivePointer};

/// Protected versions of an app, and checks that no further protection has appeared.
#[derive(Default)]
pub(super) struct ProtectedVersions {
    pub(super) ids: HashSet<VersionId>,
    pub(super) checks: Vec<Check>,
}

impl Retention {
    /// Returns all versions of an app protected from retention. New code that protects a version adds the version here,
    /// with a check that the protecting record is unchanged. If such a record can reappear, its writer also writes
    /// `apps/{app}`, as `hold_version` does for pointers.
    ///
    /// Further versions stay: versions stored or live within the grace period (law 10), versions loaded on the local
    /// node, and versions leased by a running push or switch; `retire.rs` checks these.
    pub(super) async fn held(&self, app: &AppName) -> Result<ProtectedVersions, Error> {
        let mut held = ProtectedVersions::default();
        // Read first, so that the check detects all later changes.
        let app_key = records::app_key(app);
        if let Some(record) = self.ledger.catalog.get(&app_key).await? {
            held.checks.push(Check::At(app_key, record.revision));
        }
        held.checks.push(Check::Absent(gone::deleted_app_key(app)));
        // Live versions.
        let mut pointers: Vec<(PlaceName, LivePointer)> = Vec::new();
        for (key, record) in all(&*self.ledger.catalog, &records::live_prefix(app)).await? {
            let Some(name) = key.rsplit('/').next().and_then(|name| name.parse().ok()) else { continue };
            let pointer = pointer::pointer_of(&*self.ledger.catalog, app, &name, &record).await?;
            held.ids.extend(pointer.versions());
            pointers.push((name, pointer));
            held.checks.push(Check::At(key, record.revision));
        }
        // Versions of aliases.
        for (key, record) in all(&*self.ledger.catalog, &records::alias_prefix(app)).await? {
            held.ids.insert(records::read::<AliasRecord>(&key, &record)?.version);
            held.checks.push(Check::At(key, record.revision));
        }
        // Versions live again after the restoration of an environment.
        for (key, record) in all(&*self.ledger.catalog, &gone::deleted_environments_prefix(app)).await? {
            let DeletedEnvironment { pointer, .. } = records::read(&key, &record)?;
            held.ids.insert(pointer.version);
            pointers.extend(key.rsplit('/').next().and_then(|name| name.parse().ok()).map(|name| (name, pointer)));
            held.checks.push(Check::At(key, record.revision));
        }
        // Rollback targets, also of deleted environments.
        for (environment, pointer) in &pointers {
            match self.ledger.earlier_of(app, environment, pointer, None).await {
                Ok(earlier) => drop(held.ids.insert(earlier.version)),
                Err(Error(problem)) if problem.code == Code::NoPrevious => {}
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }
}

async fn all(catalog: &dyn Catalog, prefix: &str) -> Result<Vec<(String, Record)>, Error> {
    Ok(catalog.list(prefix, None, false, usize::MAX).await?)
}
