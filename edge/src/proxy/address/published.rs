//! Checks at publish where upstreams point, within a time of its own whatever DNS does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::site_toml::UpstreamUrl;
use futures_util::stream::{self, TryStreamExt as _};
use tokio::time::timeout;

use super::{Host, Policy, Refusal, host_and_port};
use crate::proxy::dns::{DnsAnswer, Names};
use crate::proxy::turns::Turns;

/// Longest time for the names of one publish, or of one address that is set, all of them together: what has not
/// resolved by then passes.
pub(crate) const LOOKUPS_TIME_MAX: Duration = Duration::from_secs(3);
/// Lookups of names at once, of one app an eighth; others wait for their turn.
pub(crate) const LOOKUPS_MAX: usize = 128;
/// Lookups of one publish at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// Resolves the names of upstreams that are published as connections to them do, and checks every address.
pub(crate) struct UpstreamCheck {
    names: Names,
    turns: Turns,
}

/// Upstreams by the name to resolve: their ports, and what may be reached there.
type Named = BTreeMap<String, Vec<(u16, Policy)>>;

impl UpstreamCheck {
    /// Asks DNS at `servers`, or the system's resolvers where there are none.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        Self { names: Names::new(servers), turns: Turns::new(LOOKUPS_MAX) }
    }

    /// Checks where each of `upstreams` points: a literal address, or every address that its name has now. The flag
    /// says whether an admin vouches for it.
    ///
    /// A name that does not resolve in time passes, since the backend may come up later: each connect checks again, on
    /// the very address that is connected to, so that a name which changes its mind gains nothing.
    ///
    /// # Errors
    /// An address that is refused.
    pub(crate) async fn check(
        &self,
        app: &AppName,
        policy: &Policy,
        upstreams: &[(&UpstreamUrl, bool)],
    ) -> Result<(), Refusal> {
        let named = check_literals(policy, upstreams)?;
        if named.is_empty() {
            return Ok(());
        }
        let turns = self.turns.of_app(app);
        let check = |(name, ports): (String, Vec<(u16, Policy)>)| {
            let turns = turns.clone();
            async move {
                let _turn = turns.take().await;
                self.check_name(&name, &ports).await
            }
        };
        let all = stream::iter(named.into_iter().map(Ok)).try_for_each_concurrent(LOOKUPS_AT_ONCE, check);
        // A silent name server holds up nobody's publish: there is one deadline for all names.
        timeout(LOOKUPS_TIME_MAX, all).await.unwrap_or(Ok(()))
    }

    async fn check_name(&self, name: &str, ports: &[(u16, Policy)]) -> Result<(), Refusal> {
        let DnsAnswer::Addresses(found, _) = self.names.ask(name).await else { return Ok(()) };
        let check = |(port, policy): &(u16, Policy)| {
            found.iter().try_for_each(|address| policy.permits(SocketAddr::new(*address, *port)))
        };
        ports.iter().try_for_each(check)
    }
}

/// Checks what needs no DNS, and returns the rest.
fn check_literals(policy: &Policy, upstreams: &[(&UpstreamUrl, bool)]) -> Result<Named, Refusal> {
    let mut named = Named::new();
    for (url, trusted) in upstreams {
        let policy = Policy { trusted: *trusted, ..policy.clone() };
        if let Some(socket) = url.socket() {
            policy.permits_socket(Path::new(&socket))?;
            continue;
        }
        match host_and_port(url) {
            (Host::Address(ip), port) => policy.permits(SocketAddr::new(ip, port))?,
            (Host::Name(name), port) => named.entry(name).or_default().push((port, policy)),
        }
    }
    Ok(named)
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
        // The URL parser knows the old spellings of IPv4 addresses.
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

    /// Law 7. Time stands still but for what is waited for, so that none of it is of this machine.
    #[tokio::test(start_paused = true)]
    async fn law_7_the_names_of_a_publish_have_one_deadline_whatever_dns_does() {
        // It takes questions and never reads them.
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
