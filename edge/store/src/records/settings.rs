//! Settings of environments as records: a record for each revision, which never changes. `docs/storage.md` is the
//! reference.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devanture_config::api::SettingName;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use super::pointer;
use crate::catalog::{Catalog, Error, Revision};
use crate::records;

/// The prefix of all settings.
pub const SETTINGS_PREFIX: &str = "settings/";

/// `settings/{app}/{env}/{revision}`: all settings of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsRecord {
    /// The name of the token of this revision.
    pub who: String,
    /// Time of the revision, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The settings.
    pub settings: BTreeMap<SettingName, StoredSetting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSetting {
    /// The value.
    pub value: StoredValue,
    /// The revision in which the setting was made.
    pub revision: u64,
    /// The name of the token that made the setting.
    pub who: String,
    /// Time of the setting, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Set for a development setting: the value may be read back, even for a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub development: bool,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredValue {
    /// Unchanged, as sent.
    Plain {
        /// The value.
        value: String,
        /// Set if the front may read the value.
        public: bool,
    },
    /// Sealed.
    Secret(Sealed),
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The id of the key that opens the value.
    pub key: String,
    /// In base64: 12 bytes of the nonce, the sealed bytes, 16 bytes of the tag.
    pub sealed: String,
}

impl Sealed {
    /// Bytes of nonce and tag.
    pub const MORE_BYTES: usize = 28;

    /// Takes the bytes in.
    #[must_use]
    pub fn new(key: String, bytes: &[u8]) -> Self {
        Self { key, sealed: BASE64.encode(bytes) }
    }

    /// Returns the bytes, if they are valid.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(&self.sealed).ok().filter(|bytes| bytes.len() >= Self::MORE_BYTES)
    }
}

impl StoredValue {
    /// The length of the value in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Plain { value, .. } => value.len(),
            Self::Secret(sealed) => sealed.bytes().map_or(0, |bytes| bytes.len().saturating_sub(Sealed::MORE_BYTES)),
        }
    }
}

/// The prefix of an environment's settings.
#[must_use]
pub fn settings_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("{SETTINGS_PREFIX}{app}/{environment}/")
}

/// Returns the key of one revision of an environment's settings.
#[must_use]
pub fn settings_key(app: &AppName, environment: &PlaceName, revision: u64) -> String {
    format!("{SETTINGS_PREFIX}{app}/{environment}/{revision:016}")
}

/// Returns the revision in a key.
#[must_use]
pub fn revision_of(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.parse().ok()
}

/// The current settings of an environment.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The revision; 0 if no setting was ever made.
    pub revision: u64,
    /// The newest revision; differs from `revision` after a rollback that restored an earlier one.
    pub newest: u64,
    /// The values.
    pub record: SettingsRecord,
    /// The commit that wrote the newest revision.
    pub written: Revision,
}

/// Returns one revision of an environment's settings, and the commit that wrote it; revision 0 has no settings.
///
/// # Errors
/// [`Error::Store`].
pub async fn at(
    catalog: &dyn Catalog,
    app: &AppName,
    environment: &PlaceName,
    revision: u64,
) -> Result<Option<(SettingsRecord, Revision)>, Error> {
    if revision == 0 {
        return Ok(Some((SettingsRecord::default(), 0)));
    }
    let key = settings_key(app, environment, revision);
    let found = catalog.get(&key).await?;
    found.map(|found| records::read(&key, &found).map(|record| (record, found.revision))).transpose()
}

/// Returns the newest revision of the settings of an environment; 0 if there is none.
///
/// # Errors
/// [`Error::Store`].
pub(super) async fn newest(catalog: &dyn Catalog, app: &AppName, environment: &PlaceName) -> Result<u64, Error> {
    let newest = catalog.list(&settings_prefix(app, environment), None, true, 1).await?;
    Ok(newest.first().and_then(|(key, _)| revision_of(key)).unwrap_or(0))
}

/// Returns the current settings of an environment: the revision in the live pointer; the newest without a live version.
///
/// # Errors
/// [`Error::Store`], also if the revision in the pointer is missing.
pub async fn held(catalog: &dyn Catalog, app: &AppName, environment: &PlaceName) -> Result<Held, Error> {
    let prefix = settings_prefix(app, environment);
    let newest = catalog.list(&prefix, None, true, 1).await?.into_iter().next();
    let pointer = pointer::live_pointer(catalog, app, environment).await?.map(|(_, pointer)| pointer);
    let number = newest.as_ref().and_then(|(key, _)| revision_of(key)).unwrap_or(0);
    let written = newest.as_ref().map_or(0, |(_, found)| found.revision);
    let revision = pointer.map_or(number, |pointer| pointer.settings);
    let record = match newest {
        Some((key, found)) if number == revision => records::read(&key, &found)?,
        _ => {
            let found = at(catalog, app, environment, revision).await?;
            let gone =
                || Error::Store(format!("revision {revision} of the settings of {environment} of {app} is gone"));
            found.ok_or_else(gone)?.0
        }
    };
    Ok(Held { revision, newest: number, record, written })
}
