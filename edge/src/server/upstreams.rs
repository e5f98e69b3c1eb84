//! The maintenance thread of backend pools, and the policy of upstream addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use devanture_config::edge_toml::EdgeFile;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::descriptors::Descriptors;
use super::sockets::Addresses;
use super::stores::Stores;
use super::{StartError, local, store_endpoints, takeover};
use devanture_serve::live::Live;
use devanture_serve::proxy::address::{OtherNodes, Policy};
use devanture_serve::proxy::{DnsTimes, Following, HealthLimits, Names, Registry, RegistrySettings, keep_pools, tls};

/// Returns the policy for upstreams of untrusted versions: the settings of `edge.toml`, and never the edge itself or
/// another node of its cluster.
pub(super) fn policy(
    (file, base, addresses): (&EdgeFile, &Path, Addresses),
    cluster: Option<&Cluster>,
    control: &Runtime,
    data_dir: &Path,
) -> Policy {
    let nodes = OtherNodes::default();
    if let Some(cluster) = cluster {
        cluster.share_listeners(control, addresses, &nodes);
    }
    let of_nodes = cluster.into_iter().flat_map(Cluster::own_listeners);
    Policy {
        allow: file.upstreams.allow.clone().into(),
        own: addresses.all().chain(of_nodes).collect(),
        nodes,
        internal: store_endpoints::follow(&file.storage, control),
        own_sockets: own_sockets(file, data_dir),
        own_folders: file
            .runner_folder()
            .map(|folder| base.join(folder))
            .into_iter()
            .chain([data_dir.into()])
            .collect(),
        sockets: file.upstreams.sockets.clone().into(),
        trusted: false,
    }
}

/// Returns the Unix sockets with rights equal to the edge's, or greater.
fn own_sockets(file: &EdgeFile, data_dir: &Path) -> Arc<[PathBuf]> {
    let of_edge = [local::SOCKET_NAME, takeover::SOCKET_NAME].map(|name| data_dir.join(name));
    let podman = file.runner.images.as_ref().map(|images| &images.socket);
    of_edge.into_iter().chain(file.runner.spawner.iter().chain(podman).cloned()).collect()
}

/// Creates the pools of live versions, and starts their maintenance thread.
pub(super) fn start(
    (file, descriptors): (&EdgeFile, Descriptors),
    policy: &Policy,
    control: &Runtime,
    live: &Live,
    stores: &Stores,
) -> Result<(Registry, Keeper), StartError> {
    let registry = Registry::new(RegistrySettings {
        policy: policy.clone(),
        tls: tls::platform().map_err(StartError::UpstreamTls)?,
        requests_max: file.limits.upstream_requests_max,
        sockets_max: descriptors.of_backends(file.limits.upstream_sockets_max),
    });
    let following = Following::start(registry.clone(), live.clone(), Arc::clone(&stores.catalog));
    control.spawn(control.block_on(following)?.run());
    let keeper = Keeper::start(&registry, file)?;
    Ok((registry, keeper))
}

/// Maintenance of pools on a separate thread, so that no lookup and no health check occupies a serving thread.
pub(super) struct Keeper {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(registry: &Registry, file: &EdgeFile) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let (stopped, registry) = (stop.clone(), registry.clone());
        let servers: Vec<SocketAddr> = file.dns_servers.iter().map(|server| server.0).collect();
        let ms = Duration::from_millis;
        let limits = &file.limits;
        let least = ms(limits.upstream_dns_ms_min);
        let times =
            DnsTimes { least, most: ms(limits.upstream_dns_ms_max).max(least), hold: ms(limits.upstream_dns_hold_ms) };
        let health = HealthLimits {
            checks_max: usize::try_from(limits.upstream_checks_max).unwrap_or(usize::MAX),
            interval_min: ms(limits.upstream_check_interval_ms_min),
            time_max: ms(limits.upstream_check_ms_max),
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
        let run = move || {
            LocalSet::new().block_on(&runtime, async {
                let names = Names::new(&servers);
                tokio::select! {
                    () = keep_pools(registry, names, times, health) => {}
                    () = stopped.cancelled() => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread =
            std::thread::Builder::new().name("upstreams".to_owned()).spawn(run).map_err(StartError::Runtime)?;
        Ok(Self { stop, thread })
    }

    /// Returns a token whose cancellation stops the maintenance.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends the thread, and drops its state.
    pub(super) fn end(self) {
        self.stop.cancel();
        self.thread.join().ok();
    }
}
