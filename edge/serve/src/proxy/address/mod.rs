//! Where an upstream may point: addresses by class, and the policy that is asked at publish and again at each connect.

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

/// Where a connection to a member goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// A socket of this machine.
    Socket(PathBuf),
    /// An address and a port.
    Tcp(SocketAddr),
    /// An instance of another node of the cluster.
    Node(NodeInstance),
}

/// An instance of another node of the cluster, which is reached through that node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeInstance {
    /// The node.
    pub node: String,
    /// Where other nodes reach it.
    pub advertise: SocketAddr,
    /// A number of the node's process.
    pub process: u64,
    /// Where the instance listens on its node.
    pub instance: Box<Endpoint>,
}

/// The address that what comes from `address` is counted under: one subscriber has a whole /64 of IPv6 (RFC 6177).
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Endpoint {
    /// The path of the socket, where it is one of this machine.
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
    /// Everybody on the local network: 255.255.255.255.
    Broadcast,
    /// Set aside for examples.
    Documentation,
    /// One cable only: 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// This machine, which each machine has.
    Loopback,
    /// This machine, by an address of one of its interfaces that others reach it by, too.
    Machine,
    /// The services of a cloud that tell a machine its own credentials.
    Metadata,
    /// Groups of machines.
    Multicast,
    /// A private network: RFC 1918, unique local IPv6, and the shared space of carriers (RFC 6598).
    Private,
    /// The open internet.
    Public,
    /// Set aside for anything else.
    Reserved,
    /// No address at all, which Linux takes for this machine.
    Unspecified,
}

/// Addresses under which clouds answer a machine that asks who it is.
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

/// The port that a packet would go to if one were sent: that of a service which drops them (RFC 863).
const DISCARD_PORT: u16 = 9;

/// The class of `address`, by its numbers alone; an IPv4 address inside an IPv6 one counts as itself.
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
        // Protocol assignments, the old 6to4 relays, benchmarks.
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
        // Teredo (RFC 4380) carries the server's address and, inverted, the client's: both must be harmless.
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
        // Unique local (RFC 4193), and the site-local addresses that it replaced.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        // Protocol assignments (RFC 2928), of which none is a host of the open internet.
        [0x2001, 0..=0x01ff, ..] => Class::Reserved,
        // ISATAP (RFC 5214 §6.1): an interface of that kind takes it out of its prefix to the IPv4 address.
        [0x2000..=0x3fff, _, _, _, 0 | 0x0200, 0x5efe, high, low] => class_v4(v4(high, low)),
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped, compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056).
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

/// The address that is meant, out of its IPv6 clothes.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        // `::` and `::1` have the form of an embedded address and are none.
        IpAddr::V6(six) if !six.is_loopback() && !six.is_unspecified() => embedded(six).map_or(address, IpAddr::V4),
        other => other,
    }
}

/// The addresses that one version may reach.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Blocks that everybody may reach: `[upstreams] allow` of `edge.toml`.
    pub allow: Arc<[AddressBlock]>,
    /// The edge's own listeners, which nobody may reach.
    pub own: Arc<[SocketAddr]>,
    /// The listeners of the other nodes of the cluster, which nobody may reach.
    pub nodes: OtherNodes,
    /// Ports of instances and endpoints of the stores, which nobody may reach.
    pub internal: InternalAddresses,
    /// Sockets of the edge and of what it has work for it, which nobody may reach.
    pub own_sockets: Arc<[PathBuf]>,
    /// Folders of the edge and of its instances, whose sockets nobody may reach either.
    pub own_folders: Arc<[PathBuf]>,
    /// Folders whose sockets everybody may reach: `[upstreams] sockets` of `edge.toml`.
    pub sockets: Arc<[PathBuf]>,
    /// Whether an admin of every app vouches for the version: it may reach loopback and private addresses, and the
    /// machine's own.
    pub trusted: bool,
}

impl Policy {
    /// Whether a connection to `address` may be made.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal { endpoint: Endpoint::Tcp(address), reason });
        if let Some(reason) = self.listens_there(address) {
            return refuse(reason);
        }
        let class = match class(address.ip()) {
            // What goes there stays on this machine, past every firewall between it and the open internet.
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
        // Asked last: a stranger who may not reach this machine does not learn which of its ports are instances.
        permitted.and_then(|()| if self.internal.are_at(address) { refuse(Reason::Internal) } else { Ok(()) })
    }
}

impl Policy {
    /// Whether a connection to `endpoint` may be made.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permits_endpoint(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        match endpoint {
            Endpoint::Tcp(address) => self.permits(*address),
            Endpoint::Socket(path) => self.permits_socket(path),
            // Nobody can declare one.
            Endpoint::Node(_) => Err(Refusal { endpoint: endpoint.clone(), reason: Reason::Own }),
        }
    }

    /// A socket is a file of the machine, behind which may be more than a web server, so that no token opens any: only
    /// who runs the edge says where those of backends lie. Links are followed before that is looked at.
    fn permits_socket(&self, path: &Path) -> Result<(), Refusal> {
        let leads_to = real(path);
        self.permits_file(path, &leads_to, self.is_own_socket(&leads_to))
    }

    /// As [`Policy::permits_endpoint`], about what is going to be connected to.
    ///
    /// # Errors
    /// Why it may not.
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

    /// As [`Policy::permits_instance`], about what is going to be connected to.
    ///
    /// # Errors
    /// Why it may not.
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

    /// Whether a connection may be made to an instance that the edge itself put at `endpoint`: wherever that is, but
    /// never to the edge itself, which trusts clients from there.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permits_instance(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let refused = match endpoint {
            Endpoint::Tcp(address) => self.listens_there(*address),
            Endpoint::Socket(path) => self.is_own_socket(&real(path)).then_some(Reason::Own),
            // Its node looks at it.
            Endpoint::Node(_) => None,
        };
        refused.map_or(Ok(()), |reason| Err(Refusal { endpoint: endpoint.clone(), reason }))
    }

    /// Why nobody may connect to `address`: this edge listens there, or another node of its cluster.
    fn listens_there(&self, address: SocketAddr) -> Option<Reason> {
        if self.own.iter().any(|own| is_own(*own, address)) {
            return Some(Reason::Own);
        }
        self.nodes.listen_at(address).then_some(Reason::Node)
    }
}

/// Where a path leads, links followed; one that leads nowhere is itself.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_missing| path.to_owned())
}

/// Whether a connection to `address` would end at the edge's own listener `own`.
fn is_own(own: SocketAddr, address: SocketAddr) -> bool {
    if own.port() != address.port() {
        return false;
    }
    let (own, address) = (plain(own.ip()), plain(address.ip()));
    // A listener bound to no address in particular answers at every address of this machine.
    own == address || address.is_unspecified() || own.is_unspecified() && (address.is_loopback() || is_local(address))
}

/// Whether this machine has `address`: only then can a socket be bound to it, unless `ip_nonlocal_bind` of the kernel
/// is set, as beside keepalived. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    may_bind(address) && (!may_bind(elsewhere(address)) || is_source_to_itself(address))
}

/// Where the system has no room to say, an address counts as the machine's own.
fn may_bind(address: IpAddr) -> bool {
    let no_room = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].map(Errno::raw_os_error);
    let bound = UdpSocket::bind((address, 0));
    bound.map_or_else(|error| error.raw_os_error().is_some_and(|code| no_room.contains(&code)), |_socket| true)
}

/// An address of the same family that no machine has (RFC 5737, RFC 3849).
fn elsewhere(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Whether packets to `address` would come from it: those to an address of the machine do.
fn is_source_to_itself(address: IpAddr) -> bool {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let Ok(socket) = UdpSocket::bind((any, 0)) else { return true };
    let source = socket.connect((address, DISCARD_PORT)).and_then(|()| socket.local_addr());
    source.is_ok_and(|source| source.ip() == address)
}

/// Says that an upstream may not point somewhere; the sentence is for the person who wrote the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it would have gone.
    pub endpoint: Endpoint,
    /// Why not.
    pub reason: Reason,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is an instance that the edge runs, or one of its stores.
    Internal,
    /// Nobody may reach this class.
    Never(Class),
    /// It takes `[upstreams] allow`, or for loopback and private addresses and the machine's own an admin of every app.
    NotAllowed(Class),
    /// It is a listener of another node of the cluster.
    Node,
    /// It is a listener of the edge itself.
    Own,
    /// It takes `[upstreams] sockets`.
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

/// The line of `edge.toml` that lets everybody reach these addresses.
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

/// A host, which is an address or a name to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

/// The target of an `http` or `https` URL.
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
