//! The switches of a cluster: what a node prepares for those of others, and what it has them prepare for its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devanture_config::api::{NodeCache, NodeList, NodeState, NodeStatus, NodeVersion, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest};
use metrics::histogram;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::deploy_list::report_here;
use super::deploys::Deploys;
use super::intent::Intent;
use super::log_lines::LogSources;
use super::publisher::Publisher;
use super::steps::Steps;
use super::switcher::Switcher;
use super::uploads::Uploads;
use crate::access::Credentials;
use crate::blobs::Key;
use crate::catalog::{Catalog, Change, Revision};
use crate::cluster::{
    self, AttemptNote, EnvironmentQuery, EnvironmentReport, GATE_MAX, GateHeld, GateRequest, Hold, LogsRequest,
    LogsSender, Nodes, Placed, PrepareRequest, Prepared, Progress,
};
use crate::environments::Coming;
use crate::ledger::{Actor, Error};
use crate::records;
use crate::retention::Uploads as _;
use crate::telemetry;

/// Longest wait for the commits that a switch of another node relies on.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// Longest wait until a switch of another node is followed.
const FOLLOW_MAX: Duration = Duration::from_secs(4);
/// Most environments in the state of a node.
const VERSIONS_MAX: usize = 10_000;
/// A node that has not heard from the catalog for this long is cut off from it.
const CUT_AFTER: Duration = Duration::from_secs(5);

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
        switcher.environments.signed(place, &request.version, live == Some(request.version)).await?;
        let manifest = switcher.ledger.manifest(&*switcher.blobs, &request.app, request.version).await?;
        let blobs: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
        // What comes next looks at it again.
        drop(manifest);
        let fetched = switcher.blobs.fetch(request.version, blobs).await?;
        if fetched.objects > 0 {
            let files = counted(fetched.objects, "file");
            progress(&format!("{} fetched {files}, {} bytes", switcher.node, fetched.bytes));
        }
        let (prepared, _) = switcher.prepare(place, request.version).await?;
        let instances = match (request.settings, &request.coming) {
            (Some(revision), Some(record)) => {
                let coming = Coming { revision, record };
                let environments = &switcher.environments;
                environments.prepare_for_settings_of_others(place, request.version, coming, progress).await?
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
        current.is_some_and(|current| current.version.id == placed.version)
    }

    async fn close_gate(
        &self,
        files: &GateRequest,
        held: oneshot::Sender<GateHeld>,
        gone: oneshot::Receiver<Vec<Digest>>,
    ) {
        let closed = self.switcher.ledger.leases.closed().await;
        let (blobs, manifests) = (files.blobs.iter().copied(), files.manifests.iter().copied());
        let files = GateRequest {
            blobs: blobs.filter(|digest| closed.holds(Key::Blob(*digest))).collect(),
            manifests: manifests.filter(|version| closed.holds(Key::Manifest(*version))).collect(),
        };
        if held.send(GateHeld { files, since_s: closed.held_since_s() }).is_err() {
            return;
        }
        if let Ok(Ok(gone)) = timeout(GATE_MAX, gone).await {
            // Before the gate opens: no answer says that one of them is there.
            self.uploads.forget_blobs(&gone);
        }
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

    /// Forgets what apps have sent and deployed that any node has deleted, for as long as the process lives: the next app
    /// of that name is somebody else's (law 11).
    pub async fn keep_forgetting(self: Arc<Self>) {
        let mut commits = self.ledger.catalog.watch();
        loop {
            let committed = match commits.recv().await {
                Ok(committed) => committed,
                Err(RecvError::Lagged(_)) => {
                    self.uploads.owned.forget_all();
                    // Which apps have ended is not known; all that their owners may have to know is in histories.
                    self.uploads.deploys.forget_ended();
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            for change in committed.changes.iter() {
                let Change::Delete(key) = change else { continue };
                if let Some(Ok(app)) = key.strip_prefix(records::APPS_PREFIX).map(str::parse) {
                    self.uploads.forget_former(&app, committed.revision).await;
                }
            }
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
    /// Where the catalog cannot be read.
    pub async fn nodes_of_app(&self, actor: &Actor, app: &AppName) -> Result<Vec<NodeStatus>, Error> {
        let Some(nodes) = &self.switcher.nodes else { return Ok(Vec::new()) };
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

impl Switcher {
    /// The state of this node, with the versions of one app, or of all.
    fn own_status(&self, app: Option<&AppName>) -> NodeStatus {
        let nodes = self.nodes.as_ref();
        let state = self.ledger.catalog.state();
        let is_cut = !state.is_connected && state.age.is_none_or(|age| age > CUT_AFTER);
        let mut environments = self.ledger.live.environments();
        environments.retain(|(owner, _)| app.is_none_or(|app| owner == app));
        environments.sort();
        let has_more = environments.len() > VERSIONS_MAX;
        environments.truncate(VERSIONS_MAX);
        let versions = environments.into_iter().filter_map(|(app, environment)| {
            let place = self.ledger.live.place(&app, &environment)?;
            let version = place.served();
            let wanted = place.wanted().filter(|wanted| Some(*wanted) != version);
            (version.is_some() || wanted.is_some()).then_some(NodeVersion { app, environment, version, wanted })
        });
        NodeStatus {
            name: self.node.clone(),
            advertise: nodes.map(|nodes| nodes.own().advertise.to_string()),
            state: if is_cut { NodeState::Cut } else { NodeState::Ready },
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            revision: Some(state.revision),
            lag: Some(0),
            catalog_age_ms: state.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            certificate_ends_s: nodes.map(Nodes::certificate_ends_s),
            cache: self.cache.as_ref().map(|cache| NodeCache { bytes: cache.bytes(), bytes_max: cache.bytes_max() }),
            versions: versions.collect(),
            has_more,
            detail: match is_cut {
                true => Some("it does not reach the catalog, and serves what it knew".to_owned()),
                false => nodes.and_then(Nodes::certificate_fault).map(|reason| {
                    format!("its changed certificate for other nodes cannot be used, and the earlier one is: {reason}")
                }),
            },
        }
    }

    /// Has every other node prepare what is to become live.
    pub(super) async fn prepare_elsewhere(
        &self,
        intent: &Intent<'_>,
        progress: Progress<'_>,
    ) -> Result<Option<Prepared>, Error> {
        let Some(nodes) = &self.nodes else { return Ok(None) };
        let prepared = nodes.prepare_all(&self.prepare_request(intent), progress).await;
        prepared.map(Some).map_err(cluster::Error::into_problem)
    }

    /// Has those nodes prepare it that hold it no longer, or have come since.
    pub(super) async fn prepare_again(
        &self,
        intent: &Intent<'_>,
        prepared: Option<Prepared>,
    ) -> Result<Option<Prepared>, Error> {
        let (Some(nodes), Some(prepared)) = (&self.nodes, prepared) else { return Ok(None) };
        let prepared = nodes.prepare_again(prepared, &self.prepare_request(intent)).await;
        prepared.map(Some).map_err(cluster::Error::into_problem)
    }

    fn prepare_request(&self, intent: &Intent<'_>) -> PrepareRequest {
        PrepareRequest {
            app: intent.app.clone(),
            environment: intent.environment.clone(),
            version: intent.version,
            settings: intent.settings,
            coming: None,
            revision: self.ledger.catalog.state().revision,
        }
    }

    /// A failure of this node, with its name where there are several: the request may have come to any of them.
    pub(super) fn named_failure(&self, Error(problem): Error) -> Error {
        match &self.nodes {
            Some(nodes) => nodes.refused_here(problem),
            None => Error(problem),
        }
    }

    /// What `prepare` came to, with the names of the nodes where there are several.
    pub(super) fn named_by_node(&self, here: String, elsewhere: Option<&Prepared>) -> String {
        match elsewhere {
            Some(elsewhere) => elsewhere.summary(&self.node, &here),
            None => here,
        }
    }

    /// Waits until every other node serves what was switched to, and names those that do not yet. It is live, whatever
    /// comes of this.
    pub(super) async fn await_others(&self, intent: &Intent<'_>, elsewhere: Prepared, steps: &mut Steps) {
        match self.ledger.live_pointer(intent.app, intent.environment).await {
            Ok(Some((revision, pointer)))
                if pointer.deploy == intent.deploy
                    || pointer.canary.as_ref().is_some_and(|canary| canary.deploy == intent.deploy) =>
            {
                for node in elsewhere.switched(revision).await {
                    steps.log(&format!("{node} does not serve it yet"));
                }
            }
            // Another switch came after this one, and waits for them itself.
            Ok(_) => {}
            Err(error) => steps.log(&format!("whether all nodes serve it is not known: {error}")),
        }
    }
}
