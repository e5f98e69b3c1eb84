//! Kept-alive connections to backends, those of one serving thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::address::Policy;
use super::body::RequestBody;
use super::error::Error;
use super::upstream::Target;

/// How long a connection is kept idle where the backend does not say: below what servers keep by default (Node, uvicorn
/// and Apache keep 5 s), so that it is this side that closes.
pub(crate) const IDLE_AGE_MAX: Duration = Duration::from_secs(4);
/// The longest that a backend's own word about it is believed.
const IDLE_AGE_SAID_MAX: Duration = Duration::from_secs(60);
/// How long a connection may have been idle to be used for a request that could not be sent a second time.
pub(crate) const IDLE_AGE_ONCE_MAX: Duration = Duration::from_secs(1);
/// How often connections that are too old are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long a connection may take to become free after its answer has ended.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// A connection to a backend; dropped before its exchange has ended, it is closed, which is how a request is cancelled.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    /// Where it really leads.
    pub(crate) peer: SocketAddr,
    task: AbortHandle,
    idle_age_max: Duration,
}

impl Connection {
    pub(crate) fn new(sender: SendRequest<RequestBody>, peer: SocketAddr, task: AbortHandle) -> Self {
        Self { sender, peer, task, idle_age_max: IDLE_AGE_MAX }
    }

    /// Takes a backend at its word about how long it keeps an idle connection, less a second for the way.
    pub(crate) fn keep_for(&mut self, said_s: u64) {
        self.idle_age_max = Duration::from_secs(said_s.saturating_sub(1)).min(IDLE_AGE_SAID_MAX);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connections of one thread.
pub(crate) struct Pool {
    places: RefCell<HashMap<Arc<Target>, Place>>,
    idle_max: usize,
    in_use_max: usize,
    is_swept: Cell<bool>,
}

#[derive(Default)]
struct Place {
    /// The one used last stands last, and is taken first: the others grow old and are closed.
    idle: Vec<Idle>,
    in_use: usize,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        self.connection.sender.is_ready() && now.duration_since(self.since) <= self.connection.idle_age_max
    }
}

/// The right to use one more connection to a target, given back when it is dropped.
pub(crate) struct Permit {
    pool: Rc<Pool>,
    target: Arc<Target>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.pool.places.borrow_mut();
        let Some(place) = places.get_mut(&self.target) else { return };
        place.in_use = place.in_use.saturating_sub(1);
        // Targets come and go with the versions that name them, so that none is kept for its own sake.
        if place.in_use == 0 && place.idle.is_empty() {
            places.remove(&self.target);
        }
    }
}

impl Pool {
    pub(crate) fn new(idle_max: usize, in_use_max: usize) -> Rc<Self> {
        Rc::new(Self { places: RefCell::default(), idle_max, in_use_max, is_swept: Cell::new(false) })
    }

    /// The right to use a connection to `target`.
    pub(crate) fn permit(self: &Rc<Self>, target: &Arc<Target>) -> Result<Permit, Error> {
        let mut places = self.places.borrow_mut();
        let place = places.entry(Arc::clone(target)).or_default();
        if place.in_use >= self.in_use_max {
            return Err(Error::Unavailable("too many requests to it are under way"));
        }
        place.in_use += 1;
        Ok(Permit { pool: Rc::clone(self), target: Arc::clone(target) })
    }

    /// The freshest idle connection to `target`, idle for no longer than `age_max`, that `policy` permits: one that
    /// another app's route made may lead where this app's may not.
    pub(crate) fn take(&self, target: &Target, policy: &Policy, age_max: Duration) -> Option<Connection> {
        let now = Instant::now();
        let mut places = self.places.borrow_mut();
        let idle = &mut places.get_mut(target)?.idle;
        idle.retain(|one| one.is_usable(now));
        let fits = |one: &Idle| now.duration_since(one.since) <= age_max && policy.permits(one.connection.peer).is_ok();
        let found = idle.iter().rposition(fits)?;
        Some(idle.remove(found).connection)
    }

    /// Keeps `connection`, whose exchange has ended, as soon as it is free for another.
    pub(crate) fn give_back(self: &Rc<Self>, target: &Arc<Target>, mut connection: Connection) {
        if self.idle_max == 0 || connection.sender.is_closed() {
            return;
        }
        if connection.sender.is_ready() {
            return self.keep(target, connection);
        }
        let (pool, target) = (Rc::downgrade(self), Arc::clone(target));
        drop(tokio::task::spawn_local(async move {
            let settled = tokio::time::timeout(SETTLE_MAX, connection.sender.ready()).await;
            if let (Ok(Ok(())), Some(pool)) = (settled, pool.upgrade()) {
                pool.keep(&target, connection);
            }
        }));
    }

    fn keep(self: &Rc<Self>, target: &Arc<Target>, connection: Connection) {
        let mut places = self.places.borrow_mut();
        let place = places.entry(Arc::clone(target)).or_default();
        if place.idle.len() >= self.idle_max {
            place.idle.remove(0);
        }
        place.idle.push(Idle { connection, since: Instant::now() });
        drop(places);
        if !self.is_swept.replace(true) {
            self.sweep_until_empty();
        }
    }

    /// Closes connections that have grown too old, until there are none at all.
    fn sweep_until_empty(self: &Rc<Self>) {
        let pool = Rc::downgrade(self);
        drop(tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep() {
                    pool.is_swept.set(false);
                    return;
                }
            }
        }));
    }

    /// Drops what is too old; says whether nothing is left to be swept.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut places = self.places.borrow_mut();
        places.retain(|_, place| {
            place.idle.retain(|one| one.is_usable(now));
            !place.idle.is_empty() || place.in_use > 0
        });
        places.values().all(|place| place.idle.is_empty())
    }

    /// How many connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.places.borrow().values().map(|place| place.idle.len()).sum()
    }

    /// How many are in use.
    pub(crate) fn in_use(&self) -> usize {
        self.places.borrow().values().map(|place| place.in_use).sum()
    }
}
