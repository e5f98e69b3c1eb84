//! What a node does for the others of its cluster: it prepares what they switch to, follows, and says how it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devanture_config::api::{NodeList, NodeState, NodeStatus, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest};
use metrics::histogram;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::deploy_list::report_here;
use super::log_lines::LogSources;
use super::made_apps::MadeApps;
use super::publisher::Publisher;
use super::uploads::Uploads;
use crate::access::Credentials;
use crate::cluster::{
    self, AttemptNote, EnvironmentQuery, EnvironmentReport, GATE_MAX, GateHeld, GateRequest, Hold, LogsRequest,
    LogsSender, Nodes, Placed, PrepareRequest, Progress,
};
use crate::ledger::{Actor, Error};
use crate::retention::Uploads as _;
use crate::settings::Coming;
use crate::switch::{Deploys, Switcher};
use devanture_base::telemetry;
use devanture_store::blobs::Key;
use devanture_store::catalog::{Catalog, Revision};

/// Longest wait for the commits that a switch of another node relies on.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// Longest wait until a switch of another node is followed.
const FOLLOW_MAX: Duration = Duration::from_secs(4);

/// What this node does for others.
pub struct NodeService {
    pub(super) switcher: Arc<Switcher>,
    uploads: Arc<Uploads>,
    deploys: Arc<Deploys>,
    logs: LogSources,
    credentials: Arc<Credentials>,
}

/// Waits until a commit of another node can be read here.
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
    /// Serves others by the parts of `publisher`, and counts attempts at logging in by `credentials`.
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
        // By itself, and before it loads anything: what the other node makes of it does not count here.
        let live = switcher.ledger.live_version_id(&request.app, &request.environment).await?;
        switcher.environments.signing.signed(place, &request.version, live == Some(request.version)).await?;
        let manifest = switcher.ledger.manifest(&*switcher.blobs, &request.app, request.version).await?;
        let blobs: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
        // What comes next looks at it again.
        drop(manifest);
        let fetched = switcher.blobs.fetch(request.version, blobs).await?;
        if fetched.objects > 0 {
            // Not a line of the deploy: what this node has already may be another app's (law 11).
            let (app, version) = (&request.app, &request.version);
            tracing::info!(%app, %version, files = fetched.objects, bytes = fetched.bytes, "fetched from the bucket");
        }
        let (prepared, _) = switcher.prepare(place, request.version).await?;
        let instances = match (request.settings, &request.coming) {
            (Some(revision), Some(record)) => {
                let coming = Coming { revision, record };
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
        // A canary is live beside the version that most visitors get.
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
            // The other node is stuck or gone, and may have taken any that nobody relies on here.
            Ok(Err(_)) | Err(_) => free,
        };
        // Before the gate opens: no answer says that one of them is there.
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
    /// Whether it is one of several nodes.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.switcher.nodes.is_some()
    }

    /// Follows what other nodes do to apps, for as long as the process lives: their versions count as what the app has
    /// sent, what was deleted no longer does, and of an app that was deleted all is forgotten, since the next app of
    /// that name is somebody else's (law 11).
    pub async fn keep_forgetting(self: Arc<Self>) {
        let mut commits = self.ledger.catalog.watch();
        let mut apps = MadeApps::default();
        self.forget_unfollowed(&mut apps).await;
        loop {
            let committed = match commits.recv().await {
                Ok(committed) => committed,
                Err(RecvError::Lagged(_)) => {
                    self.uploads.owned.forget_all();
                    // One that was made and ended meanwhile is not found; what the owner may have to know of those that
                    // ended is in histories.
                    self.uploads.deploys.forget_ended();
                    self.forget_unfollowed(&mut apps).await;
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            self.uploads.owned.note_commit(&committed.changes);
            let ended: Vec<AppName> = committed.changes.iter().filter_map(|change| apps.note(change)).collect();
            for app in ended {
                self.uploads.forget_former(&app, committed.revision).await;
            }
        }
    }

    /// Forgets the apps that ended in commits that were not followed.
    async fn forget_unfollowed(&self, apps: &mut MadeApps) {
        match apps.read(&*self.ledger.catalog).await {
            Ok(ended) => {
                for (app, revision) in ended {
                    self.uploads.forget_former(&app, revision).await;
                }
            }
            Err(error) => tracing::warn!(%error, "which apps have ended could not be read"),
        }
    }

    /// The logs of this node.
    #[must_use]
    pub fn log_sources(&self) -> LogSources {
        LogSources::of(self)
    }

    /// The other nodes; `None` of an edge that is alone.
    #[must_use]
    pub fn cluster_nodes(&self) -> Option<&Nodes> {
        self.switcher.nodes.as_ref()
    }

    /// The nodes of the cluster, or this one alone.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub async fn nodes(&self) -> Result<NodeList, Error> {
        let own = self.switcher.own_status(None);
        let nodes = match &self.switcher.nodes {
            Some(nodes) => nodes.statuses(own, None).await.map_err(cluster::Error::into_problem)?,
            None => vec![own],
        };
        Ok(NodeList { nodes })
    }

    /// The nodes of the cluster with the versions of `app`; empty on an edge that is alone. A token of one app gets no
    /// addresses, disks or certificates, and one of an environment that environment alone.
    ///
    /// # Errors
    /// `busy` where the app asks too much at once; where the catalog cannot be read.
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
                // Other reasons name addresses and files.
                node.detail = node.detail.take().filter(|_| node.state == NodeState::Cut);
            }
        }
        Ok(nodes)
    }
}
