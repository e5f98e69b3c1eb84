//! Opens both stores, in the data folder or with the stores shared by nodes behind, and creates an empty catalog in
//! place of a lost one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml::{BlobStore, CatalogStore, EdgeFile, Storage};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use tokio::runtime::Handle;

use super::error::StartError;
use super::local_tier::LocalTier;
use super::shared_stores::{self, EtcdFiles};
use devanture_base::durable;
use devanture_control::ledger::{NotCopied, take_copied};
use devanture_store::blobs::{self, Blobs, Bounds, FreeSpace, OPEN_FILES_MAX};
use devanture_store::catalog::{self, Catalog};
use devanture_store::s3::Waits;

/// The catalog's file in the data folder.
pub const CATALOG_NAME: &str = "catalog.redb";

/// Pause between attempts to open a catalog locked by another process.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for the lock without a sign that the process is ending.
pub(super) const LOCK_TIME_MAX: Duration = Duration::from_secs(2);

/// The locations and limits of an edge's stores.
#[derive(Clone)]
pub(super) struct StorePlan {
    data_dir: PathBuf,
    base: PathBuf,
    storage: Storage,
    node: String,
    bounds: Bounds,
}

impl StorePlan {
    /// Takes the plan from `edge.toml`.
    pub(super) fn of(file: &EdgeFile, base: &Path, bounds: &Bounds) -> Self {
        Self {
            data_dir: data_dir(file, base),
            base: base.to_owned(),
            storage: file.storage.clone(),
            node: file.node.clone(),
            bounds: bounds.clone(),
        }
    }

    /// Returns the data folder.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Opens or creates the catalog; also returns the certificate files for etcd. The tasks that follow etcd run on
    /// `runtime`. Must not be called on a thread of `runtime`.
    pub(super) fn open_catalog(&self, runtime: &Handle) -> Result<(Arc<dyn Catalog>, Option<EtcdFiles>), StartError> {
        match &self.storage.catalog {
            CatalogStore::Embedded => Ok((open_catalog(&self.data_dir)?, None)),
            CatalogStore::Etcd(etcd) => {
                let (settings, files) = shared_stores::etcd(etcd, &self.base, &self.node)?;
                let path = self.data_dir.join(CATALOG_NAME);
                let opened = runtime.block_on(catalog::open_etcd(&path, settings));
                Ok((opened.map_err(|error| not_opened(&path, error))?, files))
            }
        }
    }

    fn open_blobs(&self) -> Result<(Arc<dyn Blobs>, Option<LocalTier>), StartError> {
        match &self.storage.blobs {
            BlobStore::Folder => Ok((blobs::open_within(self.data_dir.clone(), &self.bounds)?, None)),
            BlobStore::S3(s3) => {
                let bucket = shared_stores::bucket(s3, Waits::CLUSTER)?;
                let tiered = blobs::open_tiered(self.data_dir.clone(), &self.bounds, bucket.clone())?;
                let tier = LocalTier {
                    tiered: Arc::clone(&tiered),
                    bucket,
                    bytes_max: s3.cache_bytes_max,
                    free_space: Arc::clone(&self.bounds.free_space),
                };
                Ok((tiered, Some(tier)))
            }
        }
    }
}

/// The stores: by default, files for blobs and `redb` for records.
pub(super) struct Stores {
    pub(super) blobs: Arc<dyn Blobs>,
    /// The local disk in front of a bucket, if configured.
    pub(super) tier: Option<LocalTier>,
    pub(super) catalog: Arc<dyn Catalog>,
    /// The certificate files for etcd, if any.
    pub(super) etcd_files: Option<Box<EtcdFiles>>,
}

impl Stores {
    /// Opens the stores; waits up to `lock_time` for a catalog locked by another process.
    #[expect(clippy::disallowed_methods, reason = "at the start, before anything is served")]
    pub(super) fn open(plan: &StorePlan, runtime: &Handle, lock_time: Duration) -> Result<Self, StartError> {
        check_folder(&plan.data_dir)?;
        durable::make_folder(&plan.data_dir)?;
        // The catalog's lock keeps a second edge out, which might remove files that the first edge is writing.
        let (catalog, etcd_files) = patiently(|| plan.open_catalog(runtime), lock_time, std::thread::sleep)?;
        let (blobs, tier) = plan.open_blobs()?;
        Ok(Self { blobs, tier, catalog, etcd_files: etcd_files.map(Box::new) })
    }

    /// Opens the stores as [`Stores::open`] does, for serving: an unfinished copy is refused.
    pub(super) fn open_to_serve(plan: &StorePlan, runtime: &Handle, lock_time: Duration) -> Result<Self, StartError> {
        let stores = Self::open(plan, runtime, lock_time)?;
        runtime.block_on(take_copied(&*stores.catalog)).map_err(|error| match error {
            NotCopied::Catalog(error) => error.into(),
            error @ (NotCopied::Late { .. } | NotCopied::Unfinished { .. }) => {
                StartError::Copy { data_dir: plan.data_dir.display().to_string(), reason: error.to_string() }
            }
        })?;
        Ok(stores)
    }
}

/// Returns the data folder of an edge whose `edge.toml` is in `base`.
#[must_use]
pub fn data_dir(file: &EdgeFile, base: &Path) -> PathBuf {
    base.join(&file.data_dir)
}

/// Opens the catalog of a stopped edge, or creates the catalog of a new data folder.
pub(super) async fn open_catalog_alone(file: &EdgeFile, base: &Path) -> Result<Arc<dyn Catalog>, StartError> {
    durable::make_for_owner_of(&data_dir(file, base));
    // No file is uploaded.
    let free_space = FreeSpace::new(data_dir(file, base), 0);
    let plan = StorePlan::of(file, base, &Bounds { free_space, open_files_max: OPEN_FILES_MAX });
    let runtime = Handle::current();
    let opened = tokio::task::spawn_blocking(move || plan.open_catalog(&runtime)).await;
    let (catalog, _files) = opened.map_err(|error| StartError::Runtime(std::io::Error::other(error)))??;
    Ok(catalog)
}

/// Opens the default embedded catalog, or creates the catalog of a new data folder.
fn open_catalog(data_dir: &Path) -> Result<Arc<dyn Catalog>, StartError> {
    check_not_lost(data_dir)?;
    let path = data_dir.join(CATALOG_NAME);
    catalog::open_with_reserve(&path).map_err(|error| not_opened(&path, error))
}

/// Returns true if the data folder has a catalog; a missing folder has none.
///
/// # Errors
/// [`StartError::CatalogRefused`] if the system denies access.
pub(super) fn has_catalog(data_dir: &Path) -> Result<bool, StartError> {
    let path = data_dir.join(CATALOG_NAME);
    path.try_exists().map_err(|source| StartError::CatalogRefused { path: path.display().to_string(), source })
}

/// Returns true if another process has the catalog of the data folder open, as a running edge does.
pub(crate) fn is_in_use(data_dir: &Path) -> bool {
    durable::is_locked(&data_dir.join(CATALOG_NAME).with_extension("lock"))
}

/// Checks that the data folder is a folder with a layout known to the release. A missing folder is valid.
///
/// # Errors
/// [`StartError::DataDirIsFile`], [`StartError::Blobs`].
pub(super) fn check_folder(data_dir: &Path) -> Result<(), StartError> {
    if data_dir.is_file() {
        return Err(StartError::DataDirIsFile { data_dir: data_dir.display().to_string() });
    }
    Ok(blobs::check_format(data_dir)?)
}

/// Checks that a folder with stored files has its catalog. The catalog of a node with a shared catalog is a mirror, and
/// can be created again.
///
/// # Errors
/// [`StartError::CatalogMissing`].
pub(super) fn check_not_lost(data_dir: &Path) -> Result<(), StartError> {
    // With an empty catalog, no record refers to the files, and the collection would remove all files.
    if !has_catalog(data_dir)? && blobs::holds_files(data_dir)? {
        return Err(StartError::CatalogMissing { data_dir: data_dir.display().to_string() });
    }
    Ok(())
}

/// Checks that the catalog of the folder can be opened. A catalog open in another process is valid, and so is a missing
/// catalog. Writes no file in the folder, also because the caller may be a user other than the edge's: a copy is
/// opened, since opening a catalog repairs the file and creates its lock.
///
/// # Errors
/// [`StartError::CatalogUnreadable`].
pub(super) fn check_readable(data_dir: &Path) -> Result<(), StartError> {
    let path = data_dir.join(CATALOG_NAME);
    if !path.exists() || is_in_use(data_dir) {
        return Ok(());
    }
    let unreadable = |reason| StartError::CatalogUnreadable { path: path.display().to_string(), reason };
    match std::fs::File::open(&path) {
        // Another user than the edge's cannot check the catalog.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
        Err(source) => return Err(StartError::CatalogRefused { path: path.display().to_string(), source }),
        Ok(_readable) => {}
    }
    let Ok(folder) = tempfile::tempdir() else { return Ok(()) };
    let copy = folder.path().join(CATALOG_NAME);
    if durable::copy_for_reading(&path, &copy).is_err() {
        // No space for the copy: a start reports the lack.
        return Ok(());
    }
    match catalog::open(&copy).map_err(|error| not_opened(&copy, error)) {
        Err(StartError::CatalogUnreadable { reason, .. }) => Err(unreadable(reason)),
        _ => Ok(()),
    }
}

/// Opens the catalog, with retries while another process has the lock: the lock of a killed process is released a
/// moment after its end.
fn patiently<T>(
    mut open: impl FnMut() -> Result<T, StartError>,
    time_max: Duration,
    pause: impl Fn(Duration),
) -> Result<T, StartError> {
    let mut waited = Duration::ZERO;
    while waited < time_max {
        match open() {
            Err(StartError::Catalog(catalog::Error::Locked { .. })) => pause(LOCK_PAUSE),
            opened => return opened,
        }
        waited = waited.saturating_add(LOCK_PAUSE);
    }
    open()
}

/// Creates an empty catalog in a data folder that has lost its own. Returns false if a catalog exists.
///
/// # Errors
/// Fails if another edge has the folder, or if the catalog is damaged or cannot be written.
pub fn adopt(file: &EdgeFile, base: &Path) -> Result<bool, StartError> {
    let data_dir = data_dir(file, base);
    durable::make_for_owner_of(&data_dir);
    let path = data_dir.join(CATALOG_NAME);
    let is_missing = !has_catalog(&data_dir)?;
    catalog::open(&path).map_err(|error| not_opened(&path, error))?;
    Ok(is_missing)
}

/// Returns the reason why a catalog does not open. The advice for a damaged catalog would destroy a catalog that is
/// only inaccessible.
pub(super) fn not_opened(path: &Path, error: catalog::Error) -> StartError {
    match error {
        catalog::Error::Store(reason) => match refusal_around(path) {
            Some(source) => StartError::CatalogRefused { path: path.display().to_string(), source },
            None => StartError::CatalogUnreadable { path: path.display().to_string(), reason },
        },
        catalog::Error::Unreadable { reason } | catalog::Error::Unwritable { reason } => {
            let source = refusal_around(path).unwrap_or_else(|| std::io::Error::other(reason));
            StartError::CatalogRefused { path: path.display().to_string(), source }
        }
        other => other.into(),
    }
}

/// Checks, as [`refusal`] does, the catalog in `path`, its lock, and its folder if the catalog does not exist.
fn refusal_around(path: &Path) -> Option<std::io::Error> {
    let folder = path.parent().filter(|_| !path.exists());
    let refused = refusal(path).or_else(|| refusal(&path.with_extension("lock")));
    refused.or_else(|| refusal(folder?))
}

/// Returns the system's error if the process may not write to an existing file or folder.
fn refusal(path: &Path) -> Option<std::io::Error> {
    let refused = accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).err()?;
    let error = std::io::Error::from(refused);
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem).then_some(error)
}

/// Returns the number of processor cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A start right after `kill -9` may find the lock of the killed process.
    #[test]
    fn a_lock_that_is_released_in_a_moment_is_waited_for_and_no_other() {
        let waited = Cell::new(Duration::ZERO);
        let pause = |time| waited.set(waited.get() + time);
        let locked =
            || Err(StartError::Catalog(catalog::Error::Locked { path: "catalog.redb".to_owned(), holder: None }));
        let tries = Cell::new(0);
        let opened = patiently(
            || {
                tries.set(tries.get() + 1);
                if tries.get() < 4 { locked() } else { Ok("open") }
            },
            LOCK_TIME_MAX,
            pause,
        );
        assert_eq!((opened.unwrap(), waited.get()), ("open", 3 * LOCK_PAUSE));

        waited.set(Duration::ZERO);
        let refused = patiently(locked, LOCK_TIME_MAX, pause).map(|_open| ());
        assert!(matches!(refused, Err(StartError::Catalog(catalog::Error::Locked { .. }))));
        assert_eq!(waited.get(), Duration::from_secs(2));

        waited.set(Duration::ZERO);
        let missing = || Err::<(), _>(StartError::CatalogMissing { data_dir: "data".to_owned() });
        assert!(matches!(patiently(missing, LOCK_TIME_MAX, pause), Err(StartError::CatalogMissing { .. })));
        assert_eq!(waited.get(), Duration::ZERO);
    }
}
