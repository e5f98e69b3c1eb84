//! A publisher over real stores, with helpers of the tests: pushes, switches, looks at stored files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport, Source, SwitchReport};
use devanture_config::edge_toml::{Retention, Watch};
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};

use crate::encode::{Background, delta};
use crate::environments::{self, Environments};
use crate::ledger::{Actor, Condition, Error, Ledger};
use crate::publish::tests::Nobody;
use crate::publish::{Parts, Publisher};
use devanture_base::telemetry::AccessLog;
use devanture_serve::live::{Domains, Follower, Grace, Live, Loader};
use devanture_serve::proxy::address::Policy;
use devanture_store::blobs::{self, Blobs, DeltaForm, Key, NewDelta, Quality};
use devanture_store::catalog::overtaken::Overtaken;
use devanture_store::catalog::{self, Catalog};
use devanture_store::records;
use devanture_store::records::gone::{self, GoneVersion};

/// Publisher over a folder, with the followers of its catalog.
pub(in crate::publish::tests) struct World {
    pub(in crate::publish::tests) publisher: Arc<Publisher>,
    pub(in crate::publish::tests) blobs: Arc<dyn Blobs>,
    pub(in crate::publish::tests) catalog: Arc<dyn Catalog>,
    /// The same catalog, with a hook before each commit.
    pub(in crate::publish::tests) overtaken: Arc<Overtaken>,
    _follower: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self._follower.abort();
    }
}

/// Keeps `keep_versions` versions without a minimum age; [`age`] makes files old.
pub(in crate::publish::tests) async fn world(folder: &Path, keep_versions: u64) -> World {
    world_with(folder, keep_versions, Limits::default()).await
}

/// As `world`, with limits.
pub(in crate::publish::tests) async fn world_with(folder: &Path, keep_versions: u64, limits: Limits) -> World {
    world_of(folder, keep_versions, limits, blobs::open(folder.to_owned()).unwrap()).await
}

/// As `world`, over an open store.
pub(in crate::publish::tests) async fn world_of(
    folder: &Path,
    keep_versions: u64,
    limits: Limits,
    blobs: Arc<dyn Blobs>,
) -> World {
    let limits = Limits { grace_ms_max: 0, grace_versions_max: 0, ..limits };
    let overtaken = Overtaken::new(catalog::open(&folder.join("catalog.redb")).unwrap());
    let catalog: Arc<dyn Catalog> = Arc::<Overtaken>::clone(&overtaken);
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
    let remade = tokio::sync::broadcast::Sender::new(1);
    let follower = Follower::start(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
    let ledger = Arc::new(Ledger::new(Arc::clone(&catalog), live, &limits));
    let plain = environments::Parts::plain(Arc::clone(&blobs), folder);
    let environments = Arc::new(Environments::new(Arc::clone(&ledger), plain));
    let publisher = Arc::new(Publisher::new(Parts {
        blobs: Arc::clone(&blobs),
        ledger: Arc::clone(&ledger),
        environments,
        loader,
        upstreams: Policy::default(),
        background: Background::off(),
        dictionaries: None,
        data_dir: folder.to_owned(),
        compress_threads: 1,
        retention: Retention {
            collect_every_s: 0,
            keep_days: 0,
            keep_versions,
            undelete_hours: 1,
            collected_hours: 24,
            scrub_days: 0,
        },
        smoke: Arc::new(Nobody),
        access_log: AccessLog::unread(),
        watch: Watch::default(),
        node: "node-1".to_owned(),
        nodes: None,
        cache: None,
    }));
    World { publisher, blobs, catalog, overtaken, _follower: tokio::spawn(follower.run()) }
}

/// Opens the stores again after the previous lock is released.
pub(in crate::publish::tests) async fn reopened(folder: &Path) -> World {
    for _ in 0..500 {
        if catalog::open(&folder.join("catalog.redb")).is_ok() {
            return world(folder, 1).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the stores stay open");
}

/// Sets the age of every file of a store to the maximum.
pub(in crate::publish::tests) fn age(folder: &Path) {
    for kind in ["blobs", "manifests"] {
        for shard in std::fs::read_dir(folder.join(kind)).unwrap() {
            for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
                // A collection may delete the file concurrently.
                let Ok(file) = std::fs::File::open(file.unwrap().path()) else { continue };
                file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
    }
}

/// Content for a number, long enough to be compressed.
pub(in crate::publish::tests) fn content(number: u8) -> Vec<u8> {
    format!("{}\n", format!("content {number}, ").repeat(60)).into_bytes()
}

/// Digest of the content.
pub(in crate::publish::tests) fn digest(number: u8) -> Digest {
    Digest::of(&content(number))
}

pub(in crate::publish::tests) fn manifest(contents: &BTreeSet<u8>) -> Manifest {
    let file = |number: u8| {
        let bytes = content(number);
        FileEntry { hash: Digest::of(&bytes), size: bytes.len() as u64, media_type: None }
    };
    Manifest::of_files(contents.iter().map(|n| (format!("f{n}.txt").parse().unwrap(), file(*n))).collect())
}

pub(in crate::publish::tests) fn name(app: u8) -> AppName {
    format!("app-{app}").parse().unwrap()
}

impl World {
    /// Makes a stored version live in `prod`.
    pub(in crate::publish::tests) async fn switch(
        &self,
        app: &AppName,
        version: VersionId,
    ) -> Result<SwitchReport, Error> {
        let wanted = serde_json::from_value(serde_json::json!({"version": version})).unwrap();
        let (actor, prod, condition) = (Actor::local(), PlaceName::prod(), Condition::default());
        self.publisher.switcher.switch(&actor, (app, &prod), &wanted, (&condition, false), None).await?.await.unwrap()
    }

    pub(in crate::publish::tests) async fn begin(
        &self,
        app: &AppName,
        contents: &BTreeSet<u8>,
    ) -> Result<String, Error> {
        let begin =
            BeginDeploy { manifest: manifest(contents), source: Source::default(), options: DeployOptions::default() };
        let actor = Actor::local();
        let push = self.publisher.checked_whole(app, begin);
        let begun = self.publisher.begin(&actor, app, &PlaceName::prod(), push).await?;
        for number in contents {
            let bytes = content(*number);
            let digest = Digest::of(&bytes);
            if begun.missing.contains(&digest) {
                let mut receiving = self.publisher.receive(&actor, app, &begun.deploy, digest).await?;
                receiving.write(bytes.into()).await?;
                self.publisher.received(receiving).await?;
            }
        }
        Ok(begun.deploy)
    }

    pub(in crate::publish::tests) async fn finish(&self, app: &AppName, deploy: &str) -> Result<DeployReport, Error> {
        self.publisher.finish(self.publisher.take(&Actor::local(), app, deploy)?, None).await
    }

    pub(in crate::publish::tests) async fn push(
        &self,
        app: &AppName,
        contents: &BTreeSet<u8>,
    ) -> Result<DeployReport, Error> {
        let deploy = self.begin(app, contents).await?;
        self.finish(app, &deploy).await
    }

    /// Stores deltas for each stored content from its predecessor, which may be collected.
    pub(super) async fn put_deltas(&self, contents: &BTreeSet<u8>) {
        for number in contents {
            let dictionary = content(number.wrapping_sub(1));
            let delta = NewDelta {
                form: DeltaForm::Dcz,
                dictionary: Digest::of(&dictionary),
                sha256: delta::sha256(&dictionary),
                quality: Quality::Quick,
                bytes: vec![*number; 30].into(),
            };
            let put = self.blobs.put_deltas(Digest::of(&content(*number)), vec![delta]).await;
            assert!(matches!(put, Ok(()) | Err(blobs::Error::Missing(_))), "{put:?}");
        }
    }

    /// Returns the stored versions of an app.
    pub(in crate::publish::tests) async fn versions(&self, app: &AppName) -> Vec<VersionId> {
        let found = self.catalog.list(&records::versions_prefix(app), None, false, usize::MAX).await.unwrap();
        found.iter().map(|(key, _)| key.rsplit('/').next().unwrap().parse().unwrap()).collect()
    }

    /// Checks that all stored or restorable versions are complete. Returns their blobs.
    pub(super) async fn all_are_whole(&self) -> BTreeSet<Digest> {
        let mut referred = BTreeSet::new();
        for prefix in ["versions/", gone::GONE_PREFIX] {
            for (key, record) in self.catalog.list(prefix, None, false, usize::MAX).await.unwrap() {
                if prefix == gone::GONE_PREFIX {
                    let gone: GoneVersion = records::read(&key, &record).unwrap();
                    if gone.record.is_none() {
                        continue;
                    }
                }
                let version: VersionId = key.rsplit('/').next().unwrap().parse().unwrap();
                let canonical = self.blobs.get(Key::Manifest(version)).await;
                let canonical = canonical.unwrap_or_else(|error| panic!("{key}: {error}"));
                for file in Manifest::parse(&canonical).unwrap().files.values() {
                    let found = self.blobs.get(Key::Blob(file.hash)).await;
                    found.unwrap_or_else(|error| panic!("{key}: {error}"));
                    referred.insert(file.hash);
                }
            }
        }
        referred
    }

    pub(in crate::publish::tests) async fn stored_blobs(&self) -> BTreeSet<Digest> {
        let listed = self.blobs.list().await.unwrap();
        let blobs = listed.iter().filter_map(|(key, ..)| match key {
            Key::Blob(digest) => Some(*digest),
            Key::Manifest(_) | Key::Variant(..) | Key::Delta(..) => None,
        });
        blobs.collect()
    }
}
