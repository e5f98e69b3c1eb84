//! A frequently read, mostly empty list: an empty list is detected without a lock or a swap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

/// The list. A thread that sees an effect of a change sees the change.
pub(super) struct RareList<T> {
    /// Present while the list has an element: nearly all of very many lists are empty.
    list: ArcSwapOption<Vec<T>>,
    /// True if the list may have an element: set before the first is added, and cleared after the last is removed.
    has_any: AtomicBool,
    changing: Mutex<()>,
}

impl<T> Default for RareList<T> {
    fn default() -> Self {
        Self { list: ArcSwapOption::empty(), has_any: AtomicBool::new(false), changing: Mutex::default() }
    }
}

impl<T> RareList<T> {
    /// Passes the list to `look`, which must not block.
    pub(super) fn with<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        match self.has_any.load(Ordering::Acquire) {
            true => look(self.list.load().as_deref().map_or(&[], Vec::as_slice)),
            false => look(&[]),
        }
    }

    /// Replaces the list by the result of `change`; changes run one after the other.
    pub(super) fn change(&self, change: impl FnOnce(&[T]) -> Vec<T>) {
        let _changing = self.changing.lock();
        let next = change(self.list.load().as_deref().map_or(&[], Vec::as_slice));
        let has_any = !next.is_empty();
        if has_any {
            self.has_any.store(true, Ordering::Release);
        }
        self.list.store(has_any.then(|| Arc::new(next)));
        self.has_any.store(has_any, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_seen_as_it_was_left() {
        let list = RareList::default();
        assert!(list.with(<[u32]>::is_empty));
        list.change(|before| [before, &[1, 2]].concat());
        list.change(|before| [before, &[3]].concat());
        assert_eq!(list.with(<[u32]>::to_vec), [1, 2, 3]);
        list.change(|_| Vec::new());
        assert!(list.with(<[u32]>::is_empty));
        list.change(|before| [before, &[4]].concat());
        assert_eq!(list.with(<[u32]>::to_vec), [4]);
    }

    #[test]
    fn changes_of_several_threads_are_all_made() {
        let list = RareList::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let list = &list;
                scope.spawn(move || {
                    for number in 0..100 {
                        list.change(|before| [before, &[thread * 100 + number]].concat());
                        list.with(|seen| assert!(seen.contains(&(thread * 100 + number))));
                    }
                });
            }
        });
        let mut all = list.with(<[u32]>::to_vec);
        all.sort_unstable();
        assert_eq!(all, (0..400).collect::<Vec<_>>());
    }
}
