//! Records of the hostnames of environments, and of those that their live versions list.

use devanture_config::{AppName, Canonical, HostPattern, PlaceName};
use serde::{Deserialize, Serialize};

use super::values::read;
use crate::catalog::Record;

/// `hostnames/{host}`: a hostname of an environment's own, or a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameRecord {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// When the environment got it, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub added_ms: u64,
    /// Whether the API added it, and not the manifest of a version that went live.
    #[serde(default)]
    pub by_api: bool,
    /// Whether the API said that the others lead to it.
    #[serde(default)]
    pub canonical: bool,
    /// The name of the token that added it.
    #[serde(default)]
    pub who: String,
}

impl HostnameRecord {
    /// Whether it is that environment's.
    #[must_use]
    pub fn is_of(&self, app: &AppName, environment: &PlaceName) -> bool {
        self.app == *app && self.environment == *environment
    }
}

/// Whose a hostname is; `None`, and an error in the log, if the record is damaged: it costs that hostname alone.
#[must_use]
pub fn hostname(key: &str, record: &Record) -> Option<HostnameRecord> {
    read(key, record).inspect_err(|error| tracing::error!(%error, "a hostname is passed over")).ok()
}

/// The prefix of all hostnames.
pub const HOSTNAMES_PREFIX: &str = "hostnames/";

/// The key of a hostname.
#[must_use]
pub fn hostname_key(host: &HostPattern) -> String {
    format!("{HOSTNAMES_PREFIX}{host}")
}

/// `listed/{app}/{env}`: what the manifest of the version that went live last says of the environment's hostnames.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedHostnames {
    /// The names, in its order.
    pub hostnames: Vec<HostPattern>,
    /// The canonical hostname, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Canonical>,
}

/// The key of what the live manifest lists.
#[must_use]
pub fn listed_key(app: &AppName, environment: &PlaceName) -> String {
    format!("listed/{app}/{environment}")
}
