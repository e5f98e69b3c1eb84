//! Takes bundles in and makes versions live: receive, verify, prepare, switch; and all that is set for an environment.
//!
//! A push is begun with its manifest ([`Publisher::begin`]), sends what is missing ([`Publisher::receive`]) and is
//! finished ([`Publisher::finish`], whose steps stand in order in `finish.rs`). Whatever fails, or however the process
//! ends, before the one compare-and-swap of `swap.rs`, the version that was live stays live (laws 2 and 3).

mod alias;
mod archive;
mod backend;
mod begin;
mod collect;
mod delete;
mod delete_places;
mod deploys;
mod diff;
mod fingerprints;
mod finish;
mod history;
mod hostnames;
mod incoming;
mod lock;
mod manifest_memory;
mod owned;
mod pause;
mod places;
mod pushes;
mod returning;
mod rules;
mod sent;
mod settings;
mod smoke;
mod steps;
mod swap;
mod switch;
#[cfg(test)]
mod tests;
mod trial;
mod undelete;
mod upstreams;
mod user_ids;
mod watch;
mod withdraw;

pub use alias::keep_sweeping_aliases;
pub use archive::{ArchiveIntake, ReceivedArchive};
pub use backend::SettingsOf;
pub use begin::{SOURCE_CHARACTERS_MAX, check_if_live, check_source};
pub use collect::CollectOptions;
pub use diff::DiffRequest;
pub use finish::Taken;
pub use incoming::{CheckedPush, ManifestIntake};
pub(crate) use incoming::{check_object, unreadable};
pub(crate) use settings::etag as settings_etag;
pub use settings::{KeyFile, LostSecrets, lost_secrets};
pub use smoke::{Asked, Smoke, SmokeAnswer, SmokeQuestion, Unanswered};
pub use steps::EventSink;
pub use switch::Switching;
pub use upstreams::MemberAt;
pub use user_ids::give_user_ids_apart;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use devanture_config::edge_toml::{Names, Watch};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use devanture_config::retention::Retention;
use devanture_config::{Manifest, VersionId};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::blobs::{Blobs, Key};
use crate::catalog::Catalog;
use crate::encode::{Background, Dictionaries, Pool, Priority};
use crate::ledger::{Error, Ledger, Shares};
use crate::live::{Live, Loader};
use crate::proxy::Registry;
use crate::proxy::address::Policy;
use crate::runner::Runner;
use crate::telemetry::AccessLog;

/// Upstreams, and processes, of one environment of which what was said by the API is remembered; beyond it, only of those
/// that the live version names.
const REMEMBERED_MAX: usize = 200;

/// Everything that publishing needs.
pub struct Publisher {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    ledger: Ledger,
    live: Live,
    loader: Loader,
    limits: Limits,
    upstreams: Policy,
    registry: Registry,
    pushes: pushes::Pushes,
    deploys: Arc<deploys::Deploys>,
    /// One for each archive that may come in at once.
    archives: Arc<Shares>,
    scratch: PathBuf,
    owned: owned::Owned,
    unwritten: sent::Unwritten,
    prover: hostnames::Prover,
    fingerprints: fingerprints::Fingerprints,
    keys: Arc<KeyFile>,
    /// Environments whose secrets do not open, as of the last look.
    lost_secrets: arc_swap::ArcSwap<Vec<LostSecrets>>,
    runner: Option<Runner>,
    settings_of: Option<Arc<SettingsOf>>,
    placing: backend::Placing,
    node: String,
    background: Background,
    dictionaries: Option<Arc<Dictionaries>>,
    /// One for each large manifest that may come in at once.
    manifests_reading: Arc<Shares>,
    manifest_memory: Arc<manifest_memory::ManifestMemory>,
    quick: Pool,
    retention: Retention,
    /// One collection at a time.
    collecting: Mutex<()>,
    /// One change of an upstream's members at a time: however many scripts there are, none has to try again for long.
    changing_members: Mutex<()>,
    smoke: Arc<dyn Smoke>,
    access_log: AccessLog,
    watch_settings: Watch,
    names: Names,
    /// Apps, environments and aliases are made one at a time, so that no two of them are the last one that a limit allows.
    making: Mutex<()>,
    /// One for each switch that may be watched at once.
    watches: Arc<Shares>,
    /// Deploys and switches that were accepted and run to their end by themselves.
    tasks: TaskTracker,
}

/// What a [`Publisher`] is made of.
pub struct Parts {
    /// Bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Records.
    pub catalog: Arc<dyn Catalog>,
    /// What is live.
    pub live: Live,
    /// How versions are loaded.
    pub loader: Loader,
    /// The limits.
    pub limits: Limits,
    /// Where upstreams may point.
    pub upstreams: Policy,
    /// The pools of upstreams.
    pub registry: Registry,
    /// Where DNS is asked; of the system's resolvers where there is none.
    pub dns_servers: Vec<SocketAddr>,
    /// The pass that remakes variants.
    pub background: Background,
    /// What makes deltas; nothing where that is off.
    pub dictionaries: Option<Arc<Dictionaries>>,
    /// The folder of the edge's data, for temporary files.
    pub data_dir: PathBuf,
    /// The keys that secrets are sealed with.
    pub keys: Arc<KeyFile>,
    /// What this node is called.
    pub node: String,
    /// What runs backends, where it does, and what gives them their settings.
    pub runner: Option<(Runner, Arc<SettingsOf>)>,
    /// Files that are compressed at once before a switch.
    pub compress_threads: usize,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Who asks a version what it must answer before a switch.
    pub smoke: Arc<dyn Smoke>,
    /// Who tells of requests while a switch is watched, and to readers of logs.
    pub access_log: AccessLog,
    /// When a switch that is watched is undone.
    pub watch: Watch,
    /// Names that no new app may have.
    pub names: Names,
}

impl Publisher {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let watches_max = parts.limits.watches_max;
        let (runner, settings_of) = parts.runner.unzip();
        Self {
            prover: hostnames::Prover::new(
                Arc::clone(&parts.catalog),
                parts.dns_servers,
                parts.limits.dns_time_ms_max,
                parts.limits.dns_lookups_max,
            ),
            owned: owned::Owned::new(Arc::clone(&parts.blobs), Arc::clone(&parts.catalog)),
            unwritten: sent::Unwritten::default(),
            deploys: Arc::default(),
            archives: Shares::new(parts.limits.pushes_max),
            manifests_reading: Shares::new(parts.limits.manifests_reading_max),
            manifest_memory: manifest_memory::ManifestMemory::new(parts.limits.manifest_memory_bytes_max),
            scratch: archive::scratch(&parts.data_dir),
            pushes: pushes::Pushes::new(parts.limits.pushes_max, parts.limits.push_idle_ms_max),
            ledger: Ledger::new(Arc::clone(&parts.catalog), parts.live.clone(), &parts.limits),
            blobs: parts.blobs,
            catalog: parts.catalog,
            live: parts.live,
            loader: parts.loader,
            limits: parts.limits,
            upstreams: parts.upstreams,
            registry: parts.registry,
            fingerprints: fingerprints::Fingerprints::default(),
            keys: parts.keys,
            lost_secrets: arc_swap::ArcSwap::default(),
            runner,
            settings_of,
            placing: backend::Placing::default(),
            node: parts.node,
            background: parts.background,
            dictionaries: parts.dictionaries,
            quick: Pool::new("compress-quick", parts.compress_threads, Priority::Low),
            retention: parts.retention,
            collecting: Mutex::default(),
            changing_members: Mutex::default(),
            smoke: parts.smoke,
            access_log: parts.access_log,
            watch_settings: parts.watch,
            names: parts.names,
            making: Mutex::default(),
            watches: Shares::new(watches_max),
            tasks: TaskTracker::new(),
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

    /// Where requests are told to whoever reads along.
    #[must_use]
    pub fn access_log(&self) -> &AccessLog {
        &self.access_log
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

    /// The manifest of a version that is stored.
    ///
    /// # Errors
    /// `not_ready` where it cannot be read.
    pub(crate) async fn stored_manifest(&self, version: VersionId) -> Result<Manifest, Error> {
        let canonical = self.blobs.get(Key::Manifest(version)).await?;
        Manifest::parse(&canonical).map_err(|error| {
            tracing::error!(%version, %error, "a stored manifest cannot be read");
            Problem::new(Code::NotReady, format!("The manifest of {} cannot be read.", version.short())).into()
        })
    }
}
