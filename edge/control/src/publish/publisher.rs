//! The pushes of an edge: what they need, and how they end when it stops.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::edge_toml::{Compress, Watch};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use tokio_util::task::TaskTracker;

use super::query_places::QueryPlaces;
use super::uploads::Uploads;
use crate::cluster::Nodes;
use crate::encode::{Background, Dictionaries, Pool, Priority};
use crate::environments::Environments;
use crate::ledger::{Error, Ledger};
use crate::retention::{self, Retention};
use crate::switch::{Deploys, Fingerprints, Smoke, Switcher, Watcher};
use crate::webhooks::Webhooks;
use devanture_base::clock;
use devanture_base::fair::Lane;
use devanture_base::telemetry::{AccessLog, Gauges, gauge_value};
use devanture_serve::live::{Console, DamagedPlace, Loader};
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{Blobs, CacheUse};
use devanture_store::catalog::Revision;

/// Interval of looks at whether deploys have ended.
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// Takes pushes in and makes versions live.
pub struct Publisher {
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) environments: Arc<Environments>,
    webhooks: Arc<Webhooks>,
    pub(super) retention: Arc<Retention>,
    pub(super) uploads: Arc<Uploads>,
    pub(super) switcher: Arc<Switcher>,
    pub(super) console: Arc<Console>,
    pub(super) deploys: Arc<Deploys>,
    pub(super) dictionaries: Option<Arc<Dictionaries>>,
    /// One for each question to the other nodes about an environment.
    pub(super) queries: QueryPlaces,
    /// Compresses before a switch.
    pub(super) quick: Pool,
    /// Deploys and switches that were accepted and run to their end by themselves.
    pub(super) tasks: TaskTracker,
}

/// What a [`Publisher`] is made of.
pub struct Parts {
    /// Bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Records, and what of them is live.
    pub ledger: Arc<Ledger>,
    /// What is set for environments.
    pub environments: Arc<Environments>,
    /// How versions are loaded.
    pub loader: Loader,
    /// Where upstreams may point.
    pub upstreams: Policy,
    /// The pass that remakes variants.
    pub background: Background,
    /// What makes deltas; `None` if that is off.
    pub dictionaries: Option<Arc<Dictionaries>>,
    /// The folder of the edge's data, for temporary files.
    pub data_dir: PathBuf,
    /// Files that are compressed at once before a switch.
    pub compress_threads: usize,
    /// What is kept, and for how long.
    pub retention: devanture_config::edge_toml::Retention,
    /// Checks a version before a switch.
    pub smoke: Arc<dyn Smoke>,
    /// Reports requests while a switch is watched, and to readers of logs.
    pub access_log: AccessLog,
    /// When a switch that is watched is undone.
    pub watch: Watch,
    /// What this node is called.
    pub node: String,
    /// The other nodes of the cluster, if this one is of one.
    pub nodes: Option<Nodes>,
    /// The local disk in front of a bucket; `None` where the disk is the store.
    pub cache: Option<CacheUse>,
}

impl Publisher {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let uploads = Arc::new(Uploads::new(Arc::clone(&parts.blobs), Arc::clone(&parts.ledger), &parts.data_dir));
        let tasks = TaskTracker::new();
        let retention = Retention::new(
            Arc::clone(&parts.blobs),
            Arc::clone(&parts.ledger),
            Arc::clone(&parts.environments),
            Arc::clone(&uploads) as Arc<dyn retention::Uploads>,
            parts.access_log.clone(),
            parts.retention,
            parts.nodes.clone(),
        );
        let nodes = parts.nodes.clone();
        let webhooks = Webhooks::new(Arc::clone(&parts.ledger), &parts.environments, parts.upstreams.clone(), nodes);
        let console = Arc::new(Console::new(parts.loader.clone()));
        let switcher = Switcher {
            blobs: Arc::clone(&parts.blobs),
            fingerprints: Fingerprints::default(),
            loader: parts.loader,
            upstreams: parts.upstreams,
            smoke: parts.smoke,
            background: parts.background,
            watcher: Watcher::new(parts.access_log, parts.watch, parts.ledger.limits().watches_max),
            node: parts.node,
            started_ms: clock::now_ms(),
            nodes: parts.nodes,
            cache: parts.cache,
            tasks: tasks.clone(),
            ledger: Arc::clone(&parts.ledger),
            environments: Arc::clone(&parts.environments),
        };
        Self {
            blobs: parts.blobs,
            ledger: parts.ledger,
            environments: parts.environments,
            webhooks: Arc::new(webhooks),
            retention: Arc::new(retention),
            deploys: Arc::clone(&uploads.deploys),
            uploads,
            switcher: Arc::new(switcher),
            console,
            dictionaries: parts.dictionaries,
            queries: QueryPlaces::new(),
            quick: Pool::new("compress-quick", parts.compress_threads, Priority::Low),
            tasks,
        }
    }

    /// Changes those limits that are read where they are compared with something, and those of the apps' visitors.
    pub fn set_limits(&self, limits: &Limits) {
        self.ledger.set_limits(limits);
        self.switcher.loader.set_limits(limits);
    }

    /// Changes how variants and deltas to come are made. Returns the background pass if it now is to make the live
    /// versions better, too.
    #[must_use]
    pub fn set_compress(&self, compress: &Compress) -> Option<Background> {
        if let Some(dictionaries) = &self.dictionaries {
            dictionaries.set(compress);
        }
        self.switcher.loader.set_dictionary_days(compress.dictionary_days);
        let background = &self.switcher.background;
        background.set_best(compress.background).then(|| background.clone())
    }

    /// The revision of the catalog that can be read here.
    pub(super) fn revision(&self) -> Revision {
        self.ledger.catalog.state().revision
    }

    /// Begins the end: switches are watched no longer. What was accepted still runs, see [`Publisher::ended`].
    pub fn end(&self) {
        self.tasks.close();
    }

    /// Waits until no deploy is under way, at most for `time_max`.
    pub async fn settle(&self, time_max: Duration) {
        let settled = async {
            while !self.deploys.running().is_empty() {
                tokio::time::sleep(SETTLE_LOOK).await;
            }
        };
        if tokio::time::timeout(time_max, settled).await.is_err() {
            tracing::warn!("deploys are still under way; they fail with `restarting`, and go on with the new edge");
        }
    }

    /// Waits after [`Publisher::end`] until everything that was accepted has ended, at most until `late` is ready.
    pub async fn ended(&self, late: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.tasks.wait() => return,
            () = late => {}
        }
        for status in self.deploys.running() {
            tracing::error!(deploy = status.deploy, app = %status.app, environment = %status.environment, "a deploy is interrupted: the time to drain is over");
        }
        tracing::error!(count = self.tasks.len(), "deploys and switches are interrupted: the time to drain is over");
    }

    /// Does what was accepted to its end, also when nobody waits for it any more.
    ///
    /// # Errors
    /// As the work itself.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.tasks.spawn(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a change ended without a result");
            Err(Problem::new(Code::Internal, "The change ended without a result.").into())
        })
    }

    /// The access log, for its live readers.
    #[must_use]
    pub fn access_log(&self) -> &AccessLog {
        &self.switcher.watcher.access_log
    }

    /// What is set for environments.
    #[must_use]
    pub fn environments(&self) -> &Arc<Environments> {
        &self.environments
    }

    /// What is sent to other programs about apps.
    #[must_use]
    pub fn webhooks(&self) -> &Arc<Webhooks> {
        &self.webhooks
    }

    /// What makes stored versions live.
    #[must_use]
    pub fn switcher(&self) -> &Arc<Switcher> {
        &self.switcher
    }

    /// Watches switches by other settings from the next one on.
    pub fn set_watch(&self, settings: Watch) {
        self.switcher.watcher.set(settings);
    }

    /// Deletions, withdrawals and collections.
    #[must_use]
    pub fn retention(&self) -> &Arc<Retention> {
        &self.retention
    }

    /// Pushes under way, and what apps have sent.
    #[must_use]
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// The stored files, for the work of one app.
    pub(super) fn blobs_of(&self, app: &AppName) -> Arc<dyn Blobs> {
        self.blobs.of(Lane::of(app.as_str()))
    }

    /// The stored files.
    #[must_use]
    pub fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.blobs
    }

    /// Has missing variants and deltas of what is live made again, of all apps or of one, and loads again what could
    /// not be loaded.
    pub fn make_derived_again(&self, app: Option<&AppName>) {
        let live = &self.ledger.live;
        for (name, environment) in live.environments().into_iter().filter(|(name, _)| app.is_none_or(|app| app == name))
        {
            if let Some(current) = live.place(&name, &environment).and_then(|place| place.current()) {
                self.switcher.background.enqueue(&name, &environment, current.version.id);
            }
        }
        live.look_again();
    }

    /// Adds what is loaded, live and under way.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        self.switcher.loader.add_metrics(gauges);
        self.ledger.live.add_metrics(gauges);
        self.environments.add_metrics(gauges);
        let (held, held_max) = self.uploads.manifest_memory.bytes();
        for (name, bytes) in [("devanture_memory_bytes", held), ("devanture_memory_bytes_max", held_max)] {
            gauges.add(name, &[("part", "manifests")], gauge_value(bytes));
        }
        let loads = self.switcher.loader.queued();
        let queues = [
            ("compression", self.switcher.background.queued()),
            ("uploads", self.uploads.pushes.len()),
            ("loads", loads),
        ];
        for (queue, length) in queues {
            gauges.add("devanture_queue_length", &[("queue", queue)], gauge_value(length as u64));
        }
    }

    /// The environments whose live version is damaged.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        self.ledger.live.damaged()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.ledger.limits()
    }

    /// The records that every change is made of, and the audit log.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
