//! Opens the catalog's file in the data folder, and begins an empty one where it is lost.

use std::path::Path;
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;

use super::{CATALOG_NAME, StartError, data_dir};
use crate::blobs;
use crate::catalog::{self, Catalog};

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
