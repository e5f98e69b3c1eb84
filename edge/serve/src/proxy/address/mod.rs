//! Permitted upstream addresses: address classes, and the policy checked at publish and again at each connect.

mod found_socket;
mod internal;
mod nodes;
mod published;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::AddressBlock;
use devanture_config::site_toml::UpstreamUrl;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use found_socket::FoundSocket;
pub use internal::{InstancePort, InternalAddresses, StoreAddress};
pub use nodes::{NodeListeners, OtherNodes};
pub use published::{APP_PARTS, LOOKUPS_MAX, LOOKUPS_TIME_MAX, Refusals, UpstreamCheck};

/// Endpoint of a connection to a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// A Unix socket of the machine.
    Socket(PathBuf),
    /// An address and a port.
    Tcp(SocketAddr),
    /// An instance on another node of the cluster.
    Node(NodeInstance),
}

/// An instance on another node of the cluster, reached through a tunnel to the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeInstance {
    /// The node.
    pub node: String,
    /// Address at which other nodes reach the node.
    pub advertise: SocketAddr,
    /// Process number of the node.
    pub process: u64,
    /// Endpoint at which the instance listens on its node.
    pub instance: Box<Endpoint>,
}

/// Returns the address that rate limits and counts use for `address`: an IPv6 subscriber has a whole /64 (RFC 6177).
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Endpoint {
    /// Returns the path of a Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            Self::Tcp(_) | Self::Node(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
            Self::Node(NodeInstance { node, instance, .. }) => write!(f, "{node}/{instance}"),
        }
    }
}

/// The kind of network of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// All machines on the local network: 255.255.255.255.
    Broadcast,
    /// Reserved for documentation.
    Documentation,
    /// Only one link: 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// The loopback addresses of the machine.
    Loopback,
    /// An address of a network interface of the machine, which other machines reach too.
    Machine,
    /// Metadata services, by which a cloud gives a machine its credentials.
    Metadata,
    /// Multicast groups.
    Multicast,
    /// A private network: RFC 1918, unique local IPv6, and the shared address space of carriers (RFC 6598).
    Private,
    /// The open internet.
    Public,
    /// Reserved for any other purpose.
    Reserved,
    /// The unspecified address, which Linux treats as the local machine.
    Unspecified,
}

/// Addresses of cloud metadata services.
const METADATA_V4: &[Ipv4Addr] = &[
    // Most clouds; containers of AWS (tasks, pods); Alibaba; Azure's wire server; Oracle's first generation.
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: &[Ipv6Addr] = &[
    // AWS, its pods, Google, Oracle, Scaleway.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// Destination port of the hypothetical packet: the discard service (RFC 863).
const DISCARD_PORT: u16 = 9;

/// Returns the class of `address` by its bits alone; an IPv4 address embedded in an IPv6 address has its own class.
#[must_use]
pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.contains(&address) {
        return Class::Metadata;
    }
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        // Protocol assignments, deprecated 6to4 relays, benchmarks.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Class::Reserved,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    if METADATA_V6.contains(&address) {
        return Class::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => return Class::Loopback,
        // Teredo (RFC 4380) embeds the server's address and, inverted, the client's: both must be harmless.
        [0x2001, 0, server_high, server_low, _, _, client_high, client_low] => {
            let server = class_v4(v4(server_high, server_low));
            return if server == Class::Public { class_v4(v4(!client_high, !client_low)) } else { server };
        }
        _ => {}
    }
    if let Some(inner) = embedded(address) {
        return class_v4(inner);
    }
    match address.segments() {
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        // Unique local (RFC 4193), and the deprecated site-local addresses.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        // Protocol assignments (RFC 2928), none of which is a host of the open internet.
        [0x2001, 0..=0x01ff, ..] => Class::Reserved,
        // ISATAP (RFC 5214 §6.1): an ISATAP interface extracts the IPv4 address and sends to the IPv4 address.
        [0x2000..=0x3fff, _, _, _, 0 | 0x0200, 0x5efe, high, low] => class_v4(v4(high, low)),
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

/// Returns the IPv4 address embedded in an IPv6 address: mapped, compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // SIIT's translated form (RFC 2765).
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// Returns the embedded IPv4 address of an IPv6 address, and any other address unchanged.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        // `::` and `::1` have the form of an embedded address, but embed none.
        IpAddr::V6(six) if !six.is_loopback() && !six.is_unspecified() => embedded(six).map_or(address, IpAddr::V4),
        other => other,
    }
}

/// The upstream addresses open to one version.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Address blocks open to every version: `[upstreams] allow` of `edge.toml`.
    pub allow: Arc<[AddressBlock]>,
    /// The edge's own listeners, closed to every version.
    pub own: Arc<[SocketAddr]>,
    /// The listeners of the other nodes of the cluster, closed to every version.
    pub nodes: OtherNodes,
    /// Ports of instances and endpoints of the stores, closed to every version.
    pub internal: InternalAddresses,
    /// Unix sockets of the edge and of its helper processes, closed to every version.
    pub own_sockets: Arc<[PathBuf]>,
    /// Folders of the edge and of its instances, whose sockets are closed to every version.
    pub own_folders: Arc<[PathBuf]>,
    /// Folders whose sockets are open to every version: `[upstreams] sockets` of `edge.toml`.
    pub sockets: Arc<[PathBuf]>,
    /// True if an admin of every app vouches for the version: loopback addresses, private addresses and the machine's
    /// own addresses are permitted.
    pub trusted: bool,
}

impl Policy {
    /// Checks a connection to `address`.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal { endpoint: Endpoint::Tcp(address), reason });
        if let Some(reason) = self.listens_there(address) {
            return refuse(reason);
        }
        let class = match class(address.ip()) {
            // Packets to a local address stay on the machine, past every firewall between the machine and the open
            // internet.
            Class::Public if is_local(plain(address.ip())) => Class::Machine,
            class => class,
        };
        let listed =
            || self.allow.iter().any(|block| block.contains(plain(address.ip())) || block.contains(address.ip()));
        let permitted = match class {
            Class::Public => Ok(()),
            Class::Broadcast | Class::LinkLocal | Class::Metadata | Class::Multicast | Class::Unspecified => {
                refuse(Reason::Never(class))
            }
            Class::Loopback | Class::Machine | Class::Private if self.trusted || listed() => Ok(()),
            Class::Documentation | Class::Reserved if listed() => Ok(()),
            Class::Documentation | Class::Loopback | Class::Machine | Class::Private | Class::Reserved => {
                refuse(Reason::NotAllowed(class))
            }
        };
        // The last check: a stranger who may not reach the machine does not learn which ports are instances.
        permitted.and_then(|()| if self.internal.are_at(address) { refuse(Reason::Internal) } else { Ok(()) })
    }
}

impl Policy {
    /// Checks a connection to `endpoint`.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn permits_endpoint(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        match endpoint {
            Endpoint::Tcp(address) => self.permits(*address),
            Endpoint::Socket(path) => self.permits_socket(path),
            // A version cannot declare a node's instance.
            Endpoint::Node(_) => Err(Refusal { endpoint: endpoint.clone(), reason: Reason::Own }),
        }
    }

    /// Checks a socket path with links resolved. A socket is a file of the machine and may lead to more than a web
    /// server, so that no token opens a socket: only the operator declares the folders of backend sockets.
    fn permits_socket(&self, path: &Path) -> Result<(), Refusal> {
        let leads_to = real(path);
        self.permits_file(path, &leads_to, self.is_own_socket(&leads_to))
    }

    /// Checks a connection as [`Policy::permits_endpoint`] does, on the resolved socket.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(crate) fn permits_found(&self, found: &FoundSocket) -> Result<(), Refusal> {
        self.permits_file(found.path(), found.leads_to(), self.is_own_file(found))
    }

    fn permits_file(&self, path: &Path, leads_to: &Path, is_own: bool) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal { endpoint: Endpoint::Socket(path.to_owned()), reason });
        let is_below = |folders: &[PathBuf]| folders.iter().any(|folder| leads_to.starts_with(real(folder)));
        if is_own || is_below(&self.own_folders) {
            return refuse(Reason::Own);
        }
        let is_listed = is_below(&self.sockets);
        if is_listed { Ok(()) } else { refuse(Reason::SocketNotAllowed) }
    }

    /// Checks a connection as [`Policy::permits_instance`] does, on the resolved socket.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(crate) fn permits_found_instance(&self, found: &FoundSocket) -> Result<(), Refusal> {
        let endpoint = || Endpoint::Socket(found.path().to_owned());
        if self.is_own_file(found) { Err(Refusal { endpoint: endpoint(), reason: Reason::Own }) } else { Ok(()) }
    }

    fn is_own_file(&self, found: &FoundSocket) -> bool {
        self.own_sockets.iter().any(|own| found.is_at(own))
    }

    fn is_own_socket(&self, leads_to: &Path) -> bool {
        self.own_sockets.iter().any(|own| real(own) == leads_to)
    }

    /// Checks a connection to a managed instance: any endpoint is permitted, except the edge itself, which trusts
    /// clients from the machine.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn permits_instance(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let refused = match endpoint {
            Endpoint::Tcp(address) => self.listens_there(*address),
            Endpoint::Socket(path) => self.is_own_socket(&real(path)).then_some(Reason::Own),
            // The instance's node checks the instance.
            Endpoint::Node(_) => None,
        };
        refused.map_or(Ok(()), |reason| Err(Refusal { endpoint: endpoint.clone(), reason }))
    }

    /// Returns the reason if the edge itself or another node of the cluster listens at `address`.
    fn listens_there(&self, address: SocketAddr) -> Option<Reason> {
        if self.own.iter().any(|own| is_own(*own, address)) {
            return Some(Reason::Own);
        }
        self.nodes.listen_at(address).then_some(Reason::Node)
    }
}

/// Returns the path with links resolved, or the path unchanged if the resolution fails.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_missing| path.to_owned())
}

/// Returns true if a connection to `address` would end at the edge's own listener `own`.
fn is_own(own: SocketAddr, address: SocketAddr) -> bool {
    if own.port() != address.port() {
        return false;
    }
    let (own, address) = (plain(own.ip()), plain(address.ip()));
    // A listener bound to the unspecified address answers at every address of the machine.
    own == address || address.is_unspecified() || own.is_unspecified() && (address.is_loopback() || is_local(address))
}

/// Returns true if the machine has `address`, without sending a packet. A socket can only be bound to an address of the
/// machine, unless the kernel's `ip_nonlocal_bind` is set, as with keepalived.
fn is_local(address: IpAddr) -> bool {
    may_bind(address) && (!may_bind(elsewhere(address)) || is_source_to_itself(address))
}

/// Returns true if a socket can be bound to `address`, and also if the system has no resources for the test.
fn may_bind(address: IpAddr) -> bool {
    let no_room = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].map(Errno::raw_os_error);
    let bound = UdpSocket::bind((address, 0));
    bound.map_or_else(|error| error.raw_os_error().is_some_and(|code| no_room.contains(&code)), |_socket| true)
}

/// Returns an address of the same family that no machine has (RFC 5737, RFC 3849).
fn elsewhere(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Returns true if packets to `address` would have `address` as their source, as packets to an address of the machine
/// do.
fn is_source_to_itself(address: IpAddr) -> bool {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let Ok(socket) = UdpSocket::bind((any, 0)) else { return true };
    let source = socket.connect((address, DISCARD_PORT)).and_then(|()| socket.local_addr());
    source.is_ok_and(|source| source.ip() == address)
}

/// Refusal of an upstream address; the sentence addresses the author of the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The refused endpoint.
    pub endpoint: Endpoint,
    /// The reason.
    pub reason: Reason,
}

/// Reason to refuse an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The address belongs to a managed instance or a store of the edge.
    Internal,
    /// The class is closed to every version.
    Never(Class),
    /// The address requires `[upstreams] allow`; or, for loopback, private addresses and the machine's own addresses,
    /// an admin of every app.
    NotAllowed(Class),
    /// The address is a listener of another node of the cluster.
    Node,
    /// The address is a listener of the edge.
    Own,
    /// The socket requires `[upstreams] sockets`.
    SocketNotAllowed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint::Tcp(address) = &self.endpoint else {
            return match self.reason {
                Reason::Own => write!(f, "{} is the edge's own socket, which no route may reach", self.endpoint),
                _ => write!(
                    f,
                    "{}: such an upstream needs its folder in [upstreams] sockets of edge.toml",
                    self.endpoint
                ),
            };
        };
        let ip = address.ip();
        match self.reason {
            Reason::Internal => {
                write!(f, "{address} is of an instance or a store of the edge, which no route may reach")
            }
            Reason::Node => {
                write!(f, "{address} is a listener of another node of the cluster, which no route may reach")
            }
            Reason::Own => write!(f, "{address} is a listener of the edge itself, which no route may reach"),
            Reason::Never(class) => write!(f, "{ip} is {class}, which no route may reach"),
            Reason::NotAllowed(class @ (Class::Loopback | Class::Machine | Class::Private)) => write!(
                f,
                "{ip} is {class}: such an upstream needs its block in [upstreams] allow of edge.toml, or a push by an admin of every app"
            ),
            Reason::NotAllowed(_) | Reason::SocketNotAllowed => {
                let class = class(ip);
                write!(f, "{ip} is {class}: such an upstream needs its block in [upstreams] allow of edge.toml")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Returns the line of `edge.toml` that opens `addresses` to every version.
pub fn allow_line(addresses: impl IntoIterator<Item = IpAddr>) -> String {
    let addresses: BTreeSet<IpAddr> = addresses.into_iter().map(plain).collect();
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("allow = [{}]", quoted.join(", "))
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "an address set aside for documentation",
            Self::LinkLocal => "a link-local address",
            Self::Loopback => "a loopback address",
            Self::Machine => "an address of this machine",
            Self::Metadata => "a cloud's metadata service",
            Self::Multicast => "a multicast address",
            Self::Private => "a private address",
            Self::Public => "a public address",
            Self::Reserved => "a reserved address",
            Self::Unspecified => "an unspecified address",
        })
    }
}

/// A host: an address, or a name to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

/// Returns host and port of an `http` or `https` URL.
pub(crate) fn host_and_port(url: &UpstreamUrl) -> (Host, u16) {
    let url = url.url();
    let host = url.host_str().unwrap_or_default();
    let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(six) => six.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    };
    let default = if url.scheme() == "https" { 443 } else { 80 };
    (address.map_or_else(|| Host::Name(host.to_owned()), Host::Address), url.port().unwrap_or(default))
}

#[cfg(test)]
mod tests;
