//! The encoder of our blocks (RFC 7541 §6), and what of a field can be written ahead of time.

use http::StatusCode;

use super::super::answer::{PreparedHead, SharedField};
use super::super::field_coding::{integer, string};
use super::{TABLE_BYTES_DEFAULT, static_table};

/// The bits of a string's length (RFC 7541 §5.2).
const STRING_MASK: u8 = 0x7f;

/// The number of a field that the static table has, or a table's first entry.
const INDEXED: (u8, u8) = (0x80, 0x7f);

/// The number of the newest entry of the dynamic table (RFC 7541 §2.3.3).
const NUMBER_OF_NEWEST: usize = static_table::FIELDS.len() + 1;

/// Numbers that are written at once.
const NUMBERS_MAX: usize = 16;
/// By how much each of them is less than the first, where their entries follow one another.
const BEFORE: [u8; NUMBERS_MAX] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The indexing of a literal field (RFC 7541 §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexing {
    /// Be kept.
    Incremental,
    /// Nothing.
    Without,
    /// Never be kept, by none that passes it on (RFC 7541 §7.1.3).
    Never,
}

impl Indexing {
    /// The bits above the number of the name, and those of the number.
    const fn pattern(self) -> (u8, u8) {
        match self {
            Self::Incremental => (0x40, 0x3f),
            Self::Without => (0x00, 0x0f),
            Self::Never => (0x10, 0x0f),
        }
    }
}

/// Writes a field out, in as few bytes as it takes without a table.
pub(super) fn put_literal(indexing: Indexing, name: &str, value: &[u8], block: &mut Vec<u8>) {
    put_name(indexing, name, block);
    string::put_shortest(value, 0, STRING_MASK, block);
}

/// Writes the begin of a field: its name.
fn put_name(indexing: Indexing, name: &str, block: &mut Vec<u8>) {
    let (pattern, mask) = indexing.pattern();
    if let Some(number) = static_table::number_of(name.as_bytes()) {
        integer::put(usize::from(number), pattern, mask, block);
    } else {
        block.push(pattern);
        string::put_shortest(name.as_bytes(), 0, STRING_MASK, block);
    }
}

/// A field of the peer's table, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Of the [`SharedField`].
    id: u64,
    /// Its size.
    size: usize,
}

/// The encoder of one connection: it knows what the peer's table holds. It has no memory of its own until a field is to
/// be in the table. Blocks must be sent in the order in which they were written, and all of them.
#[derive(Debug)]
pub struct Encoder {
    /// The oldest is first.
    entries: Vec<Entry>,
    /// Their size.
    size: usize,
    /// The maximum size.
    max: usize,
    /// The smallest value of `max` since the last size update that was sent.
    untold: Option<usize>,
    /// Where the field may be that is written next: answers have their fields in one order, so it is mostly the entry
    /// that was inserted after that of the last field.
    guess: usize,
    /// Where the first field of the last prepared head was, with which the next one mostly begins.
    first: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder for a peer of which no SETTINGS are known.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), size: 0, max: TABLE_BYTES_DEFAULT, untold: None, guess: 0, first: 0 }
    }

    /// Keeps to the peer's `SETTINGS_HEADER_TABLE_SIZE`. No more than [`TABLE_BYTES_DEFAULT`] is used of it.
    pub fn resize(&mut self, peer_table_bytes: u32) {
        let max = usize::try_from(peer_table_bytes).unwrap_or(TABLE_BYTES_DEFAULT).min(TABLE_BYTES_DEFAULT);
        if max != self.max {
            self.untold = Some(self.untold.unwrap_or(self.max).min(max));
            self.max = max;
            self.evict(max);
        }
    }

    /// Begins a block: sends the sizes that the table has had since the last one, the smallest and the
    /// last (RFC 7541 §4.2).
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

    /// Writes `:status`, which comes before all fields.
    #[inline]
    pub fn status(&mut self, status: StatusCode, block: &mut Vec<u8>) {
        // Most answers have one of these, whose numbers are those of RFC 7541 Appendix A.
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

    /// Writes a field that others of this connection may have too: as its number, if the table has it; else so that it
    /// will, unless it would take more than half of it.
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

    /// The number of the entry at a place, which there is.
    #[inline]
    const fn number(&self, place: usize) -> usize {
        NUMBER_OF_NEWEST - 1 + self.entries.len() - place
    }

    /// Where the table has the field of this id. No two entries have one id, so a guess that is right is the answer.
    #[inline]
    fn place(&self, id: u64) -> Option<usize> {
        match self.entries.get(self.guess) {
            Some(entry) if entry.id == id => Some(self.guess),
            // What changes, such as the date, came last.
            _ => self.entries.iter().rposition(|entry| entry.id == id),
        }
    }

    /// Writes the fields of a prepared head, and `more` that others of this connection may have too.
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

    /// Writes the fields of these ids as numbers of one byte each, if the table has them one after the other from where
    /// the next is guessed to be. Answers of one kind have the same fields in the same order.
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
        // A copy of a length that is known takes next to nothing: all that there may be, and then as many as there are.
        let end = block.len() + ids.len();
        block.extend_from_slice(&BEFORE.map(|before| (INDEXED.0 | number).wrapping_sub(before)));
        block.truncate(end);
        self.guess += ids.len();
        true
    }

    /// Writes a field that was made for one answer, without indexing. What may be a secret is marked as
    /// never to be kept (RFC 7541 §7.1.3). `name` is in lower case, and both are sound as a field.
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

    /// The size of the peer's table in bytes (RFC 7541 §4.1).
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.size
    }

    /// Lets the oldest entries go until the others take no more than `bytes`, as the peer does (RFC 7541 §4.3, §4.4).
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
