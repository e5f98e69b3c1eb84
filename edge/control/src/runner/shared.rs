//! State shared by all parts of a runner: settings, lower modules, groups.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::InstanceStatus;
use devanture_config::limits::Limits;
use devanture_config::{AppName, edge_toml};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::data::hold::DataUse;
use super::error::Error;
use super::folder::Folders;
use super::group::Group;
use super::handover::handed::Place;
use super::handover::standstill::Standstill;
use super::holds::Holds;
use super::nodes::KnownNodes;
use super::once::UnderWay;
use super::own_images::OwnImages;
use super::persisted::Persisted;
use super::place_user::PREVIEW;
use super::ports::Ports;
use super::request::BackendSpec;
use super::temporary_folders::TemporaryFolders;
use super::users::Users;
use super::variables::Variables;
use devanture_host::output::Logs;
use devanture_host::spawner::Spawner;
use devanture_serve::live::Live;
use devanture_serve::proxy::address::{Endpoint, InstancePort};
use devanture_serve::proxy::{Registry, RunId, RunNow};
use devanture_serve::version::Setting;
use devanture_store::blobs::{Blobs, ManifestTurns};
use devanture_store::catalog::Catalog;

/// Receives progress lines for users.
pub type Report<'t> = &'t (dyn Fn(&str) + Send + Sync);

/// State shared by all parts of a runner.
pub(super) struct Shared {
    pub(super) settings: edge_toml::Runner,
    /// Name of the node.
    pub(super) node: String,
    /// Nodes that share instances.
    pub(super) nodes: KnownNodes,
    pub(super) limits: Limits,
    pub(super) users: Users,
    pub(super) folders: Folders,
    pub(super) holds: Arc<Holds>,
    /// Container images, if permitted.
    pub(super) images: Option<OwnImages>,
    pub(super) persisted: Persisted,
    pub(super) data_use: Arc<DataUse>,
    pub(super) spawner: Spawner,
    pub(super) blobs: Arc<dyn Blobs>,
    /// Permits for manifests in memory.
    pub(super) manifests: ManifestTurns,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) live: Live,
    pub(super) registry: Registry,
    pub(super) variables: Arc<dyn Variables>,
    pub(super) logs: Logs,
    pub(super) ports: Ports,
    pub(super) temporary_folders: TemporaryFolders,
    /// All groups; within a run, an ending group comes before its successor.
    pub(super) groups: Mutex<Vec<Arc<Group>>>,
    /// Locked while pools get their members, so that the last update is the newest.
    pub(super) publishing: Mutex<()>,
    /// Runtime for tasks that outlive their caller, whose own runtime may end earlier.
    pub(super) runtime: Handle,
    /// Cancelled when the edge stops.
    pub(super) stop: CancellationToken,
    /// Root folder of the runner.
    pub(super) root: PathBuf,
    pub(super) standstill: Standstill,
    /// Interactive one-off commands.
    pub(super) runs: UnderWay,
    /// Other one-off commands, awaited at the end.
    pub(super) one_offs: TaskTracker,
    /// Published members of runs, for the predecessor edge.
    pub(super) published: broadcast::Sender<(RunId, Option<RunNow>)>,
    /// Cancelled once the predecessor has ended, or without one.
    pub(super) predecessor_ended: CancellationToken,
}

impl Shared {
    pub(super) fn check(&self, trusted: bool) -> Result<(), Error> {
        if trusted || self.users.are_there() { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Claims the port of an instance exclusively while it runs.
    pub(super) fn take_port(&self, place: &Place) -> Option<InstancePort> {
        match &place.endpoint {
            Some(Endpoint::Tcp(address)) => Some(self.registry.internal().take_port(address.port())),
            Some(Endpoint::Node(_) | Endpoint::Socket(_)) | None => None,
        }
    }

    /// Returns the environment of a backend's settings: its own, or `preview` for an alias or preview.
    pub(super) fn settings_place(&self, wanted: &BackendSpec) -> String {
        let place = wanted.place.parse().ok().and_then(|name| self.live.place(&wanted.app, &name));
        match place.is_some_and(|place| place.setting == Setting::Preview) {
            true => PREVIEW.to_owned(),
            false => wanted.place.clone(),
        }
    }

    /// Returns the status of a group's instances.
    pub(super) fn statuses(&self, group: &Group) -> Vec<InstanceStatus> {
        let limits = self.instance_limits(&group.managed.server);
        group.statuses(&self.node, limits.memory_bytes)
    }

    /// Returns the groups of an environment, except groups kept only for a rollback.
    pub(super) fn running(&self, app: &AppName, place: &str) -> Result<Vec<Arc<Group>>, Error> {
        let mut groups = self.groups_of(app, place);
        groups.retain(|group| !group.inner().reasons.is_warm());
        match groups.is_empty() {
            true => Err(Error::NothingRuns { app: app.to_string(), place: place.to_owned() }),
            false => Ok(groups),
        }
    }
}

/// Returns a duration in milliseconds.
pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
