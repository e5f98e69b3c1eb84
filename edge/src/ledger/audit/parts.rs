//! Numbers of entries in parts, of which the longest one loses first, and of several as long the one that came last.

use std::collections::{BTreeSet, HashMap};

/// Parts by the number of their entries.
pub(super) struct Parts<P> {
    pub(super) parts: HashMap<u64, Part<P>>,
    /// The length, the first number and the id of each part: the last one has most, and of several such came last.
    by_length: BTreeSet<(usize, u64, u64)>,
    count: usize,
}

pub(super) struct Part<P> {
    /// The number that it began with.
    began: u64,
    pub(super) entries: P,
}

/// Something that holds numbers of entries.
pub(super) trait Entries: Default {
    fn count(&self) -> usize;
}

impl Entries for BTreeSet<u64> {
    fn count(&self) -> usize {
        self.len()
    }
}

impl<P> Default for Parts<P> {
    fn default() -> Self {
        Self { parts: HashMap::new(), by_length: BTreeSet::new(), count: 0 }
    }
}

impl<P: Entries> Entries for Parts<P> {
    fn count(&self) -> usize {
        self.count
    }
}

impl<P: Entries> Parts<P> {
    /// Changes the part of an entry, and says whether `change` did.
    pub(super) fn change(&mut self, id: u64, number: u64, change: impl FnOnce(&mut P) -> bool) -> bool {
        let part = self.parts.entry(id).or_insert_with(|| Part { began: number, entries: P::default() });
        let (began, before) = (part.began, part.entries.count());
        let is_changed = change(&mut part.entries);
        let after = part.entries.count();
        self.count = self.count.saturating_sub(before).saturating_add(after);
        self.by_length.remove(&(before, began, id));
        if after == 0 {
            self.parts.remove(&id);
        } else {
            self.by_length.insert((after, began, id));
        }
        is_changed
    }

    /// The parts in the order in which they lose entries.
    pub(super) fn longest_first(&self) -> impl Iterator<Item = (u64, &P)> {
        self.by_length.iter().rev().filter_map(|(.., id)| self.parts.get(id).map(|part| (*id, &part.entries)))
    }
}
