//! Pools of backends, shared by all threads: membership, health, choice of the member for a request, and the queue.

mod budget;
mod member;

pub(crate) use member::HTTP2_STREAMS_MAX;
pub use member::{Member, MemberState};

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use devanture_config::AppName;
use devanture_config::site_toml::{self, Protocol};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use self::budget::Budget;
use super::address::{Endpoint, FoundSocket, NodeInstance, Policy, Refusal};
use super::error::Error;
use super::managed_backends::PoolRun;
use super::run::RunKey;
use super::sockets::Sockets;
use super::tls::PoolTls;
use super::tunnel;

/// The key of a pool: equal keys share one pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The app.
    pub app: AppName,
    /// The environment or alias, or `preview`.
    pub place: String,
    /// The name below `[upstreams]`, or the address of the route.
    pub name: String,
    /// True if the version may reach private addresses: loopback and private members are permitted.
    pub trusted: bool,
    /// The settings.
    pub declared: site_toml::Upstream,
    /// The run of the members, for the pool of a version's own backend.
    pub run: Option<RunKey>,
}

/// A pool of backends.
pub struct Pool {
    /// The key.
    pub key: PoolKey,
    /// The permitted addresses of members.
    pub(crate) policy: Policy,
    /// The socket budget of the connections.
    pub(crate) sockets: Sockets,
    /// The TLS trust for `https` members.
    pub(crate) tls: Result<PoolTls, String>,
    members: ArcSwap<Vec<Arc<Member>>>,
    /// Removed members, some of which still have requests in flight: an unhealthy instance is removed, and may become a
    /// member again.
    left: Mutex<Vec<Weak<Member>>>,
    /// Held during a change of the members.
    changing: Mutex<()>,
    connections_max: usize,
    budget: Budget,
    /// Notifies the first waiter that a member is free or healthy again.
    freed: Notify,
    /// Held by the first waiter; further waiters queue for the lock in order of arrival.
    first: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    /// Notifies of a change of the members.
    replaced: Notify,
    /// Notifies the maintenance to check the members again.
    pub(crate) changed: Arc<Notify>,
    /// Reason of an empty pool, if a name is the reason.
    resolved: ArcSwap<Resolved>,
    /// The run whose instances are the members, for a managed backend.
    pub(super) run: Option<PoolRun>,
}

/// Results of the name resolution of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// Names are not resolved yet.
    #[default]
    Not,
    /// Names are resolved, with the reason of a name without addresses.
    DnsAnswer(Option<String>),
}

/// The right to send one request to a member, released on drop.
pub(crate) struct Lease {
    pub(crate) member: Arc<Member>,
    pub(crate) pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.release();
        self.pool.wake_if_any_waits();
    }
}

impl Lease {
    /// Records a response of the member.
    pub(crate) fn succeeded(&self) {
        self.member.succeeded();
    }

    /// Records a failure of the member; ejects the member after too many consecutive failures, if another member is
    /// healthy.
    pub(crate) fn failed(&self) {
        let declared = &self.pool.key.declared;
        let after = u32::try_from(declared.eject_after.unwrap_or(site_toml::EJECT_AFTER)).unwrap_or(u32::MAX);
        if !self.member.failed(after) {
            return;
        }
        if !self.pool.has_other(Some(self.member.id)) {
            return;
        }
        let for_ms = self.member.eject(declared.eject_ms.unwrap_or(site_toml::EJECT_MS), after);
        let PoolKey { app, place, name, .. } = &self.pool.key;
        tracing::warn!(%app, environment = place, upstream = name, member = %self.member.endpoint, for_ms, "a backend failed too often in a row, and gets no requests for a while");
    }
}

/// Choice of a member for a request.
enum MemberChoice {
    Member(Arc<Member>),
    /// All healthy members have the maximum of requests.
    Full,
    /// No member is healthy.
    Nobody,
}

impl Pool {
    /// Creates a pool without members, which maintenance adds.
    pub(super) fn new(
        key: PoolKey,
        policy: Policy,
        tls: Result<PoolTls, String>,
        (connections_max, sockets): (u64, Sockets),
        run: Option<PoolRun>,
    ) -> Self {
        let max = key.declared.connections_max.map_or(connections_max, |declared| declared.min(connections_max));
        Self {
            budget: Budget::new(key.declared.retry_percent.unwrap_or(site_toml::RETRY_PERCENT)),
            key,
            policy,
            sockets,
            tls,
            members: ArcSwap::default(),
            left: Mutex::default(),
            changing: Mutex::new(()),
            connections_max: usize::try_from(max).unwrap_or(usize::MAX),
            freed: Notify::new(),
            first: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            replaced: Notify::new(),
            changed: Arc::default(),
            resolved: ArcSwap::default(),
            run,
        }
    }

    /// Returns the current members.
    #[must_use]
    pub fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.members.load_full()
    }

    /// Returns the number of requests in flight to the members, or only to members at `endpoint`; removed members count
    /// too.
    #[must_use]
    pub fn in_flight(&self, endpoint: Option<&Endpoint>) -> usize {
        let left: Vec<Arc<Member>> = self.left.lock().iter().filter_map(Weak::upgrade).collect();
        let members = self.members.load();
        let all = members.iter().chain(&left).filter(|member| endpoint.is_none_or(|at| member.endpoint == *at));
        all.map(|member| member.in_flight()).sum()
    }

    /// Returns the number of requests that wait for a member.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the protocol of the members.
    pub(crate) fn protocol(&self) -> Protocol {
        self.key.declared.protocol.unwrap_or_default()
    }

    /// Returns true if the members are declared as FastCGI.
    pub fn is_fastcgi(&self) -> bool {
        self.key.declared.root.is_some()
    }

    /// Returns the maximum of retries of a request.
    pub(crate) fn retries(&self) -> u64 {
        self.key.declared.retries.unwrap_or(site_toml::RETRIES)
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Runs `change`, which computes and sets the members, under the lock.
    pub(crate) fn one_at_a_time(&self, change: impl FnOnce()) {
        let _changing = self.changing.lock();
        change();
    }

    /// Replaces the members; a removed member completes its requests in flight.
    pub(crate) fn set_members(&self, members: Vec<Arc<Member>>, resolved: Resolved) {
        let before = self.members.swap(Arc::new(members));
        let now = self.members.load();
        let mut left = self.left.lock();
        // Each request in flight holds its member.
        left.retain(|member| member.strong_count() > 0);
        for old in before.iter().filter(|old| !now.iter().any(|new| new.id == old.id)) {
            old.set_gone();
            left.push(Arc::downgrade(old));
        }
        drop(left);
        self.resolved.store(Arc::new(resolved));
        self.replaced.notify_waiters();
        self.wake_first();
    }

    /// Checks a connection to `member`; an added member does not become trusted by a later deploy of an admin.
    pub(crate) fn permits(&self, member: &Member) -> Result<(), Refusal> {
        // The edge itself chose the endpoint of an instance, and only the edge names members here; but the file at the
        // endpoint is made by the app, and may be a link.
        if self.run.is_some() {
            return self.policy.permits_instance(&member.endpoint);
        }
        match member.is_trusted() {
            trusted if trusted == self.policy.trusted => self.policy.permits_endpoint(&member.endpoint),
            trusted => Policy { trusted, ..self.policy.clone() }.permits_endpoint(&member.endpoint),
        }
    }

    /// Checks a connection as [`Pool::permits`] does, on the resolved socket.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(crate) fn permits_found(&self, found: &FoundSocket) -> Result<(), Refusal> {
        match self.run {
            Some(_) => self.policy.permits_found_instance(found),
            None => self.policy.permits_found(found),
        }
    }

    /// Opens a connection to an instance of another node.
    pub(crate) async fn tunnel(&self, to: &NodeInstance) -> io::Result<TlsStream<TcpStream>> {
        match &self.run {
            Some(run) => tunnel::open(&run.tunnels, &run.id, to).await,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Wakes the first waiter after a change of a member's state. Each further waiter checks the members once first in
    /// the queue.
    pub(crate) fn wake_first(&self) {
        self.freed.notify_one();
    }

    fn wake_if_any_waits(&self) {
        // Sequentially consistent with the release of the slot: a new waiter either sees the free slot, or is seen by
        // the load here.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_first();
        }
    }

    /// Leases the member for the next request; `avoid` has already failed the request. If all members are busy, waits
    /// up to the pool's queue time; waits until `deadline` for the first addresses of a name.
    ///
    /// # Errors
    /// No member is healthy, or none is free in time.
    pub(crate) async fn lease(self: &Arc<Self>, avoid: Option<u64>, deadline: Instant) -> Result<Lease, Error> {
        if let Some(run) = &self.run {
            run.note_use();
        }
        // Earlier waiters go first.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            match self.pick(avoid) {
                MemberChoice::Member(member) => return Ok(Lease { member, pool: Arc::clone(self) }),
                MemberChoice::Nobody => {
                    self.ask_for_somebody();
                    if **self.resolved.load() != Resolved::Not {
                        return Err(self.nobody());
                    }
                }
                MemberChoice::Full => {}
            }
        }
        Box::pin(self.wait(avoid, deadline)).await
    }

    async fn wait(self: &Arc<Self>, avoid: Option<u64>, deadline: Instant) -> Result<Lease, Error> {
        let queue_max = self.key.declared.queue_max.unwrap_or(site_toml::QUEUE_MAX);
        let place = Waiting::new(self);
        let is_full = u64::try_from(place.before).unwrap_or(u64::MAX) >= queue_max;
        if is_full && (self.run.is_some() || **self.resolved.load() != Resolved::Not) {
            return Err(Error::Unavailable("too many requests wait for it"));
        }
        let queue_ms = self.key.declared.queue_ms.unwrap_or(site_toml::QUEUE_MS);
        let until = Instant::now() + Duration::from_millis(queue_ms);
        // Earlier waiters time out earlier: the queue time is the same for all. The lock is released with or without a
        // lease, so that the next waiter checks for free members.
        let first = timeout_at(until.max(deadline), self.first.lock()).await;
        let _first = first.map_err(|_elapsed| self.not_in_time())?;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // A notification from here on is not lost.
            freed.as_mut().enable();
            let until = match self.pick(avoid) {
                MemberChoice::Member(member) => return Ok(Lease { member, pool: Arc::clone(self) }),
                MemberChoice::Full => until,
                MemberChoice::Nobody if **self.resolved.load() == Resolved::Not => {
                    self.ask_for_somebody();
                    deadline
                }
                MemberChoice::Nobody => return Err(self.nobody()),
            };
            if timeout_at(until, freed).await.is_err() {
                return Err(self.not_in_time());
            }
        }
    }

    /// Asks for instances of a managed backend if no instance remains.
    fn ask_for_somebody(&self) {
        let is_left = || self.members.load().iter().all(|member| member.state() == MemberState::Draining);
        if let Some(run) = self.run.as_ref().filter(|_| is_left()) {
            run.ask();
        }
    }

    /// Returns true if a healthy member other than `avoid` exists.
    pub(crate) fn has_other(&self, avoid: Option<u64>) -> bool {
        self.members.load().iter().any(|member| Some(member.id) != avoid && member.state() == MemberState::Up)
    }

    /// Waits until `deadline` for the removal of the instance `failed`; returns true once removed. Returns false
    /// immediately for a pool without managed instances.
    pub(crate) async fn is_replaced(&self, failed: Option<u64>, deadline: Instant) -> bool {
        if self.run.is_none() {
            return false;
        }
        loop {
            let changed = self.replaced.notified();
            tokio::pin!(changed);
            // A notification from here on is not lost.
            changed.as_mut().enable();
            if !self.members.load().iter().any(|member| Some(member.id) == failed) {
                return true;
            }
            if timeout_at(deadline, changed).await.is_err() {
                return false;
            }
        }
    }

    /// Chooses the less busy of two random members: nearly as good as a choice among all members, without a rush on a
    /// single member. Instances of other nodes only get requests that no instance of the local node can take.
    fn pick(&self, avoid: Option<u64>) -> MemberChoice {
        let members = self.members.load();
        if let [only] = members.as_slice() {
            return match only.is_last_resort() {
                true if only.take(self.connections_max) => MemberChoice::Member(Arc::clone(only)),
                true => MemberChoice::Full,
                false => MemberChoice::Nobody,
            };
        }
        let is_up = |member: &Member| member.state() == MemberState::Up;
        let is_other = |member: &Member| is_up(member) && Some(member.id) != avoid;
        let rounds: [&dyn Fn(&Member) -> bool; 4] =
            [&|member| is_other(member) && !member.is_elsewhere(), &is_other, &is_up, &Member::is_last_resort];
        let mut picked = MemberChoice::Nobody;
        for is_fit in rounds {
            let fit = || members.iter().filter(|member| is_fit(member));
            let count = fit().count();
            if count == 0 {
                continue;
            }
            let free = || fit().filter(|member| member.in_flight() < self.connections_max);
            let chosen = match free().count() {
                0 => None,
                1 => free().next(),
                count => {
                    let (first, second) = two_of(count);
                    let (first, second) = (free().nth(first), free().nth(second));
                    first.into_iter().chain(second).min_by_key(|member| member.in_flight())
                }
            };
            // Another request may have taken the last slot meanwhile, which waiters treat as a full pool.
            if let Some(taken) = chosen.filter(|member| member.take(self.connections_max)) {
                return MemberChoice::Member(Arc::clone(taken));
            }
            picked = MemberChoice::Full;
            if !members.iter().any(|member| member.is_elsewhere()) {
                break;
            }
        }
        picked
    }

    /// Returns the error of a request whose wait timed out.
    fn not_in_time(&self) -> Error {
        match **self.resolved.load() == Resolved::Not && self.members.load().is_empty() {
            true if self.run.is_some() => Error::Unavailable("its instances did not start in time"),
            true => Error::NoAddress("DNS has not answered yet".to_owned()),
            false => Error::Unavailable("no backend was free in time"),
        }
    }

    /// Returns the error of a pool without a healthy member.
    fn nobody(&self) -> Error {
        match (&**self.resolved.load(), self.members.load().is_empty()) {
            (Resolved::DnsAnswer(Some(why)), true) => Error::NoAddress(why.clone()),
            (_, true) if self.run.is_some() => Error::NoMember("none of its instances runs"),
            (_, true) => Error::NoMember("it has no members"),
            (_, false) => Error::NoMember("none of its backends is well"),
        }
    }
}

/// Returns two different random numbers below `count`, which is at least 2.
fn two_of(count: usize) -> (usize, usize) {
    let first = below(count);
    let second = below(count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// Returns a random number below `count`, by a generator without a lock (Marsaglia's xorshift).
fn below(count: usize) -> usize {
    use std::cell::Cell;
    thread_local! {
        static STATE: Cell<u64> = Cell::new(rand::random::<u64>() | 1);
    }
    let drawn = STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x
    });
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    usize::try_from((drawn >> 8) % count).unwrap_or_default()
}

/// A slot in the queue of a pool, released on drop.
struct Waiting<'p> {
    pool: &'p Pool,
    before: usize,
}

impl<'p> Waiting<'p> {
    fn new(pool: &'p Pool) -> Self {
        Self { pool, before: pool.waiting.fetch_add(1, Ordering::SeqCst) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
