//! Rations accepts and handshakes on one listener, so that connected visitors are served between any two handshakes.
//!
//! A handshake costs a key exchange and a signature, a thousand times the work of sending its first message. Tasks run
//! in the order in which they became ready, so without a ration a flood of handshakes delays every connection of the
//! thread.
//!
//! A handshake advances by *steps*: a step is one poll of its future, for example the poll that reads a `ClientHello`
//! and signs the response. Steps and accepted connections are counted by *turns*. A turn ends when the runtime has
//! polled for I/O, and every task woken by the poll is queued before the next turn's steps. A turn has at most
//! [`STEPS_PER_TURN`] steps, none of which begins later than [`TURN_SHARE`] after the first; clients alternate.
//!
//! Concurrent handshakes are bounded, in total and for each address. Without room, a new connection takes the place of
//! the oldest handshake that waits for its client, once old enough; until then no connection is accepted, and further
//! connections wait in the system's backlog.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use metrics::Gauge;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[cfg(test)]
mod tests;

/// Maximum number of handshake steps in one turn. Most steps are far shorter than [`TURN_SHARE`]: the end of a
/// handshake, or a name that is not served.
pub(crate) const STEPS_PER_TURN: usize = 8;
/// Maximum number of connections accepted in one turn: each accept costs some system calls.
pub(crate) const ACCEPTS_PER_TURN: usize = 4;
/// Time after the first step of a turn in which another step may begin. A handshake with an ECDSA P-256 signature takes
/// about as long, so that a turn rarely has more than one.
const TURN_SHARE: Duration = Duration::from_micros(100);

/// Divisor of the total limit above which only clients with a validated address may begin handshakes.
const BUSY_PART: usize = 4;
/// Divisor of the limit per client, for the same purpose.
const BUSY_PART_OF_CLIENT: usize = 8;

/// Maximum number of concurrent handshakes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeLimits {
    /// On one listener of one thread.
    pub(crate) total: usize,
    /// Per client; 0 is no limit.
    pub(crate) per_client: usize,
    /// Age at which a handshake that waits for its client may be displaced.
    pub(crate) stall: Duration,
}

/// The peer that a handshake is counted for: an address with port 0, for IPv6 the /64; or one connection of a trusted
/// proxy, which stands for many clients.
pub(crate) type Client = SocketAddr;

/// The client has reached its limit of concurrent handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// The handshake was displaced by another handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Displaced;

/// The handshakes of one listener on one thread.
pub(crate) struct Handshakes {
    limits: HandshakeLimits,
    state: RefCell<State>,
    /// Notified when the current turn has done work, or work waits for the next turn.
    turn_wanted: Notify,
    /// Notified when another connection may be accepted.
    room: Notify,
    under_way: Gauge,
    queued: Gauge,
}

#[derive(Default)]
struct State {
    under_way: usize,
    clients: HashMap<Client, Share>,
    /// Clients with queued handshakes, the next one first.
    order: VecDeque<Client>,
    /// Handshakes that wait for their clients, the oldest first.
    stalled: BTreeMap<u64, Rc<Place>>,
    entered: u64,
    turn: Turn,
    /// A queued handshake was granted a step, and has not taken the step yet.
    is_granted: bool,
}

/// Handshakes of one client.
#[derive(Default)]
struct Share {
    under_way: usize,
    /// Handshakes that wait for a step; some may have ended meanwhile.
    queue: VecDeque<Rc<Place>>,
}

/// Work done in a turn.
#[derive(Default)]
struct Turn {
    accepted: usize,
    steps: usize,
    /// Start of the first step, by the system's clock: the share is of processor time, which a paused test clock would
    /// hide.
    began: Option<std::time::Instant>,
}

impl Turn {
    /// Takes one of the turn's steps, if one is left.
    fn take_step(&mut self) -> bool {
        let now = std::time::Instant::now();
        let began = *self.began.get_or_insert(now);
        let has_time = self.steps == 0 || now.saturating_duration_since(began) < TURN_SHARE;
        let may_begin = has_time && self.steps < STEPS_PER_TURN;
        self.steps += usize::from(may_begin);
        may_begin
    }
}

/// A concurrent handshake.
struct Place {
    /// The number among all handshakes.
    number: u64,
    client: Client,
    since: Instant,
    phase: Cell<Phase>,
    /// The task of the connection.
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Being polled, or not polled yet.
    Active,
    /// Waiting for the client.
    Stalled,
    /// Waiting for a step.
    Queued,
    /// A step was granted.
    Granted,
    /// Displaced: the handshake must end.
    Displaced,
    /// Ended.
    Over,
}

impl Place {
    fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Handshakes {
    /// Creates the state without handshakes; the gauges follow the counts.
    pub(crate) fn new(limits: HandshakeLimits, under_way: Gauge, queued: Gauge) -> Self {
        let (state, turn_wanted, room) = (RefCell::default(), Notify::new(), Notify::new());
        Self { limits, state, turn_wanted, room, under_way, queued }
    }

    /// Runs turns until dropped.
    pub(crate) async fn keep_turns(&self) {
        loop {
            self.turn_wanted.notified().await;
            // Resumed after the runtime has polled for I/O: every task woken by the poll runs before the next turn's
            // steps.
            tokio::task::yield_now().await;
            self.begin_turn();
        }
    }

    fn begin_turn(&self) {
        let state = &mut *self.state.borrow_mut();
        state.turn = Turn::default();
        self.grant(state);
        self.room.notify_one();
    }

    /// Waits until another connection may be accepted in the current turn.
    pub(crate) async fn room(&self) {
        loop {
            let Err(until) = self.find_room() else { return };
            let elapsed = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.room.notified() => {}
                () = elapsed => {}
            }
        }
    }

    /// Finds room for another connection, displacing a stalled handshake if necessary. Otherwise returns the time at
    /// which the oldest stalled handshake may be displaced.
    fn find_room(&self) -> Result<(), Option<Instant>> {
        if self.state.borrow().turn.accepted >= ACCEPTS_PER_TURN {
            return Err(None);
        }
        self.find_place()
    }

    /// Finds room for a connection that needs no accept because it arrived as a packet.
    pub(crate) fn find_place(&self) -> Result<(), Option<Instant>> {
        let mut state = self.state.borrow_mut();
        if state.under_way < self.limits.total {
            return Ok(());
        }
        let oldest = state.stalled.first_key_value().map(|(_, place)| Rc::clone(place));
        let Some(oldest) = oldest else { return Err(None) };
        let until = oldest.since + self.limits.stall;
        if Instant::now() < until {
            return Err(Some(until));
        }
        self.displace(&mut state, &oldest);
        Ok(())
    }

    /// Returns true if so many places are taken, in total or by `client`, that the rest is reserved for peers with a
    /// validated address. A peer with a forged address cannot take more than the unreserved part of another client's
    /// share.
    pub(crate) fn is_busy(&self, client: Client) -> bool {
        let state = self.state.borrow();
        let held = state.clients.get(&client).map_or(0, |share| share.under_way);
        let is_client_busy = self.limits.per_client > 0 && held >= self.limits.per_client / BUSY_PART_OF_CLIENT;
        is_client_busy || state.under_way >= self.limits.total / BUSY_PART
    }

    /// Counts an accepted connection in the current turn.
    pub(crate) fn accepted(&self) {
        let mut state = self.state.borrow_mut();
        state.turn.accepted += 1;
        if state.turn.accepted == 1 {
            self.turn_wanted.notify_one();
        }
    }

    /// Adds a handshake of `client`. Over its limit, the client's own oldest stalled handshake is displaced.
    pub(crate) fn enter(self: &Rc<Self>, client: Client) -> Result<Handshake, TooMany> {
        let mut state = self.state.borrow_mut();
        let held = state.clients.get(&client).map_or(0, |share| share.under_way);
        if self.limits.per_client > 0 && held >= self.limits.per_client {
            let before = Instant::now().checked_sub(self.limits.stall);
            let is_over = |place: &&Rc<Place>| before.is_some_and(|before| place.since <= before);
            let own = state.stalled.values().take_while(is_over).find(|place| place.client == client).cloned();
            self.displace(&mut state, &own.ok_or(TooMany)?);
        }
        state.under_way += 1;
        state.entered += 1;
        state.clients.entry(client).or_default().under_way += 1;
        self.under_way.increment(1.0);
        let (phase, waker) = (Cell::new(Phase::Active), RefCell::default());
        let place = Place { number: state.entered, client, since: Instant::now(), phase, waker };
        Ok(Handshake { of: Rc::clone(self), place: Rc::new(place) })
    }

    fn displace(&self, state: &mut State, place: &Rc<Place>) {
        state.stalled.remove(&place.number);
        place.phase.set(Phase::Displaced);
        self.release(state, place.client);
        place.wake();
    }

    /// Releases a place.
    fn release(&self, state: &mut State, client: Client) {
        state.under_way -= 1;
        self.under_way.decrement(1.0);
        if let Some(share) = state.clients.get_mut(&client) {
            share.under_way -= 1;
            if share.under_way == 0 && share.queue.is_empty() {
                state.clients.remove(&client);
            }
        }
    }

    /// Grants the next queued handshake a step, if the turn has one left.
    fn grant(&self, state: &mut State) {
        while !state.is_granted && !state.order.is_empty() {
            if !state.turn.take_step() {
                self.turn_wanted.notify_one();
                return;
            }
            match state.next_queued() {
                Some(place) => {
                    self.queued.decrement(1.0);
                    place.phase.set(Phase::Granted);
                    state.is_granted = true;
                    place.wake();
                }
                None => state.turn.steps -= 1,
            }
        }
    }

    /// Ready if the handshake may be polled now; otherwise queues the handshake, and wakes the task later.
    fn take_step(&self, place: &Rc<Place>, waker: &Waker) -> Poll<Result<(), Displaced>> {
        let state = &mut *self.state.borrow_mut();
        match place.phase.get() {
            Phase::Displaced => return Poll::Ready(Err(Displaced)),
            Phase::Granted => {
                state.is_granted = false;
                place.phase.set(Phase::Active);
                return Poll::Ready(Ok(()));
            }
            Phase::Queued => {
                place.remember(waker);
                return Poll::Pending;
            }
            Phase::Stalled => drop(state.stalled.remove(&place.number)),
            Phase::Active | Phase::Over => {}
        }
        let is_first = state.turn.steps == 0;
        if state.order.is_empty() && !state.is_granted && state.turn.take_step() {
            place.phase.set(Phase::Active);
            if is_first {
                self.turn_wanted.notify_one();
            }
            return Poll::Ready(Ok(()));
        }
        place.remember(waker);
        place.phase.set(Phase::Queued);
        self.queued.increment(1.0);
        let share = state.clients.entry(place.client).or_default();
        if share.queue.is_empty() {
            state.order.push_back(place.client);
        }
        share.queue.push_back(Rc::clone(place));
        self.turn_wanted.notify_one();
        Poll::Pending
    }

    /// Records a poll of a handshake; a pending handshake waits for its client.
    fn stepped(&self, place: &Rc<Place>, waker: &Waker, is_pending: bool) {
        let state = &mut *self.state.borrow_mut();
        if is_pending {
            place.remember(waker);
            place.phase.set(Phase::Stalled);
            state.stalled.insert(place.number, Rc::clone(place));
            if state.under_way >= self.limits.total {
                self.room.notify_one();
            }
        }
        self.grant(state);
    }

    fn leave(&self, place: &Place) {
        let state = &mut *self.state.borrow_mut();
        place.waker.take();
        match place.phase.replace(Phase::Over) {
            // Released already, at the displacement.
            Phase::Displaced => return,
            Phase::Stalled => drop(state.stalled.remove(&place.number)),
            Phase::Queued => self.queued.decrement(1.0),
            Phase::Granted => {
                state.is_granted = false;
                self.grant(state);
            }
            Phase::Active | Phase::Over => {}
        }
        self.release(state, place.client);
        self.room.notify_one();
    }
}

impl State {
    /// Pops the next queued handshake, of the client whose turn it is; `None` if all of the client's handshakes have
    /// ended.
    fn next_queued(&mut self) -> Option<Rc<Place>> {
        let client = self.order.pop_front()?;
        let share = self.clients.get_mut(&client)?;
        let mut next = None;
        while next.is_none()
            && let Some(place) = share.queue.pop_front()
        {
            next = Some(place).filter(|place| matches!(place.phase.get(), Phase::Queued));
        }
        if !share.queue.is_empty() {
            self.order.push_back(client);
        } else if share.under_way == 0 {
            self.clients.remove(&client);
        }
        next
    }
}

/// A concurrent handshake, until the drop.
pub(crate) struct Handshake {
    of: Rc<Handshakes>,
    place: Rc<Place>,
}

impl Handshake {
    /// Runs a handshake by steps.
    ///
    /// # Errors
    /// Fails if the handshake stalled and was displaced.
    pub(crate) async fn run<F: Future>(&self, handshake: F) -> Result<F::Output, Displaced> {
        let mut handshake = pin!(handshake);
        poll_fn(|cx| self.poll(handshake.as_mut(), cx)).await
    }

    fn poll<F: Future>(&self, handshake: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Displaced>> {
        match self.of.take_step(&self.place, cx.waker()) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(displaced)) => return Poll::Ready(Err(displaced)),
            Poll::Pending => return Poll::Pending,
        }
        let polled = handshake.poll(cx);
        self.of.stepped(&self.place, cx.waker(), polled.is_pending());
        polled.map(Ok)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.leave(&self.place);
    }
}
