//! Stores and a follower for tests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by panicking")]

use std::sync::Arc;

use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use serde_json::{Value, json};

use super::{Current, Domains, Follower, Grace, Live, Loader, Place, Preview, PreviewKey};
use devanture_store::blobs::{self, Blobs, Form, Key, Quality};
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records;
use devanture_store::records::history::pushed;

/// An edge without sockets; tests write the records.
pub(super) struct World {
    _folder: tempfile::TempDir,
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    pub(super) live: Live,
    pub(super) loader: Loader,
    pub(super) follower: Follower,
}

impl World {
    pub(super) async fn new(limits: &Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 3_600_000, versions_max: 4 });
        let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), limits);
        let remade = tokio::sync::broadcast::Sender::new(1);
        let follower = Follower::start(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
        Self { _folder: folder, blobs, catalog, live, loader, follower }
    }

    /// An edge restarted over the same stores, without any loaded version.
    pub(super) async fn started_again(self) -> Self {
        self.started_again_with(&Limits::default()).await
    }

    pub(super) async fn started_again_with(self, limits: &Limits) -> Self {
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 3_600_000, versions_max: 4 });
        let loader = Loader::new(Arc::clone(&self.blobs), Arc::clone(&self.catalog), limits);
        let remade = tokio::sync::broadcast::Sender::new(1);
        let follower = Follower::begin(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
        Self { live, loader, follower, ..self }
    }

    /// Stores a version of `app` with one page of `text`, and `rules` redirects; `tables` are the manifest's tables for
    /// environments.
    pub(super) async fn store(&self, app: &str, text: &str, rules: usize, tables: Value) -> VersionId {
        let redirects: String = (0..rules).map(|n| format!("/old/{n} /new/{n} 301\n")).collect();
        let files = [("index.html", text.to_owned()), ("_redirects", redirects)];
        let entry =
            |text: &str| FileEntry { hash: Digest::of(text.as_bytes()), size: text.len() as u64, media_type: None };
        let mut manifest =
            Manifest::of_files(files.iter().map(|(path, text)| (path.parse().unwrap(), entry(text))).collect());
        manifest.env = serde_json::from_value(tables).unwrap();
        for (_, text) in files {
            self.blobs.put(Key::Blob(Digest::of(text.as_bytes())), text.into()).await.unwrap();
        }
        let id = manifest.id();
        self.blobs.put(Key::Manifest(id), manifest.canonical().into()).await.unwrap();
        let record = json!({
            "stored_ms": 0, "who": "", "trusted": false, "source": {}, "files": 2, "bytes": 0,
        });
        self.put(vec![(records::version_key(&app.parse().unwrap(), &id), record)]).await;
        id
    }

    /// Stores short variants of a page, which are never decoded.
    pub(super) async fn encode(&self, text: &str) {
        let variants = Form::ALL.into_iter().map(|form| (form, Quality::Quick, form.suffix().repeat(50).into()));
        self.blobs.put_variants(Digest::of(text.as_bytes()), variants.collect()).await.unwrap();
    }

    /// Makes a version live in an environment.
    pub(super) async fn point(&self, app: &str, environment: &str, version: VersionId) {
        let key = records::live_key(&app.parse().unwrap(), &environment.parse().unwrap());
        let pointer = json!({
            "version": version, "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": "",
        });
        self.put(vec![(key, pointer)]).await;
    }

    /// Makes a version live, with the entry of the history.
    pub(super) async fn switch(&self, app: &str, environment: &str, version: VersionId, previous: Option<VersionId>) {
        let (app_name, place) = (app.parse().unwrap(), environment.parse().unwrap());
        let now_ms = devanture_base::clock::now_ms();
        let deploy = records::StoredDeploy { environment: place, previous, at_ms: now_ms, ..pushed(version) };
        let prefix = records::history_prefix(&app_name, &deploy.environment);
        let number = self.catalog.list(&prefix, None, false, usize::MAX).await.unwrap().len() as u64;
        let key = records::history_key(&app_name, &deploy.environment, number);
        let entry = records::HistoryEntry { deploy, position: String::new() };
        let changes = vec![Change::Put(key, records::write(&entry).unwrap())];
        self.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        self.point(app, environment, version).await;
    }

    /// Requires a signature in an environment, and follows that record alone.
    pub(super) async fn want_signatures(&self, app: &str, environment: &str) {
        let key = records::signing::signers_key(&app.parse().unwrap(), &environment.parse().unwrap());
        let record = json!({ "signers": [], "signatures_min": 1, "who": "", "at_ms": 0 });
        let changes = vec![Change::Put(key.clone(), records::write(&record).unwrap())];
        self.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        self.follower.follow_signing(&key).await;
    }

    /// Deletes the record of a version, and follows.
    pub(super) async fn forget(&self, app: &str, id: VersionId) {
        let changes = vec![Change::Delete(records::version_key(&app.parse().unwrap(), &id))];
        self.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let (versions, _) = self.follower.stored_versions().await.unwrap();
        self.follower.versions_are(versions);
    }

    /// Points aliases at a version.
    pub(super) async fn alias(&self, app: &str, names: &[&str], version: VersionId) {
        let record = |name: &&str| {
            let key = records::alias_key(&app.parse().unwrap(), &name.parse().unwrap());
            (key, json!({"version": version, "switched_ms": 0, "begun": 0, "who": ""}))
        };
        self.put(names.iter().map(record).collect()).await;
    }

    /// Writes records, and follows.
    async fn put(&self, records: Vec<(String, Value)>) {
        let changes = records.into_iter().map(|(key, value)| Change::Put(key, records::write(&value).unwrap()));
        self.catalog.commit(Commit { checks: Vec::new(), changes: changes.collect() }).await.unwrap();
        self.follower.read_all().await.unwrap();
    }

    /// An environment or alias.
    pub(super) fn place(&self, app: &str, place: &str) -> Arc<Place> {
        self.live.place(&app.parse().unwrap(), &place.parse().unwrap()).unwrap()
    }

    /// The live version of an environment, or the loaded one of an alias.
    pub(super) fn current(&self, app: &str, place: &str) -> Option<Arc<Current>> {
        self.live.place(&app.parse().unwrap(), &place.parse().unwrap())?.current()
    }

    /// Bytes of memory of an app.
    pub(super) fn bytes(&self, app: &str) -> u64 {
        let app: AppName = app.parse().unwrap();
        let usage = self.loader.memory_usage();
        usage.iter().find(|(other, _)| *other == app).map_or(0, |(_, usage)| usage.bytes)
    }
}

pub(super) fn alias(app: &str, name: &str) -> Preview {
    Preview::Alias(app.parse().unwrap(), name.parse::<PlaceName>().unwrap())
}

pub(super) fn version(app: &str, id: VersionId) -> Preview {
    Preview::Version(PreviewKey { app: app.parse().unwrap(), id })
}
