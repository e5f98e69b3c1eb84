//! Settings and secrets of an environment: their names and their changes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{AppName, PlaceName};
use crate::text::text_form;

/// The name of a setting: `[A-Za-z][A-Za-z0-9_]*`, as variables of a process are named; `http_proxy` is not
/// `HTTP_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SettingName(String);

/// Says why a text is not the name of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a setting is named by A-Z, a-z, 0-9 and _, and begins with a letter")]
pub struct BadSettingName;

impl SettingName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the edge itself sets it: `PORT`, and all that begins with `DEVANTURE_`.
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

/// The new value of one setting.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingWanted {
    /// Its value.
    pub value: String,
    /// Whether the front may read it; unchanged by default, and false for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Whether it is sealed and never shown again; unchanged by default, and false for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
    /// Whether `devanture dev` may read it back, also where it is a secret; unchanged by default, and false for a new
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub development: Option<bool>,
}

impl fmt::Debug for SettingWanted {
    // It may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SettingWanted");
        shown.field("public", &self.public).field("secret", &self.secret).field("development", &self.development);
        shown.finish_non_exhaustive()
    }
}

/// `PATCH /v1/apps/{app}/environments/{env}/settings`: sets and unsets several at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsPatch {
    /// New values by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, SettingWanted>,
    /// Names that are to be no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

/// The answer to [`SettingsPatch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsReport {
    /// Whether it was only asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Whether anything is other than before.
    pub changed: bool,
    /// The revision that holds now; with `dry_run` the one that would.
    pub revision: u64,
    /// The revision that held before.
    pub previous: u64,
    /// Names that are new, or other than before.
    pub set: Vec<SettingName>,
    /// Names that were removed.
    pub unset: Vec<SettingName>,
    /// Whether something is live in the environment.
    pub live: bool,
}

/// `GET /v1/apps/{app}/environments/{env}/settings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsList {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The revision that holds; 0 where nothing was ever set. Also the entity tag of the answer.
    pub revision: u64,
    /// The name of the token that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// When it was made, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// The settings, by name.
    pub settings: Vec<SettingStatus>,
}

impl SettingsList {
    /// The secrets whose key is not at hand.
    #[must_use]
    pub fn lost(self) -> Vec<SettingName> {
        self.settings.into_iter().filter(|setting| setting.lost).map(|setting| setting.name).collect()
    }
}

/// One setting of a [`SettingsList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, as the API shows it")]
pub struct SettingStatus {
    /// Its name.
    pub name: SettingName,
    /// Whether the front may read it.
    pub public: bool,
    /// Whether it is sealed.
    pub secret: bool,
    /// Of a secret: whether the key that it was sealed with is not at hand, so that it must be set again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// Whether it is marked for development.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub development: bool,
    /// Its value; a secret's is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The revision in which it was set.
    pub revision: u64,
    /// The name of the token that set it.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// `GET /v1/apps/{app}/environments/{env}/settings/development`: the settings that are marked for development.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevelopmentSettings {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The revision that holds.
    pub revision: u64,
    /// Values by name, secrets among them.
    pub settings: BTreeMap<SettingName, String>,
}

impl fmt::Debug for DevelopmentSettings {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevelopmentSettings").field("names", &self.settings.keys()).finish_non_exhaustive()
    }
}

/// Differences between the settings that a version was live with and those at its rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsDifference {
    /// The revision that the version was live with last.
    pub was: u64,
    /// The revision that held until the rollback.
    pub now: u64,
    /// Whether the former holds again.
    pub restored: bool,
    /// Whether the former revision is still stored; if not, no names can be listed.
    pub kept: bool,
    /// Names whose value or kind changed since.
    pub changed: Vec<SettingName>,
    /// Names that came since.
    pub added: Vec<SettingName>,
    /// Names that went since.
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
