//! Dynamic table of a decoder (RFC 7541 §2.3.2, §4): the entries, and their text in one buffer.
//!
//! New text is appended; old text stays in place until enough of the buffer is dead; temporary text of a field being
//! read lies at the end. So fields cost no allocation, and an unused table holds no memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::field_coding::{Class, DecodeError, entry_size, huffman};

/// Minimum number of dead bytes before compaction, however few bytes are alive.
const DEAD_BYTES_MIN: usize = 512;

/// Next number for a table's content. A table without any input has 0.
static NEXT_STATE: AtomicU64 = AtomicU64::new(1);

/// Range of the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Returns the length in bytes.
    const fn len(self) -> usize {
        self.end - self.start
    }

    /// Returns the same range after the removal of `bytes` earlier bytes.
    const fn moved(self, bytes: usize) -> Self {
        Self { start: self.start - bytes, end: self.end - bytes }
    }
}

/// Entry of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: Span,
    pub(super) value: Span,
    /// Class by name.
    pub(super) name_class: Class,
    /// Class by name and value.
    pub(super) class: Class,
}

impl Entry {
    /// Returns the size in the table.
    const fn size(self) -> usize {
        entry_size(self.name.len(), self.value.len())
    }

    /// Returns the start of the text. Name and value are adjacent, in either order.
    fn start(self) -> usize {
        self.name.start.min(self.value.start)
    }
}

/// Dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    text: Vec<u8>,
    /// Entries, newest last.
    entries: VecDeque<Entry>,
    /// Total size of the entries.
    size: usize,
    /// Maximum size last set by the peer.
    max: usize,
    /// Maximum size announced to the peer.
    announced: usize,
    /// See [`Table::state`].
    state: u64,
}

impl Table {
    /// Creates an empty table with the announced maximum size.
    pub(super) const fn new(announced: usize) -> Self {
        Self { text: Vec::new(), entries: VecDeque::new(), size: 0, max: announced, announced, state: 0 }
    }

    /// Returns the total size of the entries.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Returns a number that identifies the content: while the number is unchanged, each index has the same meaning.
    pub(super) const fn state(&self) -> u64 {
        self.state
    }

    /// Records the receipt of a field or a size update, even if the content is unchanged.
    fn announce_size(&mut self) {
        self.state = NEXT_STATE.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the maximum size.
    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Returns the held memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Returns the entry inserted `age` entries before the newest.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<Entry> {
        let place = self.entries.len().checked_sub(1)?.checked_sub(age)?;
        self.entries.get(place).copied()
    }

    /// Returns the bytes of a range.
    #[inline]
    pub(super) fn text(&self, span: Span) -> &[u8] {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Changes the maximum size; entries without room are evicted (RFC 7541 §4.3).
    ///
    /// # Errors
    /// Fails if `max` exceeds the announced size (RFC 7541 §6.3).
    pub(super) fn resize(&mut self, max: usize) -> Result<(), DecodeError> {
        if max > self.announced {
            return Err(DecodeError::TableSize);
        }
        self.announce_size();
        self.max = max;
        self.evict(max);
        Ok(())
    }

    /// Evicts the oldest entries until the rest takes at most `bytes`.
    fn evict(&mut self, bytes: usize) {
        while self.size > bytes
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
        }
    }

    /// Returns the end of the text.
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

    /// Appends the decoded text of a Huffman string.
    ///
    /// # Errors
    /// Errors of [`huffman::decode`].
    pub(super) fn append_coded(&mut self, coded: &[u8]) -> Result<Span, DecodeError> {
        let start = self.text.len();
        huffman::decode(coded, &mut self.text)?;
        Ok(Span { start, end: self.text.len() })
    }

    /// Returns a range after `mark` with the same text: the range itself, or a copy.
    pub(super) fn behind(&mut self, mark: usize, span: Span) -> Span {
        if span.start >= mark {
            return span;
        }
        let start = self.text.len();
        self.text.extend_from_within(span.start..span.end);
        Span { start, end: self.text.len() }
    }

    /// Returns true if an entry with a name and a value of these lengths fits, possibly after evictions.
    #[inline]
    pub(super) const fn has_room(&self, name_bytes: usize, value_bytes: usize) -> bool {
        entry_size(name_bytes, value_bytes) <= self.max
    }

    /// Inserts a fitting entry with text that was just appended (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        self.announce_size();
        let size = entry.size();
        self.evict(self.max.saturating_sub(size));
        self.entries.push_back(entry);
        self.size += size;
    }

    /// Evicts all entries, as an entry without room does (RFC 7541 §4.4).
    pub(super) fn clear(&mut self) {
        self.announce_size();
        self.evict(0);
    }

    /// Drops the text from `mark` on.
    #[inline]
    pub(super) fn truncate(&mut self, mark: usize) {
        self.text.truncate(mark);
    }

    /// Drops the text of evicted entries, once enough text is dead.
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

    /// Frees memory that only an unusually long string needed.
    pub(super) fn shrink(&mut self) {
        let enough = self.announced.saturating_mul(4);
        if self.text.capacity() > enough {
            self.text.shrink_to(enough / 2);
        }
    }
}
