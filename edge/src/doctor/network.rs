//! Checks ports, DNS records of hostnames, and the connections to etcd and the bucket. Every check has a time limit, so
//! that the absence of a network causes no hang.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use devanture_config::edge_toml::{BlobStore, CatalogStore, EdgeFile, Listen};
use devanture_config::text::counted;
use futures_util::stream::{self, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::addresses;
use super::finding::{Finding, Names};
use super::running::{Edge, Running};
use crate::server::shared_stores;
use devanture_serve::proxy;
use devanture_store::blobs;
use devanture_store::s3::{self, Waits};

/// Time limit of one connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Time limit of all DNS queries together.
const DNS_MAX: Duration = Duration::from_secs(10);
/// Maximum number of concurrent DNS queries.
const DNS_AT_ONCE: usize = 16;
/// Time limit of the check of the bucket.
const BUCKET_MAX: Duration = Duration::from_secs(30);
/// The label that stands for the labels of a wildcard.
const ANY_LABEL: &str = "devanture-doctor";

/// Checks the ports of `[listen]`: open for a running edge, and free otherwise.
pub(super) async fn ports(file: &EdgeFile, edge: &Edge) -> Vec<Finding> {
    let listen = &file.listen;
    let all = [("https", Some(listen.https)), ("admin", Some(listen.admin)), ("http", listen.http)];
    let mut found = Vec::new();
    for (key, address) in all.into_iter().filter_map(|(key, address)| Some((key, address?))) {
        found.push(match edge {
            _ if address.port() == 0 => Finding::ok("ports", format!("listen.{key} {address}: the system chooses one")),
            Edge::Runs(_) => answers(key, address).await,
            Edge::Hidden => seen_from_outside(key, address).await,
            Edge::Silent => free(&format!("listen.{key} {address}"), TcpListener::bind(address).map(drop)),
        });
    }
    found.extend(udp(&file.listen, edge));
    found
}

/// Checks the port of HTTP/3, bound by a running edge, and free otherwise; `None` if unknown.
fn udp(listen: &Listen, edge: &Edge) -> Option<Finding> {
    if !listen.tries_http3() || listen.https.port() == 0 {
        return None;
    }
    let (bound, what) = (UdpSocket::bind(listen.https), format!("UDP, listen.https {}", listen.https));
    match (edge, bound) {
        (Edge::Hidden, _) => None,
        (Edge::Runs(_), Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
            Some(Finding::ok("ports", format!("{what}: something listens, as it should for HTTP/3")))
        }
        (Edge::Runs(_), _) => Some(Finding::warn(
            "ports",
            format!("{what}: the running edge does not listen, so HTTP/3 is not served"),
            "`ss -lunp` names what has the port, which the edge tries again every few seconds",
        )),
        (Edge::Silent, Err(error)) if error.kind() == io::ErrorKind::AddrInUse && listen.http3 != Some(true) => {
            Some(Finding::warn(
                "ports",
                format!("{what}: another program has it, so HTTP/3 would not be served"),
                "`ss -lunp` names it; `http3 = false` below [listen] does without",
            ))
        }
        (Edge::Silent, bound) => Some(free(&what, bound.map(drop))),
    }
}

/// Returns the address by which the machine reaches a listener at `address`.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

async fn is_taken(address: SocketAddr) -> bool {
    matches!(timeout(CONNECT_MAX, TcpStream::connect(reached(address))).await, Ok(Ok(_)))
}

async fn answers(key: &str, address: SocketAddr) -> Finding {
    match is_taken(address).await {
        true => Finding::ok("ports", format!("listen.{key} {address}: the running edge listens")),
        false => Finding::fail(
            "ports",
            format!("listen.{key} {address}: nothing listens there"),
            "the running edge was started with another address: send SIGUSR2 to it",
        ),
    }
}

/// Checks a port for a user who may not know whether the edge runs.
async fn seen_from_outside(key: &str, address: SocketAddr) -> Finding {
    match is_taken(address).await {
        true => {
            Finding::ok("ports", format!("listen.{key} {address}: something listens, as it should if the edge runs"))
        }
        false => Finding::warn(
            "ports",
            format!("listen.{key} {address}: nothing listens there"),
            "right if no edge is to run; the edge's user sees whether one does",
        ),
    }
}

/// Reports an address that should be free, based on the result of a bind.
fn free(what: &str, bound: io::Result<()>) -> Finding {
    let failed = |why: &str, advice: &str| Finding::fail("ports", format!("{what}: {why}"), advice);
    match bound {
        Ok(()) => Finding::ok("ports", format!("{what}: free")),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => failed(
                "another program has it",
                "`ss -lntup` names it; a socket unit of systemd may hold it for the edge",
            ),
            io::ErrorKind::AddrNotAvailable => {
                failed("it is no address of this machine", "`ip address` lists those it has")
            }
            // The edge's systemd unit has rights that a shell lacks.
            io::ErrorKind::PermissionDenied => Finding::warn(
                "ports",
                format!("{what}: this user may not listen there"),
                "call this as root; the edge itself needs CAP_NET_BIND_SERVICE for ports below 1024, as its unit has",
            ),
            _ => failed(&error.to_string(), "choose another address in edge.toml"),
        },
    }
}

/// Checks the addresses of the names of apps.
pub(super) async fn dns(file: &EdgeFile, running: Option<&Running>, names: Names) -> Vec<Finding> {
    let own_domains = [&file.domain, &file.preview_domain].map(ToString::to_string);
    let mut asked: BTreeSet<String> = BTreeSet::new();
    asked.extend(own_domains.iter().map(|domain| format!("{ANY_LABEL}.{domain}")));
    if let Some(running) = running {
        asked.extend(running.hostnames().await.iter().map(|name| name_of(name)));
    }
    // Every system resolves localhost names itself.
    asked.retain(|name| name != "localhost" && !name.ends_with(".localhost"));
    if asked.is_empty() {
        return vec![Finding::ok("dns", "all names are below localhost")];
    }
    let servers: Vec<SocketAddr> = file.dns_servers.iter().map(|server| server.0).collect();
    let (resolver, own) = (proxy::Names::new(&servers), addresses::own());
    let count = asked.len();
    let looked_up = stream::iter(asked)
        .map(|name| {
            let resolver = &resolver;
            async move {
                let answer = resolver.ask(&name).await;
                (name, answer)
            }
        })
        .buffer_unordered(DNS_AT_ONCE);
    let answers: Vec<_> = {
        let stop = tokio::time::sleep(DNS_MAX);
        looked_up.take_until(stop).collect().await
    };
    let unanswered = count.saturating_sub(answers.len());
    let mut wrong: Vec<(String, Finding)> = Vec::new();
    for (name, answer) in answers {
        let shown = match names {
            Names::Shown => record_of(&name),
            Names::Counted => "a hostname".to_owned(),
        };
        wrong.extend(leads_elsewhere(&shown, &answer, &own).map(|finding| (name, finding)));
    }
    if unanswered > 0 {
        let what = format!("DNS did not answer for {} within {} s", counted(unanswered, "name"), DNS_MAX.as_secs());
        wrong.push((String::new(), Finding::warn("dns", what, "see whether this machine reaches its DNS servers")));
    }
    if wrong.is_empty() {
        return vec![Finding::ok("dns", format!("{} lead to this machine", counted(count, "name")))];
    }
    wrong.sort_by(|a, b| a.0.cmp(&b.0));
    wrong.into_iter().map(|(_, finding)| finding).collect()
}

/// Returns a name to look up for a record, which may be a wildcard.
fn name_of(record: &str) -> String {
    record.strip_prefix("*.").map_or_else(|| record.to_owned(), |domain| format!("{ANY_LABEL}.{domain}"))
}

/// Returns the DNS record that resolves `name`, the inverse of [`name_of`]: a wildcard for the label of a wildcard.
fn record_of(name: &str) -> String {
    let domain = name.strip_prefix(ANY_LABEL).filter(|domain| domain.starts_with('.'));
    domain.map_or_else(|| name.to_owned(), |domain| format!("*{domain}"))
}

/// Returns advice about a name without an address. A wildcard for a shorter name is a frequent reason for a wrong
/// assumption.
const fn missing_record(name: &str) -> &'static str {
    match name.as_bytes() {
        [b'*', b'.', ..] => {
            "add an A or AAAA record of this very name: a wildcard of another name does not stand for it"
        }
        _ => "add an A or AAAA record for it",
    }
}

fn leads_elsewhere(name: &str, answer: &proxy::DnsAnswer, own: &BTreeSet<IpAddr>) -> Option<Finding> {
    match answer {
        proxy::DnsAnswer::Addresses(found, _) if found.iter().any(|address| own.contains(address)) => None,
        proxy::DnsAnswer::Addresses(found, _) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            let what = format!("{name} resolves to {}, which is no address of this machine", found.join(", "));
            Some(Finding::warn("dns", what, "right behind a balancer or NAT; else point its record to this machine"))
        }
        proxy::DnsAnswer::Nothing => Some(Finding::warn("dns", format!("{name} has no address"), missing_record(name))),
        proxy::DnsAnswer::Failed(reason) => {
            Some(Finding::warn("dns", format!("{name}: {reason}"), "see whether this machine reaches its DNS servers"))
        }
    }
}

/// Checks the connections to the stores shared by nodes.
pub(super) async fn stores(file: &EdgeFile) -> Vec<Finding> {
    let mut found = Vec::new();
    if let CatalogStore::Etcd(etcd) = &file.storage.catalog {
        for url in &etcd.endpoints {
            found.push(endpoint(url).await);
        }
    }
    if let BlobStore::S3(s3) = &file.storage.blobs {
        // Invalid settings are errors of the configuration, and reported there.
        if let Ok(bucket) = shared_stores::bucket(s3, Waits::CLUSTER) {
            found.extend(probed(&bucket).await);
        }
    }
    found
}

async fn endpoint(url: &str) -> Finding {
    let authority = url.split_once("://").map_or(url, |(_, authority)| authority);
    match timeout(CONNECT_MAX, TcpStream::connect(authority)).await {
        Ok(Ok(_)) => Finding::ok("etcd", format!("{authority}: it takes connections")),
        Ok(Err(error)) => {
            let advice = "start this member, or see what is between; with a quorum of the others all works";
            Finding::warn("etcd", format!("{authority}: {error}"), advice)
        }
        Err(_) => {
            let found = format!("{authority}: no connection within {} s", CONNECT_MAX.as_secs());
            Finding::warn("etcd", found, "see whether a firewall is between")
        }
    }
}

/// Runs the checks of a bucket that a start runs too; one check compares the clocks.
async fn probed(bucket: &s3::Bucket) -> Vec<Finding> {
    let Ok(report) = timeout(BUCKET_MAX, blobs::probe(bucket)).await else {
        let found = format!("the checks of it took more than {} s", BUCKET_MAX.as_secs());
        return vec![Finding::fail("bucket", found, "see whether this machine reaches it")];
    };
    let name = &report.bucket;
    let faults = report.checks.iter().filter_map(|check| Some((check.name, check.fault.as_ref()?)));
    let mut found: Vec<Finding> = faults
        .map(|(check, (reason, advice))| Finding::fail("bucket", format!("{name}: {check}: {reason}"), *advice))
        .collect();
    if found.is_empty() {
        let checks = counted(report.checks.len(), "check");
        found.push(Finding::ok("bucket", format!("{name}: {checks} passed, and its clock is that of this machine")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_port_is_free_until_another_program_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = free("https", TcpListener::bind(address).map(drop));
        assert_eq!((found.level, found.found.contains("another program")), (Level::Fail, true), "{found:?}");
        drop(taken);
        assert_eq!(free("https", TcpListener::bind(address).map(drop)).level, Level::Ok);
        // Reserved for documentation (RFC 5737): no machine has the address.
        let found = free("https", TcpListener::bind("192.0.2.1:8443").map(drop));
        assert!(found.found.contains("no address of this machine"), "{found:?}");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_named_with_its_addresses() {
        let own = BTreeSet::from([IpAddr::from([10, 0, 0, 21])]);
        let answer = |address: [u8; 4]| proxy::DnsAnswer::Addresses(vec![IpAddr::from(address)], Duration::ZERO);
        assert_eq!(leads_elsewhere("shop.example.org", &answer([10, 0, 0, 21]), &own), None);
        let found = leads_elsewhere("shop.example.org", &answer([203, 0, 113, 7]), &own).unwrap();
        assert!(found.found.starts_with("shop.example.org resolves to 203.0.113.7"), "{found:?}");
        assert!(leads_elsewhere("a", &proxy::DnsAnswer::Nothing, &own).unwrap().found.contains("no address"));
        let found = leads_elsewhere("*.preview.example.app", &proxy::DnsAnswer::Nothing, &own).unwrap();
        assert!(found.found.starts_with("*.preview.example.app has no"), "{found:?}");
        assert!(found.advice.unwrap().contains("of this very name"));
    }

    #[tokio::test]
    async fn a_port_of_an_edge_that_cannot_be_seen_is_no_failure() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(seen_from_outside("https", taken.local_addr().unwrap()).await.level, Level::Ok);
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(seen_from_outside("https", silent.local_addr().unwrap()).await.level, Level::Warn);
    }

    #[test]
    fn names_of_apps_are_found_by_a_wildcard_record() {
        assert_eq!(record_of(&name_of("*.shop.example.org")), "*.shop.example.org");
        assert_eq!(name_of("shop.example.org"), "shop.example.org");
        assert_eq!(record_of("devanture-doctor.example.app"), "*.example.app");
        assert_eq!(record_of("shop.example.org"), "shop.example.org");
    }

    #[test]
    fn what_listens_everywhere_is_reached_by_loopback() {
        assert_eq!(reached("0.0.0.0:443".parse().unwrap()), "127.0.0.1:443".parse().unwrap());
        assert_eq!(reached("[::]:443".parse().unwrap()), "[::1]:443".parse().unwrap());
        assert_eq!(reached("10.0.0.21:443".parse().unwrap()), "10.0.0.21:443".parse().unwrap());
    }
}
