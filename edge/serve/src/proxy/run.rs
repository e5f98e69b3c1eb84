//! A run: the instances of one backend in one place, and how they are for requests.

use devanture_config::site_toml::Scripts;
use devanture_config::{AppName, Digest};
use serde::{Deserialize, Serialize};

use super::address::Endpoint;

/// Distinguishes backends in the same place: the code that runs, and the revision of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunKey {
    /// [`Managed::digest`].
    pub digest: Digest,
    /// The revision of the settings.
    pub settings: u64,
}

/// The instances of one backend in one place.
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
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Whether it gets no new requests.
    pub is_draining: bool,
    /// The user whose socket it must be, where the app has one of its own.
    pub uid: Option<u32>,
    /// The scripts that it runs, where it speaks FastCGI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Scripts>,
}

/// The state of a run for its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Somebody will be there in a while: they wait.
    Starting,
    /// Its members answer, if it has any.
    Running,
    /// Nobody is there, and nobody will be for now.
    Refused,
}

/// The members of a run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNow {
    /// The state for requests.
    pub state: RunState,
    /// Whether requests of other nodes may come to its instances.
    #[serde(default)]
    pub is_shared: bool,
    /// The instances.
    pub members: Vec<RunMember>,
}
