//! Opens the built-in store within bounds of the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Blobs, Error, FreeSpace, fs};

/// Upper bound of open files of a store, by default.
pub const OPEN_FILES_MAX: usize = 4_096;

/// Returns true if the folder `data_dir` holds blobs or manifests already.
///
/// # Errors
/// [`Error::Disk`].
pub fn holds_files(data_dir: &Path) -> Result<bool, Error> {
    fs::holds_files(data_dir)
}

/// Checks that this program knows the layout of the folder. A folder without a number is new; a number that the caller
/// may not read is not checked.
///
/// # Errors
/// [`Error::Disk`].
pub fn check_format(data_dir: &Path) -> Result<(), Error> {
    fs::check_format(data_dir)
}

/// Opens the store in the folder `data_dir`; creates missing folders and removes remains of interrupted writes.
///
/// # Errors
/// [`Error::Disk`].
pub fn open(data_dir: PathBuf) -> Result<Arc<dyn Blobs>, Error> {
    Ok(Arc::new(fs::FileBlobs::open(data_dir, OPEN_FILES_MAX)?))
}

/// The bounds of a store.
#[derive(Clone)]
pub struct Bounds {
    /// Uploads fail below this floor of free space.
    pub free_space: Arc<FreeSpace>,
    /// Upper bound of open files for reads; further files are opened at each read.
    pub open_files_max: usize,
}

/// Like [`open`], within these bounds.
///
/// # Errors
/// Like [`open`].
pub fn open_within(data_dir: PathBuf, bounds: &Bounds) -> Result<Arc<dyn Blobs>, Error> {
    let store = fs::FileBlobs::open(data_dir, bounds.open_files_max)?;
    Ok(Arc::new(store.above(Arc::clone(&bounds.free_space))))
}
