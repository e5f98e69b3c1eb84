//! The stores in the data folder: opens both, and begins an empty catalog where it is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;

use super::error::StartError;
use crate::blobs::{self, Blobs, FreeSpace, durable};
use crate::catalog::{self, Catalog};

/// The catalog's file in the data folder.
pub const CATALOG_NAME: &str = "catalog.redb";

/// The stores of the embedded default: files for blobs, `redb` for records.
pub(super) struct Stores {
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) catalog: Arc<dyn Catalog>,
}

impl Stores {
    pub(super) fn open(data_dir: &Path, free_space: &Arc<FreeSpace>) -> Result<Self, StartError> {
        durable::make_folder(data_dir)?;
        // The catalog's lock keeps a second edge out, before it could remove what the first one is writing.
        let catalog = open_catalog(data_dir)?;
        Ok(Self { catalog, blobs: blobs::open_above(data_dir.to_owned(), Arc::clone(free_space))? })
    }
}

/// The data folder of an edge whose `edge.toml` lies in `base`.
#[must_use]
pub fn data_dir(file: &EdgeFile, base: &Path) -> PathBuf {
    base.join(&file.data_dir)
}

/// Opens the catalog, or makes that of a new data folder.
pub(super) fn open_catalog(data_dir: &Path) -> Result<Arc<dyn Catalog>, StartError> {
    let path = data_dir.join(CATALOG_NAME);
    // Over an empty catalog nothing refers to the files that are there, and the collection would take them all.
    if !path.exists() && blobs::holds_files(data_dir)? {
        return Err(StartError::CatalogMissing { data_dir: data_dir.display().to_string() });
    }
    catalog::open_with_reserve(&path).map_err(|error| not_opened(&path, error))
}

/// Makes an empty catalog in a data folder that has lost its own. Returns false where there is one.
///
/// # Errors
/// Where another edge has the folder, the catalog is damaged, or it cannot be written.
pub fn adopt(file: &EdgeFile, base: &Path) -> Result<bool, StartError> {
    let path = data_dir(file, base).join(CATALOG_NAME);
    let is_missing = !path.exists();
    catalog::open(&path).map_err(|error| not_opened(&path, error))?;
    Ok(is_missing)
}

/// Why a catalog does not open. A damaged one is named with what to do.
fn not_opened(path: &Path, error: catalog::Error) -> StartError {
    match error {
        catalog::Error::Store(reason) => StartError::CatalogUnreadable { path: path.display().to_string(), reason },
        other => other.into(),
    }
}

/// Processor cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
