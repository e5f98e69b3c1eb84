//! Settings and secrets of an environment: their names and their changes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{AppName, PlaceName};
use crate::text::text_form;

/// Name of a setting: `[A-Za-z][A-Za-z0-9_]*`, as for environment variables. Case matters: `http_proxy` differs from
/// `HTTP_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SettingName(String);

/// Error for an invalid setting name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a setting is named by A-Z, a-z, 0-9 and _, and begins with a letter")]
pub struct BadSettingName;

impl SettingName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true for names set by the edge: `PORT`, and every name with the prefix `DEVANTURE_`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0 == "PORT" || self.0.starts_with("DEVANTURE_")
    }
}

impl FromStr for SettingName {
    type Err = BadSettingName;

    fn from_str(text: &str) -> Result<Self, BadSettingName> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let goes_on_well = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if begins_well && goes_on_well { Ok(Self(text.to_owned())) } else { Err(BadSettingName) }
    }
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(SettingName, BadSettingName);

/// New value of a setting.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingWanted {
    /// Value.
    pub value: String,
    /// True if the front may read the setting; unchanged by default, and false for a new setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// True if the value is sealed and never shown again; unchanged by default, and false for a new setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
    /// True if `devanture dev` may read the value, even of a secret; unchanged by default, and false for a new setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub development: Option<bool>,
}

impl fmt::Debug for SettingWanted {
    // The value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SettingWanted");
        shown.field("public", &self.public).field("secret", &self.secret).field("development", &self.development);
        shown.finish_non_exhaustive()
    }
}

/// `PATCH /v1/apps/{app}/environments/{env}/settings`: sets and unsets several settings at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsPatch {
    /// New values by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, SettingWanted>,
    /// Names to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

/// Response to [`SettingsPatch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// True if a setting changed.
    pub changed: bool,
    /// New revision; with `dry_run`, the revision to be made.
    pub revision: u64,
    /// Previous revision.
    pub previous: u64,
    /// New or changed names.
    pub set: Vec<SettingName>,
    /// Removed names.
    pub unset: Vec<SettingName>,
    /// True if a version is live in the environment.
    pub live: bool,
}

/// `GET /v1/apps/{app}/environments/{env}/settings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsList {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Current revision; 0 if no setting was ever set. Also the entity tag of the response.
    pub revision: u64,
    /// Name of the token behind the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Time of the revision, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// The settings, by name.
    pub settings: Vec<SettingStatus>,
}

impl SettingsList {
    /// Returns the secrets whose key is unavailable.
    #[must_use]
    pub fn lost(self) -> Vec<SettingName> {
        self.settings.into_iter().filter(|setting| setting.lost).map(|setting| setting.name).collect()
    }
}

/// Setting of a [`SettingsList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, as the API shows it")]
pub struct SettingStatus {
    /// Name.
    pub name: SettingName,
    /// True if the front may read the setting.
    pub public: bool,
    /// True for a sealed value.
    pub secret: bool,
    /// For a secret: true if the sealing key is unavailable, so the secret must be set again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// True if marked for development.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub development: bool,
    /// Value; never shown for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Revision of the last change.
    pub revision: u64,
    /// Name of the token behind the last change.
    pub who: String,
    /// Time of the last change, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// `GET /v1/apps/{app}/environments/{env}/settings/development`: the settings marked for development.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevelopmentSettings {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Current revision.
    pub revision: u64,
    /// Values by name, including secrets.
    pub settings: BTreeMap<SettingName, String>,
}

impl fmt::Debug for DevelopmentSettings {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevelopmentSettings").field("names", &self.settings.keys()).finish_non_exhaustive()
    }
}

/// Differences between the settings of a version's last time live and the settings at its rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsDifference {
    /// Revision at the version's last time live.
    pub was: u64,
    /// Revision until the rollback.
    pub now: u64,
    /// True if `was` was restored.
    pub restored: bool,
    /// True if `was` is still stored; otherwise the lists of names are empty.
    pub kept: bool,
    /// Names with a changed value or kind.
    pub changed: Vec<SettingName>,
    /// Added names.
    pub added: Vec<SettingName>,
    /// Removed names.
    pub removed: Vec<SettingName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_as_a_variable_is() {
        for good in ["A", "a", "API_URL", "A1", "A_", "PORT", "DEVANTURE_X", "http_proxy", "ConnectionStrings__Default"]
        {
            assert_eq!(good.parse::<SettingName>().unwrap().as_str(), good);
        }
        for bad in ["", "é", "1A", "_A", "A-B", "A B", "A=", "Ä", "A\n"] {
            assert!(bad.parse::<SettingName>().is_err(), "{bad:?}");
        }
        for (name, is_reserved) in [("PORT", true), ("DEVANTURE_TOKEN", true), ("PORTS", false), ("port", false)] {
            assert_eq!(name.parse::<SettingName>().unwrap().is_reserved(), is_reserved, "{name}");
        }
    }

    #[test]
    fn a_value_is_in_no_debug_text() {
        let json = r#"{"set":{"KEY":{"value":"hush","secret":true}},"unset":["OLD"]}"#;
        let patch: SettingsPatch = serde_json::from_str(json).unwrap();
        assert!(!format!("{patch:?}").contains("hush"));
        assert_eq!(serde_json::to_string(&patch).unwrap(), json);
        for bad in
            [r#"{"set":{"A":{}}}"#, r#"{"set":{"A":"b"}}"#, r#"{"put":{}}"#, r#"{"set":{"A":{"value":"","x":1}}}"#]
        {
            serde_json::from_str::<SettingsPatch>(bad).unwrap_err();
        }
    }
}
