//! Sets of entry numbers, ordered for removal: the largest first, and among equals the latest.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Parts ordered by size.
pub(super) struct PartsByLength<P, K = u64> {
    pub(super) parts: HashMap<K, EntryPart<P>>,
    /// Size, first number and id of each part: the last has most entries, and among equals came last.
    by_length: BTreeSet<(usize, u64, K)>,
    count: usize,
}

pub(super) struct EntryPart<P> {
    /// First number of the part.
    began: u64,
    pub(super) entries: P,
}

/// Container of entry numbers.
pub(super) trait CountEntries: Default {
    fn count(&self) -> usize;
}

impl CountEntries for BTreeSet<u64> {
    fn count(&self) -> usize {
        self.len()
    }
}

impl<P, K> Default for PartsByLength<P, K> {
    fn default() -> Self {
        Self { parts: HashMap::new(), by_length: BTreeSet::new(), count: 0 }
    }
}

impl<P: CountEntries, K> CountEntries for PartsByLength<P, K> {
    fn count(&self) -> usize {
        self.count
    }
}

impl<P: CountEntries, K: Clone + Hash + Ord> PartsByLength<P, K> {
    /// Changes the part of an entry; returns the result of `change`.
    pub(super) fn change(&mut self, id: &K, number: u64, change: impl FnOnce(&mut P) -> bool) -> bool {
        let part = self.parts.entry(id.clone()).or_insert_with(|| EntryPart { began: number, entries: P::default() });
        let (began, before) = (part.began, part.entries.count());
        let is_changed = change(&mut part.entries);
        let after = part.entries.count();
        self.count = self.count.saturating_sub(before).saturating_add(after);
        self.by_length.remove(&(before, began, id.clone()));
        if after == 0 {
            self.parts.remove(id);
        } else {
            self.by_length.insert((after, began, id.clone()));
        }
        is_changed
    }

    /// Returns the parts in order of removal.
    pub(super) fn longest_first(&self) -> impl Iterator<Item = (&K, &P)> {
        self.by_length.iter().rev().filter_map(|(.., id)| self.parts.get(id).map(|part| (id, &part.entries)))
    }
}
