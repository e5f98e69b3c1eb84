//! Numbers of entries in parts, of which the longest one loses first, and of several as long the one that came last.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Parts by the number of their entries.
pub(super) struct PartsByLength<P, K = u64> {
    pub(super) parts: HashMap<K, EntryPart<P>>,
    /// The length, the first number and the id of each part: the last one has most, and of several such came last.
    by_length: BTreeSet<(usize, u64, K)>,
    count: usize,
}

pub(super) struct EntryPart<P> {
    /// The number that it began with.
    began: u64,
    pub(super) entries: P,
}

/// Something that holds numbers of entries.
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
    /// Changes the part of an entry, and says whether `change` did.
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

    /// The parts in the order in which they lose entries.
    pub(super) fn longest_first(&self) -> impl Iterator<Item = (&K, &P)> {
        self.by_length.iter().rev().filter_map(|(.., id)| self.parts.get(id).map(|part| (id, &part.entries)))
    }
}
