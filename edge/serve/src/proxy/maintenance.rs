//! Maintenance of pools on a separate thread: resolves names, checks the health of members, and follows live versions
//! and the members set by the API.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use devanture_config::site_toml::UpstreamUrl;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::address::APP_PARTS;
use super::dns::{DnsAnswer, Names};
use super::dns_troubles::{AppLines, Trouble, Troubles};
use super::health::{Checks, HealthLimits};
use super::membership::{self, ResolvedNames};
use super::pool::Pool;
use super::registry::Registry;
use devanture_base::fair::TurnsByApp;

/// Interval of the check for users of an idle pool.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of concurrent lookups of backend names, of which one app has one eighth; further lookups wait for
/// their turn.
const LOOKUPS_MAX: usize = 128;

/// Bounds of the lifetime of DNS answers.
#[derive(Debug, Clone, Copy)]
pub struct DnsTimes {
    /// Minimum lifetime, regardless of the time to live, and minimum wait after a first failure: `upstream_dns_ms_min`.
    pub least: Duration,
    /// Maximum lifetime: `upstream_dns_ms_max`.
    pub most: Duration,
    /// Time for which the last addresses stay after an empty DNS answer: `upstream_dns_hold_ms`.
    pub hold: Duration,
}

/// Shared state of the maintenance of all pools.
struct MaintenanceContext {
    registry: Registry,
    names: Names,
    times: DnsTimes,
    limits: HealthLimits,
    checks: TurnsByApp,
    lookups: TurnsByApp,
    lines: AppLines,
}

/// Maintains the pools of `registry` until the registry is dropped. Must run inside a `LocalSet`.
pub async fn keep_pools(registry: Registry, names: Names, times: DnsTimes, limits: HealthLimits) {
    let Some(mut births) = registry.births() else { return };
    let checks = TurnsByApp::new(limits.checks_max, APP_PARTS);
    let lookups = TurnsByApp::new(LOOKUPS_MAX, APP_PARTS);
    let lines = AppLines::default();
    let upkeep = Rc::new(MaintenanceContext { registry, names, times, limits, checks, lookups, lines });
    while let Some(pool) = births.recv().await {
        drop(tokio::task::spawn_local(keep(pool, Rc::clone(&upkeep))));
    }
}

/// State of the names of one pool.
#[derive(Default)]
struct NameStates {
    known: ResolvedNames,
    /// Names being resolved.
    in_flight: HashSet<UpstreamUrl>,
    /// Time of the next lookup by name.
    due: HashMap<UpstreamUrl, Instant>,
    /// Time since which DNS has no address.
    nothing_since: HashMap<UpstreamUrl, Instant>,
    /// Names without an address, or without an answer.
    troubles: Troubles,
}

/// The DNS answer for one name of a pool.
struct Answer {
    address: UpstreamUrl,
    name: String,
    port: u16,
    declared: DnsAnswer,
}

/// Maintains one pool as long as the pool has other users.
async fn keep(pool: Weak<Pool>, upkeep: Rc<MaintenanceContext>) {
    let Some(app) = pool.upgrade().map(|pool| pool.key.app.clone()) else { return };
    let mut remembered = NameStates::default();
    let mut checks = Checks::new(upkeep.limits, upkeep.checks.of_app(&app));
    let lookups = upkeep.lookups.of_app(&app);
    // Names are resolved concurrently, so that a silent name delays no other name.
    let mut asking = FuturesUnordered::new();
    loop {
        let Some(strong) = pool.upgrade() else { return };
        if checks.are_alone_with(&strong) {
            // The version with the pool was replaced. The pool ends with the last check, unless a new user appears
            // first.
            checks.end();
        } else {
            let record = upkeep.registry.members_of(&strong);
            let wanted = membership::wanted(&strong.key.declared, strong.key.trusted, record.as_deref());
            let named = wanted.iter().filter_map(|one| Some((one.address.clone(), membership::name_of(&one.address)?)));
            for (address, (name, port)) in remembered.take_due(&named.collect::<Vec<_>>()) {
                let (upkeep, lookups) = (Rc::clone(&upkeep), lookups.clone());
                let has_some = remembered.has_some(&address);
                asking.push(async move {
                    let _turn = lookups.take().await;
                    let names = &upkeep.names;
                    let declared = if has_some { names.ask_again(&name).await } else { names.ask(&name).await };
                    Answer { declared, address, name, port }
                });
            }
            membership::update(&strong, &|| upkeep.registry.members_of(&strong), &remembered.known);
            checks.watch(&strong);
        }
        let next = remembered.due.values().min().copied();
        let next = next.unwrap_or_else(|| Instant::now() + LOOK_INTERVAL).min(Instant::now() + LOOK_INTERVAL);
        let changed = Arc::clone(&strong.changed);
        // A waiting task must not keep an otherwise unused pool alive.
        drop(strong);
        tokio::select! {
            Some(answer) = asking.next() => match pool.upgrade() {
                Some(strong) => remembered.take(&strong, answer, upkeep.times, &upkeep.lines),
                None => return,
            },
            () = changed.notified() => {}
            () = sleep_until(next) => {}
        }
        // Limits the rate of a pool that changes continuously.
        sleep_until(Instant::now() + Duration::from_millis(1)).await;
    }
}

impl NameStates {
    /// Returns the names that are due and not yet being resolved; drops the state of unused names.
    fn take_due(&mut self, named: &[(UpstreamUrl, (String, u16))]) -> Vec<(UpstreamUrl, (String, u16))> {
        let is_named = |address: &UpstreamUrl| named.iter().any(|(one, _)| one == address);
        self.due.retain(|address, _| is_named(address));
        self.known.addresses.retain(|address, _| is_named(address));
        self.known.failed.retain(|address, _| is_named(address));
        self.nothing_since.retain(|address, _| is_named(address));
        self.troubles.retain(is_named);
        let now = Instant::now();
        let is_due = |address: &UpstreamUrl| self.due.get(address).is_none_or(|due| *due <= now);
        let mut due: Vec<_> = named.iter().filter(|(address, _)| is_due(address)).cloned().collect();
        due.retain(|(address, _)| self.in_flight.insert(address.clone()));
        for (address, _) in &due {
            self.due.remove(address);
        }
        due
    }

    /// Returns true if addresses of a name are known.
    fn has_some(&self, address: &UpstreamUrl) -> bool {
        self.known.addresses.get(address).is_some_and(|known| !known.is_empty())
    }

    /// Applies a DNS answer. A failure changes nothing, and an empty answer counts only after `hold`: a backend
    /// outlives most DNS failures.
    fn take(&mut self, pool: &Pool, answer: Answer, times: DnsTimes, lines: &AppLines) {
        let Answer { address, name, port, declared } = answer;
        self.in_flight.remove(&address);
        let now = Instant::now();
        let has_some = self.has_some(&address);
        let (app, upstream) = (&pool.key.app, &pool.key.name);
        let wait = match declared {
            DnsAnswer::Addresses(found, ttl) => {
                let found: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                let was_failing = self.troubles.end(&address);
                if self.known.addresses.get(&address) != Some(&found) {
                    if lines.take(app) {
                        tracing::info!(%app, upstream, name, addresses = ?found, "a backend's name has other addresses");
                    }
                } else if was_failing && lines.take(app) {
                    tracing::info!(%app, upstream, name, "a backend's name has its addresses again");
                }
                self.known.failed.remove(&address);
                self.nothing_since.remove(&address);
                self.known.addresses.insert(address.clone(), found);
                ttl.clamp(times.least, times.most)
            }
            DnsAnswer::Nothing => {
                let since = *self.nothing_since.entry(address.clone()).or_insert(now);
                let held = times.hold.saturating_sub(now.duration_since(since));
                let wait = self.troubles.next_wait(&address, times.least, times.most);
                if has_some && !held.is_zero() {
                    // The empty answer takes effect at the end of `hold`, and no later.
                    wait.min(held).max(times.least)
                } else {
                    if self.troubles.is_news(&address, Trouble::Nothing) && lines.take(app) {
                        tracing::warn!(%app, upstream, name, "a backend's name has no address");
                    }
                    self.known.addresses.insert(address.clone(), Vec::new());
                    self.known.failed.insert(address.clone(), format!("{name} has no address"));
                    wait
                }
            }
            DnsAnswer::Failed(why) => {
                if self.troubles.is_news(&address, Trouble::Failed) && lines.take(app) {
                    tracing::warn!(%app, upstream, name, why, kept = has_some, "a backend's name cannot be asked about");
                }
                if !has_some {
                    self.known.failed.insert(address.clone(), format!("{name}: {why}"));
                }
                self.troubles.next_wait(&address, times.least, times.most)
            }
        };
        self.due.insert(address, now + wait);
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::site_toml::Upstream;

    use super::super::pool::PoolKey;
    use super::super::registry::RegistrySettings;
    use super::super::tls;
    use super::*;
    use crate::proxy::address::Policy;

    const TIMES: DnsTimes =
        DnsTimes { least: Duration::from_secs(1), most: Duration::from_secs(300), hold: Duration::from_secs(30) };

    fn pool() -> Arc<Pool> {
        let settings = RegistrySettings {
            policy: Policy::default(),
            tls: tls::trusting([]).unwrap(),
            requests_max: 1_000_000,
            sockets_max: 1_000_000,
        };
        let declared = Upstream { to: vec![address()], ..Upstream::default() };
        let (app, place, name) = ("shop".parse().unwrap(), "prod".to_owned(), "api".to_owned());
        Registry::new(settings).pool(&PoolKey { app, place, name, trusted: true, declared, run: None })
    }

    fn address() -> UpstreamUrl {
        "http://api.example.org".parse().unwrap()
    }

    fn answer(declared: DnsAnswer) -> Answer {
        Answer { address: address(), name: "api.example.org".to_owned(), port: 80, declared }
    }

    /// Returns the seconds until the next lookup, after one more answer.
    fn wait(remembered: &mut NameStates, pool: &Pool, declared: DnsAnswer) -> u64 {
        remembered.take(pool, answer(declared), TIMES, &AppLines::default());
        remembered.due[&address()].duration_since(Instant::now()).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_address_costs_the_resolver_less_and_less() {
        let (pool, mut remembered) = (pool(), NameStates::default());
        let nothing: Vec<u64> = (0..8).map(|_| wait(&mut remembered, &pool, DnsAnswer::Nothing)).collect();
        assert_eq!(nothing, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait(&mut remembered, &pool, DnsAnswer::Failed("away".to_owned())), 60);
        let found = DnsAnswer::Addresses(vec![[192, 0, 2, 1].into()], Duration::from_secs(7));
        assert_eq!(wait(&mut remembered, &pool, found), 7);
        let failed: Vec<u64> =
            (0..3).map(|_| wait(&mut remembered, &pool, DnsAnswer::Failed("away".to_owned()))).collect();
        assert_eq!(failed, [1, 2, 4]);
        assert!(remembered.known.failed.is_empty(), "the last addresses stay while nobody answers");
    }

    #[tokio::test(start_paused = true)]
    async fn that_a_name_has_no_address_is_believed_when_its_time_is_over_and_no_later() {
        let (pool, mut remembered) = (pool(), NameStates::default());
        let found = DnsAnswer::Addresses(vec![[192, 0, 2, 1].into()], Duration::from_secs(7));
        wait(&mut remembered, &pool, found);
        let begun = Instant::now();
        while remembered.known.failed.is_empty() {
            let seconds = wait(&mut remembered, &pool, DnsAnswer::Nothing);
            if remembered.known.failed.is_empty() {
                tokio::time::advance(Duration::from_secs(seconds)).await;
            }
        }
        assert_eq!(begun.elapsed(), TIMES.hold);
        assert!(remembered.known.addresses[&address()].is_empty());
    }
}
