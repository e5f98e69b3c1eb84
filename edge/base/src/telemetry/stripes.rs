//! Counters that each thread has nearly for itself: a stripe of them for each, summed up when somebody looks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use once_cell::race::OnceBox;

/// Most stripes that one thread has to itself, and most that the others share.
const STRIPES_MAX: usize = 8;

/// How many stripes whatever is counted has.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Those that one thread has to itself.
    own: usize,
    /// Those that all other threads take turns with, behind them.
    shared: usize,
}

impl Layout {
    /// That of a machine with so many cores: one for each thread that serves, and one for that of the API. Where there
    /// are more threads, or they are set to more, they share some.
    const fn of(cores: usize) -> Self {
        let own = if cores < STRIPES_MAX { cores + 1 } else { STRIPES_MAX };
        let shared = if cores / 2 < STRIPES_MAX { cores / 2 } else { STRIPES_MAX };
        Self { own, shared: if shared == 0 { 1 } else { shared } }
    }

    /// That of this process. There are several lists of stripes for each of many apps: they have no more than needed.
    fn here() -> Self {
        static HERE: LazyLock<Layout> =
            LazyLock::new(|| Layout::of(std::thread::available_parallelism().map_or(1, usize::from)));
        *HERE
    }

    const fn all(self) -> usize {
        self.own + self.shared
    }

    /// Where the thread of that number counts: the first ones have a stripe each, the others take turns.
    const fn slot(self, number: usize) -> Slot {
        match number.checked_sub(self.own) {
            None => Slot { stripe: number, is_own: true },
            Some(other) => Slot { stripe: self.own + other % self.shared, is_own: false },
        }
    }
}

/// Where a thread counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The number of its stripe.
    stripe: usize,
    /// Whether no other thread ever counts there.
    is_own: bool,
}

impl Slot {
    const NONE: Self = Self { stripe: usize::MAX, is_own: false };

    /// That of this thread.
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

/// The stripes of one thing that is counted. Each takes memory from the first count on: most environments are requested
/// by few threads, or by none. Cheap to clone; all clones are the same stripes.
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
    /// The stripe of `slot`.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Option<&T>
    where
        T: Default,
    {
        Some(self.0.get(slot.stripe)?.get_or_init(Box::default))
    }

    /// Those in which anything was counted.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceBox::get)
    }

    /// Whether somebody else has them, too.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A count of one stripe. It only grows: the reader remembers what it has read.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds, from a thread that counts in `slot`, of whose stripe this is.
    #[inline]
    pub(super) fn add(&self, count: u64, slot: Slot) {
        match slot.is_own {
            // Nobody else writes here: nothing is lost between the two, and no other processor is asked.
            true => self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed),
            false => drop(self.0.fetch_add(count, Ordering::Relaxed)),
        }
    }

    /// The sum so far.
    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A [`Count`] in half the memory. It begins again at 0 after four thousand million: it is for readers that remember
/// what they have read and come again long before.
#[derive(Debug, Default)]
pub(super) struct ShortCount(AtomicU32);

impl ShortCount {
    /// Adds, as [`Count::add`] does.
    #[inline]
    pub(super) fn add(&self, count: u32, slot: Slot) {
        match slot.is_own {
            true => self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed),
            false => drop(self.0.fetch_add(count, Ordering::Relaxed)),
        }
    }

    /// The sum so far.
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
