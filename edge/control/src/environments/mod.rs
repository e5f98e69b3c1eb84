//! What is set for an environment apart from what is live in it: settings and secrets, hostnames, members of upstreams,
//! aliases, locks and pauses, how many instances run, and which environments there are at all.
//!
//! Each change is one commit of [`Ledger`]; when it returns, requests see it.

mod admin_host;
mod aliases;
mod apps;
mod counts;
mod data;
mod hostnames;
mod idle_backends;
mod instance_nodes;
mod instances;
mod kept_reach;
mod lock;
mod marker;
mod pause;
mod places;
mod protection;
mod reserved;
mod run;
mod schedules;
mod settings;
mod shares;
mod signers;
mod status;
#[cfg(test)]
mod tests;
mod turns;
mod unsigned;
mod upstreams;
mod user_ids;

use std::net::SocketAddr;
use std::sync::Arc;

use devanture_config::edge_toml::Names;
use tokio::sync::Mutex;

use crate::cluster::Nodes;
use crate::ledger::Ledger;
use crate::runner::Runner;
use devanture_base::fair::Shares;
use devanture_serve::proxy::Registry;
use devanture_serve::proxy::address::{Policy, UpstreamCheck};
use devanture_store::blobs::Blobs;

pub use aliases::keep_sweeping_aliases;
pub(crate) use aliases::{Aliased, Aliasing, PREVIEW, check_expected_alias};
pub(crate) use hostnames::Claims;
pub use hostnames::{VisitorPorts, https_records};
pub use instances::SettingsOf;
pub use kept_reach::ALLOW_OR_PUSH;
pub(crate) use lock::{Gate, Passage, locked_by};
pub(crate) use places::check_may_be_live;
pub use reserved::clashing_names;
pub(crate) use settings::etag as settings_etag;
pub(crate) use settings::{Coming, Keys, Unopened};
pub use settings::{KeyFile, LostSecrets, lost_secrets};
pub use upstreams::MemberAt;
pub use user_ids::give_user_ids_apart;

/// Upstreams, and processes, of one environment of which what was said by the API is remembered; beyond it, only of
/// those that the live version names.
const REMEMBERED_MAX: usize = 200;

/// What is set for the environments of all apps.
pub struct Environments {
    ledger: Arc<Ledger>,
    blobs: Arc<dyn Blobs>,
    /// Names that no new app may have.
    names: Names,
    /// Apps, environments and aliases are made one at a time, so that no two of them are the last one that a limit
    /// allows.
    making: Mutex<()>,
    /// Where DNS is asked; the system's resolvers where there is none.
    dns_servers: Vec<SocketAddr>,
    upstream_check: UpstreamCheck,
    prover: hostnames::Prover,
    members: upstreams::Members,
    keys: Arc<KeyFile>,
    /// Environments whose secrets do not open, as of the last look.
    lost_secrets: arc_swap::ArcSwap<Vec<LostSecrets>>,
    /// Backends that are live and not run, as of the last look.
    idle: idle_backends::FoundInLive<idle_backends::IdleBackend>,
    /// What is live and reaches private addresses that nobody allows any more, as of the last look.
    kept_reach: idle_backends::FoundInLive<kept_reach::KeptAddresses>,
    instances: instances::Instances,
    schedules: schedules::Schedules,
    /// Places of commands that run once.
    runs: Arc<Shares>,
}

/// What [`Environments`] is made of.
pub struct Parts {
    /// Bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Names that no new app may have.
    pub names: Names,
    /// Where DNS is asked; the system's resolvers where there is none.
    pub dns_servers: Vec<SocketAddr>,
    /// Where upstreams may point.
    pub upstreams: Policy,
    /// The pools of upstreams.
    pub registry: Registry,
    /// The keys that secrets are sealed with.
    pub keys: Arc<KeyFile>,
    /// What this node is called.
    pub node: String,
    /// The other nodes; `None` of an edge that is alone.
    pub nodes: Option<Nodes>,
    /// What runs backends, where it does, and what gives them their settings.
    pub runner: Option<(Runner, Arc<SettingsOf>)>,
}

impl Environments {
    /// Puts the parts together.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, parts: Parts) -> Self {
        let (runner, settings_of) = parts.runner.unzip();
        Self {
            prover: hostnames::Prover::new(
                Arc::clone(&ledger.catalog),
                &parts.dns_servers,
                ledger.limits().dns_time_ms_max,
                ledger.limits().dns_lookups_max,
            ),
            runs: Shares::new(ledger.limits().runs_max),
            ledger,
            blobs: parts.blobs,
            names: parts.names,
            making: Mutex::default(),
            members: upstreams::Members::new(parts.registry, parts.upstreams),
            keys: parts.keys,
            lost_secrets: arc_swap::ArcSwap::default(),
            idle: idle_backends::FoundInLive::default(),
            kept_reach: idle_backends::FoundInLive::default(),
            instances: instances::Instances::new(runner, settings_of, parts.node, parts.nodes),
            schedules: schedules::Schedules::default(),
            upstream_check: UpstreamCheck::new(&parts.dns_servers),
            dns_servers: parts.dns_servers,
        }
    }

    /// Checks where upstreams point that are published.
    pub(crate) const fn upstream_check(&self) -> &UpstreamCheck {
        &self.upstream_check
    }

    /// The keys that secrets are sealed with.
    pub(crate) fn keys(&self) -> &Arc<KeyFile> {
        &self.keys
    }

    /// Where DNS is asked; the system's resolvers where there is none.
    pub(crate) fn dns_servers(&self) -> &[SocketAddr] {
        &self.dns_servers
    }
}

#[cfg(test)]
impl Parts {
    /// Where nothing runs and nothing is proxied.
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
