//! Every address has its class, and the policy permits the right addresses.

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
        ("fd00:c1::a9fe:a9fe", Metadata),
        ("fd00:42::42", Metadata),
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
        // ISATAP of 10.0.0.1, 169.254.169.254, 8.8.8.8.
        ("2606:4700::5efe:a00:1", Private),
        ("2606:4700::200:5efe:a9fe:a9fe", Metadata),
        ("2606:4700::5efe:808:808", Public),
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
        ..Policy::default()
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
    // A foreign address belongs to another machine.
    assert!(permitted(&anywhere, "8.8.8.8:8443"));
}

#[test]
fn an_address_of_this_machine_leads_to_a_listener_bound_to_all() {
    // A connected datagram socket reveals the machine's source address, without sending a packet.
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
        "10.0.0.1 is a private address: such an upstream needs its block in [upstreams] allow of edge.toml, or a push by an admin of every app"
    );
    let text = policy(&[], &[], true).permits("169.254.169.254:80".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(text, "169.254.169.254 is a cloud's metadata service, which no route may reach");
}

#[test]
fn a_socket_needs_its_folder_to_be_named_and_links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (apps, hidden) = (folder.path().join("apps"), folder.path().join("hidden"));
    for folder in [&apps, &hidden] {
        std::fs::DirBuilder::new().create(folder).unwrap();
    }
    let policy = Policy {
        sockets: [apps.clone()].into(),
        own_sockets: [apps.join("control.sock")].into(),
        own_folders: [apps.join("run")].into(),
        trusted: true,
        ..Policy::default()
    };
    let permits = |path: &Path| policy.permits_endpoint(&Endpoint::Socket(path.to_owned())).is_ok();
    let _own = std::os::unix::net::UnixListener::bind(apps.join("control.sock")).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(hidden.join("docker.sock")).unwrap();
    std::os::unix::fs::symlink(hidden.join("docker.sock"), apps.join("link.sock")).unwrap();
    std::os::unix::fs::symlink(apps.join("control.sock"), apps.join("loop.sock")).unwrap();
    assert!(permits(&apps.join("shop.sock")), "one that is not there yet");
    std::fs::DirBuilder::new().create(apps.join("run")).unwrap();
    for refused in [
        apps.join("control.sock"),
        apps.join("loop.sock"),
        apps.join("link.sock"),
        hidden.join("docker.sock"),
        // A socket of an instance.
        apps.join("run/4f2a"),
    ] {
        assert!(!permits(&refused), "{}", refused.display());
    }
    assert!(Policy::default().permits_endpoint(&Endpoint::Socket(apps.join("shop.sock"))).is_err());
    // An instance is at the endpoint chosen by the edge; a link placed there by the app must not lead to the edge
    // itself.
    let is_permitted = |name: &str| policy.permits_instance(&Endpoint::Socket(hidden.join(name))).is_ok();
    std::os::unix::fs::symlink(apps.join("loop.sock"), hidden.join("s")).unwrap();
    assert!(is_permitted("docker.sock") && !is_permitted("s"));
    let text = policy.permits_endpoint(&Endpoint::Socket(hidden.join("docker.sock"))).unwrap_err().to_string();
    assert!(text.ends_with("needs its folder in [upstreams] sockets of edge.toml"), "{text}");
}

#[test]
fn a_url_names_a_host_and_a_port() {
    let of = |url: &str| host_and_port(&url.parse().unwrap());
    assert_eq!(of("http://127.0.0.1:3000"), (Host::Address("127.0.0.1".parse().unwrap()), 3000));
    assert_eq!(of("https://api.example.org"), (Host::Name("api.example.org".to_owned()), 443));
    assert_eq!(of("http://[::1]"), (Host::Address("::1".parse().unwrap()), 80));
    assert_eq!(of("http://LOCALHOST:8"), (Host::Name("localhost".to_owned()), 8));
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
