//! Handover data: instances passed from an edge to its successor.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use devanture_config::api::InstanceState;
use devanture_config::manifest::Managed;
use devanture_config::site_toml::{ProcessName, Scripts};
use devanture_config::{VersionId, edge_toml};
use serde::{Deserialize, Serialize};

use crate::runner::error::Error;
use devanture_host::spawner::{HandedProcess, HandedSpawner, SPAWNER_PROTOCOL, Temporary};
use devanture_serve::proxy::RunId;
use devanture_serve::proxy::address::Endpoint;

/// Instances of an edge, with the data needed by the successor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handed {
    pub(in crate::runner) terms: Terms,
    pub(in crate::runner) spawner: HandedSpawner,
    pub(in crate::runner) groups: Vec<HandedGroup>,
    /// Folders for temporary files that are in use or empty.
    pub(in crate::runner) temporary_folders: Vec<PathBuf>,
    /// True if the descriptor of the connection is followed by a second: the lock of the edge's user ids.
    pub(in crate::runner) has_claim: bool,
}

/// Handed-over instances with their descriptors.
#[derive(Debug)]
pub struct Handover {
    /// Description.
    pub handed: Handed,
    /// Connection to the spawner, and lock of the user ids, if any.
    pub descriptors: Vec<OwnedFd>,
}

impl Handed {
    /// Returns the number of descriptors.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        1 + usize::from(self.has_claim)
    }
}

/// Settings that cannot change while instances and spawner run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    folder: PathBuf,
    spawner: Option<PathBuf>,
    cgroup: String,
    uids: Option<String>,
    /// Protocol of the spawner.
    protocol: u32,
}

impl Terms {
    pub(in crate::runner) fn of(settings: &edge_toml::Runner, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            spawner: settings.spawner.clone(),
            cgroup: settings.cgroup.to_string(),
            uids: settings.uids.as_ref().map(|uids| format!("{}-{}", uids.0.start(), uids.0.end())),
            protocol: SPAWNER_PROTOCOL,
        }
    }

    /// Checks that instances started under these terms can continue with an edge of the given settings and the present
    /// release.
    ///
    /// # Errors
    /// [`Error::Handover`].
    pub fn check(&self, settings: &edge_toml::Runner, folder: &Path) -> Result<(), Error> {
        let new = Self::of(settings, folder);
        let keys = [
            ("folder", self.folder != new.folder),
            ("spawner", self.spawner != new.spawner),
            ("cgroup", self.cgroup != new.cgroup),
            ("uids", self.uids != new.uids),
        ];
        let changed: Vec<&str> = keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect();
        if !changed.is_empty() {
            let keys = changed.join(", ");
            return Err(Error::Handover(format!(
                "[runner] {keys} changed in edge.toml, which running instances cannot follow: stop the running edge first"
            )));
        }
        if self.protocol != new.protocol {
            let why = "their spawner is of a release that this one cannot go on with: stop the running edge first";
            return Err(Error::Handover(why.to_owned()));
        }
        Ok(())
    }
}

/// Group of instances.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct HandedGroup {
    pub(in crate::runner) id: RunId,
    pub(in crate::runner) version: VersionId,
    pub(in crate::runner) managed: Managed,
    pub(in crate::runner) settings_place: String,
    pub(in crate::runner) is_live: bool,
    /// Remaining milliseconds of a group that is not live: for its former holder …
    pub(in crate::runner) lingers_ms: Option<u64>,
    /// … for a rollback …
    pub(in crate::runner) warm_ms: Option<u64>,
    /// … and for the requests of a preview.
    pub(in crate::runner) idle_ms: Option<u64>,
    pub(in crate::runner) is_stopping: bool,
    pub(in crate::runner) uid: Option<u32>,
    /// Location of its code.
    pub(in crate::runner) code: Option<PathBuf>,
    pub(in crate::runner) instances: Vec<HandedInstance>,
}

/// Running instance.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::runner) struct HandedInstance {
    pub(in crate::runner) process: ProcessName,
    pub(in crate::runner) number: u64,
    pub(in crate::runner) serial: u64,
    pub(in crate::runner) is_wanted: bool,
    pub(in crate::runner) running: HandedProcess,
    pub(in crate::runner) place: Place,
    pub(in crate::runner) phase: HandedPhase,
    /// Milliseconds since its start …
    pub(in crate::runner) begun_ms: u64,
    /// … and since it became healthy.
    pub(in crate::runner) well_ms: Option<u64>,
    /// Consecutive failed checks.
    pub(in crate::runner) bad: u64,
    pub(in crate::runner) state: InstanceState,
    pub(in crate::runner) since_ms: u64,
    pub(in crate::runner) detail: Option<String>,
    pub(in crate::runner) restarts: u64,
    /// Duration of its start in milliseconds.
    pub(in crate::runner) healthy_ms: Option<u64>,
    /// Last lines.
    pub(in crate::runner) lines: Vec<String>,
    /// Incomplete lines of both outputs.
    pub(in crate::runner) unended: [Vec<u8>; 2],
}

impl fmt::Debug for HandedInstance {
    /// Omits the output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ({:?}, {:?})", self.process, self.number, self.running, self.phase)
    }
}

/// Listening address, socket folder, temporary folder, and user of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct Place {
    pub(in crate::runner) endpoint: Option<Endpoint>,
    pub(in crate::runner) folder: Option<PathBuf>,
    pub(in crate::runner) temporary: Temporary,
    /// Set if different from the edge's.
    pub(in crate::runner) uid: Option<u32>,
    /// Scripts of a FastCGI instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::runner) scripts: Option<Scripts>,
    /// Container, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::runner) container: Option<Contained>,
}

/// Container of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct Contained {
    pub(in crate::runner) name: String,
    /// True if the container engine listens for the instance, and forwards into its network.
    pub(in crate::runner) is_published: bool,
}

impl Place {
    /// Returns the user of the listening process, if known.
    pub(in crate::runner) fn listener(&self) -> Option<u32> {
        let is_published = self.container.as_ref().is_some_and(|container| container.is_published);
        self.uid.filter(|_| !is_published)
    }
}

/// Phase of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::runner) enum HandedPhase {
    Starting,
    Up,
    /// Ends once no requests are open.
    Draining,
    /// SIGTERM was sent.
    Terminating,
}
