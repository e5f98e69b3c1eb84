//! Service of a node for other nodes of its cluster: preparation of switches, catch-up, status.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devanture_base::telemetry;
use devanture_config::api::{InstanceStatus, NodeList, NodeState, NodeStatus, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest};
use devanture_serve::proxy::Registry;
use devanture_store::blobs::Key;
use devanture_store::catalog::{self, Catalog, Revision};
use devanture_store::records::follow::{Follow, FollowStep};
use devanture_store::records::table::FollowedBy;
use metrics::histogram;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::deploy_list::report_here;
use super::log_lines::LogSources;
use super::made_apps::MadeApps;
use super::publisher::Publisher;
use super::uploads::Uploads;
use crate::access::Credentials;
use crate::cluster::{
    self, AttemptNote, EnvironmentQuery, EnvironmentReport, GATE_MAX, GateHeld, GateRequest, Hold, InstanceService,
    InstancesAction, InstancesRequest, LogsRequest, LogsSender, Nodes, Placed, PrepareRequest, Progress,
};
use crate::ledger::{Actor, Error};
use crate::retention::Uploads as _;
use crate::settings::UnstoredSettings;
use crate::switch::{Deploys, Switcher};

/// Longest wait for the commits required by another node's switch.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the local effect of another node's switch.
const FOLLOW_MAX: Duration = Duration::from_secs(4);

/// Service for other nodes.
pub struct NodeService {
    pub(super) switcher: Arc<Switcher>,
    uploads: Arc<Uploads>,
    deploys: Arc<Deploys>,
    logs: LogSources,
    credentials: Arc<Credentials>,
}

/// Waits until another node's commit is readable locally.
///
/// # Errors
/// `not_ready`.
pub(super) async fn catch_up(catalog: &dyn Catalog, revision: Revision) -> Result<(), Error> {
    if catalog.wait_for(revision, CATCH_UP_MAX).await {
        return Ok(());
    }
    let detail = "It does not hear of commits to the catalog.";
    Err(Problem::new(Code::NotReady, detail).hint("look whether it reaches etcd").into())
}

impl NodeService {
    /// Serves other nodes with the parts of `publisher`; counts login attempts by `credentials`.
    #[must_use]
    pub fn new(publisher: &Publisher, credentials: Arc<Credentials>) -> Self {
        Self {
            switcher: Arc::clone(&publisher.switcher),
            uploads: Arc::clone(&publisher.uploads),
            deploys: Arc::clone(&publisher.deploys),
            logs: publisher.log_sources(),
            credentials,
        }
    }

    async fn hold(&self, request: &PrepareRequest, progress: Progress<'_>) -> Result<Hold, Error> {
        let (switcher, place) = (&self.switcher, (&request.app, &request.environment));
        catch_up(&*switcher.ledger.catalog, request.revision).await?;
        let lease = switcher.ledger.leases.version(request.version).await;
        // Compared with the local live version before loading, independently of the other node's view.
        let live = switcher.ledger.live_version_id(&request.app, &request.environment).await?;
        switcher.environments.signing.signed(place, &request.version, live == Some(request.version)).await?;
        let manifest = switcher.ledger.manifest(&*switcher.blobs, &request.app, request.version).await?;
        let blobs: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
        // Freed early; the next step reads the manifest again.
        drop(manifest);
        let fetched = switcher.blobs.fetch(request.version, blobs).await?;
        if fetched.objects > 0 {
            // Not reported as a line of the deploy: present files may belong to another app (law 11).
            let (app, version) = (&request.app, &request.version);
            tracing::info!(%app, %version, files = fetched.objects, bytes = fetched.bytes, "fetched from the bucket");
        }
        let (prepared, _) = switcher.prepare(place, request.version).await?;
        let instances = match (request.settings, &request.coming) {
            (Some(revision), Some(record)) => {
                let coming = UnstoredSettings { revision, record };
                let environments = &switcher.environments;
                environments.settings.prepare_for_settings_of_others(place, request.version, coming, progress).await?
            }
            _ => {
                let backend = switcher.backend_of(place, request.version, request.settings).await?;
                switcher.prepare_instances(backend.as_ref(), progress).await?
            }
        };
        Ok(Box::new((lease, prepared, instances)))
    }
}

#[async_trait]
impl cluster::Service for NodeService {
    async fn prepare(&self, request: &PrepareRequest, progress: Progress<'_>) -> Result<Hold, Problem> {
        let began = Instant::now();
        let held = self.hold(request, progress).await;
        let outcome = if held.is_ok() { "ok" } else { "failed" };
        histogram!(telemetry::PREPARE, "outcome" => outcome).record(began.elapsed().as_secs_f64());
        held.map_err(|error| *error.0)
    }

    async fn follow(&self, placed: Placed<'_>, revision: Revision) -> bool {
        let live = &self.switcher.ledger.live;
        if timeout(FOLLOW_MAX, live.wait_for(revision)).await.is_err() {
            return false;
        }
        let current = live.place(placed.app, placed.environment).and_then(|place| place.current());
        // A canary is also live, besides the version of most visitors.
        current.is_some_and(|current| current.versions().any(|version| version.id == placed.version))
    }

    async fn close_gate(
        &self,
        files: &GateRequest,
        held: oneshot::Sender<GateHeld>,
        gone: oneshot::Receiver<Vec<Digest>>,
    ) {
        let closed = self.switcher.ledger.leases.closed().await;
        let (blobs, manifests) = (files.blobs.iter().copied(), files.manifests.iter().copied());
        let (blobs, free): (Vec<Digest>, Vec<Digest>) = blobs.partition(|digest| closed.holds(Key::Blob(*digest)));
        let manifests = manifests.filter(|version| closed.holds(Key::Manifest(*version))).collect();
        let files = GateRequest { blobs, manifests };
        if held.send(GateHeld { files, since_s: closed.held_since_s() }).is_err() {
            return;
        }
        let gone = match timeout(GATE_MAX, gone).await {
            Ok(Ok(gone)) => gone,
            // The other node is stuck or gone, and may have collected any file without a local lease.
            Ok(Err(_)) | Err(_) => free,
        };
        // Before the gate opens, so that no answer reports a deleted blob as present.
        self.uploads.forget_blobs(&gone);
    }

    async fn logs(&self, request: LogsRequest, sender: LogsSender) {
        self.logs.answer(&request, &sender).await;
    }

    fn count_attempts(&self, notes: &[AttemptNote]) {
        self.credentials.count_attempts(notes);
    }

    async fn report_environment(&self, query: &EnvironmentQuery) -> EnvironmentReport {
        report_here(query, &self.deploys, &self.uploads)
    }

    async fn status(&self, app: Option<&AppName>) -> NodeStatus {
        self.switcher.own_status(app)
    }
}

impl Publisher {
    /// Returns true in a cluster.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.switcher.nodes.is_some()
    }

    /// Follows commits of other nodes for the lifetime of the process: blobs of new versions count as sent by the app,
    /// blobs of deleted versions no longer do, and a deleted app is forgotten, since the next app of its name has a new
    /// owner (law 11).
    pub async fn keep_forgetting(self: Arc<Self>) {
        let mut follow = Follow::new(&*self.ledger.catalog, FollowedBy::Publish);
        let (mut apps, mut is_first) = (MadeApps::default(), true);
        while let Some(step) = follow.next().await {
            match step {
                FollowStep::ReadAll => {
                    if !std::mem::take(&mut is_first) {
                        self.uploads.owned.forget_all();
                        // One that was made and ended meanwhile is not found; what the owner may have to know of those
                        // that ended is in histories.
                        self.uploads.deploys.forget_ended();
                    }
                    if let Err(error) = self.forget_unfollowed(&mut apps).await {
                        tracing::warn!(%error, "which apps have ended could not be read");
                        follow.read_failed();
                    }
                }
                FollowStep::Changes(commit) => {
                    self.uploads.owned.note_commit(&commit.changes);
                    let ended: Vec<AppName> = commit.changes.iter().filter_map(|change| apps.note(change)).collect();
                    for app in ended {
                        self.uploads.forget_former(&app, commit.revision).await;
                    }
                }
            }
        }
    }

    /// Forgets the apps that ended in commits that were not followed.
    async fn forget_unfollowed(&self, apps: &mut MadeApps) -> Result<(), catalog::Error> {
        for (app, revision) in apps.read(&*self.ledger.catalog).await? {
            self.uploads.forget_former(&app, revision).await;
        }
        Ok(())
    }

    /// Returns the logs of the node.
    #[must_use]
    pub fn log_sources(&self) -> LogSources {
        LogSources::of(self)
    }

    /// Returns the other nodes; `None` on an edge without a cluster.
    #[must_use]
    pub fn cluster_nodes(&self) -> Option<&Nodes> {
        self.switcher.nodes.as_ref()
    }

    /// Returns the nodes of the cluster, or the local node alone.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn nodes(&self) -> Result<NodeList, Error> {
        let own = self.switcher.own_status(None);
        let nodes = match &self.switcher.nodes {
            Some(nodes) => nodes.statuses(own, None).await.map_err(cluster::Error::into_problem)?,
            None => vec![own],
        };
        Ok(NodeList { nodes })
    }

    /// Returns the nodes of the cluster with the versions of `app`; empty without a cluster. A token of one app sees no
    /// addresses, disks or certificates; a token of one environment sees only its environment.
    ///
    /// # Errors
    /// `busy` if the app queries too much at once; errors of reading the catalog.
    pub async fn nodes_of_app(&self, actor: &Actor, app: &AppName) -> Result<Vec<NodeStatus>, Error> {
        let Some(nodes) = &self.switcher.nodes else { return Ok(Vec::new()) };
        let _place = self.queries.take(app)?;
        let own = self.switcher.own_status(Some(app));
        let mut nodes = nodes.statuses(own, Some(app)).await.map_err(cluster::Error::into_problem)?;
        let sees_all = actor.may_in_every_app(Scope::Read).is_ok();
        for node in &mut nodes {
            if let Some(environment) = &actor.environment {
                node.versions.retain(|version| version.environment == *environment);
            }
            if !sees_all {
                (node.advertise, node.cache, node.certificate_ends_s) = (None, None, None);
                // Other reasons reveal addresses and files.
                node.detail = node.detail.take().filter(|_| node.state == NodeState::Cut);
            }
        }
        Ok(nodes)
    }
}

// Instance operations of a node for other nodes of its cluster.

impl NodeService {
    async fn change_instances(&self, request: &InstancesRequest) -> Result<Vec<InstanceStatus>, Error> {
        let environments = &self.switcher.environments;
        let place = (&request.app, &request.environment);
        match &request.action {
            InstancesAction::List => {}
            InstancesAction::Rescale => {
                catch_up(&*self.switcher.ledger.catalog, request.revision).await?;
                environments.instances.rescale_here(place).await?;
            }
            InstancesAction::Restart(process) => environments.instances.restart_here(place, process.as_ref()).await?,
        }
        environments.instances.instances_here(place)
    }
}

#[async_trait]
impl InstanceService for NodeService {
    fn registry(&self) -> &Registry {
        self.switcher.environments.upstreams.registry()
    }

    async fn instances(&self, request: &InstancesRequest) -> Result<Vec<InstanceStatus>, Problem> {
        self.change_instances(request).await.map_err(|error| *error.0)
    }
}
