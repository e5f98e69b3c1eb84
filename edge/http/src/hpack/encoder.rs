//! Encoder of this end's field blocks (RFC 7541 §6), and the parts of fields encoded ahead of time.

use http::StatusCode;

use super::super::answer::{PreparedHead, SharedField};
use super::super::field_coding::{integer, string};
use super::{TABLE_BYTES_DEFAULT, static_table};

/// Bits of a string's length (RFC 7541 §5.2).
const STRING_MASK: u8 = 0x7f;

/// Indexed field of the static or the dynamic table: pattern and mask.
const INDEXED: (u8, u8) = (0x80, 0x7f);

/// Index of the newest entry of the dynamic table (RFC 7541 §2.3.3).
const NUMBER_OF_NEWEST: usize = static_table::FIELDS.len() + 1;

/// Number of indexes written at once.
const NUMBERS_MAX: usize = 16;
/// Difference of each index to the first, for consecutive entries.
const BEFORE: [u8; NUMBERS_MAX] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Indexing of a literal field (RFC 7541 §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexing {
    /// Inserted into the dynamic table.
    Incremental,
    /// Not inserted.
    Without,
    /// Never inserted, by any intermediary (RFC 7541 §7.1.3).
    Never,
}

impl Indexing {
    /// Returns the pattern above the name's index, and the mask of the index.
    const fn pattern(self) -> (u8, u8) {
        match self {
            Self::Incremental => (0x40, 0x3f),
            Self::Without => (0x00, 0x0f),
            Self::Never => (0x10, 0x0f),
        }
    }
}

/// Writes a literal field, in the fewest bytes possible without a dynamic table.
pub(super) fn put_literal(indexing: Indexing, name: &str, value: &[u8], block: &mut Vec<u8>) {
    put_name(indexing, name, block);
    string::put_shortest(value, 0, STRING_MASK, block);
}

/// Writes the beginning of a field: the name.
fn put_name(indexing: Indexing, name: &str, block: &mut Vec<u8>) {
    let (pattern, mask) = indexing.pattern();
    if let Some(number) = static_table::number_of(name.as_bytes()) {
        integer::put(usize::from(number), pattern, mask, block);
    } else {
        block.push(pattern);
        string::put_shortest(name.as_bytes(), 0, STRING_MASK, block);
    }
}

/// Entry of the peer's table, as far as the encoder needs it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Id of the [`SharedField`].
    id: u64,
    /// Size in the table.
    size: usize,
}

/// Encoder of one connection, with a mirror of the peer's table. No memory is held before the first insertion. Blocks
/// must be sent completely and in the order of encoding.
#[derive(Debug)]
pub struct Encoder {
    /// Entries, oldest first.
    entries: Vec<Entry>,
    /// Total size of the entries.
    size: usize,
    /// Maximum size.
    max: usize,
    /// Smallest value of `max` since the last size update that was sent.
    untold: Option<usize>,
    /// Likely position of the next field: answers list their fields in one order, so the next field mostly is the entry
    /// inserted after the entry of the last field.
    guess: usize,
    /// Position of the first field of the last prepared head, with which the next head mostly begins.
    first: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Creates an encoder for a peer with unknown SETTINGS.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), size: 0, max: TABLE_BYTES_DEFAULT, untold: None, guess: 0, first: 0 }
    }

    /// Applies the peer's `SETTINGS_HEADER_TABLE_SIZE`, of which at most [`TABLE_BYTES_DEFAULT`] is used.
    pub fn resize(&mut self, peer_table_bytes: u32) {
        let max = usize::try_from(peer_table_bytes).unwrap_or(TABLE_BYTES_DEFAULT).min(TABLE_BYTES_DEFAULT);
        if max != self.max {
            self.untold = Some(self.untold.unwrap_or(self.max).min(max));
            self.max = max;
            self.evict(max);
        }
    }

    /// Begins a block: writes the smallest and the last table size since the previous block (RFC 7541 §4.2).
    #[inline]
    pub fn begin(&mut self, block: &mut Vec<u8>) {
        if let Some(smallest) = self.untold.take() {
            self.tell_sizes(smallest, block);
        }
    }

    fn tell_sizes(&self, smallest: usize, block: &mut Vec<u8>) {
        if smallest < self.max {
            integer::put(smallest, 0x20, 0x1f, block);
        }
        integer::put(self.max, 0x20, 0x1f, block);
    }

    /// Writes `:status`, which precedes all fields.
    #[inline]
    pub fn status(&mut self, status: StatusCode, block: &mut Vec<u8>) {
        // Most answers have one of these codes, with indexes of RFC 7541 Appendix A.
        match status {
            StatusCode::OK => return block.push(0x88),
            StatusCode::NOT_MODIFIED => return block.push(0x8b),
            StatusCode::NOT_FOUND => return block.push(0x8d),
            _ => {}
        }
        let text = status.as_str();
        if let Some(number) = static_table::number_of_whole(b":status", text.as_bytes()) {
            block.push(INDEXED.0 | number);
        } else {
            put_name(Indexing::Without, ":status", block);
            string::put_plain(text.as_bytes(), 0, STRING_MASK, block);
        }
    }

    /// Writes a field that may repeat on the connection: as an index if the table has the field; otherwise with
    /// insertion, unless the field would take more than half of the table.
    #[inline]
    pub fn shared(&mut self, field: &SharedField, block: &mut Vec<u8>) {
        if let Some(place) = self.place(field.id) {
            self.guess = place + 1;
            integer::put(self.number(place), INDEXED.0, INDEXED.1, block);
        } else if field.size <= self.max / 2 {
            self.evict(self.max - field.size);
            self.entries.push(Entry { id: field.id, size: field.size });
            self.size += field.size;
            block.extend_from_slice(&field.inserting);
        } else {
            block.extend_from_slice(&field.passing);
        }
    }

    /// Returns the index of the existing entry at `place`.
    #[inline]
    const fn number(&self, place: usize) -> usize {
        NUMBER_OF_NEWEST - 1 + self.entries.len() - place
    }

    /// Returns the position of the field with `id`. Ids are unique within the table, so a correct guess is the answer.
    #[inline]
    fn place(&self, id: u64) -> Option<usize> {
        match self.entries.get(self.guess) {
            Some(entry) if entry.id == id => Some(self.guess),
            // Changing fields, such as the date, were inserted last.
            _ => self.entries.iter().rposition(|entry| entry.id == id),
        }
    }

    /// Writes the fields of a prepared head, and `more` fields that may repeat on the connection.
    #[inline]
    pub fn prepared<'f>(
        &mut self,
        head: &'f PreparedHead,
        more: impl IntoIterator<Item = &'f SharedField>,
        block: &mut Vec<u8>,
    ) {
        self.guess = self.first;
        let shared = &*head.shared;
        if !self.repeated(&shared.ids, block) {
            for field in &shared.fields {
                self.shared(field, block);
            }
            self.first = shared.ids.first().and_then(|id| self.place(*id)).unwrap_or_default();
        }
        if let Some(field) = &head.beside {
            self.shared(field, block);
        }
        for field in more {
            self.shared(field, block);
        }
        block.extend_from_slice(&head.own);
    }

    /// Writes the fields with the given ids as one-byte indexes, if the table has them consecutively from the guessed
    /// position on. Answers of one kind have the same fields in the same order.
    #[inline]
    fn repeated(&mut self, ids: &[u64], block: &mut Vec<u8>) -> bool {
        let Some(entries) = self.entries.get(self.guess..).and_then(|entries| entries.get(..ids.len())) else {
            return false;
        };
        let number = u8::try_from(self.number(self.guess)).ok().filter(|number| *number < INDEXED.1);
        let Some(number) = number.filter(|_| ids.len() <= NUMBERS_MAX) else { return false };
        if !entries.iter().map(|entry| &entry.id).eq(ids) {
            return false;
        }
        // Copying a fixed length is nearly free: copies all indexes, then truncates to the needed number.
        let end = block.len() + ids.len();
        block.extend_from_slice(&BEFORE.map(|before| (INDEXED.0 | number).wrapping_sub(before)));
        block.truncate(end);
        self.guess += ids.len();
        true
    }

    /// Writes a field made for one answer, without indexing. A possible secret is marked as never indexed (RFC 7541
    /// §7.1.3). `name` is in lower case, and both arguments are valid in a field.
    pub fn field(&mut self, name: &str, value: &[u8], block: &mut Vec<u8>) {
        if let Some(number) = static_table::number_of_whole(name.as_bytes(), value) {
            block.push(INDEXED.0 | number);
            return;
        }
        let indexing = match name {
            "set-cookie" | "cookie" | "authorization" | "proxy-authorization" => Indexing::Never,
            _ => Indexing::Without,
        };
        let (pattern, mask) = indexing.pattern();
        if let Some(number) = static_table::number_of(name.as_bytes()) {
            integer::put(usize::from(number), pattern, mask, block);
        } else {
            block.push(pattern);
            string::put_plain(name.as_bytes(), 0, STRING_MASK, block);
        }
        string::put_plain(value, 0, STRING_MASK, block);
    }

    /// Returns the size of the peer's table in bytes (RFC 7541 §4.1).
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.size
    }

    /// Evicts the oldest entries until the rest takes at most `bytes`, as the peer does (RFC 7541 §4.3, §4.4).
    fn evict(&mut self, bytes: usize) {
        let mut gone = 0;
        while self.size > bytes
            && let Some(entry) = self.entries.get(gone)
        {
            self.size -= entry.size;
            gone += 1;
        }
        self.entries.drain(..gone);
        (self.guess, self.first) = (self.guess.saturating_sub(gone), self.first.saturating_sub(gone));
    }
}
