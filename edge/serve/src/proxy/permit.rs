//! The permission to use a member, counted on the current thread.

use std::rc::Rc;

use super::pool::Lease;
use super::stats::Counters;

/// The permission to use a member, counted on the current thread.
pub(crate) struct Permit {
    pub(crate) lease: Lease,
    counters: Rc<Counters>,
}

impl Permit {
    pub(crate) fn new(lease: Lease, counters: &Rc<Counters>) -> Self {
        counters.in_use.set(counters.in_use.get() + 1);
        Self { lease, counters: Rc::clone(counters) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counters.in_use.set(self.counters.in_use.get().saturating_sub(1));
    }
}
