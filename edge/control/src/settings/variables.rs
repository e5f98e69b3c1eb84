//! Settings and secrets as environment variables of instances.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;

use super::KeyFile;
use crate::ledger::Error;
use crate::runner::Variables;
use devanture_store::catalog::Catalog;

/// Settings of unstored revisions, by place and revision.
type UnstoredSettings = Mutex<HashMap<(AppName, PlaceName, u64), BTreeMap<String, String>>>;

/// Source of settings and secrets for instances.
pub struct SettingsOf {
    catalog: Arc<dyn Catalog>,
    keys: Arc<KeyFile>,
    coming: UnstoredSettings,
}

/// Guard of unstored settings while instances of the new revision are prepared.
pub(crate) struct ComingSettings<'s> {
    of: &'s SettingsOf,
    key: (AppName, PlaceName, u64),
}

impl Drop for ComingSettings<'_> {
    fn drop(&mut self) {
        self.of.coming.lock().remove(&self.key);
    }
}

impl SettingsOf {
    /// Reads records from `catalog`, and opens secrets with the keys of the file.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, keys: Arc<KeyFile>) -> Self {
        Self { catalog, keys, coming: Mutex::default() }
    }

    /// Registers unstored settings as a revision, until the returned guard is dropped.
    pub(crate) fn coming(
        &self,
        (app, environment): (&AppName, &PlaceName),
        revision: u64,
        values: BTreeMap<String, String>,
    ) -> ComingSettings<'_> {
        let key = (app.clone(), environment.clone(), revision);
        self.coming.lock().insert(key.clone(), values);
        ComingSettings { of: self, key }
    }
}

#[async_trait]
impl Variables for SettingsOf {
    async fn of(&self, app: &AppName, place: &str, revision: u64) -> Result<BTreeMap<String, String>, String> {
        let place: PlaceName = place.parse().map_err(|error| format!("{error}"))?;
        let key = (app.clone(), place, revision);
        let coming = self.coming.lock().get(&key).cloned();
        if let Some(coming) = coming {
            return Ok(coming);
        }
        let opened = super::open(&*self.catalog, &self.keys, app, &key.1, revision).await;
        let opened = opened.map_err(|Error(problem)| problem.detail)?;
        Ok(opened.into_iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect())
    }
}
