//! Decoder of the peer's field sections (RFC 9204 §4.5).

use super::super::field_coding::integer::Reader;
use super::super::field_coding::list::List;
use super::super::field_coding::{self, Class, DecodeError, Decoded, Receiver, huffman};
use super::static_table;

/// Number for the content of the tables, which never changes. No dynamic table of HPACK reaches the number.
const STATE: u64 = u64::MAX;

/// Bytes kept for strings between sections.
const STRING_BYTES_KEPT: usize = 16 * 1024;

/// Decoder without state between sections, so that all connections of a thread share one.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Decoded Huffman strings of a field.
    strings: Vec<u8>,
}

/// Name or value of a field being read.
#[derive(Clone, Copy)]
enum Text<'b> {
    /// Text in the section or in the static table.
    Given(&'b [u8]),
    /// Decoded text: start and end.
    Decoded(usize, usize),
}

impl<'b> Text<'b> {
    fn of(self, strings: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Given(bytes) => bytes,
            Self::Decoded(start, end) => strings.get(start..end).unwrap_or_default(),
        }
    }
}

impl Decoder {
    /// Decodes a whole field section and passes every field in order to `receiver`, until the list exceeds
    /// `list_bytes_max`; later fields are decoded but not passed on. A string takes at most 8/5 of its encoded bytes
    /// while being read.
    ///
    /// # Errors
    /// Fails if the section is invalid, or refers to a dynamic table.
    pub fn decode(
        &mut self,
        section: &[u8],
        list_bytes_max: usize,
        receiver: impl Receiver,
    ) -> Result<Decoded, DecodeError> {
        let mut list = List { receiver, bytes: 0, bytes_max: list_bytes_max };
        let mut reader = Reader::new(section);
        prefix(&mut reader)?;
        while let Some(first) = reader.byte() {
            self.strings.clear();
            match first {
                // §4.5.2; with the bit 0x40 unset, a field of the dynamic table.
                0xc0.. => {
                    let (name, value, class) = field(reader.long_integer(first, 0x3f)?)?;
                    list.give(name.as_bytes(), value.as_bytes(), *class, None);
                }
                // §4.5.4; with the bit 0x10 unset, a name of the dynamic table.
                0x50..0x60 | 0x70..0x80 => {
                    let (name, _, class) = field(reader.long_integer(first, 0x0f)?)?;
                    let value = self.value(&mut reader)?;
                    let value = value.of(&self.strings);
                    list.give(name.as_bytes(), value, class.with_value(value), None);
                }
                // §4.5.6.
                0x20..0x40 => {
                    let name = self.string(first, 0x07, &mut reader)?;
                    let value = self.value(&mut reader)?;
                    let (name, value) = (name.of(&self.strings), value.of(&self.strings));
                    list.give(name, value, Class::of_name(name).with_value(value), None);
                }
                // §4.5.3 and §4.5.5: entries after the base, which do not exist either.
                0x80..0xc0 | 0x40..0x50 | 0x60..0x70 | 0x00..0x20 => return Err(DecodeError::DynamicTable),
            }
        }
        self.strings.clear();
        self.strings.shrink_to(STRING_BYTES_KEPT);
        Ok(Decoded { list_bytes: list.bytes })
    }

    fn value<'b>(&mut self, reader: &mut Reader<'b>) -> Result<Text<'b>, DecodeError> {
        let first = reader.byte().ok_or(DecodeError::Truncated)?;
        self.string(first, 0x7f, reader)
    }

    /// Reads a string with a length in the bits of `mask`; the bit above marks a Huffman string (§4.1.2).
    fn string<'b>(&mut self, first: u8, mask: u8, reader: &mut Reader<'b>) -> Result<Text<'b>, DecodeError> {
        let bytes = usize::try_from(reader.long_integer(first, mask)?).or(Err(DecodeError::Truncated))?;
        let text = reader.take(bytes)?;
        if first & (mask + 1) == 0 {
            return Ok(Text::Given(text));
        }
        let start = self.strings.len();
        huffman::decode(text, &mut self.strings)?;
        Ok(Text::Decoded(start, self.strings.len()))
    }
}

impl field_coding::Decoder for Decoder {
    fn state(&self) -> u64 {
        STATE
    }

    fn decode(&mut self, block: &[u8], list_bytes_max: usize, receiver: impl Receiver) -> Result<Decoded, DecodeError> {
        Self::decode(self, block, list_bytes_max, receiver)
    }
}

/// Reads the prefix of a section (§4.5.1).
fn prefix(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let first = reader.byte().ok_or(DecodeError::Truncated)?;
    // §4.5.1.1: more than 0 entries need a table.
    if reader.long_integer(first, 0xff)? != 0 {
        return Err(DecodeError::DynamicTable);
    }
    let first = reader.byte().ok_or(DecodeError::Truncated)?;
    reader.long_integer(first, 0x7f)?;
    // §4.5.1.2: a base below 0. Any other base has no meaning without entries.
    if first & 0x80 == 0 { Ok(()) } else { Err(DecodeError::DynamicTable) }
}

/// Returns the field of an index.
fn field(number: u64) -> Result<&'static (&'static str, &'static str, Class), DecodeError> {
    let place = usize::try_from(number).or(Err(DecodeError::Index))?;
    static_table::FIELDS.get(place).ok_or(DecodeError::Index)
}
