//! Checks upstream addresses at publish, within a time limit that is independent of DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::site_toml::UpstreamUrl;
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{Endpoint, Host, Policy, Reason, Refusal, allow_line, host_and_port};
use crate::proxy::dns::{DnsAnswer, Names};
use devanture_base::fair::TurnsByApp;

/// Time limit of all lookups of one publish, or of one new address; a name unresolved at the limit passes.
pub const LOOKUPS_TIME_MAX: Duration = Duration::from_secs(3);
/// Divisor of an app's share: an app has at most one part of the concurrent requests to backends and DNS (law 11).
pub const APP_PARTS: usize = 8;
/// Maximum number of concurrent lookups, of which an app has one eighth; further lookups wait for their turn.
pub const LOOKUPS_MAX: usize = 128;
/// Maximum number of concurrent lookups of one publish.
const LOOKUPS_AT_ONCE: usize = 16;

/// Check of published upstreams: resolves names as the connections do, and checks every address.
pub struct UpstreamCheck {
    names: Names,
    turns: TurnsByApp,
}

/// The refused addresses, at least one: an operator who has to allow addresses needs the full list.
#[derive(Debug)]
pub struct Refusals(Vec<Refusal>);

/// Maximum number of addresses in a refusal's message.
const NAMED_MAX: usize = 20;

impl Refusals {
    /// Returns `Ok` if `refusals` is empty.
    fn or_none(refusals: Vec<Refusal>) -> Result<(), Self> {
        if refusals.is_empty() { Ok(()) } else { Err(Self(refusals)) }
    }

    /// Returns the reason of the first refusal.
    pub fn reason(&self) -> Option<Reason> {
        self.0.first().map(|refusal| refusal.reason)
    }

    /// Returns the line of `edge.toml` that allows the allowable addresses; other addresses are left out.
    pub fn allow_line(&self) -> String {
        let allowable = self.0.iter().filter(|refusal| matches!(refusal.reason, Reason::NotAllowed(_)));
        let addresses = allowable.filter_map(|refusal| match &refusal.endpoint {
            Endpoint::Tcp(address) => Some(address.ip()),
            Endpoint::Node(_) | Endpoint::Socket(_) => None,
        });
        allow_line(addresses.take(NAMED_MAX))
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else { return Ok(()) };
        write!(f, "{first}.")?;
        let named: BTreeSet<String> = others.iter().map(|refusal| refusal.endpoint.to_string()).collect();
        if named.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = named.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = if named.len() > NAMED_MAX { " and more" } else { "" };
        write!(f, " So are {}{more} refused.", shown.join(", "))
    }
}

/// Ports and policies of upstreams, by the name to resolve.
type Named = BTreeMap<String, Vec<(u16, Policy)>>;

impl UpstreamCheck {
    /// Resolves by the DNS `servers`, or by the system's resolvers if `servers` is empty.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self { names: Names::new(servers), turns: TurnsByApp::new(LOOKUPS_MAX, APP_PARTS) }
    }

    /// Checks the addresses of each of `upstreams`: a literal address, or every current address of the name. The flag
    /// is true if an admin of every app vouches for the upstream.
    ///
    /// A name that does not resolve in time passes, because the backend may start later: each connect checks the actual
    /// address again, so that a name whose address changes gains nothing.
    ///
    /// # Errors
    /// All refused literal addresses; without any, all refused addresses of names.
    pub async fn check(
        &self,
        app: &AppName,
        policy: &Policy,
        upstreams: &[(&UpstreamUrl, bool)],
    ) -> Result<(), Refusals> {
        let named = check_literals(policy, upstreams)?;
        if named.is_empty() {
            return Ok(());
        }
        let (turns, refused) = (self.turns.of_app(app), Mutex::new(Vec::new()));
        let check = |(name, ports): (String, Vec<(u16, Policy)>)| {
            let (turns, refused) = (turns.clone(), &refused);
            async move {
                let _turn = turns.take().await;
                let found = self.refused_of(&name, &ports).await;
                refused.lock().extend(found);
            }
        };
        let all = stream::iter(named).for_each_concurrent(LOOKUPS_AT_ONCE, check);
        // A silent name server delays no publish beyond the limit: all names share one deadline.
        timeout(LOOKUPS_TIME_MAX, all).await.ok();
        Refusals::or_none(refused.into_inner())
    }

    async fn refused_of(&self, name: &str, ports: &[(u16, Policy)]) -> Vec<Refusal> {
        let DnsAnswer::Addresses(found, _) = self.names.ask(name).await else { return Vec::new() };
        let check = |(port, policy): &(u16, Policy)| {
            let refused = found.iter().filter_map(|address| policy.permits(SocketAddr::new(*address, *port)).err());
            refused.collect::<Vec<_>>()
        };
        ports.iter().flat_map(check).collect()
    }
}

/// Checks the upstreams that need no DNS, and returns the rest.
fn check_literals(policy: &Policy, upstreams: &[(&UpstreamUrl, bool)]) -> Result<Named, Refusals> {
    let (mut named, mut refused) = (Named::new(), Vec::new());
    for (url, trusted) in upstreams {
        let policy = Policy { trusted: *trusted, ..policy.clone() };
        if let Some(socket) = url.socket() {
            refused.extend(policy.permits_socket(Path::new(&socket)).err());
            continue;
        }
        match host_and_port(url) {
            (Host::Address(ip), port) => refused.extend(policy.permits(SocketAddr::new(ip, port)).err()),
            (Host::Name(name), port) => named.entry(name).or_default().push((port, policy)),
        }
    }
    Refusals::or_none(refused).map(|()| named)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_route_is_checked_when_it_is_published() {
        let check = UpstreamCheck::new(&[]);
        let (app, stranger) = ("shop".parse().unwrap(), Policy::default());
        let refused = async |url: &str| check.check(&app, &stranger, &[(&url.parse().unwrap(), false)]).await.is_err();
        assert!(refused("http://127.0.0.1:3000").await);
        assert!(refused("http://[::1]:3000").await);
        // The URL parser accepts the old spellings of IPv4 addresses.
        assert!(refused("http://0x7f.1:3000").await);
        assert!(refused("http://2130706433").await);
        assert!(refused("http://localhost:3000").await, "a name that resolves to loopback");
        assert!(!refused("http://8.8.8.8").await);
        assert!(!refused("http://not-there.invalid").await, "a name may come up later");
    }

    #[tokio::test]
    async fn each_upstream_is_checked_by_who_vouches_for_it() {
        let check = UpstreamCheck::new(&[]);
        let (app, policy) = ("shop".parse().unwrap(), Policy::default());
        let (one, other) = ("http://localhost:3000".parse().unwrap(), "http://localhost:3001".parse().unwrap());
        check.check(&app, &policy, &[(&one, true), (&other, true)]).await.unwrap();
        assert!(check.check(&app, &policy, &[(&one, true), (&other, false)]).await.is_err());
    }

    #[tokio::test]
    async fn every_address_that_is_refused_is_named_with_the_line_that_allows_it() {
        let check = UpstreamCheck::new(&[]);
        let (app, policy) = ("shop".parse().unwrap(), Policy::default());
        let urls = ["http://10.0.0.5:3000", "http://[fd12::6]:3000", "http://10.0.0.5:3001", "http://169.254.169.254"];
        let urls = urls.map(|url| url.parse::<UpstreamUrl>().unwrap());
        let upstreams: Vec<(&UpstreamUrl, bool)> = urls.iter().map(|url| (url, false)).collect();
        let refusals = check.check(&app, &policy, &upstreams).await.unwrap_err();
        assert_eq!(refusals.allow_line(), r#"allow = ["10.0.0.5", "fd12::6"]"#);
        let text = refusals.to_string();
        assert!(text.starts_with("10.0.0.5 is a private address: such an upstream needs its block"), "{text}");
        assert!(text.ends_with("So are 10.0.0.5:3001, 169.254.169.254:80, [fd12::6]:3000 refused."), "{text}");
    }

    /// Law 7. Time is paused except for awaited timers, so that the machine's speed has no influence.
    #[tokio::test(start_paused = true)]
    async fn law_7_the_names_of_a_publish_have_one_deadline_whatever_dns_does() {
        // The socket receives questions and never reads a question.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let check = UpstreamCheck::new(&[silent.local_addr().unwrap()]);
        let (app, policy) = ("shop".parse().unwrap(), Policy::default());
        let upstreams: Vec<UpstreamUrl> =
            (0..200).map(|number| format!("http://backend-{number}.example.org").parse().unwrap()).collect();
        let upstreams: Vec<(&UpstreamUrl, bool)> = upstreams.iter().map(|url| (url, false)).collect();
        let begun = Instant::now();
        check.check(&app, &policy, &upstreams).await.unwrap();
        assert!(begun.elapsed() < 2 * LOOKUPS_TIME_MAX, "{:?}", begun.elapsed());
    }
}
