//! What all parts of a runner share: its settings, the rooms below it, and its groups.

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
use super::request::Wanted;
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

/// Receives every step that a person may want to see, as a line of text.
pub type Report<'t> = &'t (dyn Fn(&str) + Send + Sync);

/// What all parts of a runner share.
pub(super) struct Shared {
    pub(super) settings: edge_toml::Runner,
    /// What this node is called.
    pub(super) node: String,
    /// The nodes that instances are spread over.
    pub(super) nodes: KnownNodes,
    pub(super) limits: Limits,
    pub(super) users: Users,
    pub(super) folders: Folders,
    pub(super) holds: Arc<Holds>,
    /// Container images, where the edge runs some.
    pub(super) images: Option<OwnImages>,
    pub(super) persisted: Persisted,
    pub(super) data_use: Arc<DataUse>,
    pub(super) spawner: Spawner,
    pub(super) blobs: Arc<dyn Blobs>,
    /// Turns to have manifests in memory.
    pub(super) manifests: ManifestTurns,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) live: Live,
    pub(super) registry: Registry,
    pub(super) variables: Arc<dyn Variables>,
    pub(super) logs: Logs,
    pub(super) ports: Ports,
    pub(super) temporary_folders: TemporaryFolders,
    /// All groups; of the same run, one that ends comes before the one that takes its place.
    pub(super) groups: Mutex<Vec<Arc<Group>>>,
    /// Held while pools get their members, so that the last update is the newest.
    pub(super) publishing: Mutex<()>,
    /// Where everything runs that outlives the call that began it: a caller may be on a thread that ends before.
    pub(super) runtime: Handle,
    /// Notifies the end of the edge.
    pub(super) stop: CancellationToken,
    /// Where everything of the runner lies.
    pub(super) root: PathBuf,
    pub(super) standstill: Standstill,
    /// Commands that run once.
    pub(super) runs: UnderWay,
    /// Commands that run once for nobody who watches, which the end waits for.
    pub(super) one_offs: TaskTracker,
    /// The members of runs as they were published, for the edge before.
    pub(super) published: broadcast::Sender<(RunId, Option<RunNow>)>,
    /// The edge before has ended, or there was none.
    pub(super) predecessor_ended: CancellationToken,
}

impl Shared {
    pub(super) fn check(&self, trusted: bool) -> Result<(), Error> {
        if trusted || self.users.are_there() { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Takes the port of an instance, which belongs to nobody else while it runs.
    pub(super) fn take_port(&self, place: &Place) -> Option<InstancePort> {
        match &place.endpoint {
            Some(Endpoint::Tcp(address)) => Some(self.registry.internal().take_port(address.port())),
            Some(Endpoint::Node(_) | Endpoint::Socket(_)) | None => None,
        }
    }

    /// Whose settings a backend has: those of its environment, or of `preview` where its place is none.
    pub(super) fn settings_place(&self, wanted: &Wanted) -> String {
        let place = wanted.place.parse().ok().and_then(|name| self.live.place(&wanted.app, &name));
        match place.is_some_and(|place| place.setting == Setting::Preview) {
            true => PREVIEW.to_owned(),
            false => wanted.place.clone(),
        }
    }

    /// Reports of the instances of a group.
    pub(super) fn statuses(&self, group: &Group) -> Vec<InstanceStatus> {
        let limits = self.instance_limits(&group.managed.server);
        group.statuses(&self.node, limits.memory_bytes)
    }

    /// The groups of a place that do not only stay for a rollback.
    pub(super) fn running(&self, app: &AppName, place: &str) -> Result<Vec<Arc<Group>>, Error> {
        let mut groups = self.groups_of(app, place);
        groups.retain(|group| !group.inner().reasons.is_warm());
        match groups.is_empty() {
            true => Err(Error::NothingRuns { app: app.to_string(), place: place.to_owned() }),
            false => Ok(groups),
        }
    }
}

/// A duration of so many milliseconds.
pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
