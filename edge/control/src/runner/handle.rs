//! Public interface of the runner.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::InstanceStatus;
use devanture_config::limits::Limits;
use devanture_config::manifest::ServerFolder;
use devanture_config::site_toml::ProcessName;
use devanture_config::{AppName, Digest, PlaceName, edge_toml};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::folder::{Folders, Interpreters, owners};
use super::group::Group;
use super::handover::adopt::{self, AdoptedInstances};
use super::handover::handed::{Handed, Handover};
use super::handover::standstill::Standstill;
use super::holds::Holds;
use super::nodes::KnownNodes;
use super::once::UnderWay;
use super::own_images::{self, OwnImages};
use super::persisted::Persisted;
use super::ports::Ports;
use super::request::{BackendSpec, GroupRequest};
use super::shared::{Report, Shared};
use super::temporary_folders::TemporaryFolders;
use super::users::{Ids, Source, Users, check_passable};
use super::variables::Variables;
use devanture_base::telemetry::Gauges;
use devanture_host::output::Logs;
use devanture_host::spawner::claims::Claimant;
use devanture_host::spawner::{Spawner, SpawnerConnection, SpawnerSettings};
use devanture_serve::live::Live;
use devanture_serve::proxy::{Registry, RunId, RunNow};
use devanture_store::blobs::{Blobs, ManifestTurns};
use devanture_store::catalog::Catalog;
use devanture_store::records::follow::Follow;
use devanture_store::records::table::FollowedBy;

/// Interval of checks for the end of all instances.
const END_LOOK: Duration = Duration::from_millis(20);
/// Longest delay until a switch by a group's holder is known here.
pub(super) const HELD_LINGERS: Duration = Duration::from_secs(2);

/// Queued pool updates for the predecessor edge.
const PUBLISHED_MAX: usize = 1_024;

/// Parts of a [`Runner`].
pub struct Parts {
    /// `[runner]` of `edge.toml`.
    pub settings: edge_toml::Runner,
    /// Name of the node.
    pub node: String,
    /// True in a cluster, whose nodes share instances.
    pub is_in_cluster: bool,
    /// Limits.
    pub limits: Limits,
    /// Data folder, which records the user ids of the edge.
    pub data_dir: PathBuf,
    /// Root folder of the runner, absolute: `EdgeFile::runner_folder`.
    pub folder: PathBuf,
    /// Folder of `edge.toml`, base of its relative paths.
    pub base: PathBuf,
    /// Path of the program `devanture-edge`.
    pub program: PathBuf,
    /// Files of backends.
    pub blobs: Arc<dyn Blobs>,
    /// Instance counts, and users of apps.
    pub catalog: Arc<dyn Catalog>,
    /// Live versions.
    pub live: Live,
    /// Pools with instances as members.
    pub registry: Registry,
    /// Settings and secrets.
    pub variables: Arc<dyn Variables>,
    /// Instances handed over by the predecessor edge. [`Runner::resume`] is called once the edge serves.
    pub handover: Option<Handover>,
}

/// Lease of prepared instances, which run until a switch uses the lease. Dropped without a switch, the instances end.
#[must_use = "the instances run for as long as this lives"]
pub struct InstanceLease {
    group: Arc<Group>,
    /// True if the instances may be live by now.
    is_ready: bool,
}

impl Drop for InstanceLease {
    fn drop(&mut self) {
        {
            let mut inner = self.group.inner();
            inner.reasons.held = inner.reasons.held.saturating_sub(1);
            if self.is_ready {
                inner.reasons.lingers_until = Some(Instant::now() + HELD_LINGERS);
            }
        }
        self.group.notify();
    }
}

/// Spawner, users of instances, and instances of the predecessor edge.
struct RunnerResources {
    spawner: Spawner,
    users: Users,
    taken: Option<AdoptedInstances>,
}

/// Returns the mark of an edge on its processes, unique by folder.
fn edge_id_of(folder: &Path) -> String {
    Digest::of(folder.as_os_str().as_encoded_bytes()).short()
}

/// Claims users and starts the spawner, or adopts both from the predecessor edge.
async fn begin(
    settings: &edge_toml::Runner,
    data_dir: &Path,
    folder: &Path,
    program: PathBuf,
    before: Option<(Handed, OwnedFd, Option<OwnedFd>)>,
) -> Result<RunnerResources, Error> {
    let edge_id = edge_id_of(folder);
    let claimant = Claimant { edge: edge_id.clone(), folder: folder.to_owned() };
    let is_root = rustix::process::geteuid().is_root();
    let source = Source::new(settings, is_root)?;
    if source != Source::Nowhere {
        // Checked before ids are claimed: a failed start leaves nothing on the machine.
        check_passable(folder)?;
    }
    let (handed, socket, lock) = match before {
        Some((handed, socket, lock)) => (Some(handed), Some(socket), lock),
        None => (None, None, None),
    };
    let given = match (source, lock) {
        (Source::Itself, Some(lock)) => Some(Ids::adopt(data_dir, lock)?),
        (Source::Itself, None) => Some(Ids::claim(data_dir, &claimant, settings.uids.as_ref()).await?),
        (Source::Nowhere | Source::Spawner, _) => None,
    };
    let spawner = SpawnerSettings {
        program,
        socket: settings.spawner.clone(),
        cgroup: settings.cgroup.clone(),
        edge_id,
        folder: folder.to_owned(),
        uids: given.iter().map(|ids| ids.range().clone()).collect(),
    };
    let (spawner, taken) = match handed.zip(socket) {
        Some((handed, socket)) => {
            let connection = SpawnerConnection { state: handed.spawner, socket };
            let taken = adopt::take(spawner, connection, handed.groups)?;
            (taken.spawner.clone(), Some(taken))
        }
        None => (Spawner::start(spawner).await.map_err(|error| Error::Spawn(error.to_string()))?, None),
    };
    let users = match (given, spawner.uids()) {
        (Some(ids), _) => Users::Given(ids),
        (None, Some(range)) => {
            let ids = Ids::lent(data_dir, range, settings.uids.as_ref())?;
            if is_root { Users::Given(ids) } else { Users::Lent(ids) }
        }
        (None, None) => Users::Same,
    };
    Ok(RunnerResources { spawner, users, taken })
}

/// Removes unused code, once live versions hold theirs.
async fn tidy(shared: Arc<Shared>) {
    shared.live.loaded().await;
    for group in shared.all_groups() {
        shared.wait_begun(&group).await.ok();
    }
    shared.folders.tidy_all().await;
}

/// Runs backends. Cheap to clone.
#[derive(Clone)]
pub struct Runner(pub(super) Arc<Shared>);

/// Opens the folders of backends, off the serving threads.
async fn open_folders(
    root: &Path,
    settings: &edge_toml::Runner,
    users: &Users,
    blobs: &Arc<dyn Blobs>,
    is_adopted: bool,
) -> Result<Folders, Error> {
    let interpreters = Interpreters::new(settings.interpreters.clone());
    let (root, of_folders, blobs) = (root.to_owned(), (users.clone(), interpreters), Arc::clone(blobs));
    let opened = tokio::task::spawn_blocking(move || Folders::open(root, of_folders, blobs, is_adopted)).await;
    opened.unwrap_or_else(|_panicked| Err(Error::Folder("they could not be looked at".to_owned())))
}

impl Runner {
    /// Checks the prerequisites of backends without changing the machine. `folder` is the runner's, `base` that of
    /// `edge.toml`.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Image`], [`Error::User`].
    pub fn check_settings(settings: &edge_toml::Runner, folder: &Path, base: &Path) -> Result<(), Error> {
        own_images::check(settings, base)?;
        match Source::new(settings, rustix::process::geteuid().is_root())? {
            Source::Nowhere => Ok(()),
            Source::Itself | Source::Spawner => check_passable(folder),
        }
    }

    /// Starts the spawner, removes leftovers of an earlier run, and starts live backends. All tasks run on the calling
    /// runtime.
    ///
    /// # Errors
    /// [`Error::Off`], [`Error::Spawn`], [`Error::Folder`], [`Error::User`].
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts {
            settings,
            node,
            is_in_cluster,
            limits,
            data_dir,
            folder,
            base,
            program,
            blobs,
            catalog,
            live,
            registry,
            variables,
            handover,
        } = parts;
        if !settings.enabled {
            return Err(Error::Off);
        }
        let is_adopted = handover.is_some();
        let before = match handover {
            Some(handover) => Some(adopt::split(handover, &settings, &folder)?),
            None => None,
        };
        let temporary_folders = before.iter().flat_map(|(handed, ..)| handed.temporary_folders.clone());
        let temporary_folders = TemporaryFolders::in_use(temporary_folders);
        let RunnerResources { spawner, users, taken } = begin(&settings, &data_dir, &folder, program, before).await?;
        let folders = open_folders(&folder, &settings, &users, &blobs, is_adopted).await?;
        // The spawner has already ended processes of an earlier run.
        if matches!(users, Users::Given(_)) && !is_adopted {
            // An unreadable record must affect the backends of its environment only.
            let settled = match users.all(&*catalog).await {
                Ok(all) => owners::settle(&folder, all).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = settled {
                tracing::error!(%error, "a folder that stays belongs to another user than its environment");
            }
        }
        let images = OwnImages::start((&settings, &limits), edge_id_of(&folder), &base, is_adopted).await;
        let (stop, predecessor_ended) = (CancellationToken::new(), CancellationToken::new());
        if !is_adopted {
            predecessor_ended.cancel();
        }
        let shared = Arc::new(Shared {
            holds: Holds::new(spawner.clone(), stop.clone()),
            images,
            persisted: Persisted::default(),
            data_use: Arc::default(),
            logs: Logs::new(folder.join("logs"), &limits),
            settings,
            nodes: KnownNodes::new(node.clone(), is_in_cluster),
            node,
            limits,
            users,
            folders,
            spawner,
            blobs,
            manifests: ManifestTurns::new(),
            catalog,
            live,
            registry,
            variables,
            ports: Ports::default(),
            temporary_folders,
            groups: Mutex::default(),
            publishing: Mutex::default(),
            runtime: Handle::current(),
            stop,
            root: folder,
            standstill: Standstill::default(),
            runs: UnderWay::default(),
            one_offs: TaskTracker::new(),
            published: broadcast::Sender::new(PUBLISHED_MAX),
            predecessor_ended,
        });
        if let Some(taken) = taken {
            taken.settle(&shared).await;
        }
        // Before what is live is looked at: nothing that is committed in between is missed.
        let follow = Follow::new(&*shared.catalog, FollowedBy::Runner).begun().until(shared.stop.clone());
        let shown = shared.live.shown();
        shared.nodes.refresh(&*shared.catalog).await?;
        shared.registry.hear_asks(true);
        shared.reconcile_all();
        tokio::spawn(Arc::clone(&shared).follow(follow, shown));
        tokio::spawn(Arc::clone(&shared).watch_persisted());
        tokio::spawn(Arc::clone(&shared).watch_images());
        tokio::spawn(tidy(Arc::clone(&shared)));
        Ok(Self(shared))
    }

    /// Checks that backends of a bundle may run here.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if environments have no user ids of their own and no admin of every app pushed the bundle.
    pub fn check(&self, trusted: bool) -> Result<(), Error> {
        self.0.check(trusted)
    }

    /// Checks that the edge has the interpreters linked by a bundle's folder.
    ///
    /// # Errors
    /// [`Error::Interpreter`].
    pub fn check_interpreters(&self, folder: &ServerFolder) -> Result<(), Error> {
        self.0.folders.interpreters().check(folder)
    }

    /// Returns the settings revisions of an environment's local instances, including ending instances.
    #[must_use]
    pub fn settings_revisions(&self, app: &AppName, environment: &PlaceName) -> BTreeSet<u64> {
        let groups = self.0.all_groups().into_iter();
        let own = groups.filter(|group| group.id.app == *app && group.settings_place == environment.as_str());
        own.map(|group| group.id.key.settings).collect()
    }

    /// Returns the number of user ids for environments and previews of all apps.
    #[must_use]
    pub fn user_ids(&self) -> u32 {
        self.0.users.count()
    }

    /// Starts all instances and waits until healthy; returns at once if already so. `report` receives a line for each.
    ///
    /// # Errors
    /// The first unhealthy instance; all instances then end unless needed otherwise.
    pub async fn prepare(&self, wanted: &BackendSpec, report: Report<'_>) -> Result<InstanceLease, Error> {
        let shared = &self.0;
        let request = GroupRequest {
            id: wanted.run(),
            version: wanted.version,
            managed: Arc::clone(&wanted.managed),
            trusted: wanted.trusted,
            settings_place: shared.settings_place(wanted),
        };
        shared.forget_gone_nodes();
        let group = shared.group(request, |inner| {
            inner.reasons.held += 1;
            inner.failed = None;
            // Only existing instances: every end counts for instances started by the call.
            inner.slots.iter().filter(|slot| slot.is_wanted()).for_each(|slot| slot.begin_anew());
        })?;
        let mut held = InstanceLease { group: Arc::clone(&group), is_ready: false };
        shared.wait_begun(&group).await?;
        // Warm instances may be fewer than needed by now.
        shared.adjust(&group).await?;
        shared.wait_healthy(&group, &group.wanted_slots(), report).await?;
        held.is_ready = true;
        Ok(held)
    }

    /// Runs the command `release` once, if defined; `report` receives its lines. Returns the duration in milliseconds.
    ///
    /// # Errors
    /// [`Error::ReleaseFailed`]; errors of the start.
    pub async fn release(&self, wanted: &BackendSpec, report: Report<'_>) -> Result<Option<u128>, Error> {
        self.0.run_release(wanted, report).await
    }

    /// Returns every instance of an environment, by process and number.
    #[must_use]
    pub fn instances(&self, app: &AppName, place: &str) -> Vec<InstanceStatus> {
        let groups = self.0.all_groups();
        let here = groups.iter().filter(|group| group.id.app == *app && group.id.place == place);
        let mut found: Vec<InstanceStatus> = here.flat_map(|group| self.0.statuses(group)).collect();
        let number =
            |status: &InstanceStatus| status.name.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        found.sort_by(|a, b| (&a.process, number(a), a.since_ms).cmp(&(&b.process, number(b), b.since_ms)));
        found
    }

    /// Applies the instance counts of the API, and returns once new instances are healthy.
    ///
    /// # Errors
    /// [`Error::NothingRuns`], [`Error::TooMany`], the first unhealthy new instance.
    pub async fn rescale(&self, app: &AppName, place: &str, report: Report<'_>) -> Result<(), Error> {
        for group in self.0.running(app, place)? {
            self.0.wait_begun(&group).await?;
            // The follower of the catalog may have already started the instances.
            self.0.adjust(&group).await?;
            self.0.wait_healthy(&group, &group.wanted_slots(), report).await?;
        }
        Ok(())
    }

    /// Returns the longest time until all instances of an environment are healthy on a node: all at once, or one after
    /// the other as if all ran there.
    ///
    /// # Errors
    /// [`Error::NothingRuns`], [`Error::TooMany`]; errors of reading the catalog.
    pub async fn change_time(&self, app: &AppName, place: &str, one_by_one: bool) -> Result<Duration, Error> {
        let mut all = Duration::ZERO;
        for group in self.0.running(app, place)? {
            all = all.saturating_add(self.0.change_time(&group, one_by_one).await?);
        }
        Ok(all)
    }

    /// Restarts every instance of a process, or all instances: one after the other, each replaced once its successor is
    /// healthy.
    ///
    /// # Errors
    /// [`Error::NothingRuns`]; the first unhealthy new instance, whose predecessor stays.
    pub async fn restart(
        &self,
        app: &AppName,
        place: &str,
        process: Option<&ProcessName>,
        report: Report<'_>,
    ) -> Result<(), Error> {
        for group in self.0.running(app, place)? {
            self.0.wait_begun(&group).await?;
            let slots = group.wanted_slots();
            for slot in slots.iter().filter(|slot| process.is_none_or(|process| slot.process.name == *process)) {
                self.0.replace(&group, slot, report).await?;
            }
        }
        Ok(())
    }

    /// Waits until all running instances of `web` in an environment have failed since the call, and returns the last
    /// failure; `None` once the backend is no longer live there.
    pub async fn failure(&self, app: &AppName, place: &str, digest: Digest) -> Option<String> {
        let group = self.0.groups_of(app, place).into_iter().find(|group| group.id.key.digest == digest)?;
        group.failure().await
    }

    /// Returns the output of instances.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.0.logs
    }

    /// Ends the live readers of instance output, after the already received lines.
    pub fn end_log_readers(&self) {
        self.0.logs.end_readers();
    }

    /// Adds metrics of instances.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        self.0.add_metrics(gauges);
    }

    /// Returns the members of runs as published since the start, for the predecessor edge; once.
    #[must_use]
    pub fn published(&self) -> broadcast::Receiver<(RunId, Option<RunNow>)> {
        self.0.published.subscribe()
    }

    /// Ends all instances and commands: by SIGTERM at once, since the caller has waited for running requests, then by
    /// SIGKILL after the backends' times, at the latest after `within`. Handed-over instances continue.
    pub async fn end(&self, within: Duration) {
        // Paused instances belong to the next edge, if it comes up; otherwise they end with the connection.
        self.leave(false);
        if self.0.standstill.has_left() {
            self.0.logs.end().await;
            return;
        }
        self.0.stop.cancel();
        self.0.registry.hear_asks(false);
        let until = Instant::now() + within;
        while !(self.0.all_groups().is_empty() && self.0.one_offs.is_empty()) && Instant::now() < until {
            sleep(END_LOOK).await;
        }
        self.0.logs.end().await;
        self.0.spawner.end().await;
        if let Some(images) = &self.0.images {
            images.remove_leftovers().await;
        }
        self.0.users.release();
    }
}
