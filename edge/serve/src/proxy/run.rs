//! A run: the instances of one backend in one environment, and the run's state for requests.

use devanture_config::site_toml::Scripts;
use devanture_config::{AppName, Digest};
use serde::{Deserialize, Serialize};

use super::address::Endpoint;

/// Key of a backend in one environment: the code, and the revision of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunKey {
    /// [`Managed::digest`].
    pub digest: Digest,
    /// The revision of the settings.
    pub settings: u64,
}

/// The instances of one backend in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId {
    /// The app.
    pub app: AppName,
    /// The environment or alias, or `preview`.
    pub place: String,
    /// The backend.
    pub key: RunKey,
}

/// One instance, as a member of pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMember {
    /// The endpoint of the listener.
    pub endpoint: Endpoint,
    /// True if the instance gets no new requests.
    pub is_draining: bool,
    /// The required user of the socket, if the app has a user of its own.
    pub uid: Option<u32>,
    /// The scripts, for FastCGI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Scripts>,
}

/// The state of a run for requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Instances are starting: requests wait.
    Starting,
    /// The members answer, if any.
    Running,
    /// No instance runs or starts: requests fail.
    Refused,
}

/// The members of a run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNow {
    /// The state for requests.
    pub state: RunState,
    /// True if requests of other nodes may reach the instances.
    #[serde(default)]
    pub is_shared: bool,
    /// The instances.
    pub members: Vec<RunMember>,
}
