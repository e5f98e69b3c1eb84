//! The conformance list, on three members with TLS, certificates of clients, users and passwords.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::{Cluster, EtcdCatalog, EtcdSettings, PREFIX, is_installed, open_again, path_in, settings};
use crate::catalog::Catalog;
use crate::catalog::conformance::{Harness, every_case};

tokio::task_local! {
    /// The cluster of all cases, and the number of started cases: each has its own prefix.
    static SHARED: Arc<(Cluster, AtomicUsize)>;
}

struct BelowAPrefix {
    folder: tempfile::TempDir,
    settings: EtcdSettings,
    catalog: Arc<EtcdCatalog>,
}

#[async_trait]
impl Harness for BelowAPrefix {
    // etcd takes requests of 1.5 MiB by default.
    const VALUE_BYTES_MAX: u32 = 1_500_000;

    async fn start() -> Self {
        let shared = SHARED.get();
        let settings = EtcdSettings {
            prefix: format!("{PREFIX}{}/", shared.1.fetch_add(1, Ordering::Relaxed)),
            ..settings(&shared.0, "a")
        };
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(EtcdCatalog::open(&path_in(&folder), settings.clone()).await.unwrap());
        Self { folder, settings, catalog }
    }

    fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::clone(&self.catalog) as Arc<dyn Catalog>
    }

    async fn restart(self) -> Self {
        let Self { folder, settings, catalog } = self;
        drop(Arc::into_inner(catalog).unwrap());
        let path: PathBuf = path_in(&folder);
        let catalog = Arc::new(open_again(&path, &settings).await.unwrap());
        Self { folder, settings, catalog }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_in_etcd_does_what_every_catalog_does() {
    if !is_installed() {
        return;
    }
    // One cluster for all cases: its start takes longer than all of them together.
    let shared = Arc::new((Cluster::start_secure(3), AtomicUsize::new(0)));
    SHARED.scope(shared, every_case!(BelowAPrefix)).await;
}
