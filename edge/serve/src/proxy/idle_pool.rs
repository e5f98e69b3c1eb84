//! Idle connections to members, kept for the next request, of one serving thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::{Connection, Http2Connection, Sender};
use super::pool::Member;

/// Longest idle time of a connection for a request that must not be sent twice.
pub(crate) const IDLE_AGE_ONCE_MAX: Duration = Duration::from_secs(1);
/// Idle time of an HTTP/2 connection without a stream: a frame announces the end of the connection, so that no request
/// is lost.
const HTTP2_IDLE_AGE_MAX: Duration = Duration::from_secs(60);
/// Interval of the search for expired connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of one thread.
pub(crate) struct Kept {
    places: RefCell<HashMap<u64, MemberConnections>>,
    idle_max: usize,
    /// Age beyond which a connection gets no further request, however busy: the owner of the peer was only checked at
    /// the connect.
    age_max: Duration,
    is_swept: Cell<bool>,
}

/// The connections to one member.
struct MemberConnections {
    member: Arc<Member>,
    /// The most recently used connection is last and is taken first; the rest expires.
    idle: Vec<Idle>,
    shared: Vec<Rc<Http2Connection>>,
    /// Lock for the task that opens a shared connection.
    opening: Rc<Mutex<()>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_usable(&self, member: &Member, now: Instant, age_max: Duration) -> bool {
        let origin = self.connection.origin;
        let is_kept = origin.is_current(member) && origin.age(now) <= age_max;
        is_kept && now.duration_since(self.since) <= self.connection.idle_age_max && self.connection.is_quiet()
    }
}

impl MemberConnections {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty() && Rc::strong_count(&self.opening) == 1
    }

    /// Drops expired and broken connections, and connections to a removed member.
    fn sweep(&mut self, now: Instant, age_max: Duration) {
        let Self { member, idle, shared, .. } = self;
        let (is_gone, is_left) = (member.is_gone(), member.is_left());
        idle.retain(|one| !is_left && one.is_usable(member, now, age_max));
        // A connection in use lives on with its streams.
        shared.retain(|one| {
            let is_kept = !is_gone && !one.is_closed() && one.origin.is_current(member);
            is_kept && one.origin.age(now) <= age_max && one.idle_for(now) <= HTTP2_IDLE_AGE_MAX
        });
    }
}

impl Kept {
    pub(crate) fn new(idle_max: usize, age_max: Duration) -> Rc<Self> {
        Rc::new(Self { places: RefCell::default(), idle_max, age_max, is_swept: Cell::new(false) })
    }

    /// Takes the most recently used HTTP/1.1 connection to `member`, idle for at most `age_max`.
    pub(crate) fn take(&self, member: &Member, age_max: Duration) -> Option<Connection> {
        let mut places = self.places.borrow_mut();
        let idle = &mut places.get_mut(&member.id)?.idle;
        // The last connection is the most recently used: if expired, all are expired.
        let now = Instant::now();
        while let Some(one) = idle.pop() {
            if !one.is_usable(member, now, self.age_max) {
                continue;
            }
            if now.duration_since(one.since) <= age_max {
                return Some(one.connection);
            }
            idle.push(one);
            return None;
        }
        None
    }

    /// Returns an HTTP/2 connection to `member` with room for one more stream.
    pub(crate) fn share(&self, member: &Member) -> Option<Connection> {
        let places = self.places.borrow();
        let shared = &places.get(&member.id)?.shared;
        // Expired connections are left to the sweep.
        let is_usable = |one: &&Rc<Http2Connection>| !one.is_closed() && one.origin.is_current(member);
        let free = shared.iter().find(|one| is_usable(one) && one.has_room(member))?;
        Some(Connection::sharing(free))
    }

    /// Returns the lock for the next HTTP/2 connect to `member`; waiters share the new connection.
    pub(crate) fn opening(self: &Rc<Self>, member: &Arc<Member>) -> Rc<Mutex<()>> {
        let opening = Rc::clone(&Self::place(&mut self.places.borrow_mut(), member).opening);
        // After a failed connect, only the sweep drops the member's entry.
        self.sweep_on();
        opening
    }

    fn place<'p>(places: &'p mut HashMap<u64, MemberConnections>, member: &Arc<Member>) -> &'p mut MemberConnections {
        places.entry(member.id).or_insert_with(|| MemberConnections {
            member: Arc::clone(member),
            idle: Vec::new(),
            shared: Vec::new(),
            opening: Rc::default(),
        })
    }

    /// Keeps an HTTP/2 connection for the next request.
    pub(crate) fn keep_shared(self: &Rc<Self>, member: &Arc<Member>, connection: &Connection) {
        if let Sender::Http2 { shared, .. } = &connection.sender {
            Self::place(&mut self.places.borrow_mut(), member).shared.push(Rc::clone(&shared.0));
            self.sweep_on();
        }
    }

    /// Keeps `connection` after its exchange, if reusable.
    pub(crate) fn give_back(self: &Rc<Self>, member: &Arc<Member>, mut connection: Connection) {
        if self.idle_max > 0 && connection.rest() && !member.is_left() {
            self.keep(member, connection);
        }
    }

    fn keep(self: &Rc<Self>, member: &Arc<Member>, connection: Connection) {
        let mut places = self.places.borrow_mut();
        let place = Self::place(&mut places, member);
        if place.idle.len() >= self.idle_max {
            place.idle.remove(0);
        }
        place.idle.push(Idle { connection, since: Instant::now() });
        drop(places);
        self.sweep_on();
    }

    /// Starts the task that closes expired connections, until none is left.
    fn sweep_on(self: &Rc<Self>) {
        if self.is_swept.replace(true) {
            return;
        }
        let kept = Rc::downgrade(self);
        drop(tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some(kept) = kept.upgrade() else { return };
                if kept.sweep() {
                    kept.is_swept.set(false);
                    return;
                }
            }
        }));
    }

    /// Drops expired connections; returns true if none is left to sweep.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut places = self.places.borrow_mut();
        places.retain(|_, place| {
            place.sweep(now, self.age_max);
            !place.is_empty()
        });
        places.is_empty()
    }

    /// Returns the number of idle connections.
    pub(crate) fn idle(&self) -> usize {
        let places = self.places.borrow();
        let shared = |place: &MemberConnections| place.shared.iter().filter(|one| one.streams() == 0).count();
        places.values().map(|place| place.idle.len() + shared(place)).sum()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::proxy::address::Endpoint;
    use crate::proxy::connection::Origin;
    use crate::proxy::http1::{self, Stream, Transport};

    const AGE_MAX: Duration = Duration::from_secs(20);

    fn member() -> Arc<Member> {
        let endpoint = Endpoint::Tcp("127.0.0.1:1".parse().unwrap());
        Arc::new(Member::new("http://127.0.0.1:1".parse().unwrap(), endpoint, None, true, false))
    }

    /// Keeps a connection made at `origin`, whose peer stays open.
    fn keep(kept: &Rc<Kept>, member: &Arc<Member>, origin: Origin) -> tokio::net::UnixStream {
        let (stream, other) = tokio::net::UnixStream::pair().unwrap();
        let sender = http1::Connection::new(Stream::new(Transport::Unix(stream), None));
        kept.keep(member, Connection::new(Sender::Http1(sender), origin));
        other
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_before_a_look_at_its_member_failed_is_not_used_again() {
        let is_dropped = async {
            let (kept, member) = (Kept::new(8, AGE_MAX), member());
            let origin = Origin::now(&member);
            let _others = [keep(&kept, &member, origin), keep(&kept, &member, origin)];
            assert!(kept.take(&member, Duration::MAX).is_some());
            member.drop_kept();
            assert!(kept.take(&member, Duration::MAX).is_none());
            // A connection in use or being made during the drop is not kept.
            let _late = keep(&kept, &member, origin);
            assert!(kept.take(&member, Duration::MAX).is_none());
            let _next = keep(&kept, &member, Origin::now(&member));
            assert!(kept.take(&member, Duration::MAX).is_some());
        };
        LocalSet::new().run_until(is_dropped).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_always_in_use_is_not_kept_for_ever() {
        let is_dropped = async {
            let (kept, member) = (Kept::new(8, AGE_MAX), member());
            let (origin, mut uses) = (Origin::now(&member), 0);
            let mut other = keep(&kept, &member, origin);
            // Each use is well within the idle time.
            while kept.take(&member, Duration::MAX).is_some() {
                uses += 1;
                assert!(uses < 1_000, "it is kept for ever");
                tokio::time::sleep(SWEEP_INTERVAL).await;
                other = keep(&kept, &member, origin);
            }
            // Once in each second of the age.
            assert!((20..=21).contains(&uses), "{uses}");
            drop(other);
        };
        LocalSet::new().run_until(is_dropped).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_to_which_no_connection_was_made_has_no_place() {
        let member = member();
        let is_swept = async {
            let kept = Kept::new(1, AGE_MAX);
            let opening = kept.opening(&member);
            tokio::time::sleep(2 * SWEEP_INTERVAL).await;
            assert_eq!(kept.places.borrow().len(), 1, "somebody opens one");
            drop(opening);
            tokio::time::sleep(2 * SWEEP_INTERVAL).await;
            assert!(kept.places.borrow().is_empty());
        };
        LocalSet::new().run_until(is_swept).await;
    }
}
