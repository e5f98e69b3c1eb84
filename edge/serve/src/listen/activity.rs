//! A connection as its listener sees it: what is under way on it, and what it is to do in a drain.

use std::cell::{Cell, RefCell, RefMut};
use std::task::Waker;

use super::draining::Draining;
use super::response_memory::MemoryClaim;
use devanture_base::fair::Lane;
use devanture_http::Kinds;

/// The state that a connection shares with its listener, on one thread.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    draining: Cell<Option<Draining>>,
    /// What is under way, as it was reported last in a drain.
    under_way: Cell<Kinds>,
    /// What is to be ended, although the connection goes on.
    cut: Cell<Kinds>,
    waker: RefCell<Option<Waker>>,
    /// Bytes of responses that the connection holds.
    held: RefCell<MemoryClaim>,
    /// Whose share of the thread its long answers take.
    lane: Cell<Lane>,
}

impl Activity {
    pub(crate) const fn lane(&self) -> Lane {
        self.lane.get()
    }

    pub(crate) fn set_lane(&self, lane: Lane) {
        self.lane.set(lane);
    }

    pub(crate) fn draining(&self) -> Option<Draining> {
        self.draining.get()
    }

    /// Wakes the connection's driver, since the edge drains.
    pub(crate) fn drain(&self, has_successor: bool) {
        self.draining.set(Some(if has_successor { Draining::Patiently } else { Draining::AtOnce }));
        self.wake();
    }

    /// What is under way.
    pub(crate) fn under_way(&self) -> Kinds {
        self.under_way.get()
    }

    /// Takes note of what is under way.
    pub(crate) fn set_under_way(&self, kinds: Kinds) {
        self.under_way.set(kinds);
    }

    /// Has the connection's driver end what is of these kinds.
    pub(crate) fn cut(&self, kinds: Kinds) {
        self.cut.set(kinds);
        self.wake();
    }

    /// What is to be ended, each kind once.
    pub(crate) fn take_cut(&self) -> Kinds {
        self.cut.take()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Remembers whom [`Self::drain`] is to wake.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    /// Takes part in a budget for what is held of responses.
    pub(crate) fn share_memory(&self, held: MemoryClaim) {
        *self.held.borrow_mut() = held;
    }

    /// Bytes of responses that are held.
    pub(crate) fn held(&self) -> RefMut<'_, MemoryClaim> {
        self.held.borrow_mut()
    }
}
