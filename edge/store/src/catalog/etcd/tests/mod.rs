//! Tests of the catalog in etcd, against real members.

mod conformance;
mod faults;
mod leases;
mod linearizable;
mod nodes;
mod start;

#[path = "../../../../../tests/support/etcd.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use support::PREFIX;
pub(super) use support::{Cluster, is_installed};

use super::{EtcdCatalog, EtcdSettings};
use crate::catalog::{Catalog, Change, Check, Commit, Error, Revision};

/// Longest wait for an expected event.
pub(super) const TIME_MAX: Duration = Duration::from_secs(60);

fn path_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("mirror.redb")
}

fn settings(cluster: &Cluster, node: &str) -> EtcdSettings {
    EtcdSettings {
        endpoints: cluster.endpoints(),
        prefix: PREFIX.to_owned(),
        tls: cluster.tls().map(|tls| Arc::new(ArcSwap::new(tls))),
        credentials: cluster.credentials(),
        node: node.to_owned(),
    }
}

/// A node: its catalog, and the folder of its mirror.
pub(super) struct Node {
    pub(super) catalog: Arc<EtcdCatalog>,
    folder: tempfile::TempDir,
}

impl Node {
    pub(super) async fn start(cluster: &Cluster, name: &str) -> Self {
        Self::start_with(settings(cluster, name)).await
    }

    async fn start_with(settings: EtcdSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(EtcdCatalog::open(&path_in(&folder), settings).await.unwrap());
        Self { catalog, folder }
    }

    /// Ends the node; returns the folder of its mirror.
    fn end(self) -> tempfile::TempDir {
        self.folder
    }
}

/// Opens a catalog while its last process may still be ending.
async fn open_again(path: &Path, settings: &EtcdSettings) -> Result<EtcdCatalog, Error> {
    let began = Instant::now();
    loop {
        match EtcdCatalog::open(path, settings.clone()).await {
            Err(Error::Locked { .. }) if began.elapsed() < TIME_MAX => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened,
        }
    }
}

/// Waits until `is_so`.
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < TIME_MAX, "it did not come to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn put(key: &str, value: &str) -> Change {
    Change::Put(key.to_owned(), value.as_bytes().into())
}

async fn commit(catalog: &dyn Catalog, checks: &[Check], changes: &[Change]) -> Result<Revision, Error> {
    catalog.commit(Commit { checks: checks.to_vec(), changes: changes.to_vec() }).await
}

async fn value(catalog: &dyn Catalog, key: &str) -> Option<String> {
    let record = catalog.get(key).await.unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

type Records = Vec<(String, Vec<u8>, Revision)>;

/// The records of the mirror.
async fn mirrored(catalog: &dyn Catalog) -> Records {
    let listed = catalog.list("", None, false, usize::MAX).await.unwrap();
    listed.into_iter().map(|(key, record)| (key, record.value.to_vec(), record.revision)).collect()
}

/// Returns the records of etcd, as seen by an independent client.
fn stored(cluster: &Cluster) -> Records {
    let prefix = format!("{PREFIX}records/");
    let found = cluster.stored(&prefix);
    found.into_iter().map(|(key, value, at)| (key.strip_prefix(&prefix).unwrap().to_owned(), value, at)).collect()
}
