//! An app in its own stores, with a hook before the commits of its catalog.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use devanture_config::edge_toml::Retention as Policy;
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::encode;
use crate::environments::{self, Environments};
use crate::ledger::{Error, Ledger};
use crate::retention::{Retention, Uploads};
use devanture_base::telemetry::AccessLog;
use devanture_serve::live::{Domains, Follower, Grace, Live, Loader};
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::catalog::overtaken::Overtaken;
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records::{self, AppRecord, LivePointer};

/// Uploads without blobs. A hook runs once, when a collection reports deleted blobs.
#[derive(Default)]
pub(super) struct Nothing(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Uploads for Nothing {
    fn end_idle(&self) {}

    fn end_of(&self, _app: &AppName, _environment: Option<&PlaceName>) {}

    fn forget_blobs(&self, _gone: &[Digest]) {
        if let Some(happens) = self.0.lock().take() {
            happens();
        }
    }

    fn forget_app<'a>(&'a self, _app: &'a AppName) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn refresh<'a>(&'a self, _lost: &'a HashSet<AppName>, _before_ms: u64) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// The app `shop` with versions `one`, `two` and `three`; `two` is live in `prod`.
pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) app: AppName,
    pub(super) prod: PlaceName,
    pub(super) versions: [VersionId; 3],
    pub(super) retention: Arc<Retention>,
    pub(super) stored: Arc<dyn Catalog>,
    pub(super) overtaken: Arc<Overtaken>,
    uploads: Arc<Nothing>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Policy::default(), Limits::default()).await
    }

    /// As `new`, with another policy.
    pub(super) async fn with(policy: Policy, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (retention, overtaken, uploads) = retention(folder.path(), policy, &limits).await;
        let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
        let stored = Arc::clone(&overtaken.stored);
        let mut versions = Vec::new();
        for text in ["one", "two", "three"] {
            let file = FileEntry { hash: Digest::of(text.as_bytes()), size: 0, media_type: None };
            let manifest = Manifest::of_files([("index.html".parse().unwrap(), file)].into());
            retention.blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
            versions.push(manifest.id());
        }
        let versions: [VersionId; 3] = versions.try_into().unwrap();
        let world = Self { folder, app, prod, versions, retention, stored, overtaken, uploads };
        world.put(records::app_key(&world.app), &AppRecord { created_ms: 1, who: "ada".to_owned() }).await;
        for version in versions {
            world.put(records::version_key(&world.app, &version), &stored_at(1)).await;
        }
        world.put(records::live_key(&world.app, &world.prod), &pointer(versions[1])).await;
        world
    }

    /// Sets the age of every manifest to the maximum.
    pub(super) fn age(&self) {
        for shard in std::fs::read_dir(self.folder.path().join("manifests")).unwrap() {
            for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
                std::fs::File::open(file.unwrap().path()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
    }

    /// Writes a record.
    pub(super) async fn put(&self, key: String, value: &impl Serialize) {
        self.commit(vec![put(key, value)]).await;
    }

    /// Commits changes.
    pub(super) async fn commit(&self, changes: Vec<Change>) {
        self.stored.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }

    /// Commits the changes once a collection has deleted its first blobs, with others left.
    pub(super) fn once_blobs_went(&self, changes: Vec<Change>) {
        let stored = Arc::clone(&self.stored);
        let commit = async move { stored.commit(Commit { checks: Vec::new(), changes }).await.unwrap() };
        *self.uploads.0.lock() = Some(Box::new(|| {
            // The hook cannot await a commit on the runtime that called the hook.
            let apart = std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(commit));
            apart.join().unwrap();
        }));
    }

    /// Checks that the hook ran.
    pub(super) fn assert_blobs_went(&self) {
        assert!(self.uploads.0.lock().is_none(), "no blob went");
    }

    /// Reads a record.
    pub(super) async fn record<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let record = self.stored.get(key).await.unwrap()?;
        Some(records::read(key, &record).unwrap())
    }

    /// Returns all records.
    pub(super) async fn records(&self) -> Vec<(String, catalog::Record)> {
        self.stored.list("", None, false, usize::MAX).await.unwrap()
    }

    pub(super) async fn has(&self, key: &str) -> bool {
        self.stored.get(key).await.unwrap().is_some()
    }

    /// Rewrites the app's record unchanged, as every new pointer does.
    pub(super) async fn same_app(&self) -> Change {
        let key = records::app_key(&self.app);
        let record = self.stored.get(&key).await.unwrap().unwrap();
        Change::Put(key, record.value)
    }
}

async fn retention(folder: &Path, policy: Policy, limits: &Limits) -> (Arc<Retention>, Arc<Overtaken>, Arc<Nothing>) {
    let blobs: Arc<dyn Blobs> = blobs::open(folder.to_owned()).unwrap();
    let stored = catalog::open(&folder.join("catalog.redb")).unwrap();
    let overtaken = Overtaken::new(stored);
    let catalog: Arc<dyn Catalog> = Arc::<Overtaken>::clone(&overtaken);
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), limits);
    let follower = Follower::start(live.clone(), loader, encode::remade_channel().subscribe()).await.unwrap();
    tokio::spawn(follower.run());
    let ledger = Arc::new(Ledger::new(catalog, live, limits));
    let plain = environments::Parts::plain(Arc::clone(&blobs), folder);
    let environments = Arc::new(Environments::new(Arc::clone(&ledger), plain));
    let (nothing, log) = (Arc::<Nothing>::default(), AccessLog::unread());
    let uploads: Arc<dyn Uploads> = Arc::<Nothing>::clone(&nothing);
    let retention = Retention::new(blobs, ledger, environments, uploads, log, policy, None);
    (Arc::new(retention), overtaken, nothing)
}

/// Change that writes a record.
pub(super) fn put(key: String, value: &impl Serialize) -> Change {
    Change::Put(key, records::write(value).unwrap())
}

/// Record of a version.
pub(super) fn stored_at(stored_ms: u64) -> serde_json::Value {
    json!({ "stored_ms": stored_ms, "who": "ada", "trusted": true, "source": {}, "files": 1, "bytes": 0 })
}

/// Pointer at a version.
pub(super) fn pointer(version: VersionId) -> LivePointer {
    LivePointer {
        version,
        settings: 0,
        switched_ms: 1,
        deploy: "1".to_owned(),
        begun: 0,
        position: String::new(),
        halves_begun: None,
        canary: None,
        pins: None,
    }
}
