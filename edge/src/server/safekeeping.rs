//! Verification, repair and backups for `devanture-edge`: through the running edge if any, and directly on the data
//! folder otherwise.

use std::path::{Path, PathBuf};

use devanture_config::api::{BackupReport, BackupRequest, RepairRequest, VerifyReport};
use devanture_config::edge_toml::EdgeFile;
use http::Method;
use tokio::runtime::Handle;

use super::data_socket;
use super::error::StartError;
use super::local::{LocalError, NOTHING, SOCKET_NAME, ask, read};
use super::stores::{CATALOG_NAME, LOCK_TIME_MAX, StorePlan, Stores, data_dir, has_catalog};
use devanture_base::durable;
use devanture_control::ledger::{Error, Task, task_done};
use devanture_control::safekeeping::{
    self, BackupCheck, BackupSource, BackupState, FileProgress, Location, Restored, VerifyOptions,
};
use devanture_store::blobs::{Bounds, FreeSpace, OPEN_FILES_MAX};
use devanture_store::catalog;
use devanture_store::s3::Variables;

/// The file of a catalog during a rewrite. Another stem, because the lock's path only replaces the extension: with
/// another extension alone, both catalogs would share a lock.
/// that the lock file differs from the catalog's lock.
const REWRITTEN: &str = "rewritten.redb";
/// The extension of the retained damaged catalog.
const DAMAGED_EXTENSION: &str = "damaged";

/// The stored files of an edge.
pub struct Safekeeping {
    data_dir: PathBuf,
    key_file: Option<PathBuf>,
    way: StoreAccess,
}

enum StoreAccess {
    /// The edge runs, with the given socket.
    Running(PathBuf),
    /// The edge does not run.
    Stopped(Box<Stores>),
}

impl Safekeeping {
    /// Finds the running edge, or opens the stores.
    ///
    /// # Errors
    /// Fails if the stores are missing or cannot be opened.
    pub async fn open(file: &EdgeFile, base: &Path) -> Result<Self, LocalError> {
        let data_dir = data_dir(file, base);
        let key_file = file.secrets_key_file().map(|path| base.join(path));
        let socket = data_dir.join(SOCKET_NAME);
        if data_socket::connect(&socket).await.is_ok() {
            return Ok(Self { data_dir, key_file, way: StoreAccess::Running(socket) });
        }
        if !has_catalog(&data_dir)? {
            return Err(StartError::CatalogMissing { data_dir: data_dir.display().to_string() }.into());
        }
        durable::make_for_owner_of(&data_dir);
        // No file is uploaded.
        let free_space = FreeSpace::new(data_dir.clone(), 0);
        let plan = StorePlan::of(file, base, &Bounds { free_space, open_files_max: OPEN_FILES_MAX });
        let runtime = Handle::current();
        let opened = tokio::task::spawn_blocking(move || Stores::open(&plan, &runtime, LOCK_TIME_MAX));
        let stores = opened.await.map_err(|error| LocalError::Unanswered(error.to_string()))??;
        Ok(Self { data_dir, key_file, way: StoreAccess::Stopped(Box::new(stores)) })
    }

    /// Verifies all stored files, or the files of an app.
    ///
    /// # Errors
    /// [`LocalError`]; damage is not an error.
    pub async fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport, LocalError> {
        match &self.way {
            StoreAccess::Running(socket) => {
                let VerifyOptions { app, bytes_per_second_max, read_bucket } = options;
                let app = app.as_ref().map_or_else(String::new, |app| format!("&app={app}"));
                let read_bucket = if *read_bucket { "&read_bucket=true" } else { "" };
                let path = format!("/v1/verify?bytes_per_second_max={bytes_per_second_max}{app}{read_bucket}");
                read(&ask(socket, Method::POST, &path, NOTHING).await?)
            }
            StoreAccess::Stopped(stores) => Ok(safekeeping::verify(&*stores.catalog, &*stores.blobs, options).await?),
        }
    }

    /// Repairs damage as far as possible.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn repair(&self, request: &RepairRequest) -> Result<VerifyReport, LocalError> {
        match &self.way {
            StoreAccess::Running(socket) => read(&ask(socket, Method::POST, "/v1/repair", Some(request)).await?),
            StoreAccess::Stopped(stores) => {
                let options = VerifyOptions {
                    app: request.app.clone(),
                    bytes_per_second_max: u64::MAX,
                    read_bucket: request.read_bucket,
                };
                let from = request.from.as_deref().map(Location::of);
                let from = from.as_ref().map(|from| (from, &request.variables));
                Ok(safekeeping::repair(&*stores.catalog, &*stores.blobs, &options, from).await?)
            }
        }
    }

    /// Writes the readable records into a new catalog, which replaces the damaged catalog; a copy of the damaged
    /// catalog is retained. Returns the path of the copy; `None` with a running edge, which has the catalog open.
    ///
    /// # Errors
    /// [`LocalError`]; the catalog is unchanged then.
    pub async fn rewrite_catalog(self) -> Result<Option<PathBuf>, LocalError> {
        let StoreAccess::Stopped(stores) = self.way else { return Ok(None) };
        let (path, fresh) = (self.data_dir.join(CATALOG_NAME), self.data_dir.join(REWRITTEN));
        durable::remove_file(&fresh).map_err(Error::from)?;
        stores.catalog.copy_to(&fresh, &[]).await.map_err(Error::from)?;
        let replace = move || -> Result<PathBuf, LocalError> {
            // Closing the catalog writes, and releases the lock.
            drop(stores);
            let lock = durable::lock(&path.with_extension("lock")).map_err(Error::from)?;
            let _lock = lock.map_err(|holder| {
                StartError::Catalog(catalog::Error::Locked { path: path.display().to_string(), holder })
            })?;
            let kept = path.with_extension(DAMAGED_EXTENSION);
            durable::remove_file(&kept).map_err(Error::from)?;
            if !durable::link_file(&path, &kept) {
                durable::copy_for_reading(&path, &kept).map_err(Error::from)?;
            }
            durable::move_file(&fresh, &path).map_err(Error::from)?;
            Ok(kept)
        };
        let replaced = tokio::task::spawn_blocking(replace).await;
        replaced.map_err(|error| LocalError::Unanswered(error.to_string()))?.map(Some)
    }

    /// Writes a backup.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn back_up(&self, request: &BackupRequest) -> Result<BackupReport, LocalError> {
        match &self.way {
            StoreAccess::Running(socket) => read(&ask(socket, Method::POST, "/v1/backup", Some(request)).await?),
            StoreAccess::Stopped(stores) => {
                let source = BackupSource {
                    catalog: &*stores.catalog,
                    blobs: &*stores.blobs,
                    data_dir: &self.data_dir,
                    key_file: self.key_file.as_deref(),
                };
                let report = safekeeping::back_up(&source, request).await?;
                if !report.catalog.is_damaged() {
                    task_done(&*stores.catalog, Task::Backup).await;
                }
                Ok(report)
            }
        }
    }
}

/// Restores a backup into the data folder, which must have no catalog yet. `variables` configure the access to an S3
/// store; by default, the environment of the process counts. `report` is called as files are copied.
///
/// # Errors
/// [`LocalError`].
pub async fn restore(
    file: &EdgeFile,
    base: &Path,
    from: &Location,
    variables: &Variables,
    name: Option<&str>,
    report: &(dyn Fn(FileProgress) + Send + Sync),
) -> Result<Restored, LocalError> {
    let (data_dir, key_file) = (data_dir(file, base), file.secrets_key_file().map(|path| base.join(path)));
    durable::make_for_owner_of(&data_dir);
    Ok(safekeeping::restore(from, variables, name, &data_dir, key_file.as_deref(), report).await?)
}

/// Verifies a backup in place, without an edge and without changes. `report` is called as files are read.
///
/// # Errors
/// [`LocalError`]; damage is not an error.
pub async fn verify_backup(
    from: &Location,
    variables: &Variables,
    check: &BackupCheck,
    report: &(dyn Fn(FileProgress) + Send + Sync),
) -> Result<BackupState, LocalError> {
    Ok(safekeeping::verify_backup(from, variables, check, report).await?)
}
