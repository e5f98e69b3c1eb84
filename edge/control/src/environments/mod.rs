//! Everything of environments apart from versions: the features, wired together, and a status across all features.
//!
//! Each feature is a module of `control`; each change is a single commit of [`Ledger`], and requests see the change
//! once the call returns.

mod status;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use devanture_config::edge_toml::Names;

use crate::aliases::Aliases;
use crate::cluster::Nodes;
use crate::commands::Commands;
use crate::data::EnvironmentData;
use crate::hostnames::Hostnames;
use crate::instances::Instances;
use crate::ledger::Ledger;
use crate::pauses::Pauses;
use crate::places::Places;
use crate::protection::Protections;
use crate::runner::Runner;
use crate::schedules::Scheduler;
use crate::settings::{KeyFile, Settings, SettingsOf};
use crate::signing::Signing;
use crate::upstreams::Upstreams;
use devanture_base::telemetry::Gauges;
use devanture_serve::proxy::Registry;
use devanture_serve::proxy::address::{Policy, UpstreamCheck};
use devanture_store::blobs::Blobs;

/// Features of the environments of all apps, apart from versions.
pub struct Environments {
    ledger: Arc<Ledger>,
    blobs: Arc<dyn Blobs>,
    /// Apps and environments.
    pub places: Arc<Places>,
    /// Signers and signatures.
    pub signing: Arc<Signing>,
    /// Pauses.
    pub pauses: Arc<Pauses>,
    /// Pools of backends.
    pub upstreams: Arc<Upstreams>,
    /// Instances of backends.
    pub instances: Arc<Instances>,
    /// Hostnames.
    pub hostnames: Arc<Hostnames>,
    /// Aliases.
    pub aliases: Arc<Aliases>,
    /// Settings and secrets.
    pub settings: Arc<Settings>,
    /// Protections and share links.
    pub protection: Arc<Protections>,
    /// Kept data.
    pub data: Arc<EnvironmentData>,
    /// Commands that run once.
    pub commands: Arc<Commands>,
    /// Schedules.
    pub schedules: Arc<Scheduler>,
}

/// Parts of [`Environments`].
pub struct Parts {
    /// Store of file contents.
    pub blobs: Arc<dyn Blobs>,
    /// Names reserved from new apps.
    pub names: Names,
    /// DNS servers; empty for the resolvers of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Addresses allowed for upstreams.
    pub upstreams: Policy,
    /// The pools of upstreams.
    pub registry: Registry,
    /// Keys for sealing secrets.
    pub keys: Arc<KeyFile>,
    /// Name of this node.
    pub node: String,
    /// Other nodes of the cluster; `None` without a cluster.
    pub nodes: Option<Nodes>,
    /// Runner of backends and source of their settings; `None` if this node runs no backends.
    pub runner: Option<(Runner, Arc<SettingsOf>)>,
}

impl Environments {
    /// Wires the features together.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, parts: Parts) -> Self {
        let Parts { blobs, names, dns_servers, upstreams: policy, registry, keys, node, nodes, runner } = parts;
        let (runner, variables) = runner.unzip();
        let shared = || Arc::clone(&ledger);
        let places = Arc::new(Places::new(shared(), names));
        let signing = Arc::new(Signing::new(shared(), Arc::clone(&places)));
        let pauses = Arc::new(Pauses::new(shared(), Arc::clone(&places), Arc::clone(&signing)));
        let check = UpstreamCheck::new(&dns_servers);
        let upstreams = Arc::new(Upstreams::new(shared(), registry, policy, check));
        let instances = Instances::new(shared(), Arc::clone(&blobs), Arc::clone(&signing), runner, node, nodes);
        let instances = Arc::new(instances);
        let hostnames = Arc::new(Hostnames::new(
            shared(),
            Arc::clone(&blobs),
            Arc::clone(&places),
            Arc::clone(&signing),
            dns_servers,
        ));
        let settings = Arc::new(Settings::new(
            shared(),
            Arc::clone(&keys),
            Arc::clone(&places),
            Arc::clone(&signing),
            Arc::clone(&instances),
            variables,
        ));
        let aliases = Aliases::new(shared(), Arc::clone(&places), Arc::clone(&hostnames), Arc::clone(&settings));
        let aliases = Arc::new(aliases);
        Self {
            protection: Arc::new(Protections::new(shared(), keys, Arc::clone(&aliases))),
            data: Arc::new(EnvironmentData::new(shared(), Arc::clone(&instances))),
            commands: Arc::new(Commands::new(shared(), Arc::clone(&instances), Arc::clone(&aliases))),
            schedules: Arc::new(Scheduler::new(shared(), Arc::clone(&instances), Arc::clone(&pauses))),
            ledger: shared(),
            blobs,
            places,
            signing,
            pauses,
            upstreams,
            instances,
            hostnames,
            aliases,
            settings,
        }
    }

    /// Adds metrics of the pools, the instances, and the secrets that cannot be opened.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        self.upstreams.registry().add_metrics(gauges);
        self.instances.add_instance_metrics(gauges);
        self.settings.add_secret_metrics(gauges);
    }
}

#[cfg(test)]
impl Parts {
    /// Parts without a runner and without proxying.
    pub(crate) fn plain(blobs: Arc<dyn Blobs>, folder: &std::path::Path) -> Self {
        let policy = Policy::default();
        let tls = devanture_serve::proxy::tls::trusting([]).unwrap();
        let settings =
            devanture_serve::proxy::RegistrySettings { policy: policy.clone(), tls, requests_max: 1, sockets_max: 1 };
        Self {
            blobs,
            names: Names::default(),
            dns_servers: Vec::new(),
            upstreams: policy,
            registry: Registry::new(settings),
            keys: Arc::new(KeyFile::new(Some(folder.join("secrets.key")))),
            node: "node-1".to_owned(),
            nodes: None,
            runner: None,
        }
    }
}
