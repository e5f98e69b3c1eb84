//! Settings and secrets of environments: current values, differences between revisions, and decryption for processes.
//! `change.rs` changes settings, `keys.rs` manages the sealing keys.
//!
//! Each change creates a new immutable revision record and moves the live pointer to the revision in the same commit,
//! so a request sees a single version and a single revision.

mod change;
mod development;
mod keys;
mod lost;
mod prepare;
mod reach;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::api::{SettingName, SettingStatus, SettingsDifference, SettingsList};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

pub(crate) use change::etag;
pub use keys::KeyFile;
use keys::locked;
pub(crate) use keys::{Keys, UnsealError};
pub use lost::{LostSecrets, lost_secrets};
pub(crate) use prepare::UnstoredSettings;
pub use variables::SettingsOf;

use crate::instances::Instances;
use crate::ledger::{Error, Ledger};
use crate::places::Places;
use crate::signing::Signing;
use devanture_serve::live::{CurrentSettings, PublicSettings};
use devanture_store::catalog::{Catalog, Check, Commit};
use devanture_store::records::settings::{self, Held, SettingsRecord, StoredSetting, StoredValue};

/// Decrypted value of a setting. The value may be a secret, so `Debug` hides the value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OpenedValue(String);

impl OpenedValue {
    /// Returns the plain value, for the consumer.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for OpenedValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenedValue(…)")
    }
}

/// Opens all settings of an environment in a revision, including secrets, for the instances of a version's backend.
///
/// # Errors
/// `not_found` for a deleted revision; `secrets_locked`, with the name, for a secret that cannot be opened.
pub(super) async fn open(
    catalog: &dyn Catalog,
    key_file: &KeyFile,
    app: &AppName,
    environment: &PlaceName,
    revision: u64,
) -> Result<BTreeMap<SettingName, OpenedValue>, Error> {
    let found = settings::at(catalog, app, environment, revision).await?;
    let (record, _) = found.ok_or_else(|| not_kept(environment, revision))?;
    opened(record, key_file, app, environment)
}

/// Opens all settings of a record.
///
/// # Errors
/// `secrets_locked`, with the name, for a secret that cannot be opened.
pub(super) fn opened(
    record: SettingsRecord,
    key_file: &KeyFile,
    app: &AppName,
    environment: &PlaceName,
) -> Result<BTreeMap<SettingName, OpenedValue>, Error> {
    let mut keys = None;
    let mut opened = BTreeMap::new();
    for (name, setting) in record.settings {
        let value = match &setting.value {
            StoredValue::Plain { value, .. } => value.clone(),
            StoredValue::Secret(sealed) => {
                let keys: &Keys = match &keys {
                    Some(keys) => keys,
                    None => keys.insert(key_file.read()?),
                };
                let context = context(app, environment, &name, setting.revision);
                keys.open(&context, sealed).map_err(|why| unopened(&name, why))?
            }
        };
        opened.insert(name, OpenedValue(value));
    }
    Ok(opened)
}

/// Settings and secrets of the environments.
pub struct Settings {
    ledger: Arc<Ledger>,
    pub(crate) keys: Arc<KeyFile>,
    places: Arc<Places>,
    signing: Arc<Signing>,
    instances: Arc<Instances>,
    /// Source of the variables of instances; `None` if this node runs no backends.
    variables: Option<Arc<SettingsOf>>,
    /// Environments with secrets that cannot be opened, as of the latest scan.
    lost_secrets: ArcSwap<Vec<LostSecrets>>,
}

impl Settings {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        keys: Arc<KeyFile>,
        places: Arc<Places>,
        signing: Arc<Signing>,
        instances: Arc<Instances>,
        variables: Option<Arc<SettingsOf>>,
    ) -> Self {
        Self { ledger, keys, places, signing, instances, variables, lost_secrets: ArcSwap::default() }
    }
}

impl Settings {
    /// Returns the current settings of an environment; for secrets only the names.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn settings(&self, app: &AppName, environment: &PlaceName) -> Result<SettingsList, Error> {
        self.ledger.must_exist(app).await?;
        let held = settings::held(&*self.ledger.catalog, app, environment).await?;
        let has_secrets = held.record.settings.values().any(|setting| matches!(setting.value, StoredValue::Secret(_)));
        // Unreadable keys open no secret, and the status of each secret reports the loss.
        let keys = if has_secrets { self.keys.read().ok() } else { None };
        let status = |(name, setting): (SettingName, StoredSetting)| {
            let (public, value, key) = match setting.value {
                StoredValue::Plain { value, public } => (public, Some(value), None),
                StoredValue::Secret(sealed) => (false, None, Some(sealed.key)),
            };
            let lost = key.as_ref().is_some_and(|key| !keys.as_ref().is_some_and(|keys| keys.has(key)));
            let (revision, who, at_ms) = (setting.revision, setting.who, setting.at_ms);
            let development = setting.development;
            SettingStatus { name, public, secret: key.is_some(), lost, development, value, revision, who, at_ms }
        };
        let is_any = held.revision > 0;
        Ok(SettingsList {
            app: app.clone(),
            environment: environment.clone(),
            revision: held.revision,
            who: is_any.then_some(held.record.who),
            at_ms: is_any.then_some(held.record.at_ms),
            settings: held.record.settings.into_iter().map(status).collect(),
        })
    }

    /// Compares the settings of revision `was` with the current settings; `None` if no name differs.
    pub(crate) async fn settings_difference(
        &self,
        app: &AppName,
        environment: &PlaceName,
        was: u64,
        held: &Held,
    ) -> Result<Option<SettingsDifference>, Error> {
        let mut difference = SettingsDifference {
            was,
            now: held.revision,
            restored: false,
            kept: true,
            changed: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
        };
        if was == held.revision {
            return Ok(None);
        }
        let Some((before, _)) = settings::at(&*self.ledger.catalog, app, environment, was).await? else {
            return Ok(Some(SettingsDifference { kept: false, ..difference }));
        };
        compare(&before, &held.record, &mut difference);
        let is_same = difference.changed.is_empty() && difference.added.is_empty() && difference.removed.is_empty();
        Ok((!is_same).then_some(difference))
    }

    /// Adds the check that an alias `name` does not take over settings of an environment.
    ///
    /// # Errors
    /// `alias_taken`.
    pub(crate) async fn hold_no_settings(
        &self,
        app: &AppName,
        name: &PlaceName,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let held = settings::held(&*self.ledger.catalog, app, name).await?;
        if !held.record.settings.is_empty() {
            let detail = format!("{name} has settings as an environment of the app {app}.");
            let hint = format!("choose another name, or take them away with `devanture env unset --env {name}`");
            return Err(Problem::new(Code::AliasTaken, detail).hint(hint).into());
        }
        commit.checks.push(Check::Absent(settings::settings_key(app, name, held.newest.saturating_add(1))));
        Ok(())
    }

    /// Adds the check that a revision still exists when a live pointer first names the revision.
    pub(crate) async fn hold_settings(
        &self,
        app: &AppName,
        environment: &PlaceName,
        revision: u64,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        if revision == 0 {
            return Ok(());
        }
        let found = settings::at(&*self.ledger.catalog, app, environment, revision).await?;
        let (_, written) = found.ok_or_else(|| not_kept(environment, revision))?;
        commit.checks.push(Check::At(settings::settings_key(app, environment, revision), written));
        Ok(())
    }

    /// Returns the settings to show for an environment after a switch: the settings of the revision `wanted`, or else
    /// of the current revision, which is the newest without a live version.
    ///
    /// # Errors
    /// `not_found` for a deleted revision.
    pub(crate) async fn settings_to_be(
        &self,
        app: &AppName,
        environment: &PlaceName,
        wanted: Option<u64>,
    ) -> Result<CurrentSettings, Error> {
        let shown = match wanted {
            Some(revision) => {
                let found = settings::at(&*self.ledger.catalog, app, environment, revision).await?;
                PublicSettings::of(revision, &found.ok_or_else(|| not_kept(environment, revision))?.0)
            }
            None => {
                let held = settings::held(&*self.ledger.catalog, app, environment).await?;
                PublicSettings::of(held.revision, &held.record)
            }
        };
        Ok(CurrentSettings::Own(Arc::new(shown)))
    }

    /// Returns the revision for the first live pointer of an environment, and adds the check that the revision is the
    /// newest.
    pub(crate) async fn newest_settings(
        &self,
        app: &AppName,
        environment: &PlaceName,
        commit: &mut Commit,
    ) -> Result<u64, Error> {
        let newest = self.ledger.catalog.list(&settings::settings_prefix(app, environment), None, true, 1).await?;
        let newest = newest.first().and_then(|(key, _)| settings::revision_of(key)).unwrap_or(0);
        commit.checks.push(Check::Absent(settings::settings_key(app, environment, newest.saturating_add(1))));
        Ok(newest)
    }
}

/// Returns the context of a sealed value. No part can contain a line feed, so two distinct contexts never collide.
fn context(app: &AppName, environment: &PlaceName, name: &SettingName, revision: u64) -> String {
    format!("devanture-secret/1\n{app}\n{environment}\n{name}\n{revision}")
}

fn unopened(name: &SettingName, why: UnsealError) -> Problem {
    let why = match why {
        UnsealError::Damaged => "its bytes are damaged",
        UnsealError::UnknownKey => "the key that it was sealed with is not at hand",
    };
    locked(format!("The secret {name} does not open: {why}."))
        .hint("restore the file of keys, or set the secret again with `devanture env set`")
}

fn not_kept(environment: &PlaceName, revision: u64) -> Problem {
    let detail = format!("Revision {revision} of the settings of {environment} is no longer kept.");
    Problem::new(Code::NotFound, detail).hint("`settings_revisions_max` in edge.toml says how many are")
}

/// Collects the names that differ between two sets of settings.
fn compare(before: &SettingsRecord, now: &SettingsRecord, difference: &mut SettingsDifference) {
    for (name, setting) in &now.settings {
        match before.settings.get(name) {
            None => difference.added.push(name.clone()),
            Some(other) if other.value != setting.value => difference.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let gone = before.settings.keys().filter(|name| !now.settings.contains_key(*name));
    difference.removed.extend(gone.cloned());
}
