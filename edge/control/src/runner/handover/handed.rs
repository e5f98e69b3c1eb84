//! What one edge passes to the next one about the instances that it runs.

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

/// The instances of an edge, and what the next one needs to go on with them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handed {
    pub(in crate::runner) terms: Terms,
    pub(in crate::runner) spawner: HandedSpawner,
    pub(in crate::runner) groups: Vec<HandedGroup>,
    /// Folders for temporary files that are in use, or empty.
    pub(in crate::runner) temporary_folders: Vec<PathBuf>,
    /// Whether a second descriptor follows that of the connection: the lock of the edge's user ids.
    pub(in crate::runner) has_claim: bool,
}

/// Instances that change hands, with the descriptors that they need.
#[derive(Debug)]
pub struct Handover {
    /// Their description.
    pub handed: Handed,
    /// The connection to the spawner, and the lock of the user ids, where there is one.
    pub descriptors: Vec<OwnedFd>,
}

impl Handed {
    /// Number of descriptors that belong to it.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        1 + usize::from(self.has_claim)
    }
}

/// Settings that instances and their spawner were started with, and that stay for as long as these run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    folder: PathBuf,
    spawner: Option<PathBuf>,
    cgroup: String,
    uids: Option<String>,
    /// The protocol of the spawner.
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

    /// Checks that instances which run under these can go on with an edge of these settings, of this release.
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

/// A group of instances.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct HandedGroup {
    pub(in crate::runner) id: RunId,
    pub(in crate::runner) version: VersionId,
    pub(in crate::runner) managed: Managed,
    pub(in crate::runner) settings_place: String,
    pub(in crate::runner) is_live: bool,
    /// Milliseconds for which it stays though it is not live: for its last holder, …
    pub(in crate::runner) lingers_ms: Option<u64>,
    /// … for a rollback, …
    pub(in crate::runner) warm_ms: Option<u64>,
    /// … and for the requests of a preview.
    pub(in crate::runner) idle_ms: Option<u64>,
    pub(in crate::runner) is_stopping: bool,
    pub(in crate::runner) uid: Option<u32>,
    /// Where its code lies.
    pub(in crate::runner) code: Option<PathBuf>,
    pub(in crate::runner) instances: Vec<HandedInstance>,
}

/// An instance that runs.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::runner) struct HandedInstance {
    pub(in crate::runner) process: ProcessName,
    pub(in crate::runner) number: u64,
    pub(in crate::runner) serial: u64,
    pub(in crate::runner) is_wanted: bool,
    pub(in crate::runner) running: HandedProcess,
    pub(in crate::runner) place: Place,
    pub(in crate::runner) phase: HandedPhase,
    /// Milliseconds since its start, …
    pub(in crate::runner) begun_ms: u64,
    /// … and since it became healthy.
    pub(in crate::runner) well_ms: Option<u64>,
    /// Failed checks in a row.
    pub(in crate::runner) bad: u64,
    pub(in crate::runner) state: InstanceState,
    pub(in crate::runner) since_ms: u64,
    pub(in crate::runner) detail: Option<String>,
    pub(in crate::runner) restarts: u64,
    /// Duration of its start in milliseconds.
    pub(in crate::runner) healthy_ms: Option<u64>,
    /// Its last lines.
    pub(in crate::runner) lines: Vec<String>,
    /// The beginnings of lines that it has not ended, of both outputs.
    pub(in crate::runner) unended: [Vec<u8>; 2],
}

impl fmt::Debug for HandedInstance {
    /// Without what it wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ({:?}, {:?})", self.process, self.number, self.running, self.phase)
    }
}

/// Where an instance listens, the folder that is made for its socket, where its temporary files go, and its user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct Place {
    pub(in crate::runner) endpoint: Option<Endpoint>,
    pub(in crate::runner) folder: Option<PathBuf>,
    pub(in crate::runner) temporary: Temporary,
    /// Where it is another than the edge's.
    pub(in crate::runner) uid: Option<u32>,
    /// The scripts that it runs, where it speaks FastCGI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::runner) scripts: Option<Scripts>,
    /// The container that it is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::runner) container: Option<Contained>,
}

/// The container of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct Contained {
    pub(in crate::runner) name: String,
    /// The engine listens for it, and leads what comes into its network.
    pub(in crate::runner) is_published: bool,
}

impl Place {
    /// The user that listens there, where that one is known.
    pub(in crate::runner) fn listener(&self) -> Option<u32> {
        let is_published = self.container.as_ref().is_some_and(|container| container.is_published);
        self.uid.filter(|_| !is_published)
    }
}

/// How far an instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::runner) enum HandedPhase {
    Starting,
    Up,
    /// It ends once nothing is under way to it.
    Draining,
    /// SIGTERM was sent.
    Terminating,
}
