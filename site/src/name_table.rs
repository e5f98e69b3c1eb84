//! A hash table by name, with all names in one shared text: a version may have several hundred thousand names, and
//! separate strings would take more memory than all other data of the version.

use std::hash::{BuildHasher as _, Hasher as _};

use devanture_config::heap::allocated;

/// Set in the length of a name that has a slash after its text.
const SLASHED: u32 = 1 << 31;
/// Minimum slots for each entry, so that collisions are few.
const SLOTS_BY_ENTRY: usize = 2;
/// Minimum slots.
const SLOTS_MIN: usize = 4;

/// The span of a name in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    begin: u32,
    length: u32,
}

impl Span {
    /// The `length` bytes of the text from `begin` on; `None` if out of range for the type.
    pub(crate) fn new(begin: usize, length: usize) -> Option<Self> {
        let length = u32::try_from(length).ok().filter(|length| *length < SLASHED)?;
        Some(Self { begin: u32::try_from(begin).ok()?, length })
    }

    /// The span with a slash appended, which is not in the text.
    pub(crate) const fn slashed(self) -> Self {
        Self { begin: self.begin, length: self.length | SLASHED }
    }

    fn is_name(self, text: &str, name: &[u8]) -> bool {
        let name = match self.length & SLASHED {
            0 => Some(name),
            _ => name.strip_suffix(b"/"),
        };
        name.is_some() && self.bytes(text) == name
    }

    fn bytes(self, text: &str) -> Option<&[u8]> {
        let begin = usize::try_from(self.begin).ok()?;
        let length = usize::try_from(self.length & !SLASHED).ok()?;
        text.as_bytes().get(begin..begin.checked_add(length)?)
    }
}

/// A reference to an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The index of the entry plus one; 0 for an empty slot.
    number: u32,
    /// A part of the name's hash: an absent name is compared with hardly any entry.
    tag: u32,
}

/// The table. All methods take the text that contains the names.
#[derive(Debug, Clone)]
pub(crate) struct NameTable<V> {
    entries: Vec<(Span, V)>,
    /// By the hash of a name, with linear probing.
    slots: Box<[Slot]>,
    hashes: foldhash::fast::RandomState,
}

impl<V> Default for NameTable<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: Box::default(), hashes: foldhash::fast::RandomState::default() }
    }
}

impl<V: Copy> NameTable<V> {
    /// The value of `name`.
    #[inline]
    pub(crate) fn get(&self, text: &str, name: &str) -> Option<V> {
        let entry = self.entries.get(self.find(text, name).ok()?)?;
        Some(entry.1)
    }

    /// Changes the value of `name`, which lies at `span`; initially `new`.
    pub(crate) fn change(&mut self, text: &str, (name, span): (&str, Span), new: V, change: impl FnOnce(&mut V)) {
        if self.slots.len() < self.entries.len().saturating_add(1).saturating_mul(SLOTS_BY_ENTRY) {
            self.grow(text);
        }
        let place = match self.find(text, name) {
            Ok(place) => place,
            Err(slot) => {
                let place = self.entries.len();
                let (_, tag) = self.hash(name.as_bytes());
                let Ok(number) = u32::try_from(place.saturating_add(1)) else { return };
                let Some(slot) = slot.and_then(|slot| self.slots.get_mut(slot)) else { return };
                *slot = Slot { number, tag };
                self.entries.push((span, new));
                place
            }
        };
        if let Some((_, value)) = self.entries.get_mut(place) {
            change(value);
        }
    }

    /// Releases spare capacity.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Bytes of heap memory, without the text.
    pub(crate) fn heap_bytes(&self) -> usize {
        let entries = self.entries.capacity().saturating_mul(size_of::<(Span, V)>());
        allocated(entries).saturating_add(allocated(size_of_val::<[Slot]>(&self.slots)))
    }

    /// The index of a name's entry, else the slot for a new entry.
    #[inline]
    fn find(&self, text: &str, name: &str) -> Result<usize, Option<usize>> {
        // A power of two.
        let mask = self.slots.len().wrapping_sub(1);
        let (mut slot, tag) = self.hash(name.as_bytes());
        for _ in 0..self.slots.len() {
            slot &= mask;
            let found = self.slots.get(slot).copied().unwrap_or_default();
            let Some(place) = usize::try_from(found.number).unwrap_or_default().checked_sub(1) else {
                return Err(Some(slot));
            };
            let is_name = |(span, _): &(Span, V)| span.is_name(text, name.as_bytes());
            if found.tag == tag && self.entries.get(place).is_some_and(is_name) {
                return Ok(place);
            }
            slot = slot.wrapping_add(1);
        }
        Err(None)
    }

    /// The first slot of a name, not yet reduced to the number of slots, and its tag.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "they are parts of a hash")]
    fn hash(&self, name: &[u8]) -> (usize, u32) {
        // Not hashed as a slice, which would hash the length, too.
        let mut hasher = self.hashes.build_hasher();
        hasher.write(name);
        let hash = hasher.finish();
        (hash as usize, (hash >> 32) as u32)
    }

    fn grow(&mut self, text: &str) {
        let wanted = self.entries.len().saturating_add(1).saturating_mul(SLOTS_BY_ENTRY);
        let mut slots = vec![Slot::default(); wanted.next_power_of_two().max(SLOTS_MIN)].into_boxed_slice();
        let mask = slots.len().saturating_sub(1);
        for (number, (span, _)) in (1..).zip(&self.entries) {
            let name = span.bytes(text).unwrap_or_default();
            let (mut slot, tag) = match span.length & SLASHED {
                0 => self.hash(name),
                _ => self.hash(&[name, b"/"].concat()),
            };
            loop {
                slot &= mask;
                match slots.get_mut(slot) {
                    Some(free @ Slot { number: 0, .. }) => break *free = Slot { number, tag },
                    Some(_) => slot = slot.wrapping_add(1),
                    None => break,
                }
            }
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(names in proptest::collection::vec("[ab/]{0,4}", 0..200), other in "[ab/]{0,5}") {
            let (mut text, mut spans) = (String::new(), Vec::new());
            for name in &names {
                // A slash at the end of a name is not in the text.
                let (bare, is_slashed) = name.strip_suffix('/').map_or((name.as_str(), false), |bare| (bare, true));
                let span = Span::new(text.len(), bare.len()).unwrap();
                spans.push(if is_slashed { span.slashed() } else { span });
                text.push_str(bare);
            }
            let (mut table, mut map) = (NameTable::default(), HashMap::new());
            for (number, (name, span)) in names.iter().zip(spans).enumerate() {
                table.change(&text, (name.as_str(), span), number, |value| *value += 1_000);
                *map.entry(name.as_str()).or_insert(number) += 1_000;
            }
            table.shrink();
            for name in names.iter().chain([&other]) {
                prop_assert_eq!(table.get(&text, name), map.get(name.as_str()).copied(), "{}", name);
            }
        }
    }
}
