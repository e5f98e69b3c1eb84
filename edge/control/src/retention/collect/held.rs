//! What holds a version, whatever its age.

use std::collections::HashSet;

use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};

use crate::ledger::Error;
use crate::retention::Retention;
use devanture_store::catalog::{Catalog, Check, Record};
use devanture_store::records::gone::{self, DeletedEnvironment};
use devanture_store::records::pointer;
use devanture_store::records::{self, AliasRecord, LivePointer};

/// The versions of an app that are held, and the checks that nothing else came to hold one since.
#[derive(Default)]
pub(super) struct Held {
    pub(super) ids: HashSet<VersionId>,
    pub(super) checks: Vec<Check>,
}

impl Retention {
    /// Every version of an app that may not go, whatever its age. New code that holds a version adds it
    /// here, with the check that it is still as it was read; one that can come again writes `apps/{app}` when it does,
    /// as `hold_version` does for pointers.
    ///
    /// Beside these a version stays that was stored or live within the grace period (law 10), that is at hand in a
    /// place of this node, or that a push or a switch under way has leased: `retire.rs` asks for that.
    pub(super) async fn held(&self, app: &AppName) -> Result<Held, Error> {
        let mut held = Held::default();
        // First, so that what comes after this reading is seen by the check.
        let app_key = records::app_key(app);
        if let Some(record) = self.ledger.catalog.get(&app_key).await? {
            held.checks.push(Check::At(app_key, record.revision));
        }
        held.checks.push(Check::Absent(gone::deleted_app_key(app)));
        // What is live.
        let mut pointers: Vec<(PlaceName, LivePointer)> = Vec::new();
        for (key, record) in all(&*self.ledger.catalog, &records::live_prefix(app)).await? {
            let Some(name) = key.rsplit('/').next().and_then(|name| name.parse().ok()) else { continue };
            let pointer = pointer::pointer_of(&*self.ledger.catalog, app, &name, &record).await?;
            held.ids.extend(pointer.versions());
            pointers.push((name, pointer));
            held.checks.push(Check::At(key, record.revision));
        }
        // What an alias points at.
        for (key, record) in all(&*self.ledger.catalog, &records::alias_prefix(app)).await? {
            held.ids.insert(records::read::<AliasRecord>(&key, &record)?.version);
            held.checks.push(Check::At(key, record.revision));
        }
        // What is live again when an environment is restored.
        for (key, record) in all(&*self.ledger.catalog, &gone::deleted_environments_prefix(app)).await? {
            let DeletedEnvironment { pointer, .. } = records::read(&key, &record)?;
            held.ids.insert(pointer.version);
            pointers.extend(key.rsplit('/').next().and_then(|name| name.parse().ok()).map(|name| (name, pointer)));
            held.checks.push(Check::At(key, record.revision));
        }
        // What a rollback goes to, also once a deleted environment is restored.
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
