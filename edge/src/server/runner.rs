//! What runs the backends of versions, where `edge.toml` says that it may.

use std::path::Path;
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;
use tokio::runtime::Runtime;

use super::{StartError, Stores};
use crate::live::Live;
use crate::proxy::Registry;
use crate::publish::{self, SettingsOf};
use crate::runner::{Parts, Runner};

/// Starts it, and with it what is live; nothing where the file does not want it.
///
/// # Errors
/// [`StartError::Runner`], also where the folder of backends cannot be told.
pub(super) fn start(
    (file, base): (&EdgeFile, &Path),
    control: &Runtime,
    stores: &Stores,
    live: &Live,
    registry: &Registry,
    settings_of: &Arc<SettingsOf>,
) -> Result<Option<(Runner, Arc<SettingsOf>)>, StartError> {
    if !file.runner.enabled {
        return Ok(None);
    }
    let folder = file.runner_folder().ok_or(StartError::RunnerFolder)?;
    let absolute = std::path::absolute(base.join(folder)).map_err(StartError::Runtime)?;
    let parts = Parts {
        settings: file.runner.clone(),
        limits: file.limits.clone(),
        data_dir: super::data_dir(file, base),
        folder: absolute,
        program: std::env::current_exe().map_err(StartError::Runtime)?,
        blobs: Arc::clone(&stores.blobs),
        catalog: Arc::clone(&stores.catalog),
        live: live.clone(),
        registry: registry.clone(),
        variables: Arc::clone(settings_of) as Arc<dyn crate::runner::Variables>,
    };
    control.block_on(publish::give_user_ids_apart(&*stores.catalog))?;
    let runner = control.block_on(Runner::start(parts)).map_err(StartError::Runner)?;
    Ok(Some((runner, Arc::clone(settings_of))))
}
