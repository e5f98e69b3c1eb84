//! Takes bundles in and makes versions live: receive, verify, prepare, switch.
//!
//! A push is begun with its manifest ([`Publisher::begin`]), sends what is missing ([`Publisher::receive`]) and is
//! finished ([`Publisher::finish`], whose steps stand in order in `finish.rs`). Whatever fails, or however the process
//! ends, before the one compare-and-swap of `swap.rs`, the version that was live stays live (laws 2 and 3).

mod alias;
mod archive;
mod backend;
mod begin;
mod deploys;
mod diff;
mod fingerprints;
mod finish;
mod incoming;
mod manifest_memory;
mod owned;
mod pushes;
mod returning;
mod rules;
mod sent;
mod smoke;
mod steps;
mod swap;
mod switch;
#[cfg(test)]
mod tests;
mod trial;
mod uploads;
mod watch;

pub use archive::{ArchiveIntake, ReceivedArchive};
pub use begin::{SOURCE_CHARACTERS_MAX, check_if_live, check_source};
pub use diff::DiffRequest;
pub use finish::Taken;
pub use incoming::{CheckedPush, ManifestIntake};
pub(crate) use incoming::{check_object, unreadable};
pub use smoke::{Asked, Smoke, SmokeAnswer, SmokeQuestion, Unanswered};
pub use steps::EventSink;
pub use switch::Switching;
pub(crate) use uploads::Uploads;

use std::path::PathBuf;
use std::sync::Arc;

use devanture_config::edge_toml::Watch;
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::encode::{Background, Dictionaries, Pool, Priority};
use crate::environments::Environments;
use crate::ledger::{Error, Ledger, Shares};
use crate::live::{DamagedPlace, Live, Loader};
use crate::proxy::address::Policy;
use crate::retention::{self, Retention};
use crate::telemetry::AccessLog;

/// Everything that publishing needs.
pub struct Publisher {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    ledger: Arc<Ledger>,
    environments: Arc<Environments>,
    live: Live,
    loader: Loader,
    limits: Limits,
    upstreams: Policy,
    uploads: Arc<Uploads>,
    deploys: Arc<deploys::Deploys>,
    /// One for each archive that may come in at once.
    archives: Arc<Shares>,
    scratch: PathBuf,
    fingerprints: fingerprints::Fingerprints,
    background: Background,
    dictionaries: Option<Arc<Dictionaries>>,
    /// One for each large manifest that may come in at once.
    manifests_reading: Arc<Shares>,
    manifest_memory: Arc<manifest_memory::ManifestMemory>,
    quick: Pool,
    retention: Arc<Retention>,
    smoke: Arc<dyn Smoke>,
    access_log: AccessLog,
    watch_settings: Watch,
    /// One for each switch that may be watched at once.
    watches: Arc<Shares>,
    /// Deploys and switches that were accepted and run to their end by themselves.
    tasks: TaskTracker,
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
    pub retention: devanture_config::retention::Retention,
    /// Checks a version before a switch.
    pub smoke: Arc<dyn Smoke>,
    /// Reports requests while a switch is watched, and to readers of logs.
    pub access_log: AccessLog,
    /// When a switch that is watched is undone.
    pub watch: Watch,
}

impl Publisher {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let watches_max = parts.ledger.limits.watches_max;
        let uploads = Arc::new(Uploads::new(Arc::clone(&parts.blobs), Arc::clone(&parts.ledger)));
        Self {
            retention: Arc::new(Retention::new(
                Arc::clone(&parts.blobs),
                Arc::clone(&parts.ledger),
                Arc::clone(&parts.environments),
                Arc::clone(&uploads) as Arc<dyn retention::Uploads>,
                parts.access_log.clone(),
                parts.retention,
            )),
            uploads,
            deploys: Arc::default(),
            archives: Shares::new(parts.ledger.limits.pushes_max),
            manifests_reading: Shares::new(parts.ledger.limits.manifests_reading_max),
            manifest_memory: manifest_memory::ManifestMemory::new(parts.ledger.limits.manifest_memory_bytes_max),
            scratch: archive::scratch(&parts.data_dir),
            blobs: parts.blobs,
            catalog: Arc::clone(&parts.ledger.catalog),
            live: parts.ledger.live.clone(),
            loader: parts.loader,
            limits: parts.ledger.limits.clone(),
            upstreams: parts.upstreams,
            fingerprints: fingerprints::Fingerprints::default(),
            background: parts.background,
            dictionaries: parts.dictionaries,
            quick: Pool::new("compress-quick", parts.compress_threads, Priority::Low),
            smoke: parts.smoke,
            access_log: parts.access_log,
            watch_settings: parts.watch,
            watches: Shares::new(watches_max),
            tasks: TaskTracker::new(),
            ledger: parts.ledger,
            environments: parts.environments,
        }
    }

    /// Begins the end: switches are watched no longer. What was accepted still runs, see [`Publisher::ended`].
    pub fn end(&self) {
        self.tasks.close();
    }

    /// Waits after [`Publisher::end`] until everything that was accepted has ended, at most until `deadline`.
    pub async fn ended(&self, deadline: Instant) {
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok() {
            return;
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
        &self.access_log
    }

    /// What is set for environments.
    #[must_use]
    pub fn environments(&self) -> &Arc<Environments> {
        &self.environments
    }

    /// Deletions, withdrawals and collections.
    #[must_use]
    pub fn retention(&self) -> &Arc<Retention> {
        &self.retention
    }

    /// Pushes under way, and what apps have sent.
    #[must_use]
    pub(crate) fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// The memory of the loaded versions of each app, and the damage of live ones, as metrics.
    #[must_use]
    pub fn memory_metrics(&self) -> String {
        self.loader.metrics() + &self.ledger.live.metrics()
    }

    /// The environments whose live version is damaged.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        self.ledger.live.damaged()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The records that every change is made of, and the audit log.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
