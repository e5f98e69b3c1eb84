//! `[listen]`: the sockets and their protocols.

use std::net::{IpAddr, SocketAddr};

use super::cluster::Cluster;
use super::net::{AddressBlock, ListenAddress};
use super::required;
use crate::parsing::reader::Table;

/// Listening sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// HTTPS API; never public.
    pub admin: SocketAddr,
    /// Plain HTTP with redirects to HTTPS only; off by default.
    pub http: Option<SocketAddr>,
    /// True if HTTP/3 is served, on the UDP port with the number of `https`; by default served if the port can be
    /// bound.
    pub http3: Option<bool>,
    /// Public UDP port of HTTP/3, if changed in front of the edge; otherwise as `public_port`.
    pub http3_public_port: Option<u16>,
    /// HTTPS for visitors.
    pub https: SocketAddr,
    /// Public port, if changed in front of the edge; otherwise the port of `https`.
    pub public_port: Option<u16>,
    /// Serving threads; 0 is one per core.
    pub threads: usize,
    /// Addresses of proxies with trusted `Forwarded` fields; none by default.
    pub trusted_proxies: Vec<AddressBlock>,
}

impl Listen {
    /// Returns true if HTTP/3 is served if UDP can be bound.
    #[must_use]
    pub fn tries_http3(&self) -> bool {
        self.http3.unwrap_or(true)
    }

    /// Returns the public UDP port of an edge bound to `bound`.
    #[must_use]
    pub fn http3_port(&self, bound: u16) -> u16 {
        self.http3_public_port.or(self.public_port).unwrap_or(bound)
    }
}

/// Returns the reason why two TCP listeners cannot be bound at once, if any. Port 0 is any free port.
fn clash(one: SocketAddr, other: SocketAddr) -> Option<String> {
    if one.port() != other.port() || one.port() == 0 {
        return None;
    }
    let (of_one, of_other) = (one.ip().to_canonical(), other.ip().to_canonical());
    // The same IPv6 address may exist in two networks.
    if one == other || of_one == of_other && of_one.is_ipv4() {
        return Some("the same socket".to_owned());
    }
    // A listener on `[::]` also listens on every IPv4 address.
    let has = |all: IpAddr, address: IpAddr| all.is_unspecified() && (all.is_ipv6() || address.is_ipv4());
    let all = match (has(of_one, of_other), has(of_other, of_one)) {
        (true, _) => one,
        (false, true) => other,
        (false, false) => return None,
    };
    Some(format!("on one port, and {all} is every address of the machine"))
}

/// Reports a listener for other nodes in conflict with `[listen]`.
pub(super) fn check_cluster(root: &Table<'_, '_>, listen: Option<&Listen>, cluster: Option<&Cluster>) {
    let (Some(listen), Some(cluster), Some(table)) = (listen, cluster, root.table("cluster")) else { return };
    let sockets = [("https", Some(listen.https)), ("admin", Some(listen.admin)), ("http", listen.http)];
    let clash = sockets.iter().find_map(|(name, socket)| Some((name, clash((*socket)?, cluster.listen)?)));
    if let Some((name, why)) = clash {
        let key = if table.has("listen") { "listen" } else { "advertise" };
        table.mistake(key, format!("`cluster.{key}` and `listen.{name}` are {why}"), None);
    }
}

/// Reads `[listen]`.
pub(super) fn listen(table: &Table<'_, '_>) -> Option<Listen> {
    let socket = |ListenAddress(address)| address;
    let https = required(table, "https", table.parsed("https").map(socket), "\"127.0.0.1:8443\"");
    let admin = required(table, "admin", table.parsed("admin").map(socket), "\"127.0.0.1:8444\"");
    let http = table.parsed("http").map(socket);
    let http3 = table.boolean("http3");
    let port = |number: Option<u64>| number.and_then(|number| u16::try_from(number).ok());
    let http3_public_port = port(table.integer("http3_public_port", 1..=65_535));
    let public_port = port(table.integer("public_port", 1..=65_535));
    let threads = table.integer("threads", 0..=1_024).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let trusted_proxies = table.list("trusted_proxies").unwrap_or_default();
    table.finish();
    let (https, admin): (SocketAddr, SocketAddr) = (https?, admin?);
    let sockets = [Some(("https", https)), Some(("admin", admin)), http.map(|http| ("http", http))];
    let sockets: Vec<(&str, SocketAddr)> = sockets.into_iter().flatten().collect();
    for (index, (name, socket)) in sockets.iter().enumerate() {
        let clash = sockets.iter().take(index).find_map(|(other, of_other)| Some((other, clash(*socket, *of_other)?)));
        if let Some((other, why)) = clash {
            table.mistake(name, format!("`listen.{name}` and `listen.{other}` are {why}"), None);
        }
    }
    Some(Listen { admin, http, http3, http3_public_port, https, public_port, threads, trusted_proxies })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listeners_are_bound_at_once_unless_they_are_on_one_port_of_one_address() {
        let every = "on one port, and {} is every address of the machine";
        for (one, other, expected) in [
            ("127.0.0.1:443", "127.0.0.1:443", Some("the same socket".to_owned())),
            ("[::1]:443", "[::1]:443", Some("the same socket".to_owned())),
            ("127.0.0.1:443", "[::ffff:127.0.0.1]:443", Some("the same socket".to_owned())),
            ("0.0.0.0:443", "127.0.0.1:443", Some(every.replace("{}", "0.0.0.0:443"))),
            ("[::]:443", "127.0.0.1:443", Some(every.replace("{}", "[::]:443"))),
            ("[::]:443", "0.0.0.0:443", Some(every.replace("{}", "[::]:443"))),
            ("[::]:443", "[::1]:443", Some(every.replace("{}", "[::]:443"))),
            ("0.0.0.0:443", "[::1]:443", None),
            ("127.0.0.1:443", "127.0.0.2:443", None),
            ("[fe80::1%1]:443", "[fe80::1%2]:443", None),
            ("127.0.0.1:443", "[::1]:443", None),
            ("0.0.0.0:443", "0.0.0.0:444", None),
            ("0.0.0.0:0", "0.0.0.0:0", None),
        ] {
            let sockets: [SocketAddr; 2] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(clash(sockets[0], sockets[1]), expected, "{one} {other}");
            assert_eq!(clash(sockets[1], sockets[0]), expected, "{other} {one}");
        }
    }
}
