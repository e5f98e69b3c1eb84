//! Resolves the names of backends, with times to live: by DNS servers of the system or of `[dns] servers`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Longest time of one server for one answer.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Attempts at each server.
const TRIES: usize = 2;

/// The DNS answer for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DnsAnswer {
    /// It has these addresses, for so long.
    Addresses(Vec<IpAddr>, Duration),
    /// There is no such name, or it has no address.
    Nothing,
    /// Nobody answered.
    Failed(String),
}

/// Asks about names.
pub struct Names {
    resolver: Result<TokioResolver, String>,
}

impl Names {
    /// By `servers`, or where there are none by those of the system, with its search list and its file of hosts.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = server.port());
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            // The caller keeps the answer for its time to live.
            options.cache_size = 0;
            // In the order of the file, as the C library asks: a later server may not know names that the first one
            // has, such as the resolver of the machine beside that of a network of containers.
            options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
            options.num_concurrent_reqs = 1;
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            (options.timeout, options.attempts) = (TIME_MAX, TRIES);
            builder.build()
        });
        Self { resolver: resolver.map_err(|error| error.to_string()) }
    }

    /// The addresses of a name, A and AAAA.
    pub(crate) async fn ask(&self, name: &str) -> DnsAnswer {
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => return DnsAnswer::Failed(format!("DNS cannot be asked: {error}")),
        };
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let left = found.valid_until().saturating_duration_since(Instant::now());
                let mut addresses: Vec<IpAddr> = found.iter().collect();
                addresses.sort_unstable();
                addresses.dedup();
                if addresses.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Addresses(addresses, left) }
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => DnsAnswer::Nothing,
            Err(error) => DnsAnswer::Failed(format!("DNS gives no answer: {error}")),
        }
    }
}
