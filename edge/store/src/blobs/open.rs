//! Opens the built-in store, within what it may take of the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Blobs, Error, FreeSpace, fs};

/// Most files of a store that are open at a time where nothing else is said.
pub const OPEN_FILES_MAX: usize = 4_096;

/// Whether the folder `data_dir` holds blobs or manifests already.
///
/// # Errors
/// [`Error::Disk`].
pub fn holds_files(data_dir: &Path) -> Result<bool, Error> {
    fs::holds_files(data_dir)
}

/// Checks that the folder has the layout that this program knows. One without a number is new, and one whose number the
/// caller may not read is not checked.
///
/// # Errors
/// [`Error::Disk`].
pub fn check_format(data_dir: &Path) -> Result<(), Error> {
    fs::check_format(data_dir)
}

/// Opens the store in the folder `data_dir`, making what is missing and removing what an interrupted write left.
///
/// # Errors
/// [`Error::Disk`].
pub fn open(data_dir: PathBuf) -> Result<Arc<dyn Blobs>, Error> {
    Ok(Arc::new(fs::FileBlobs::open(data_dir, OPEN_FILES_MAX)?))
}

/// What a store may take of the machine.
#[derive(Clone)]
pub struct Bounds {
    /// Uploads fail below this floor of free space.
    pub free_space: Arc<FreeSpace>,
    /// Files to read from that are open at a time; others are opened when they are read.
    pub open_files_max: usize,
}

/// As [`open`], within these bounds.
///
/// # Errors
/// As [`open`].
pub fn open_within(data_dir: PathBuf, bounds: &Bounds) -> Result<Arc<dyn Blobs>, Error> {
    let store = fs::FileBlobs::open(data_dir, bounds.open_files_max)?;
    Ok(Arc::new(store.above(Arc::clone(&bounds.free_space))))
}
