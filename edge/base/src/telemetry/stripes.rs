//! Counters nearly exclusive to each thread: one stripe per thread, summed on read.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use once_cell::race::OnceBox;

/// Maximum number of exclusive stripes, and of shared stripes.
const STRIPES_MAX: usize = 8;

/// Number of stripes of each counted object.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Stripes exclusive to one thread.
    own: usize,
    /// Stripes shared by all remaining threads, after the exclusive stripes.
    shared: usize,
}

impl Layout {
    /// Returns the layout for a machine with `cores`: one stripe per serving thread, and one for the thread of the API.
    /// Any further threads share stripes.
    const fn of(cores: usize) -> Self {
        let own = if cores < STRIPES_MAX { cores + 1 } else { STRIPES_MAX };
        let shared = if cores / 2 < STRIPES_MAX { cores / 2 } else { STRIPES_MAX };
        Self { own, shared: if shared == 0 { 1 } else { shared } }
    }

    /// Returns the layout of the process. Many apps have several lists of stripes each, so no more stripes than needed
    /// are used.
    fn here() -> Self {
        static HERE: LazyLock<Layout> =
            LazyLock::new(|| Layout::of(std::thread::available_parallelism().map_or(1, usize::from)));
        *HERE
    }

    const fn all(self) -> usize {
        self.own + self.shared
    }

    /// Returns the slot of a thread by number: the first threads have exclusive stripes, the rest share.
    const fn slot(self, number: usize) -> Slot {
        match number.checked_sub(self.own) {
            None => Slot { stripe: number, is_own: true },
            Some(other) => Slot { stripe: self.own + other % self.shared, is_own: false },
        }
    }
}

/// Slot of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Number of the stripe.
    stripe: usize,
    /// True if no other thread uses the stripe.
    is_own: bool,
}

impl Slot {
    const NONE: Self = Self { stripe: usize::MAX, is_own: false };

    /// Returns the slot of the current thread.
    #[inline]
    pub(super) fn here() -> Self {
        let slot = SLOT.get();
        if slot.stripe == Self::NONE.stripe { Self::first() } else { slot }
    }

    #[cold]
    fn first() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let slot = Layout::here().slot(NEXT.fetch_add(1, Ordering::Relaxed));
        SLOT.set(slot);
        slot
    }
}

thread_local! {
    static SLOT: Cell<Slot> = const { Cell::new(Slot::NONE) };
}

/// Stripes of one counted object. A stripe is allocated at the first count: most environments are requested by few
/// threads or by none. Clones are cheap and share the stripes.
pub(super) struct Stripes<T>(Arc<[OnceBox<T>]>);

impl<T> Default for Stripes<T> {
    fn default() -> Self {
        Self((0..Layout::here().all()).map(|_| OnceBox::new()).collect())
    }
}

impl<T> Clone for Stripes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Stripes<T> {
    /// Returns the stripe of `slot`.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Option<&T>
    where
        T: Default,
    {
        Some(self.0.get(slot.stripe)?.get_or_init(Box::default))
    }

    /// Returns the stripes with counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceBox::get)
    }

    /// Returns true if further clones exist.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Count of one stripe. The count only grows: the reader remembers the last value.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds from a thread with `slot`, the slot of this stripe.
    #[inline]
    pub(super) fn add(&self, count: u64, slot: Slot) {
        match slot.is_own {
            // No other thread writes here: no update is lost between load and store, and no other processor is
            // involved.
            true => self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed),
            false => drop(self.0.fetch_add(count, Ordering::Relaxed)),
        }
    }

    /// Returns the sum so far.
    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A [`Count`] in half the memory. Wraps around after 2³²: for readers that remember the last value and return long
/// before.
#[derive(Debug, Default)]
pub(super) struct ShortCount(AtomicU32);

impl ShortCount {
    /// Adds like [`Count::add`].
    #[inline]
    pub(super) fn add(&self, count: u32, slot: Slot) {
        match slot.is_own {
            true => self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed),
            false => drop(self.0.fetch_add(count, Ordering::Relaxed)),
        }
    }

    /// Returns the sum so far.
    #[inline]
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_that_serves_has_a_stripe_to_itself_up_to_eight_and_no_other_thread_ever_counts_there() {
        for (cores, own, all) in [(1, 2, 3), (2, 3, 4), (4, 5, 7), (7, 8, 11), (8, 8, 12), (16, 8, 16), (200, 8, 16)] {
            let layout = Layout::of(cores);
            assert_eq!((layout.own, layout.all()), (own, all), "{cores}");
            let slots: Vec<Slot> = (0..3 * all).map(|number| layout.slot(number)).collect();
            for (number, slot) in slots.iter().enumerate() {
                assert!(slot.stripe < all, "{cores}: {slot:?}");
                assert_eq!(slot.is_own, number < own, "{cores}: {slot:?}");
                let others = slots.iter().filter(|other| other.stripe == slot.stripe).count();
                assert_eq!(others == 1, slot.is_own, "{cores}: {slot:?}");
            }
        }
    }
}
