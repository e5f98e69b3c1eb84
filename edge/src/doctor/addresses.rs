//! The addresses of the machine, as listed by the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the addresses of all interfaces; empty if the kernel lists none.
pub(super) fn own() -> BTreeSet<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let v4 = of_fib_trie(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    v4.chain(of_if_inet6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6)).collect()
}

/// Parses the local addresses of the routing table: the line before `/32 host LOCAL` has the address.
fn of_fib_trie(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last = None;
    for line in text.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.trim() == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

/// Parses the list of IPv6 addresses: each line begins with 32 hexadecimal digits.
fn of_if_inet6(text: &str) -> BTreeSet<Ipv6Addr> {
    let address = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok().map(Ipv6Addr::from);
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_and_networks_are_not() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.21\n        \
                    /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let expected: BTreeSet<Ipv4Addr> = ["10.0.0.21", "127.0.0.1"].map(|text| text.parse().unwrap()).into();
        assert_eq!(of_fib_trie(trie), expected);
        let list = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000021122fffe334455 02 40 20 80 eth0\n";
        let expected: BTreeSet<Ipv6Addr> = ["::1", "fe80::211:22ff:fe33:4455"].map(|text| text.parse().unwrap()).into();
        assert_eq!(of_if_inet6(list), expected);
    }

    #[test]
    fn this_machine_has_its_loopback() {
        assert!(own().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{:?}", own());
    }
}
