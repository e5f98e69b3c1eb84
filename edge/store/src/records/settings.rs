//! The settings of environments as records: one for each revision, which never changes. `docs/storage.md` is the
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
    /// The name of the token that made this revision.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The settings.
    pub settings: BTreeMap<SettingName, StoredSetting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSetting {
    /// Its value.
    pub value: StoredValue,
    /// The revision in which it was set.
    pub revision: u64,
    /// The name of the token that set it.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Whether it is marked for development: its value may be read back, also where it is a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub development: bool,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredValue {
    /// As it was sent.
    Plain {
        /// The value.
        value: String,
        /// Whether the front may read it.
        public: bool,
    },
    /// Sealed.
    Secret(Sealed),
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The id of the key that opens it.
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

    /// The bytes, where they are what they say.
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

/// The key of one revision of an environment's settings.
#[must_use]
pub fn settings_key(app: &AppName, environment: &PlaceName, revision: u64) -> String {
    format!("{SETTINGS_PREFIX}{app}/{environment}/{revision:016}")
}

/// The revision that a key names.
#[must_use]
pub fn revision_of(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.parse().ok()
}

/// The settings that hold in an environment.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Their revision; 0 where nothing was ever set.
    pub revision: u64,
    /// The newest revision; another one holds after a rollback that restored it.
    pub newest: u64,
    /// Their values.
    pub record: SettingsRecord,
    /// The commit that wrote the newest revision.
    pub written: Revision,
}

/// One revision of an environment's settings, and the commit that wrote it; revision 0 is none at all.
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

/// The newest revision of the settings of an environment; 0 where none were made.
///
/// # Errors
/// [`Error::Store`].
pub(super) async fn newest(catalog: &dyn Catalog, app: &AppName, environment: &PlaceName) -> Result<u64, Error> {
    let newest = catalog.list(&settings_prefix(app, environment), None, true, 1).await?;
    Ok(newest.first().and_then(|(key, _)| revision_of(key)).unwrap_or(0))
}

/// The settings that hold in an environment: those that the live pointer names; where nothing is live, the newest.
///
/// # Errors
/// [`Error::Store`], also where those that the pointer names are gone.
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
