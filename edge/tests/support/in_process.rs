//! Handler over private stores, called without sockets. Tests write live versions directly into the catalog.

#![allow(dead_code, reason = "every file of tests uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking, in its helpers too")]

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_base::telemetry::AccessLog;
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_serve::handler::{Handler, RouteTable};
use devanture_serve::live::{Domains, Follower, Grace, Live, Loader};
use devanture_serve::proxy::address::Policy;
use devanture_serve::proxy::{Client, ClientSettings, Registry, RegistrySettings, tls};
use devanture_serve::version::CommonField;
use devanture_store::blobs::{self, Blobs, Form, Key, NewDelta, Quality};
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records;
use http::HeaderValue;
use http::header::{ALT_SVC, STRICT_TRANSPORT_SECURITY};
use serde_json::{Value, json};

/// Files of a bundle: path and bytes.
pub(crate) type Files<'f> = &'f [(&'f str, &'f [u8])];

/// Size of the largest file cached in memory.
const MEMORY_FILE_BYTES_MAX: u64 = 100_000;

/// Stores for a test to fill.
pub(crate) struct Stores {
    folder: tempfile::TempDir,
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    grace: Grace,
}

/// Handler and the stores behind the handler.
pub(crate) struct InProcess {
    _folder: tempfile::TempDir,
    catalog: Arc<dyn Catalog>,
    pub(crate) handler: Rc<Handler>,
}

impl InProcess {
    /// Makes another stored version live in `prod`.
    pub(crate) async fn switch(&self, app: &str, id: VersionId) {
        let (key, pointer) = pointer(app, id);
        let change = Change::Put(key, records::write(&pointer).unwrap());
        self.catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
        let remade = tokio::sync::broadcast::Sender::new(1);
        let (live, loader) = (self.handler.live.clone(), self.handler.loader.clone());
        Follower::start(live, loader, remade.subscribe()).await.unwrap();
    }
}

/// Record that makes a version live in `prod`.
fn pointer(app: &str, id: VersionId) -> (String, Value) {
    let pointer = json!({
        "version": id, "settings": 0, "switched_ms": 1_700_000_001_000_u64, "deploy": "", "begun": 0, "position": "",
    });
    (records::live_key(&app.parse().unwrap(), &PlaceName::prod()), pointer)
}

impl Stores {
    /// Empty stores.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        Self { folder, blobs, catalog, grace: Grace { ms: 0, versions_max: 0 } }
    }

    /// Serves the assets of a replaced version for a minute.
    pub(crate) fn with_grace(self) -> Self {
        Self { grace: Grace { ms: 60_000, versions_max: 1 }, ..self }
    }

    /// Writes a record.
    pub(crate) async fn put(&self, key: String, value: Value) {
        let change = Change::Put(key, records::write(&value).unwrap());
        self.catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
    }

    /// Stores an encoded form of some bytes, valid or not.
    pub(crate) async fn encode(&self, bytes: &[u8], form: Form, encoded: &'static [u8]) {
        let variants = vec![(form, Quality::Best, Bytes::from_static(encoded))];
        self.blobs.put(Key::Blob(Digest::of(bytes)), Bytes::copy_from_slice(bytes)).await.unwrap();
        self.blobs.put_variants(Digest::of(bytes), variants).await.unwrap();
    }

    /// Stores deltas for some bytes, valid or not.
    pub(crate) async fn deltas(&self, bytes: &[u8], deltas: Vec<NewDelta>) {
        self.blobs.put(Key::Blob(Digest::of(bytes)), Bytes::copy_from_slice(bytes)).await.unwrap();
        self.blobs.put_deltas(Digest::of(bytes), deltas).await.unwrap();
    }

    /// Folder of the stores.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stores a version of `app`; `serving` holds the settings of a `devanture.toml`.
    pub(crate) async fn store(&self, app: &str, files: Files<'_>, serving: Value) -> VersionId {
        let app: AppName = app.parse().unwrap();
        for (_, bytes) in files {
            self.blobs.put(Key::Blob(Digest::of(bytes)), Bytes::copy_from_slice(bytes)).await.unwrap();
        }
        let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
        let files = files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect();
        let mut manifest = Manifest::of_files(files);
        manifest.base = serde_json::from_value(serving).unwrap();
        let id = manifest.id();
        self.blobs.put(Key::Manifest(id), manifest.canonical().into()).await.unwrap();
        let version = json!({
            "stored_ms": 1_700_000_000_000_u64, "who": "me", "trusted": false, "source": {}, "files": 1, "bytes": 1,
        });
        self.put(records::version_key(&app, &id), version).await;
        id
    }

    /// Stores a version and makes the version live in `prod`.
    pub(crate) async fn push(&self, app: &str, files: Files<'_>, serving: Value) -> VersionId {
        let id = self.store(app, files, serving).await;
        let (key, pointer) = pointer(app, id);
        self.put(key, pointer).await;
        id
    }

    /// Handler over the stored versions. For every name, the certificate counts as publicly trusted.
    pub(crate) async fn handler(self, access_log: AccessLog) -> InProcess {
        self.handler_with(access_log, |loader| loader).await
    }

    /// Like [`Stores::handler`], for a newly started edge without loaded versions.
    pub(crate) async fn unloaded_handler(self) -> InProcess {
        let (live, loader) = self.live(|loader| loader);
        let remade = tokio::sync::broadcast::Sender::new(1);
        Follower::begin(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
        self.answering((live, loader), AccessLog::unread())
    }

    /// Like [`Stores::handler`], with a version loader adjusted by `set`.
    pub(crate) async fn handler_with(self, access_log: AccessLog, set: impl FnOnce(Loader) -> Loader) -> InProcess {
        let (live, loader) = self.live(set);
        let remade = tokio::sync::broadcast::Sender::new(1);
        Follower::start(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
        self.answering((live, loader), access_log)
    }

    fn live(&self, set: impl FnOnce(Loader) -> Loader) -> (Live, Loader) {
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), self.grace);
        let limits = Limits { memory_file_bytes_max: MEMORY_FILE_BYTES_MAX, ..Limits::default() };
        let loader = set(Loader::new(Arc::clone(&self.blobs), Arc::clone(&self.catalog), &limits));
        (live, loader)
    }

    fn answering(self, (live, loader): (Live, Loader), access_log: AccessLog) -> InProcess {
        let limits = Limits::default();
        let registry = Registry::new(RegistrySettings {
            policy: Policy::default(),
            tls: tls::trusting([]).unwrap(),
            requests_max: 1,
            sockets_max: 1_000,
        });
        let settings = ClientSettings {
            body_bytes_max: limits.proxy_body_bytes_max,
            idle_per_member_max: 1,
            connection_age_max: Duration::from_millis(limits.upstream_connection_age_ms_max),
            stop: tokio_util::sync::CancellationToken::new(),
        };
        let hsts = HeaderValue::from_static("max-age=86400");
        let handler = Handler {
            live,
            loader,
            backends: Client::new(settings),
            ways: RouteTable::new(registry),
            access_log,
            alt_svc: CommonField::new(ALT_SVC, HeaderValue::from_static("h3=\":443\"; ma=86400")).into(),
            hsts: CommonField::new(STRICT_TRANSPORT_SECURITY, hsts),
            trusted: Arc::new(|_| true),
            target_bytes_max: 4_096,
            trusted_proxies: Arc::default(),
            public_port: None,
            visitors: None,
        };
        InProcess { _folder: self.folder, catalog: self.catalog, handler: Rc::new(handler) }
    }
}
