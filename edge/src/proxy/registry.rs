//! Every pool of the edge: made when somebody first asks for it, gone when nobody has it any more.
//!
//! Versions come and go, and pools stay where both say the same: who is well, who is out for a while and which
//! connections are kept outlast a switch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use devanture_config::AppName;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};

use super::address::Policy;
use super::membership::{self, Known};
use super::pool::{Pool, PoolKey};
use super::tls;
use crate::catalog::Revision;
use crate::catalog::upstreams::MembersRecord;
use crate::version::Version;

/// What a [`Registry`] is made of.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Where upstreams may point, for versions of strangers.
    pub policy: Policy,
    /// Whom `https` members are trusted by where a pool says nothing, see [`super::tls`].
    pub tls: Arc<ClientConfig>,
    /// Most requests under way to one member: `upstream_requests_max`.
    pub requests_max: u64,
}

/// What the API says about the pools of one environment, by their names.
type Wishes = BTreeMap<String, Arc<MembersRecord>>;
/// An app, and an environment or alias of it, or `preview`.
type PlaceKey = (AppName, String);

/// All pools. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    settings: RegistrySettings,
    pools: Mutex<HashMap<PoolKey, Weak<Pool>>>,
    /// Pools of what is live, which are looked after also while nobody asks.
    held: Mutex<HashMap<PlaceKey, Vec<Arc<Pool>>>>,
    wishes: RwLock<HashMap<PlaceKey, Wishes>>,
    born: mpsc::UnboundedSender<Weak<Pool>>,
    births: Mutex<Option<mpsc::UnboundedReceiver<Weak<Pool>>>>,
    /// The commit up to which wishes are known.
    applied: watch::Sender<Revision>,
}

impl PoolKey {
    /// That of an upstream of a version, by its number there.
    #[must_use]
    pub fn of(version: &Version, number: usize) -> Option<Self> {
        let served = version.upstreams.get(number)?;
        Some(Self {
            app: version.app.clone(),
            place: version.place.clone(),
            name: served.name.clone(),
            trusted: version.trusted,
            said: served.said.clone(),
        })
    }
}

impl Registry {
    /// No pool yet.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        let (born, births) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            settings,
            pools: Mutex::default(),
            held: Mutex::default(),
            wishes: RwLock::default(),
            born,
            births: Mutex::new(Some(births)),
            applied: watch::Sender::new(0),
        }))
    }

    /// The pool of that key, made where there is none.
    #[must_use]
    pub fn pool(&self, key: &PoolKey) -> Arc<Pool> {
        let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(key).and_then(Weak::upgrade) {
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let RegistrySettings { policy, tls, requests_max } = &self.0.settings;
        let policy = Policy { trusted: key.trusted, ..policy.clone() };
        let made = tls::of_pool(&key.said, tls);
        if let Err(error) = &made {
            tracing::error!(app = %key.app, upstream = key.name, error, "the https members of an upstream cannot be used");
        }
        let pool = Arc::new(Pool::new(key.clone(), policy, made, *requests_max));
        // Addresses are members at once; names are asked about by whoever looks after pools.
        membership::update(&pool, &|| self.wish(&pool), &Known::default());
        pools.insert(key.clone(), Arc::downgrade(&pool));
        drop(pools);
        self.0.born.send(Arc::downgrade(&pool)).ok();
        pool
    }

    /// Pools that were made and are to be looked after; for whoever does, once.
    pub(crate) fn births(&self) -> Option<mpsc::UnboundedReceiver<Weak<Pool>>> {
        self.0.births.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the API says about the members of a pool.
    pub(crate) fn wish(&self, pool: &Pool) -> Option<Arc<MembersRecord>> {
        let wishes = self.0.wishes.read().unwrap_or_else(PoisonError::into_inner);
        wishes.get(&(pool.key.app.clone(), pool.key.place.clone()))?.get(&pool.key.name).cloned()
    }

    /// Takes over what the API says about a pool now; nothing where `record` is none.
    pub(crate) fn wished(&self, app: &AppName, place: &str, name: &str, record: Option<MembersRecord>) {
        {
            let mut wishes = self.0.wishes.write().unwrap_or_else(PoisonError::into_inner);
            let of_place = wishes.entry((app.clone(), place.to_owned())).or_default();
            match record {
                Some(record) => drop(of_place.insert(name.to_owned(), Arc::new(record))),
                None => drop(of_place.remove(name)),
            }
            wishes.retain(|_, of_place| !of_place.is_empty());
        }
        for pool in self.of_place(app, place).iter().filter(|pool| pool.key.name == name) {
            pool.changed.notify_one();
            // The answer to whoever wished it is true: what is no name changes at once.
            membership::update_wishes(pool, &|| self.wish(pool));
        }
    }

    /// Forgets every wish but those of `known`.
    pub(crate) fn forget_wishes_but(&self, known: &[(AppName, String, String)]) {
        let all: Vec<(AppName, String, String)> = {
            let wishes = self.0.wishes.read().unwrap_or_else(PoisonError::into_inner);
            let named = |((app, place), names): (&PlaceKey, &Wishes)| {
                names.keys().map(|name| (app.clone(), place.clone(), name.clone())).collect::<Vec<_>>()
            };
            wishes.iter().flat_map(named).collect()
        };
        for (app, place, name) in all.iter().filter(|wish| !known.contains(wish)) {
            self.wished(app, place, name, None);
        }
    }

    /// The pools of an environment, alias or of previews.
    #[must_use]
    pub fn of_place(&self, app: &AppName, place: &str) -> Vec<Arc<Pool>> {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let here = pools.iter().filter(|(key, _)| key.app == *app && key.place == place);
        here.filter_map(|(_, pool)| pool.upgrade()).collect()
    }

    /// Every pool.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pool>> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect()
    }

    /// Keeps the pools of what is live in an environment, in place of those that were live there before.
    pub(crate) fn hold(&self, app: &AppName, place: &str, keys: &[PoolKey]) {
        let pools: Vec<Arc<Pool>> = keys.iter().map(|key| self.pool(key)).collect();
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match pools.is_empty() {
            true => held.remove(&(app.clone(), place.to_owned())),
            false => held.insert((app.clone(), place.to_owned()), pools),
        };
        // A pool that ends here does so without the lock.
        drop(held);
        drop(before);
    }

    /// Says up to which commit wishes are known.
    pub(crate) fn applied(&self, revision: Revision) {
        self.0.applied.send_if_modified(|seen| {
            let later = revision > *seen;
            *seen = revision.max(*seen);
            later
        });
    }

    /// Waits until the wishes of a commit are followed.
    pub async fn wait_for(&self, revision: Revision) {
        // The sender lives as long as `self`.
        self.0.applied.subscribe().wait_for(|seen| *seen >= revision).await.ok();
    }
}
