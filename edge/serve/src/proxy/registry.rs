//! All pools of the edge, created on first use and dropped with the last reference.
//!
//! Pools outlive versions: if two versions declare the same upstream, the health, the ejections and the idle
//! connections of the pool survive a switch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use devanture_config::site_toml::{SERVER_UPSTREAM, UpstreamName};
use devanture_config::{AppName, PlaceName};
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};

use super::address::{Endpoint, InternalAddresses, Policy};
use super::arriving::{ArrivedTunnel, InboundTunnels};
use super::clock::now_ms;
use super::elsewhere::NodeProcess;
use super::managed_backends::{PoolRun, RunOrigin, Runs};
use super::membership::{self, ResolvedNames};
use super::pool::{Pool, PoolKey};
use super::run::{RunId, RunKey, RunMember, RunNow};
use super::sockets::Sockets;
use super::tls;
use super::tunnel::{Opener, Tunnels};
use crate::version::Version;
use devanture_store::catalog::Revision;
use devanture_store::records::upstreams::MembersRecord;

/// The parts of a [`Registry`].
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Policy for upstreams of untrusted versions.
    pub policy: Policy,
    /// Default TLS trust for `https` members of pools without TLS settings, see [`super::tls`].
    pub tls: Arc<ClientConfig>,
    /// Maximum number of requests in flight to one member: `upstream_requests_max`.
    pub requests_max: u64,
    /// Maximum number of open sockets to backends of all apps: `upstream_sockets_max`, or less.
    pub sockets_max: u64,
}

/// Members set by the API for the pools of one environment, by their names.
type MembersByUpstream = BTreeMap<String, Arc<MembersRecord>>;
/// An app, and an environment, an alias, or `preview`.
type PlaceKey = (AppName, String);

/// All pools. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    settings: RegistrySettings,
    sockets: Sockets,
    pools: Mutex<HashMap<PoolKey, Weak<Pool>>>,
    /// Pools of live versions, which get maintenance even without requests.
    held: Mutex<HashMap<PlaceKey, Vec<Arc<Pool>>>>,
    members: RwLock<HashMap<PlaceKey, MembersByUpstream>>,
    born: mpsc::UnboundedSender<Weak<Pool>>,
    births: Mutex<Option<mpsc::UnboundedReceiver<Weak<Pool>>>>,
    runs: Runs,
    /// Opener of tunnels to other nodes, in a cluster.
    tunnels: Opener,
    /// Tunnels of other nodes.
    arriving: Arc<InboundTunnels>,
    /// The commit up to which settings of the API are applied.
    applied: watch::Sender<Revision>,
}

impl PoolKey {
    /// Returns the key of the upstream with index `number` of a version; `settings` is the revision of the
    /// environment's settings, which the version's own backend runs with.
    #[must_use]
    pub fn of(version: &Version, number: usize, settings: u64) -> Option<Self> {
        let served = version.upstreams.get(number)?;
        let managed = version.managed.as_ref().filter(|_| served.name == SERVER_UPSTREAM);
        Some(Self {
            app: version.app.clone(),
            place: version.place.clone(),
            name: served.name.clone(),
            trusted: version.reach.is_private(),
            declared: served.declared.clone(),
            run: managed.map(|managed| RunKey { digest: managed.digest, settings }),
        })
    }
}

impl Registry {
    /// Creates a registry without pools.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        let (born, births) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            sockets: Sockets::new(settings.sockets_max),
            settings,
            pools: Mutex::default(),
            held: Mutex::default(),
            members: RwLock::default(),
            born,
            births: Mutex::new(Some(births)),
            runs: Runs::default(),
            tunnels: Opener::default(),
            arriving: Arc::default(),
            applied: watch::Sender::new(0),
        }))
    }

    /// Returns or creates the pool of an upstream of a version, see [`PoolKey::of`].
    #[must_use]
    pub fn pool_of(&self, version: &Version, number: usize, settings: u64) -> Option<Arc<Pool>> {
        let key = PoolKey::of(version, number, settings)?;
        let origin = key.run.and_then(|_| RunOrigin::of(version));
        Some(self.made(&key, origin))
    }

    /// Returns or creates the pool of `key`.
    #[must_use]
    pub fn pool(&self, key: &PoolKey) -> Arc<Pool> {
        self.made(key, None)
    }

    fn made(&self, key: &PoolKey, origin: Option<RunOrigin>) -> Arc<Pool> {
        let mut pools = self.0.pools.lock();
        if let Some(pool) = pools.get(key).and_then(Weak::upgrade) {
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let RegistrySettings { policy, tls, requests_max, .. } = &self.0.settings;
        let policy = Policy { trusted: key.trusted, ..policy.clone() };
        let made = tls::of_pool(&key.declared, tls);
        if let Err(error) = &made {
            tracing::error!(app = %key.app, upstream = key.name, error, "the https members of an upstream cannot be used");
        }
        let run = key.run.map(|run| {
            let id = RunId { app: key.app.clone(), place: key.place.clone(), key: run };
            PoolRun::new(id, origin, Arc::clone(&self.0.runs.asks), Arc::clone(&self.0.tunnels))
        });
        let pool = Arc::new(Pool::new(key.clone(), policy, made, (*requests_max, self.0.sockets.clone()), run));
        // Addresses become members immediately; maintenance resolves names.
        membership::update(&pool, &|| self.members_of(&pool), &ResolvedNames::default());
        self.follow_run(&pool);
        pools.insert(key.clone(), Arc::downgrade(&pool));
        drop(pools);
        self.0.born.send(Arc::downgrade(&pool)).ok();
        pool
    }

    /// Takes the receiver of new pools; only the first call, by maintenance, gets the receiver.
    pub(crate) fn births(&self) -> Option<mpsc::UnboundedReceiver<Weak<Pool>>> {
        self.0.births.lock().take()
    }

    /// Returns the members of a pool that the API has set.
    pub fn members_of(&self, pool: &Pool) -> Option<Arc<MembersRecord>> {
        let members = self.0.members.read();
        members.get(&(pool.key.app.clone(), pool.key.place.clone()))?.get(&pool.key.name).cloned()
    }

    /// Returns true if the API has set members in an environment.
    pub fn has_members(&self, app: &AppName, place: &str) -> bool {
        self.0.members.read().contains_key(&(app.clone(), place.to_owned()))
    }

    /// Returns the ports and endpoints that are closed to every upstream.
    pub fn internal(&self) -> &InternalAddresses {
        &self.0.settings.policy.internal
    }

    /// Returns the number of members of all upstreams of a version, including members added by the API; `record`
    /// replaces the stored members of the upstream `name`.
    pub fn members_count(&self, version: &Version, name: &str, record: &MembersRecord) -> usize {
        let members = self.0.members.read();
        let of_place = members.get(&(version.app.clone(), version.place.clone()));
        // The address of a route is not a name.
        let named = version.upstreams.iter().filter(|served| served.name.parse::<UpstreamName>().is_ok());
        let count = named.map(|served| {
            let known = || of_place.and_then(|of_place| of_place.get(&served.name)).map(Arc::as_ref);
            let record = if served.name == name { Some(record) } else { known() };
            membership::wanted(&served.declared, version.reach.is_private(), record).len()
        });
        count.sum()
    }

    /// Sets the members of a pool from the API; without a `record`, removes all such members.
    pub(crate) fn set_members(&self, app: &AppName, place: &str, name: &str, record: Option<MembersRecord>) {
        {
            let mut members = self.0.members.write();
            let of_place = members.entry((app.clone(), place.to_owned())).or_default();
            match record {
                Some(record) => drop(of_place.insert(name.to_owned(), Arc::new(record))),
                None => drop(of_place.remove(name)),
            }
            members.retain(|_, of_place| !of_place.is_empty());
        }
        for pool in self.of_place(app, place).iter().filter(|pool| pool.key.name == name) {
            pool.changed.notify_one();
            // The API's answer must be true: changes of address members apply immediately.
            membership::update_members(pool, &|| self.members_of(pool));
        }
    }

    /// Removes all settings except `known`.
    pub(crate) fn forget_members_but(&self, known: &[(AppName, String, String)]) {
        let all: Vec<(AppName, String, String)> = {
            let members = self.0.members.read();
            let named = |((app, place), names): (&PlaceKey, &MembersByUpstream)| {
                names.keys().map(|name| (app.clone(), place.clone(), name.clone())).collect::<Vec<_>>()
            };
            members.iter().flat_map(named).collect()
        };
        for (app, place, name) in all.iter().filter(|one| !known.contains(one)) {
            self.set_members(app, place, name, None);
        }
    }

    /// Returns the pools of an environment, of an alias or of previews.
    #[must_use]
    pub fn of_place(&self, app: &AppName, place: &str) -> Vec<Arc<Pool>> {
        let pools = self.0.pools.lock();
        let here = pools.iter().filter(|(key, _)| key.app == *app && key.place == place);
        here.filter_map(|(_, pool)| pool.upgrade()).collect()
    }

    /// Returns all pools.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pool>> {
        self.0.pools.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Releases the pools of all environments except `known`.
    pub(crate) fn release_but(&self, known: &[(AppName, PlaceName)]) {
        let known: HashSet<(&AppName, &str)> = known.iter().map(|(app, name)| (app, name.as_str())).collect();
        let held: Vec<PlaceKey> = self.0.held.lock().keys().cloned().collect();
        for (app, place) in held.iter().filter(|(app, place)| !known.contains(&(app, place.as_str()))) {
            self.hold(app, place, Vec::new());
        }
    }

    /// Retains the pools of an environment's live version, and releases the pools retained before.
    pub(crate) fn hold(&self, app: &AppName, place: &str, pools: Vec<Arc<Pool>>) {
        let mut held = self.0.held.lock();
        let before = match pools.is_empty() {
            true => held.remove(&(app.clone(), place.to_owned())),
            false => held.insert((app.clone(), place.to_owned()), pools),
        };
        drop(held);
        let changed: Vec<_> = before.iter().flatten().map(|pool| Arc::clone(&pool.changed)).collect();
        // The drop of a pool must not run under the lock.
        drop(before);
        // Wakes the maintenance, so that health checks of a dropped pool end immediately.
        for changed in changed {
            changed.notify_one();
        }
    }

    /// Sets the instances of a run. Without `now`, the next request asks for the run again.
    pub fn run(&self, id: &RunId, now: Option<RunNow>) {
        // Under the lock of pools: a pool created now sees the new state or a later state.
        let pools = {
            let pools = self.0.pools.lock();
            self.0.runs.set(id, now);
            of_run(&pools, id)
        };
        for pool in pools {
            self.follow_run(&pool);
        }
    }

    /// Sets the instances of a run on another node.
    pub fn run_elsewhere(&self, from: &NodeProcess, id: &RunId, members: &[RunMember]) {
        let pools = {
            let pools = self.0.pools.lock();
            self.0.runs.elsewhere.set(from, id, members);
            of_run(&pools, id)
        };
        for pool in pools {
            self.follow_run(&pool);
        }
    }

    /// Returns the runs that have instances on another node.
    #[must_use]
    pub fn runs_of_node(&self, node: &str) -> Vec<RunId> {
        self.0.runs.elsewhere.of_node(node)
    }

    /// Returns the number of instances on other nodes that get requests of a run.
    #[must_use]
    pub fn members_elsewhere(&self, id: &RunId) -> usize {
        self.0.runs.elsewhere.count(id)
    }

    /// Returns a watch on changes of instances on other nodes.
    #[must_use]
    pub fn elsewhere_changes(&self) -> watch::Receiver<u64> {
        self.0.runs.elsewhere.changes()
    }

    /// Returns the runs of the local node that other nodes may send requests to.
    #[must_use]
    pub fn shared_runs(&self) -> Vec<(RunId, Arc<RunNow>)> {
        self.0.runs.shared()
    }

    /// Returns a watch on changes of local instances.
    #[must_use]
    pub fn run_changes(&self) -> watch::Receiver<u64> {
        self.0.runs.changes()
    }

    /// Returns the process number reported to other nodes.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.0.runs.process
    }

    /// Returns true if other nodes may reach local instances.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.runs.is_shared()
    }

    /// Closes local instances to other nodes, at shutdown. Open tunnels stay.
    pub fn end_sharing(&self) {
        self.0.runs.end_sharing();
    }

    /// Removes the instances of another node.
    pub fn forget_node(&self, node: &str) {
        for id in self.runs_of_node(node) {
            let pools = {
                let pools = self.0.pools.lock();
                self.0.runs.elsewhere.forget(node, &id);
                of_run(&pools, &id)
            };
            for pool in pools {
                self.follow_run(&pool);
            }
        }
    }

    /// Sets the opener of tunnels to instances of other nodes; later calls have no effect.
    pub fn open_tunnels_by(&self, tunnels: Arc<dyn Tunnels>) {
        self.0.tunnels.set(tunnels).ok();
    }

    /// Waits until no tunnel of another node ends on the local node.
    pub async fn tunnels_ended(&self) {
        self.0.arriving.all_ended().await;
    }

    /// Connects to the local instance at `endpoint`, for another node. The instance must be a member of the run that
    /// gets requests.
    ///
    /// # Errors
    /// A sentence for the log of the other node.
    pub async fn arrive(&self, id: &RunId, endpoint: &Endpoint) -> Result<ArrivedTunnel, String> {
        let member = self.0.runs.shared_member(id, endpoint).ok_or("it does not run there, or ends")?;
        self.0.arriving.arrive(id, &member).await.map_err(|error| error.to_string())
    }

    fn follow_run(&self, pool: &Pool) {
        if let Some(run) = &pool.run {
            membership::follow_run(pool, &|| self.0.runs.get(&run.id));
        }
    }

    /// Starts or stops delivery of requested runs. While delivery is active, requests without an instance wait instead
    /// of being refused.
    pub fn hear_asks(&self, is_heard: bool) {
        self.0.runs.asks.hear(is_heard);
        for pool in self.all().iter().filter(|pool| pool.run.is_some()) {
            self.follow_run(pool);
        }
    }

    /// Asks for a run, as an arriving request does.
    pub fn ask(&self, id: &RunId, origin: &RunOrigin) {
        self.0.runs.asks.ask(id, origin);
    }

    /// Waits for the next run that got a request and has no member.
    pub async fn next_requested(&self) -> (RunId, RunOrigin) {
        self.0.runs.asks.next().await
    }

    /// Returns the number of requests in flight to the local instances of a run, or only to the instance at `endpoint`;
    /// upgraded connections and tunnels of other nodes count.
    #[must_use]
    pub fn run_in_flight(&self, id: &RunId, endpoint: Option<&Endpoint>) -> usize {
        let pools = of_run(&self.0.pools.lock(), id);
        pools.iter().map(|pool| pool.in_flight(endpoint)).sum::<usize>() + self.0.arriving.count(id, endpoint)
    }

    /// Drops the idle connections to the instance of a run at `endpoint`, after a connect found no listener or a
    /// foreign listener at the endpoint.
    pub fn drop_kept(&self, id: &RunId, endpoint: &Endpoint) {
        for pool in of_run(&self.0.pools.lock(), id) {
            pool.members().iter().filter(|member| member.endpoint == *endpoint).for_each(|member| member.drop_kept());
        }
    }

    /// Returns the number of requests that wait for an instance of a run.
    #[must_use]
    pub fn run_waiting(&self, id: &RunId) -> usize {
        let pools = of_run(&self.0.pools.lock(), id);
        pools.iter().map(|pool| pool.waiting()).sum()
    }

    /// Returns the milliseconds since the last request to a run; `None` if no request came in the life of its pools.
    #[must_use]
    pub fn run_idle_ms(&self, id: &RunId) -> Option<u64> {
        let pools = of_run(&self.0.pools.lock(), id);
        let used = pools.iter().filter_map(|pool| pool.run.as_ref()).map(PoolRun::used_ms).filter(|used| *used != 0);
        used.max().map(|used| now_ms().saturating_sub(used))
    }

    /// Sets the commit up to which settings of the API are applied.
    pub(crate) fn applied(&self, revision: Revision) {
        self.0.applied.send_if_modified(|seen| {
            let later = revision > *seen;
            *seen = revision.max(*seen);
            later
        });
    }

    /// Waits until the settings of a commit are applied.
    pub async fn wait_for(&self, revision: Revision) {
        // The sender lives as long as `self`.
        self.0.applied.subscribe().wait_for(|seen| *seen >= revision).await.ok();
    }
}

/// Returns the pools whose members are the instances of a run.
fn of_run(pools: &HashMap<PoolKey, Weak<Pool>>, id: &RunId) -> Vec<Arc<Pool>> {
    let of = |key: &PoolKey| key.run == Some(id.key) && key.app == id.app && key.place == id.place;
    pools.iter().filter(|(key, _)| of(key)).filter_map(|(_, pool)| pool.upgrade()).collect()
}
