//! Starts the runner of backends, if `edge.toml` enables it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::{AddressBlock, EdgeFile};
use tokio::runtime::Runtime;

use super::takeover::Arrival;
use super::{StartError, Stores};
use devanture_control::runner::{Parts, Runner};
use devanture_control::settings::SettingsOf;
use devanture_serve::live::Live;
use devanture_serve::proxy::Registry;

/// Starts the runner with the live backends, or continues with the instances of the predecessor; `None` if the runner
/// is off.
///
/// # Errors
/// [`StartError::Runner`], also where the folder of backends is unknown.
pub(super) fn start(
    (file, base): (&EdgeFile, &Path),
    control: &Runtime,
    arrival: &mut Arrival,
    stores: &Stores,
    live: &Live,
    registry: &Registry,
    settings_of: &Arc<SettingsOf>,
) -> Result<Option<(Runner, Arc<SettingsOf>)>, StartError> {
    if !file.runner.enabled {
        return Ok(None);
    }
    if trusts_this_machine(&file.listen.trusted_proxies) {
        tracing::warn!(
            "[listen] trusted_proxies names this machine, whose backends may then name the client, as the proxy does"
        );
    }
    let absolute = folder_of(file, base)?;
    let parts = Parts {
        settings: file.runner.clone(),
        node: file.node.clone(),
        is_in_cluster: file.cluster.is_some(),
        limits: file.limits.clone(),
        data_dir: super::data_dir(file, base),
        folder: absolute,
        base: base.to_owned(),
        program: std::env::current_exe().map_err(StartError::Runtime)?,
        blobs: Arc::clone(&stores.blobs),
        catalog: Arc::clone(&stores.catalog),
        live: live.clone(),
        registry: registry.clone(),
        variables: Arc::clone(settings_of) as Arc<dyn devanture_control::runner::Variables>,
        handover: None,
    };
    let begin = || -> Result<Runner, StartError> {
        control.block_on(devanture_control::instances::give_user_ids_apart(&*stores.catalog))?;
        // As late as possible: the instances are suspended from here on until the edge serves.
        let parts = Parts { handover: arrival.instances()?, ..parts };
        control.block_on(Runner::start(parts)).map_err(StartError::Runner)
    };
    match begin() {
        Err(error) if stores.catalog.state().is_unwritable => {
            tracing::error!(%error, "no backend runs, as the disk cannot be written: what needs none is served");
            Ok(None)
        }
        begun => Ok(Some((begun?, Arc::clone(settings_of)))),
    }
}

/// Checks that backends can be run, without starting a backend.
///
/// # Errors
/// As [`start`].
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    if !file.runner.enabled {
        return Ok(());
    }
    Runner::check_settings(&file.runner, &folder_of(file, base)?, base).map_err(StartError::Runner)
}

/// Returns the folder of backends.
pub(super) fn folder_of(file: &EdgeFile, base: &Path) -> Result<PathBuf, StartError> {
    let folder = file.runner_folder().ok_or(StartError::RunnerFolder)?;
    std::path::absolute(base.join(folder)).map_err(StartError::Runtime)
}

/// Returns true if a process on the machine connects from a trusted address: a backend could pose as a proxy.
fn trusts_this_machine(trusted: &[AddressBlock]) -> bool {
    let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    trusted.iter().any(|block| own.iter().any(|address| block.contains(*address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_on_this_machine_are_seen_however_they_are_written() {
        let trusts = |block: &str| trusts_this_machine(&[block.parse().unwrap()]);
        for own in ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0", "::1", "::/0", "::ffff:127.0.0.1"] {
            assert!(trusts(own), "{own}");
        }
        assert!(!trusts("10.0.0.0/8") && !trusts("fd00::/8") && !trusts_this_machine(&[]));
    }
}
