//! Decoder of the peer's field blocks (RFC 7541 §3.2, §6).

use super::super::field_coding::integer::Reader;
use super::super::field_coding::list::List;
use super::super::field_coding::{self, Class, DecodeError, Decoded, Numbered, Receiver};
use super::static_table;
use super::table::{Entry, Span, Table};

/// Name or value of a field being read.
#[derive(Clone, Copy)]
enum Text<'b> {
    /// Text in the block or in the static table.
    Given(&'b [u8]),
    /// Text in the dynamic table: of an entry, or just appended.
    Kept(Span),
}

impl<'t> Text<'t> {
    /// Returns the bytes.
    #[inline]
    fn of<'s>(self, table: &'s Table) -> &'s [u8]
    where
        't: 's,
    {
        match self {
            Self::Given(bytes) => bytes,
            Self::Kept(span) => table.text(span),
        }
    }

    /// Moves the text to the end of the table's text, after `mark`.
    fn kept(self, mark: usize, table: &mut Table) -> Span {
        match self {
            Self::Given(bytes) => table.append(bytes),
            Self::Kept(span) => table.behind(mark, span),
        }
    }
}

/// Decoder of one connection. No memory is held before a block needs some; between blocks the memory is at most a few
/// times the table size.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

impl field_coding::Decoder for Decoder {
    #[inline]
    fn state(&self) -> u64 {
        self.table.state()
    }

    #[inline]
    fn decode(&mut self, block: &[u8], list_bytes_max: usize, receiver: impl Receiver) -> Result<Decoded, DecodeError> {
        Self::decode(self, block, list_bytes_max, receiver)
    }
}

impl Decoder {
    /// Creates a decoder with a table of `table_bytes_max`, the announced `SETTINGS_HEADER_TABLE_SIZE`. The peer begins
    /// with [`super::TABLE_BYTES_DEFAULT`] before reading the settings, so announce the default.
    #[must_use]
    pub const fn new(table_bytes_max: usize) -> Self {
        Self { table: Table::new(table_bytes_max) }
    }

    /// Decodes a whole block and passes every field in order to `receiver`, until the list exceeds `list_bytes_max`;
    /// later fields are decoded but not passed on, since the next block may refer to them. A string takes at most 8/5
    /// of its encoded bytes while being read.
    ///
    /// # Errors
    /// Fails if the block is invalid. The decoder cannot be used afterwards.
    #[inline]
    pub fn decode(
        &mut self,
        block: &[u8],
        list_bytes_max: usize,
        receiver: impl Receiver,
    ) -> Result<Decoded, DecodeError> {
        let mut list = List { receiver, bytes: 0, bytes_max: list_bytes_max };
        let mut reader = Reader::new(block);
        // At most two size updates, and none after a field.
        let mut sizes_left = 2_u8;
        loop {
            let rest = reader.rest();
            let Some(first) = reader.byte() else { break };
            match first {
                0x80.. => match list.receiver.repeat(self.table.state(), rest) {
                    Some(known) => {
                        reader = Reader::new(rest);
                        reader.take(known.bytes)?;
                        list.bytes = list.bytes.saturating_add(known.list_bytes);
                    }
                    None => {
                        let number = reader.integer(first, 0x7f)?;
                        self.indexed(first, number, &mut list)?;
                    }
                },
                0x40.. => self.literal(true, reader.integer(first, 0x3f)?, &mut reader, &mut list)?,
                0x20.. => {
                    sizes_left = sizes_left.checked_sub(1).ok_or(DecodeError::TableSizePlace)?;
                    self.table.resize(reader.integer(first, 0x1f)?)?;
                    continue;
                }
                _ => self.literal(false, reader.integer(first, 0x0f)?, &mut reader, &mut list)?,
            }
            sizes_left = 0;
        }
        self.table.tidy();
        self.table.shrink();
        Ok(Decoded { list_bytes: list.bytes })
    }

    /// Returns a number that identifies the table's content: no other content of any table has the same number. A block
    /// without changes to the table leaves the number unchanged, so the same block then has the same fields again.
    #[must_use]
    pub const fn state(&self) -> u64 {
        self.table.state()
    }

    /// Returns the size of the table (RFC 7541 §4.1).
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.table.size()
    }

    /// Returns the maximum size last set by the peer.
    #[must_use]
    pub const fn table_bytes_max(&self) -> usize {
        self.table.max()
    }

    /// Returns the held memory in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    /// Reads an indexed field (RFC 7541 §6.1).
    #[inline]
    fn indexed<E: Receiver>(&self, first: u8, number: usize, list: &mut List<E>) -> Result<(), DecodeError> {
        let numbered = (first < u8::MAX).then(|| Numbered { byte: first, state: self.table.state() });
        let place = number.checked_sub(1).ok_or(DecodeError::Index)?;
        if let Some((name, value, class)) = static_table::FIELDS.get(place) {
            list.give(name.as_bytes(), value.as_bytes(), *class, numbered);
        } else {
            let entry = self.table.get(place - static_table::FIELDS.len()).ok_or(DecodeError::Index)?;
            list.give(self.table.text(entry.name), self.table.text(entry.value), entry.class, numbered);
        }
        Ok(())
    }

    /// Reads a literal field with an indexed or literal name (RFC 7541 §6.2).
    fn literal<E: Receiver>(
        &mut self,
        is_inserted: bool,
        number: usize,
        reader: &mut Reader<'_>,
        list: &mut List<E>,
    ) -> Result<(), DecodeError> {
        let mark = self.table.end();
        let (name, name_class) = self.name(number, reader)?;
        let value = self.string(reader)?;
        let class = name_class.with_value(value.of(&self.table));
        let (name_text, value_text) = (name.of(&self.table), value.of(&self.table));
        list.give(name_text, value_text, class, None);
        if !is_inserted {
            self.table.truncate(mark);
            return Ok(());
        }
        // Text without room in the table is not copied next to the name: the text may be long.
        if self.table.has_room(name_text.len(), value_text.len()) {
            let (name, value) = (name.kept(mark, &mut self.table), value.kept(mark, &mut self.table));
            self.table.insert(Entry { name, value, name_class, class });
        } else {
            self.table.truncate(mark);
            self.table.clear();
        }
        self.table.tidy();
        Ok(())
    }

    /// Reads a name: the name of the field at index `number`, or for 0 the literal that follows.
    fn name<'b>(&mut self, number: usize, reader: &mut Reader<'b>) -> Result<(Text<'b>, Class), DecodeError> {
        let Some(place) = number.checked_sub(1) else {
            let name = self.string(reader)?;
            return Ok((name, Class::of_name(name.of(&self.table))));
        };
        if let Some((name, _, class)) = static_table::FIELDS.get(place) {
            return Ok((Text::Given(name.as_bytes()), *class));
        }
        let entry = self.table.get(place - static_table::FIELDS.len()).ok_or(DecodeError::Index)?;
        Ok((Text::Kept(entry.name), entry.name_class))
    }

    /// Reads a string (RFC 7541 §5.2).
    fn string<'b>(&mut self, reader: &mut Reader<'b>) -> Result<Text<'b>, DecodeError> {
        let first = reader.byte().ok_or(DecodeError::Truncated)?;
        let bytes = reader.integer(first, 0x7f)?;
        let text = reader.take(bytes)?;
        if first & 0x80 == 0 { Ok(Text::Given(text)) } else { self.table.append_coded(text).map(Text::Kept) }
    }
}
