//! Resolves names with times to live, by DNS servers of the system or of `[dns] servers`, falling back to the next
//! server if a server is silent or fails. Backends, webhooks, issuers, the ACME authority and ownership proofs of
//! hostnames are resolved here.
//!
//! hickory gets a single server per resolver. hickory's own server pool treats SERVFAIL and REFUSED as answers, gives
//! the whole time to the first server, and waits for both address families.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use parking_lot::Mutex;
use tokio::time::timeout;

/// Time limit of one question, over all servers.
const TIME_MAX: Duration = Duration::from_secs(7);
/// Weights of the rounds; each round asks all servers. A server's time doubles with each round, so that a silent server
/// delays little, and a slow server still gets enough time.
const ROUNDS: [u32; 3] = [1, 2, 4];
/// Weight of hickory's own timeout, after which hickory gives up a question and closes a TCP connection without an
/// answer: within the last round.
const OWN_PART: u32 = 3;
/// Maximum delay of the second address family after the first (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Maximum delay of the second address family while earlier addresses are in use: members are stable despite a slow
/// resolver.
const PATIENT_DELAY: Duration = Duration::from_secs(1);
/// Maximum delay after an NXDOMAIN answer, which some servers give for AAAA alone (RFC 4074 §4.2).
const NO_NAME_DELAY: Duration = Duration::from_millis(500);
/// Time to live of addresses from the hosts file: the longest time to live that hickory accepts.
const HOSTS_TTL: Duration = Duration::from_secs(86_400);
const HOSTS: &str = "/etc/hosts";
const RESOLVERS: &str = "/etc/resolv.conf";

/// The DNS answer for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer {
    /// Addresses, and their time to live.
    Addresses(Vec<IpAddr>, Duration),
    /// The name does not exist, or has no address.
    Nothing,
    /// No server answered.
    Failed(String),
}

/// Resolver of names.
pub struct Names {
    /// Empty for the system's servers.
    servers: Vec<SocketAddr>,
    time_max: Duration,
    /// The opened servers, and the content of the system's file at the time.
    opened: Mutex<Option<(Vec<u8>, Arc<DnsServers>)>>,
}

/// DNS servers to ask.
struct DnsServers {
    /// One resolver for each server, in the order of the file, as the C library asks: the names of the first server may
    /// be unknown to a later server, for example if a container network's resolver comes before the machine's resolver.
    resolvers: Vec<TokioResolver>,
    /// Search domains for names.
    search: Vec<Name>,
    /// A name with at least `dots_min` dots is first looked up as an absolute name.
    dots_min: usize,
    time_max: Duration,
}

impl Names {
    /// Creates a resolver by `servers`, or, if empty, by the system's servers with the system's search list; in both
    /// cases with the system's hosts file.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self::within(servers, TIME_MAX)
    }

    /// As [`Names::new`], with a time limit for a question.
    pub fn within(servers: &[SocketAddr], time_max: Duration) -> Self {
        Self { servers: servers.to_vec(), time_max, opened: Mutex::default() }
    }

    /// Resolves the A and AAAA addresses of a name.
    pub async fn ask(&self, name: &str) -> DnsAnswer {
        self.look_up(name, RESOLUTION_DELAY).await
    }

    /// As [`Names::ask`], if earlier addresses serve until the answer arrives.
    pub(crate) async fn ask_again(&self, name: &str) -> DnsAnswer {
        self.look_up(name, PATIENT_DELAY).await
    }

    /// Returns the socket addresses of a host, which is an address or a name.
    ///
    /// # Errors
    /// Fails if the name has no address, or if no server answers.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        match self.ask(host).await {
            DnsAnswer::Addresses(found, _) => {
                Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
            }
            DnsAnswer::Nothing => Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))),
            DnsAnswer::Failed(why) => Err(io::Error::other(why)),
        }
    }

    /// Returns the TXT records of a fully qualified name, each as one text; empty if the name has none.
    ///
    /// # Errors
    /// The reason without an answer, as the second half of a sentence.
    pub async fn texts(&self, name: &Name) -> Result<Vec<Vec<u8>>, String> {
        let servers = self.opened().map_err(|error| format!("DNS cannot be asked: {error}"))?;
        match servers.ask(name, RecordType::TXT).await {
            Ok(lookup) => {
                let texts = lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::TXT(text) => Some(text.txt_data.concat()),
                    _ => None,
                });
                Ok(texts.collect())
            }
            Err(error) if is_answer(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("DNS gives no answer: {error}")),
        }
    }

    async fn look_up(&self, name: &str, delay: Duration) -> DnsAnswer {
        let hosts = addresses_in(&String::from_utf8_lossy(&std::fs::read(HOSTS).unwrap_or_default()), name);
        if !hosts.is_empty() {
            return DnsAnswer::Addresses(sorted(hosts), HOSTS_TTL);
        }
        let servers = match self.opened() {
            Ok(servers) => servers,
            Err(error) => return DnsAnswer::Failed(format!("DNS cannot be asked: {error}")),
        };
        let Some(names) = servers.names(name) else {
            return DnsAnswer::Failed(format!("DNS has no name such as {name}"));
        };
        let mut failed = None;
        for name in names {
            match servers.addresses(&name, delay).await {
                DnsAnswer::Nothing => {}
                DnsAnswer::Failed(why) => failed = failed.or(Some(why)),
                found @ DnsAnswer::Addresses(..) => return found,
            }
        }
        failed.map_or(DnsAnswer::Nothing, DnsAnswer::Failed)
    }

    /// Returns the servers. The system's file is read each time, as the C library does: the listed servers change with
    /// networks.
    fn opened(&self) -> Result<Arc<DnsServers>, String> {
        let text = if self.servers.is_empty() { std::fs::read(RESOLVERS).unwrap_or_default() } else { Vec::new() };
        let mut opened = self.opened.lock();
        if let Some((of, servers)) = &*opened
            && *of == text
        {
            return Ok(Arc::clone(servers));
        }
        let (config, options) = if self.servers.is_empty() { of_system(&text)? } else { of_servers(&self.servers) };
        let servers = Arc::new(DnsServers::open(config, &options, self.time_max)?);
        *opened = Some((text, Arc::clone(&servers)));
        Ok(servers)
    }
}

fn of_servers(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let servers = servers.iter().map(|server| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        connections.iter_mut().for_each(|connection| connection.port = server.port());
        NameServerConfig::new(server.ip(), true, connections)
    });
    (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
}

/// Returns the system's servers, given the file's `text`; without a server in the file, the local machine
/// (resolv.conf(5)).
fn of_system(text: &[u8]) -> Result<(ResolverConfig, ResolverOpts), String> {
    let text = String::from_utf8_lossy(text);
    if text.lines().any(|line| line.trim_start().starts_with("nameserver")) {
        return read_system_conf().map_err(|error| error.to_string());
    }
    let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
    Ok((ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default()))
}

impl DnsServers {
    fn open(config: ResolverConfig, options: &ResolverOpts, time_max: Duration) -> Result<Self, String> {
        let (domain, search, servers) = config.into_parts();
        let own_time = share(time_max, servers.len(), OWN_PART);
        let resolvers = servers.into_iter().map(|server| {
            let config = ResolverConfig::from_name_servers(vec![server]);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            let own = builder.options_mut();
            // The caller caches the answer for the time to live.
            own.cache_size = 0;
            own.use_hosts_file = ResolveHosts::Never;
            (own.edns0, own.timeout, own.attempts) = (options.edns0, own_time, 0);
            builder.build()
        });
        let resolvers = resolvers.collect::<Result<Vec<_>, _>>().map_err(|error: NetError| error.to_string())?;
        Ok(Self { resolvers, search: domain.into_iter().chain(search).collect(), dots_min: options.ndots, time_max })
    }

    /// Returns the fully qualified candidates of a name, in lookup order; `None` if the name is no valid DNS name.
    /// Labels may hold bytes of any kind, including `_` (RFC 2181 §11).
    fn names(&self, name: &str) -> Option<Vec<Name>> {
        let plain = name.strip_suffix('.').unwrap_or(name);
        let own = Name::from_labels(plain.split('.').map(str::as_bytes)).ok()?;
        if plain.len() < name.len() {
            return Some(vec![own]);
        }
        let is_first = plain.matches('.').count() >= self.dots_min || own.is_localhost();
        let mut names: Vec<Name> = Vec::new();
        let below = self.search.iter().filter_map(|domain| own.clone().append_domain(domain).ok());
        let last = (!is_first).then(|| own.clone());
        for name in is_first.then(|| own.clone()).into_iter().chain(below).chain(last) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Some(names)
    }

    /// Resolves the addresses of a fully qualified name. An address family waits for the second family only for a
    /// limited time: some names never get an answer for one family.
    async fn addresses(&self, name: &Name, delay: Duration) -> DnsAnswer {
        let four = pin!(self.ask(name, RecordType::A));
        let six = pin!(self.ask(name, RecordType::AAAA));
        let (first, other) = select(four, six).await.factor_first();
        let other = match &first {
            Ok(_) => timeout(delay, other).await.ok(),
            Err(error) if error.is_nx_domain() => timeout(NO_NAME_DELAY, other).await.ok(),
            Err(_) => Some(other.await),
        };
        let (mut found, mut until, mut failed, mut is_no_name) = (Vec::new(), None::<Instant>, None, false);
        for answer in [Some(first), other] {
            match answer {
                Some(Ok(lookup)) => {
                    found.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr()));
                    let end = lookup.valid_until();
                    until = Some(until.map_or(end, |until| until.min(end)));
                }
                Some(Err(error)) if error.is_nx_domain() => is_no_name = true,
                Some(Err(error)) if is_answer(&error) => {}
                Some(Err(error)) => failed = Some(error),
                None => failed = Some(NetError::Timeout),
            }
        }
        match (until, failed) {
            (Some(until), _) if !found.is_empty() => {
                DnsAnswer::Addresses(sorted(found), until.saturating_duration_since(Instant::now()))
            }
            // A name that does not exist has no address of the second family either (RFC 8020 §2).
            (_, Some(error)) if !is_no_name => DnsAnswer::Failed(format!("DNS gives no answer: {error}")),
            _ => DnsAnswer::Nothing,
        }
    }

    /// Returns the first definite answer of a server.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        let mut failed = NetError::NoConnections;
        for weight in ROUNDS {
            let share = share(self.time_max, self.resolvers.len(), weight);
            for resolver in &self.resolvers {
                match timeout(share, resolver.lookup(name.clone(), kind)).await {
                    Ok(Err(error)) if !is_answer(&error) => failed = error,
                    Ok(answer) => return answer,
                    Err(_elapsed) => failed = NetError::Timeout,
                }
            }
        }
        Err(failed)
    }
}

/// Returns the time of one of `servers` in a round with `weight`.
fn share(time_max: Duration, servers: usize, weight: u32) -> Duration {
    let servers = u32::try_from(servers).unwrap_or(u32::MAX);
    let parts = servers.saturating_mul(ROUNDS.iter().sum());
    time_max.saturating_mul(weight).checked_div(parts).unwrap_or_default()
}

/// Returns true if the server asserts that no record exists. A referral to other servers is no such answer, because the
/// server does not recurse.
fn is_answer(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { soa, ns, response_code, .. })) => {
            *response_code == ResponseCode::NXDomain || soa.is_some() || ns.is_none()
        }
        _ => false,
    }
}

/// Returns the addresses of a name in a hosts file (hosts(5)).
fn addresses_in(hosts: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let of_line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.trim_start_matches('\u{feff}').lines().filter_map(of_line).collect()
}

fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_hosts_has_names_of_any_kind() {
        let hosts = "\u{feff}127.0.0.1 localhost # my_api\n10.0.0.5\tMy_Api project_api_1\n#10.0.0.6 my_api\nmy_api\n\
                     fd12::5 my_api\nfe80::1%lo0 my_api\n";
        for (name, expected) in [
            ("my_api", &["10.0.0.5", "fd12::5"][..]),
            ("my_api.", &["10.0.0.5", "fd12::5"]),
            ("project_api_1", &["10.0.0.5"]),
            ("localhost", &["127.0.0.1"]),
            ("api", &[]),
        ] {
            let expected: Vec<IpAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(addresses_in(hosts, name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_looked_for_in_the_order_of_the_c_library() {
        let search = ["svc.test.", "corp.test."].map(|domain| Name::from_ascii(domain).unwrap());
        let names = |dots_min: usize, name: &str| {
            let search = search.to_vec();
            let servers = DnsServers { resolvers: Vec::new(), search, dots_min, time_max: TIME_MAX };
            let names = servers.names(name)?;
            Some(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        let long = format!("{0}.{0}.{0}.{0}", "a".repeat(60));
        for (dots_min, name, expected) in [
            (1, "api", Some("api.svc.test. api.corp.test. api.")),
            (1, "my_api", Some("my_api.svc.test. my_api.corp.test. my_api.")),
            (1, "project_api_1_", Some("project_api_1_.svc.test. project_api_1_.corp.test. project_api_1_.")),
            (1, "api.", Some("api.")),
            (1, "a.b", Some("a.b. a.b.svc.test. a.b.corp.test.")),
            (5, "a.b", Some("a.b.svc.test. a.b.corp.test. a.b.")),
            (1, "localhost", Some("localhost. localhost.svc.test. localhost.corp.test.")),
            (1, "", None),
            (1, "a..b", None),
            (1, ".a", None),
            (1, &"a".repeat(64), None),
            (1, &format!("{long}.aaaaaaaaaaaa"), None),
        ] {
            assert_eq!(names(dots_min, name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_shares_of_all_servers_are_the_time_of_a_question() {
        for servers in 1..9_u32 {
            let of_one = |weight: u32| share(TIME_MAX, usize::try_from(servers).unwrap(), weight);
            let all: Duration = ROUNDS.map(of_one).iter().sum();
            let all = all * servers;
            assert!(all <= TIME_MAX && all > TIME_MAX - Duration::from_micros(1), "{servers}: {all:?}");
            assert!(ROUNDS.iter().any(|weight| of_one(OWN_PART) < of_one(*weight)));
        }
    }
}
