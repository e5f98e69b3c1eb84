//! The dynamic table of a decoder (RFC 7541 §2.3.2, §4): its entries, and their text in one buffer.
//!
//! New text is appended, old text is left where it lies until enough of it is dead, and what a field needs only while
//! it is read lies at the end for so long. So fields cost no allocation, and a table that was never used has none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::field_coding::{Class, DecodeError, entry_size, huffman};

/// Dead bytes that are left alone, however few are alive.
const DEAD_BYTES_MIN: usize = 512;

/// The next number for a table's content. A table that never received anything has 0.
static NEXT_STATE: AtomicU64 = AtomicU64::new(1);

/// A piece of the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Bytes.
    const fn len(self) -> usize {
        self.end - self.start
    }

    /// The same piece after `bytes` before it are gone.
    const fn moved(self, bytes: usize) -> Self {
        Self { start: self.start - bytes, end: self.end - bytes }
    }
}

/// A field of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: Span,
    pub(super) value: Span,
    /// The class by name.
    pub(super) name_class: Class,
    /// The class by name and value.
    pub(super) class: Class,
}

impl Entry {
    /// Its size in the table.
    const fn size(self) -> usize {
        entry_size(self.name.len(), self.value.len())
    }

    /// Where its text begins. Name and value lie next to each other, in either order.
    fn start(self) -> usize {
        self.name.start.min(self.value.start)
    }
}

/// The dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    text: Vec<u8>,
    /// The newest is last.
    entries: VecDeque<Entry>,
    /// The size of all entries.
    size: usize,
    /// The maximum size, as last set by the peer.
    max: usize,
    /// The maximum size announced to the peer.
    announced: usize,
    /// See [`Table::state`].
    state: u64,
}

impl Table {
    /// An empty table, which may take what was announced.
    pub(super) const fn new(announced: usize) -> Self {
        Self { text: Vec::new(), entries: VecDeque::new(), size: 0, max: announced, announced, state: 0 }
    }

    /// The size of all entries.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// A number for what it holds: as long as it is the same, each number of a field means the same.
    pub(super) const fn state(&self) -> u64 {
        self.state
    }

    /// It received a field or a size update, whether or not its content differs now.
    fn announce_size(&mut self) {
        self.state = NEXT_STATE.fetch_add(1, Ordering::Relaxed);
    }

    /// The maximum size.
    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Memory that is held for it, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The entry that came `age` entries before the newest.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<Entry> {
        let place = self.entries.len().checked_sub(1)?.checked_sub(age)?;
        self.entries.get(place).copied()
    }

    /// The bytes of a piece.
    #[inline]
    pub(super) fn text(&self, span: Span) -> &[u8] {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Changes what the entries may take; those that have no room any more go (RFC 7541 §4.3).
    ///
    /// # Errors
    /// If that is more than was announced (RFC 7541 §6.3).
    pub(super) fn resize(&mut self, max: usize) -> Result<(), DecodeError> {
        if max > self.announced {
            return Err(DecodeError::TableSize);
        }
        self.announce_size();
        self.max = max;
        self.evict(max);
        Ok(())
    }

    /// Lets the oldest entries go until the others take no more than `bytes`.
    fn evict(&mut self, bytes: usize) {
        while self.size > bytes
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
        }
    }

    /// Where the text ends.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.text.len()
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        Span { start, end: self.text.len() }
    }

    /// Appends the text of a coded string.
    ///
    /// # Errors
    /// Those of [`huffman::decode`].
    pub(super) fn append_coded(&mut self, coded: &[u8]) -> Result<Span, DecodeError> {
        let start = self.text.len();
        huffman::decode(coded, &mut self.text)?;
        Ok(Span { start, end: self.text.len() })
    }

    /// A piece that lies behind `mark`: this one, or a copy of it.
    pub(super) fn behind(&mut self, mark: usize, span: Span) -> Span {
        if span.start >= mark {
            return span;
        }
        let start = self.text.len();
        self.text.extend_from_within(span.start..span.end);
        Span { start, end: self.text.len() }
    }

    /// Whether an entry of a name and a value of so many bytes has room, once others are gone.
    #[inline]
    pub(super) const fn has_room(&self, name_bytes: usize, value_bytes: usize) -> bool {
        entry_size(name_bytes, value_bytes) <= self.max
    }

    /// Takes an entry in that has room, whose text was just appended (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        self.announce_size();
        let size = entry.size();
        self.evict(self.max.saturating_sub(size));
        self.entries.push_back(entry);
        self.size += size;
    }

    /// Lets all entries go, as one does that has no room (RFC 7541 §4.4).
    pub(super) fn clear(&mut self) {
        self.announce_size();
        self.evict(0);
    }

    /// Drops the text from `mark` on.
    #[inline]
    pub(super) fn truncate(&mut self, mark: usize) {
        self.text.truncate(mark);
    }

    /// Drops the text of entries that are gone, once there is a good deal of it.
    #[inline]
    pub(super) fn tidy(&mut self) {
        let dead = self.entries.front().map_or(self.text.len(), |entry| entry.start());
        let live = self.text.len() - dead;
        if dead > DEAD_BYTES_MIN && dead > live / 2 {
            self.text.drain(..dead);
            for entry in &mut self.entries {
                entry.name = entry.name.moved(dead);
                entry.value = entry.value.moved(dead);
            }
        }
    }

    /// Gives back memory that only an uncommonly long string needed.
    pub(super) fn shrink(&mut self) {
        let enough = self.announced.saturating_mul(4);
        if self.text.capacity() > enough {
            self.text.shrink_to(enough / 2);
        }
    }
}
