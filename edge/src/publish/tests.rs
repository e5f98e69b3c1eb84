//! Tests of what publishing needs no network for.

use std::path::Path;
use std::sync::Arc;

use devanture_config::{AppName, PlaceName, VersionId};

use super::{Background, Parts, Publisher};
use crate::blobs;
use crate::catalog::records::{self, LivePointer};
use crate::catalog::{self, Catalog, Change, Commit};
use crate::live::{Domains, Grace, Live, Loader};
use crate::proxy::address::Policy;
use devanture_config::limits::Limits;

fn publisher(folder: &Path) -> (Publisher, Arc<dyn Catalog>) {
    let limits = Limits::default();
    let blobs = blobs::open(folder.to_owned()).unwrap();
    let catalog = catalog::open(&folder.join("catalog.redb")).unwrap();
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let publisher = Publisher::new(Parts {
        blobs: Arc::clone(&blobs),
        catalog: Arc::clone(&catalog),
        live,
        loader: Loader::new(blobs, Arc::clone(&catalog), &limits),
        limits,
        upstreams: Policy { allow: Arc::default(), own: Arc::default(), trusted: false },
        dns_servers: Vec::new(),
        background: Background::off(),
        data_dir: folder.to_owned(),
        compress_threads: 1,
    });
    (publisher, catalog)
}

/// Else every push would be superseded until the clock has caught up.
#[tokio::test]
async fn a_push_is_newer_than_what_is_live_also_where_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, catalog) = publisher(folder.path());
    let app: AppName = "shop".parse().unwrap();
    let begun = publisher.new_deploy().0 + 3_600_000_000;
    let pointer = LivePointer {
        version: VersionId::of(b""),
        settings: 0,
        switched_ms: 0,
        deploy: String::new(),
        begun,
        position: String::new(),
    };
    let put = Change::Put(records::live_key(&app, &PlaceName::prod()), records::write(&pointer).unwrap());
    catalog.commit(Commit { checks: Vec::new(), changes: vec![put] }).await.unwrap();
    publisher.continue_clock().await.unwrap();
    assert!(publisher.new_deploy().0 > begun);
}
