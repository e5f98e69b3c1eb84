//! Where an upstream may point: addresses by class, and the policy that is asked at publish and again at each connect.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use devanture_config::net::AddressBlock;
use devanture_config::site_toml::UpstreamUrl;

use super::upstream::Target;

/// What kind of network an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Everybody on the local network: 255.255.255.255.
    Broadcast,
    /// Set aside for examples.
    Documentation,
    /// One cable only: 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// This machine.
    Loopback,
    /// The services of a cloud that tell a machine its own credentials.
    Metadata,
    /// Groups of machines.
    Multicast,
    /// A network of one's own: RFC 1918, unique local IPv6, and the shared space of carriers (RFC 6598).
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
    // AWS, its pods, Google.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The class of `address`; an IPv4 address inside an IPv6 one counts as itself.
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

/// What one version may reach.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Blocks that everybody may reach: `[upstreams] allow` of `edge.toml`.
    pub allow: Arc<[AddressBlock]>,
    /// The edge's own listeners, which nobody may reach.
    pub own: Arc<[SocketAddr]>,
    /// Whether an `admin` token deployed the version: it may reach loopback and private addresses.
    pub trusted: bool,
}

impl Policy {
    /// Whether a connection to `address` may be made.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal { address, reason });
        if self.own.iter().any(|own| is_own(*own, address)) {
            return refuse(Reason::Own);
        }
        let class = class(address.ip());
        let listed =
            || self.allow.iter().any(|block| block.contains(plain(address.ip())) || block.contains(address.ip()));
        match class {
            Class::Public => Ok(()),
            Class::Broadcast | Class::LinkLocal | Class::Metadata | Class::Multicast | Class::Unspecified => {
                refuse(Reason::Never(class))
            }
            Class::Loopback | Class::Private if self.trusted || listed() => Ok(()),
            Class::Documentation | Class::Reserved if listed() => Ok(()),
            Class::Documentation | Class::Loopback | Class::Private | Class::Reserved => {
                refuse(Reason::NotAllowed(class))
            }
        }
    }
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

/// Whether this machine has `address`: only then can a socket be bound to it. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Says that an upstream may not point somewhere; the sentence is for the person who wrote the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Where it would have gone.
    pub address: SocketAddr,
    /// Why not.
    pub reason: Reason,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody may reach this class.
    Never(Class),
    /// It takes `[upstreams] allow`, or for loopback and private addresses an `admin` token.
    NotAllowed(Class),
    /// It is a listener of the edge itself.
    Own,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = self.address.ip();
        match self.reason {
            Reason::Own => write!(f, "{} is a listener of the edge itself, which no route may reach", self.address),
            Reason::Never(class) => write!(f, "{ip} is {class}, which no route may reach"),
            Reason::NotAllowed(class @ (Class::Loopback | Class::Private)) => write!(
                f,
                "{ip} is {class}: such an upstream needs its block in [upstreams] allow of edge.toml, or a push with an admin token"
            ),
            Reason::NotAllowed(class) => {
                write!(f, "{ip} is {class}: such an upstream needs its block in [upstreams] allow of edge.toml")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "an address set aside for documentation",
            Self::LinkLocal => "a link-local address",
            Self::Loopback => "a loopback address",
            Self::Metadata => "a cloud's metadata service",
            Self::Multicast => "a multicast address",
            Self::Private => "a private address",
            Self::Public => "a public address",
            Self::Reserved => "a reserved address",
            Self::Unspecified => "an unspecified address",
        })
    }
}

/// Checks at publish where a route points: a literal address, or every address that its name has now.
///
/// A name that does not resolve passes, since the backend may come up later: each connect checks again, on the very
/// address that is connected to, so that a name which changes its mind gains nothing.
///
/// # Errors
/// The first address that is refused.
pub async fn check_at_publish(policy: &Policy, url: &UpstreamUrl) -> Result<(), Refusal> {
    let target = Target::new(url);
    for address in target.addresses().await.unwrap_or_default() {
        policy.permits(address)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_address_has_its_class() {
        use Class::*;
        let table: &[(&str, Class)] = &[
            ("1.1.1.1", Public),
            ("8.8.8.8", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("198.17.0.1", Public),
            ("223.255.255.255", Public),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.127.255.255", Private),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("169.254.1.1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("169.254.170.2", Metadata),
            ("169.254.170.23", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("192.0.0.1", Reserved),
            ("192.88.99.1", Reserved),
            ("198.18.0.1", Reserved),
            ("240.0.0.1", Reserved),
            ("192.0.2.1", Documentation),
            ("198.51.100.1", Documentation),
            ("203.0.113.1", Documentation),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("255.255.255.255", Broadcast),
            ("::", Unspecified),
            ("::1", Loopback),
            ("2606:4700::1111", Public),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("fc00::1", Private),
            ("fd12:3456::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd00:ec2::23", Metadata),
            ("fd20:ce::254", Metadata),
            ("ff02::1", Multicast),
            ("2001:db8::1", Documentation),
            ("3fff::1", Documentation),
            ("2001:2::1", Reserved),
            ("100::1", Reserved),
            ("4000::1", Reserved),
            ("64:ff9b:1::1", Reserved),
            // Mapped, compatible, translated.
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", Metadata),
            ("::ffff:8.8.8.8", Public),
            ("::10.0.0.1", Private),
            ("::ffff:0:10.0.0.1", Private),
            // NAT64.
            ("64:ff9b::169.254.169.254", Metadata),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::8.8.8.8", Public),
            // 6to4 of 127.0.0.1, 169.254.169.254, 8.8.8.8.
            ("2002:7f00:1::", Loopback),
            ("2002:a9fe:a9fe::1", Metadata),
            ("2002:808:808::1", Public),
            // Teredo: server 8.8.8.8 with client 127.0.0.1, 8.8.4.4; server 10.0.0.1.
            ("2001:0:808:808:0:0:80ff:fffe", Loopback),
            ("2001:0:808:808:0:0:f7f7:fbfb", Public),
            ("2001:0:a00:1:0:0:f7f7:fbfb", Private),
        ];
        for (address, expected) in table {
            assert_eq!(class(address.parse().unwrap()), *expected, "{address}");
        }
    }

    fn policy(allow: &[&str], own: &[&str], trusted: bool) -> Policy {
        Policy {
            allow: allow.iter().map(|block| block.parse().unwrap()).collect(),
            own: own.iter().map(|address| address.parse().unwrap()).collect(),
            trusted,
        }
    }

    fn permitted(policy: &Policy, address: &str) -> bool {
        policy.permits(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn loopback_and_private_need_an_allowance_or_trust() {
        let stranger = policy(&[], &[], false);
        assert!(permitted(&stranger, "8.8.8.8:80"));
        for address in ["127.0.0.1:3000", "[::1]:3000", "10.1.2.3:80", "[fd12::1]:80", "[::ffff:10.0.0.1]:80"] {
            assert!(!permitted(&stranger, address), "{address}");
            assert!(permitted(&policy(&[], &[], true), address), "{address}");
        }
        let allowed = policy(&["127.0.0.0/8", "10.1.0.0/16", "203.0.113.0/24"], &[], false);
        for address in ["127.0.0.1:1", "10.1.2.3:80", "[64:ff9b::10.1.2.3]:80", "203.0.113.9:80"] {
            assert!(permitted(&allowed, address), "{address}");
        }
        assert!(!permitted(&allowed, "10.2.0.1:80"));
        assert!(!permitted(&policy(&[], &[], true), "203.0.113.9:80"), "trust opens one's own networks only");
    }

    #[test]
    fn some_addresses_are_never_permitted() {
        let everything = policy(&["0.0.0.0/0", "::/0"], &[], true);
        for address in [
            "169.254.169.254:80",
            "169.254.0.5:80",
            "100.100.100.200:80",
            "[fd00:ec2::254]:80",
            "[fe80::1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::]:80",
        ] {
            assert!(!permitted(&everything, address), "{address}");
        }
    }

    #[test]
    fn the_edges_own_listeners_are_never_permitted() {
        let bound = policy(&["0.0.0.0/0"], &["127.0.0.1:8444"], true);
        assert!(!permitted(&bound, "127.0.0.1:8444"));
        assert!(!permitted(&bound, "[::ffff:127.0.0.1]:8444"));
        assert!(permitted(&bound, "127.0.0.1:8445"));
        assert!(permitted(&bound, "127.0.0.2:8444"));
        let anywhere = policy(&["0.0.0.0/0", "::/0"], &["0.0.0.0:8444", "[::]:8443"], true);
        for address in ["127.0.0.1:8444", "127.9.9.9:8444", "[::1]:8444", "127.0.0.1:8443", "[::1]:8443"] {
            assert!(!permitted(&anywhere, address), "{address}");
        }
        // An address that this machine does not have is somebody else's.
        assert!(permitted(&anywhere, "8.8.8.8:8443"));
    }

    #[test]
    fn an_address_of_this_machine_leads_to_a_listener_bound_to_all() {
        // A connected datagram socket tells which address this machine would use; nothing is sent.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_err() {
            return;
        }
        let local = SocketAddr::new(socket.local_addr().unwrap().ip(), 8443);
        let anywhere = policy(&["0.0.0.0/0"], &["0.0.0.0:8443"], true);
        assert_eq!(anywhere.permits(local).unwrap_err().reason, Reason::Own);
    }

    #[test]
    fn a_refusal_is_a_sentence_with_the_way_out() {
        let text = policy(&[], &[], false).permits("10.0.0.1:80".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            text,
            "10.0.0.1 is a private address: such an upstream needs its block in [upstreams] allow of edge.toml, or a push with an admin token"
        );
        let text = policy(&[], &[], true).permits("169.254.169.254:80".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(text, "169.254.169.254 is a cloud's metadata service, which no route may reach");
    }

    #[tokio::test]
    async fn a_route_is_checked_when_it_is_published() {
        let stranger = policy(&[], &[], false);
        let refused = async |url: &str| check_at_publish(&stranger, &url.parse().unwrap()).await.is_err();
        assert!(refused("http://127.0.0.1:3000").await);
        assert!(refused("http://[::1]:3000").await);
        // The URL parser knows the old spellings of IPv4 addresses.
        assert!(refused("http://0x7f.1:3000").await);
        assert!(refused("http://2130706433").await);
        assert!(refused("http://localhost:3000").await, "a name that resolves to loopback");
        assert!(!refused("http://8.8.8.8").await);
        assert!(!refused("http://not-there.invalid").await, "a name may come up later");
    }

    proptest! {
        #[test]
        fn an_ipv4_address_has_one_class_in_every_clothing(bits: u32) {
            let four = Ipv4Addr::from_bits(bits);
            let expected = class(four.into());
            // `::` and `::1` are addresses of their own.
            prop_assume!(bits > 1);
            let [a, b, c, d] = four.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for six in [
                four.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
            ] {
                prop_assert_eq!(class(six.into()), expected, "{}", six);
            }
        }
    }
}
