//! The publisher of an edge: dependencies, running pushes, shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devanture_base::clock;
use devanture_base::fair::{Lane, Share, Shares};
use devanture_base::telemetry::{AccessLog, Gauges, gauge_value};
use devanture_config::AppName;
use devanture_config::edge_toml::{Compress, Watch};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use devanture_serve::live::{Console, DamagedPlace, Loader};
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{Blobs, CacheUse};
use devanture_store::catalog::Revision;
use tokio_util::task::TaskTracker;

use super::uploads::Uploads;
use crate::cluster::Nodes;
use crate::encode::{Background, Dictionaries, Pool, Priority};
use crate::environments::Environments;
use crate::ledger::{Error, Ledger};
use crate::retention::{self, Retention};
use crate::switch::{Deploys, FingerprintCache, Smoke, Switcher, Watcher};
use crate::webhooks::Webhooks;

/// Interval of polls for the end of running deploys.
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// Accepts pushes and makes versions live.
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
    /// Permits for queries to other nodes about an environment.
    pub(super) queries: QueryPlaces,
    /// Compression pool for the time before a switch.
    pub(super) quick: Pool,
    /// Accepted deploys and switches, which run to completion.
    pub(super) tasks: TaskTracker,
}

/// Dependencies of a [`Publisher`].
pub struct Parts {
    /// Blob store.
    pub blobs: Arc<dyn Blobs>,
    /// Records of the catalog.
    pub ledger: Arc<Ledger>,
    /// Environments and their settings.
    pub environments: Arc<Environments>,
    /// Loader of versions.
    pub loader: Loader,
    /// Policy on upstream addresses.
    pub upstreams: Policy,
    /// Background recompression.
    pub background: Background,
    /// Maker of deltas; `None` if disabled.
    pub dictionaries: Option<Arc<Dictionaries>>,
    /// Data folder, for temporary files.
    pub data_dir: PathBuf,
    /// Files compressed concurrently before a switch.
    pub compress_threads: usize,
    /// Retention settings.
    pub retention: devanture_config::edge_toml::Retention,
    /// Smoke checks before a switch.
    pub smoke: Arc<dyn Smoke>,
    /// Reports requests to switch watchers and log readers.
    pub access_log: AccessLog,
    /// Settings of the watch after a switch.
    pub watch: Watch,
    /// Name of the node.
    pub node: String,
    /// Other nodes of the cluster, if any.
    pub nodes: Option<Nodes>,
    /// Local disk cache of a bucket; `None` if the disk is the store.
    pub cache: Option<CacheUse>,
}

impl Publisher {
    /// Assembles the parts.
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
            fingerprints: FingerprintCache::default(),
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

    /// Changes limits that are read at each comparison, and the limits of the apps' visitors.
    pub fn set_limits(&self, limits: &Limits) {
        self.ledger.set_limits(limits);
        self.switcher.loader.set_limits(limits);
    }

    /// Changes the settings for future variants and deltas. Returns the background pass, if live versions are to be
    /// recompressed.
    #[must_use]
    pub fn set_compress(&self, compress: &Compress) -> Option<Background> {
        if let Some(dictionaries) = &self.dictionaries {
            dictionaries.set(compress);
        }
        self.switcher.loader.set_dictionary_days(compress.dictionary_days);
        let background = &self.switcher.background;
        background.set_best(compress.background).then(|| background.clone())
    }

    /// Returns the locally readable revision of the catalog.
    pub(super) fn revision(&self) -> Revision {
        self.ledger.catalog.state().revision
    }

    /// Begins the shutdown: watches of switches end. Accepted work continues, see [`Publisher::ended`].
    pub fn end(&self) {
        self.tasks.close();
    }

    /// Waits until no deploy is running, at most for `time_max`.
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

    /// Waits after [`Publisher::end`] for all accepted work, at most until `late` is ready.
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

    /// Runs the work to completion even if the caller is dropped.
    ///
    /// # Errors
    /// Errors of the work.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.tasks.spawn(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a change ended without a result");
            Err(Problem::new(Code::Internal, "The change ended without a result.").into())
        })
    }

    /// Returns the access log, for live readers.
    #[must_use]
    pub fn access_log(&self) -> &AccessLog {
        &self.switcher.watcher.access_log
    }

    /// Returns the environments.
    #[must_use]
    pub fn environments(&self) -> &Arc<Environments> {
        &self.environments
    }

    /// Returns the webhooks.
    #[must_use]
    pub fn webhooks(&self) -> &Arc<Webhooks> {
        &self.webhooks
    }

    /// Returns the switcher of live versions.
    #[must_use]
    pub fn switcher(&self) -> &Arc<Switcher> {
        &self.switcher
    }

    /// Sets the watch settings for future switches.
    pub fn set_watch(&self, settings: Watch) {
        self.switcher.watcher.set(settings);
    }

    /// Returns deletions, withdrawals and collections.
    #[must_use]
    pub fn retention(&self) -> &Arc<Retention> {
        &self.retention
    }

    /// Returns running pushes and sent blobs.
    #[must_use]
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// Returns the stored files, accounted to an app.
    pub(super) fn blobs_of(&self, app: &AppName) -> Arc<dyn Blobs> {
        self.blobs.of(Lane::of(app.as_str()))
    }

    /// Returns the stored files.
    #[must_use]
    pub fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.blobs
    }

    /// Makes missing variants and deltas of live versions again, for all apps or one, and reloads versions that failed
    /// to load.
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

    /// Adds metrics of loaded, live and running items.
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

    /// Returns the environments with a damaged live version.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        self.ledger.live.damaged()
    }

    /// Returns the limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.ledger.limits()
    }

    /// Returns the ledger: records of all changes, and the audit log.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

// Permits for queries to other nodes about an environment: each query costs a connection to every node.

/// Most concurrent queries to other nodes about environments, at most half for one app.
const QUERIES_MAX: u64 = 32;

/// Permits for queries.
pub(super) struct QueryPlaces(Arc<Shares>);

impl QueryPlaces {
    pub(super) fn new() -> Self {
        Self(Shares::new(QUERIES_MAX))
    }

    /// Takes a permit for a query about `app`, released on drop.
    ///
    /// # Errors
    /// `busy`.
    pub(super) fn take(&self, app: &AppName) -> Result<Share, Error> {
        self.0.take(app).ok_or_else(|| {
            let detail = format!("Too many requests about the app {app} ask the other nodes just now.");
            Problem::new(Code::Busy, detail).hint("try again in a moment, with fewer requests at once").into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_an_app_that_asks_the_other_nodes_without_end_leaves_places_to_others() {
        let (places, app, other) = (QueryPlaces::new(), "shop".parse().unwrap(), "blog".parse().unwrap());
        let of_app: Vec<Share> = (0..500).map_while(|_| places.take(&app).ok()).collect();
        assert_eq!(u64::try_from(of_app.len()).unwrap(), QUERIES_MAX / 2);
        assert_eq!(places.take(&app).err().unwrap().0.code, Code::Busy);
        let of_other = places.take(&other).ok();
        assert!(of_other.is_some());
        drop(of_app);
        assert!(places.take(&app).is_ok());
    }
}
