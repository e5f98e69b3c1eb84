//! Every pool of the edge: made when somebody first asks for it, gone when nobody has it any more.
//!
//! Versions come and go, and pools stay where both say the same: who is well, who is out for a while and which
//! connections are kept outlast a switch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use devanture_config::site_toml::{SERVER_UPSTREAM, UpstreamName};
use devanture_config::{AppName, PlaceName};
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};

use super::address::{Endpoint, InternalAddresses, Policy};
use super::arriving::{ArrivedTunnel, Arriving};
use super::clock::now_ms;
use super::elsewhere::NodeProcess;
use super::managed_backends::{PoolRun, RunOrigin, Runs};
use super::membership::{self, Known};
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
    /// Where upstreams may point, for versions of strangers.
    pub policy: Policy,
    /// Whom `https` members are trusted by where a pool says nothing, see [`super::tls`].
    pub tls: Arc<ClientConfig>,
    /// Most requests under way to one member: `upstream_requests_max`.
    pub requests_max: u64,
    /// Most sockets to backends at once, of all apps: `upstream_sockets_max`, or less.
    pub sockets_max: u64,
}

/// Members set by the API for the pools of one environment, by their names.
type MembersByUpstream = BTreeMap<String, Arc<MembersRecord>>;
/// An app, and an environment or alias of it, or `preview`.
type PlaceKey = (AppName, String);

/// All pools. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    settings: RegistrySettings,
    sockets: Sockets,
    pools: Mutex<HashMap<PoolKey, Weak<Pool>>>,
    /// Pools of what is live, which are looked after also while nobody asks.
    held: Mutex<HashMap<PlaceKey, Vec<Arc<Pool>>>>,
    members: RwLock<HashMap<PlaceKey, MembersByUpstream>>,
    born: mpsc::UnboundedSender<Weak<Pool>>,
    births: Mutex<Option<mpsc::UnboundedReceiver<Weak<Pool>>>>,
    runs: Runs,
    /// What opens tunnels to other nodes, in a cluster.
    tunnels: Opener,
    /// Tunnels of other nodes.
    arriving: Arc<Arriving>,
    /// The commit up to which settings of the API are known.
    applied: watch::Sender<Revision>,
}

impl PoolKey {
    /// The pool of an upstream of a version, by its number there; `settings` is the revision of the settings that the
    /// version has where it is served, which its own backend runs with.
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
    /// No pool yet.
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

    /// The pool of an upstream of a version, made where there is none, see [`PoolKey::of`].
    #[must_use]
    pub fn pool_of(&self, version: &Version, number: usize, settings: u64) -> Option<Arc<Pool>> {
        let key = PoolKey::of(version, number, settings)?;
        let origin = key.run.and_then(|_| RunOrigin::of(version));
        Some(self.made(&key, origin))
    }

    /// The pool of that key, made where there is none.
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
        // Addresses are members at once; names are resolved by maintenance.
        membership::update(&pool, &|| self.members_of(&pool), &Known::default());
        self.follow_run(&pool);
        pools.insert(key.clone(), Arc::downgrade(&pool));
        drop(pools);
        self.0.born.send(Arc::downgrade(&pool)).ok();
        pool
    }

    /// New pools, taken once by maintenance.
    pub(crate) fn births(&self) -> Option<mpsc::UnboundedReceiver<Weak<Pool>>> {
        self.0.births.lock().take()
    }

    /// Members of a pool set by the API.
    pub fn members_of(&self, pool: &Pool) -> Option<Arc<MembersRecord>> {
        let members = self.0.members.read();
        members.get(&(pool.key.app.clone(), pool.key.place.clone()))?.get(&pool.key.name).cloned()
    }

    /// Whether the API says anything about members in a place.
    pub fn has_members(&self, app: &AppName, place: &str) -> bool {
        self.0.members.read().contains_key(&(app.clone(), place.to_owned()))
    }

    /// The ports and endpoints that belong to nobody.
    pub fn internal(&self) -> &InternalAddresses {
        &self.0.settings.policy.internal
    }

    /// Members of all upstreams of a version together, those that the API added among them; of the upstream `name` the
    /// API says what `record` says.
    pub fn members_count(&self, version: &Version, name: &str, record: &MembersRecord) -> usize {
        let members = self.0.members.read();
        let of_place = members.get(&(version.app.clone(), version.place.clone()));
        // The address of a route is no name.
        let named = version.upstreams.iter().filter(|served| served.name.parse::<UpstreamName>().is_ok());
        let count = named.map(|served| {
            let known = || of_place.and_then(|of_place| of_place.get(&served.name)).map(Arc::as_ref);
            let record = if served.name == name { Some(record) } else { known() };
            membership::wanted(&served.declared, version.reach.is_private(), record).len()
        });
        count.sum()
    }

    /// Takes over the members of a pool set by the API; without a `record` there are none.
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
            // So that the API's answer is true: what is no name changes at once.
            membership::update_members(pool, &|| self.members_of(pool));
        }
    }

    /// Forgets every setting but those of `known`.
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

    /// The pools of an environment, alias or of previews.
    #[must_use]
    pub fn of_place(&self, app: &AppName, place: &str) -> Vec<Arc<Pool>> {
        let pools = self.0.pools.lock();
        let here = pools.iter().filter(|(key, _)| key.app == *app && key.place == place);
        here.filter_map(|(_, pool)| pool.upgrade()).collect()
    }

    /// Every pool.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pool>> {
        self.0.pools.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Releases the pools of every environment but those of `known`.
    pub(crate) fn release_but(&self, known: &[(AppName, PlaceName)]) {
        let known: HashSet<(&AppName, &str)> = known.iter().map(|(app, name)| (app, name.as_str())).collect();
        let held: Vec<PlaceKey> = self.0.held.lock().keys().cloned().collect();
        for (app, place) in held.iter().filter(|(app, place)| !known.contains(&(app, place.as_str()))) {
            self.hold(app, place, Vec::new());
        }
    }

    /// Keeps the pools of what is live in an environment, in place of those that were live there before.
    pub(crate) fn hold(&self, app: &AppName, place: &str, pools: Vec<Arc<Pool>>) {
        let mut held = self.0.held.lock();
        let before = match pools.is_empty() {
            true => held.remove(&(app.clone(), place.to_owned())),
            false => held.insert((app.clone(), place.to_owned()), pools),
        };
        drop(held);
        let changed: Vec<_> = before.iter().flatten().map(|pool| Arc::clone(&pool.changed)).collect();
        // A pool that ends here does so without the lock.
        drop(before);
        // Health checks of a pool that nobody has any more end at once.
        for changed in changed {
            changed.notify_one();
        }
    }

    /// Says who answers requests to a run from now on; where it is nothing, the first request asks for it again.
    pub fn run(&self, id: &RunId, now: Option<RunNow>) {
        // Under the lock of pools: one that is made now sees either this or what comes after it.
        let pools = {
            let pools = self.0.pools.lock();
            self.0.runs.set(id, now);
            of_run(&pools, id)
        };
        for pool in pools {
            self.follow_run(&pool);
        }
    }

    /// Says which instances of a run another node has from now on.
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

    /// The runs that another node has instances of.
    #[must_use]
    pub fn runs_of_node(&self, node: &str) -> Vec<RunId> {
        self.0.runs.elsewhere.of_node(node)
    }

    /// Instances of other nodes that get requests to a run.
    #[must_use]
    pub fn members_elsewhere(&self, id: &RunId) -> usize {
        self.0.runs.elsewhere.count(id)
    }

    /// Notifies of changes of instances of other nodes.
    #[must_use]
    pub fn elsewhere_changes(&self) -> watch::Receiver<u64> {
        self.0.runs.elsewhere.changes()
    }

    /// The runs of this node that other nodes may send requests to.
    #[must_use]
    pub fn shared_runs(&self) -> Vec<(RunId, Arc<RunNow>)> {
        self.0.runs.shared()
    }

    /// Notifies of changes of this node's instances.
    #[must_use]
    pub fn run_changes(&self) -> watch::Receiver<u64> {
        self.0.runs.changes()
    }

    /// A number of this process, for other nodes.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.0.runs.process
    }

    /// Whether other nodes may reach this node's instances.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.runs.is_shared()
    }

    /// Has other nodes reach this node's instances no longer: it ends. Tunnels that are open stay.
    pub fn end_sharing(&self) {
        self.0.runs.end_sharing();
    }

    /// Forgets the instances of another node.
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

    /// Sets what opens tunnels to instances of other nodes; the first one stays.
    pub fn open_tunnels_by(&self, tunnels: Arc<dyn Tunnels>) {
        self.0.tunnels.set(tunnels).ok();
    }

    /// Waits until no tunnel of another node ends here.
    pub async fn tunnels_ended(&self) {
        self.0.arriving.all_ended().await;
    }

    /// Connects to the instance of this node at `endpoint`, for another node. It must be one of the run that gets
    /// requests.
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

    /// Begins to hear which runs requests ask for, or ends to: as long as somebody does they wait, rather than being
    /// refused.
    pub fn hear_asks(&self, is_heard: bool) {
        self.0.runs.asks.hear(is_heard);
        for pool in self.all().iter().filter(|pool| pool.run.is_some()) {
            self.follow_run(pool);
        }
    }

    /// Asks for a run as a request does that comes to it.
    pub fn ask(&self, id: &RunId, origin: &RunOrigin) {
        self.0.runs.asks.ask(id, origin);
    }

    /// The next run that a request came to and that has no member.
    pub async fn next_requested(&self) -> (RunId, RunOrigin) {
        self.0.runs.asks.next().await
    }

    /// Requests in flight to this node's instances of a run, or to the one at `endpoint` alone; upgraded connections
    /// and tunnels of other nodes count.
    #[must_use]
    pub fn run_in_flight(&self, id: &RunId, endpoint: Option<&Endpoint>) -> usize {
        let pools = of_run(&self.0.pools.lock(), id);
        pools.iter().map(|pool| pool.in_flight(endpoint)).sum::<usize>() + self.0.arriving.count(id, endpoint)
    }

    /// Has no connection to the instance of a run at `endpoint` used for another request: it was found that nobody, or
    /// somebody else, listens there.
    pub fn drop_kept(&self, id: &RunId, endpoint: &Endpoint) {
        for pool in of_run(&self.0.pools.lock(), id) {
            pool.members().iter().filter(|member| member.endpoint == *endpoint).for_each(|member| member.drop_kept());
        }
    }

    /// Requests that wait for an instance of a run.
    #[must_use]
    pub fn run_waiting(&self, id: &RunId) -> usize {
        let pools = of_run(&self.0.pools.lock(), id);
        pools.iter().map(|pool| pool.waiting()).sum()
    }

    /// Milliseconds since a request last came to a run; `None` if none did in the life of its pools.
    #[must_use]
    pub fn run_idle_ms(&self, id: &RunId) -> Option<u64> {
        let pools = of_run(&self.0.pools.lock(), id);
        let used = pools.iter().filter_map(|pool| pool.run.as_ref()).map(PoolRun::used_ms).filter(|used| *used != 0);
        used.max().map(|used| now_ms().saturating_sub(used))
    }

    /// Sets the commit up to which settings of the API are known.
    pub(crate) fn applied(&self, revision: Revision) {
        self.0.applied.send_if_modified(|seen| {
            let later = revision > *seen;
            *seen = revision.max(*seen);
            later
        });
    }

    /// Waits until the settings of a commit are followed.
    pub async fn wait_for(&self, revision: Revision) {
        // The sender lives as long as `self`.
        self.0.applied.subscribe().wait_for(|seen| *seen >= revision).await.ok();
    }
}

/// The pools whose members are the instances of a run.
fn of_run(pools: &HashMap<PoolKey, Weak<Pool>>, id: &RunId) -> Vec<Arc<Pool>> {
    let of = |key: &PoolKey| key.run == Some(id.key) && key.app == id.app && key.place == id.place;
    pools.iter().filter(|(key, _)| of(key)).filter_map(|(_, pool)| pool.upgrade()).collect()
}
