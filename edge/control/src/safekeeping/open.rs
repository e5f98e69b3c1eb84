//! Opens the stores of a backup and of a restored data folder; files are read on blocking threads.

use std::path::Path;
use std::sync::Arc;

use crate::ledger::{Error, lost};
use devanture_store::blobs::{self, Blobs};
use devanture_store::catalog::{self, Catalog};

pub(super) async fn open_blobs(folder: &Path) -> Result<Arc<dyn Blobs>, Error> {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || blobs::open(folder)).await;
    Ok(opened.map_err(|error| lost(&error))??)
}

pub(super) async fn open_catalog(path: &Path) -> Result<Arc<dyn Catalog>, Error> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || catalog::open(&path)).await;
    Ok(opened.map_err(|error| lost(&error))??)
}
