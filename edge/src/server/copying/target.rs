//! The target of a copy. The catalog is opened and locked, so that no edge starts with the target meanwhile.

use std::path::Path;
use std::sync::Arc;

use devanture_config::edge_toml::{BlobStore, EdgeFile};
use devanture_config::problem::{Code, Problem};
use tokio::runtime::Handle;

use crate::server::error::StartError;
use crate::server::local::LocalError;
use crate::server::shared_stores;
use crate::server::stores::{StorePlan, check_folder};
use devanture_base::durable;
use devanture_control::ledger::Error;
use devanture_control::safekeeping::FileTarget;
use devanture_store::blobs::{self, Bounds, FreeSpace, OPEN_FILES_MAX};
use devanture_store::catalog::Catalog;
use devanture_store::s3::Waits;

/// The target of a copy.
pub(super) struct Target {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) files: FileTarget,
}

impl Target {
    /// Opens or creates the target.
    ///
    /// # Errors
    /// Fails if an edge runs with the target, or the target cannot be used.
    pub(super) async fn open(file: &EdgeFile, base: &Path) -> Result<Self, LocalError> {
        let data_dir = crate::server::data_dir(file, base);
        let free_space = FreeSpace::new(data_dir.clone(), file.limits.disk_free_bytes_min);
        let bounds = Bounds { free_space, open_files_max: OPEN_FILES_MAX };
        let plan = StorePlan::of(file, base, &bounds);
        let runtime = Handle::current();
        let folder = data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || {
            check_folder(&folder)?;
            durable::make_for_owner_of(&folder);
            durable::make_folder(&folder)?;
            plan.open_catalog(&runtime)
        });
        let (catalog, _files) = opened.await.map_err(|error| StartError::Runtime(std::io::Error::other(error)))??;
        let files = match &file.storage.blobs {
            BlobStore::Folder => {
                let opened = tokio::task::spawn_blocking(move || blobs::open_within(data_dir, &bounds));
                let opened = opened.await.map_err(|error| StartError::Runtime(std::io::Error::other(error)))?;
                FileTarget::Folder(opened.map_err(StartError::from)?)
            }
            BlobStore::S3(s3) => {
                let bucket = shared_stores::bucket(s3, Waits::BACKUP)?;
                // The probe also records the purpose of the prefix.
                let probe = blobs::probe(&bucket).await;
                let fault = probe.checks.iter().find_map(|check| check.fault.as_ref().map(|fault| (check.name, fault)));
                if let Some((name, (reason, hint))) = fault {
                    let detail = format!("{} cannot be copied to ({name}): {reason}.", probe.bucket);
                    return Err(Error::from(Problem::new(Code::StoreRefused, detail).hint(*hint)).into());
                }
                FileTarget::Bucket(bucket)
            }
        };
        Ok(Self { catalog, files })
    }
}
