//! Records of the hostnames of environments, and of the hostnames in the manifests of their live versions.

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
    /// Time at which the environment got the hostname, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub added_ms: u64,
    /// Set if the API added the hostname, and not the manifest of a version that went live.
    #[serde(default)]
    pub by_api: bool,
    /// Set if the API made this hostname the target of redirects from the others.
    #[serde(default)]
    pub canonical: bool,
    /// The name of the adding token.
    #[serde(default)]
    pub who: String,
}

impl HostnameRecord {
    /// Returns true if the hostname belongs to that environment.
    #[must_use]
    pub fn is_of(&self, app: &AppName, environment: &PlaceName) -> bool {
        self.app == *app && self.environment == *environment
    }
}

/// Returns the owner of a hostname; `None`, and an error in the log, for a damaged record, so that the damage affects
/// only this hostname.
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

/// `listed/{app}/{env}`: the hostnames in the manifest of the last version that went live in the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedHostnames {
    /// The names, in the order of the manifest.
    pub hostnames: Vec<HostPattern>,
    /// The canonical hostname, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Canonical>,
}

/// Returns the key of the hostnames in the live manifest.
#[must_use]
pub fn listed_key(app: &AppName, environment: &PlaceName) -> String {
    format!("listed/{app}/{environment}")
}
